//! A batch in parts, for one that fits no device as a whole: the gradients of parts of it are added up, and the
//! optimiser sees their sum. The last resort: what can be recomputed instead is ([`crate::rewrite`]).
//!
//! [`part_step`] adds to the states `accumulated.*` what a part of the batch gives, [`update_step`] takes the step
//! from them and clears them. A part of m of n images counts `train.share` = m / n, as the loss is a mean.

use super::seam::{Seam, gradients};
use super::{Forward, ModelError, Source, TrainStep, forward};
use crate::graph::{Graph, NodeId, TensorType};
use crate::network::ImageShape;
use crate::nn::loss;
use crate::ops::OpResult;
use crate::ops::elementwise::Binary;
use crate::optim::scale::Scale;
use crate::recipe::{LayerKind, Loss, Precision, Recipe};

/// The feed that says how much of the batch a part is.
pub const SHARE: &str = "train.share";

/// Why the sum of the gradients of parts would not be that of the batch, if it would not.
pub fn indivisible(recipe: &Recipe) -> Option<&'static str> {
    let whole = |kind: &LayerKind| matches!(kind, LayerKind::BatchNorm { .. });
    if recipe.model.layers.iter().any(|l| whole(&l.kind)) {
        return Some("batch normalisation takes its statistics from the whole batch");
    }
    match recipe.train.loss {
        Loss::CrossEntropy { class_weights: Some(_), .. } => {
            Some("the weights of its labels belong to the whole batch")
        }
        _ => None,
    }
}

/// Where a value of the parts is added up.
fn accumulator(g: &mut Graph, of: &str, shape: &[usize]) -> NodeId {
    g.state(&format!("accumulated.{of}"), shape.to_vec())
}

/// Adds `value` to its accumulator.
fn accumulate(g: &mut Graph, of: &str, value: NodeId) -> OpResult<()> {
    let shape = g.shape(value).to_vec();
    let sum = accumulator(g, of, &shape);
    let next = g.binary(Binary::Add, sum, value)?;
    g.rename(next, format!("accumulated.{of}.next"));
    g.update(sum, next);
    Ok(())
}

/// What a part of `m` images gives. Its `grads` are its share of the batch's.
pub fn part_step(source: &Source, recipe: &Recipe, shape: ImageShape, m: usize) -> Result<TrainStep, ModelError> {
    let Forward { mut g, mixed, places, logits, labels, loss: own, .. } = forward(source, recipe, shape, m)?;
    let share = g.feed(SHARE, TensorType::f32([]));
    let loss = g.mul(own, share)?;
    let params = g.params();
    let scale = mixed.then(|| Scale::new(&mut g));
    let (scaled, grads) = gradients(&mut g, loss, &params, scale.as_ref())?;
    for (p, d) in params.iter().zip(scaled) {
        let name = g.node(*p).name.clone();
        accumulate(&mut g, &name, d)?;
    }
    let hits = loss::correct(&mut g, logits, labels)?;
    accumulate(&mut g, "loss", loss)?;
    accumulate(&mut g, "hits", hits)?;
    g.output("loss", own);
    Ok(TrainStep { graph: g, loss: own, logits, params, grads, places })
}

/// The step from what all parts gave. `part`: one of them.
pub fn update_step(recipe: &Recipe, part: &TrainStep) -> Result<Graph, ModelError> {
    let mut g = Graph::new();
    let rng = g.feed("rng", TensorType::u32([2]));
    let mut params = vec![];
    let mut scaled = vec![];
    for p in &part.params {
        let (name, shape) = (&part.graph.node(*p).name, part.graph.shape(*p));
        params.push(g.param(name, shape.to_vec()));
        scaled.push(accumulator(&mut g, name, shape));
    }
    let (loss, hits) = (accumulator(&mut g, "loss", &[]), accumulator(&mut g, "hits", &[]));
    let scale = (recipe.train.precision == Precision::Mixed).then(|| Scale::new(&mut g));
    let grads = match &scale {
        Some(scale) => scaled.iter().map(|&d| scale.unscaled(&mut g, d)).collect::<OpResult<_>>()?,
        None => scaled.clone(),
    };
    let sums: Vec<NodeId> = scaled.iter().copied().chain([loss, hits]).collect();
    Seam { params, scaled, grads, loss, hits, rng, scale }.update(&mut g, recipe)?;
    let zero = g.full(0.0)?;
    for sum in sums {
        let shape = g.shape(sum).to_vec();
        let cleared = g.broadcast_to(zero, &shape)?;
        g.update(sum, cleared);
    }
    Ok(g)
}
