//! The loss of a classifier: the curve of -log p, and cross-entropy beside squared error.
//!
//! ```text
//! likelihood: loss = -log p, its slope, its curve over grid [POINTS] and its tangent there
//!
//! cross-entropy: loss = nn::loss::cross_entropy of logits [1, n] and label [1]
//! squared error: loss = sum(i) (p_i - y_i)^2, p = softmax(logits)
//! ∂L/∂a (of squared error: ∂E/∂a) = d loss / d logits                      [1, n]
//! ```
//!
//! Feeds: `p` `[]`; or `logits` `[1, n]` and `label` `[1]`.

use compute::autodiff;
use compute::graph::{Graph, NodeId, TensorType};
use compute::nn::loss::cross_entropy;
use compute::ops::OpResult;
use compute::ops::elementwise::{Binary, Unary};
use compute::tensor::{DType, Tensor};

use super::Scene;

const POINTS: usize = 200;
/// The smallest probability on show.
pub const LEAST: f32 = 0.001;

/// `-log p` and its slope.
pub fn likelihood() -> OpResult<Scene> {
    let mut g = Graph::new();
    let p = g.feed("p", TensorType::f32([]));
    let log = g.unary(Unary::Log, p)?;
    g.rename(log, "log p");
    let loss = g.neg(log)?;
    g.rename(loss, "−log p");
    // Equal ratios, so that the steep end is as smooth as the other.
    let ratio = |k: usize| LEAST.powf(1.0 - k as f32 / (POINTS - 1) as f32);
    let grid = g.constant("grid", Tensor::f32([POINTS], (0..POINTS).map(ratio).collect()));
    let logs = g.unary(Unary::Log, grid)?;
    let curve = g.neg(logs)?;
    g.rename(curve, "curve");
    let forward = curve;

    let gradients: Vec<(NodeId, NodeId)> = [p].into_iter().zip(autodiff::grad(&mut g, loss, &[p])?).collect();
    let ends = g.constant("ends", Tensor::f32([2], vec![0.0, 1.0]));
    for (_, slope) in &gradients {
        g.rename(*slope, "slope");
        g.output("slope", *slope);
        let away = g.binary(Binary::Sub, ends, p)?;
        let rise = g.mul(*slope, away)?;
        let tangent = g.binary(Binary::Add, loss, rise)?;
        g.rename(tangent, "tangent");
        g.output("tangent", tangent);
    }
    for (name, id) in [("loss", loss), ("grid", grid), ("curve", curve), ("ends", ends)] {
        g.output(name, id);
    }
    Ok(Scene { graph: g, forward: Some(forward), loss: Some(loss), gradients, ..Scene::default() })
}

/// Which loss of the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Loss {
    CrossEntropy,
    Squared,
}

/// A loss of `n` logits and its gradient.
pub fn classes(loss: Loss, n: usize) -> OpResult<Scene> {
    let mut g = Graph::new();
    let logits = g.feed("logits", TensorType::f32([1, n]));
    let label = g.feed("label", TensorType { shape: vec![1], dtype: DType::U32 });
    let p = g.softmax(logits, 1)?;
    g.rename(p, "p");
    let y = g.one_hot(label, n)?;
    g.rename(y, "y");
    let error = g.binary(Binary::Sub, p, y)?;
    g.rename(error, "p − y");
    let value = match loss {
        Loss::CrossEntropy => cross_entropy(&mut g, logits, label, 0.0, None)?,
        Loss::Squared => {
            let squares = g.mul(error, error)?;
            g.rename(squares, "(p − y)²");
            g.sum_all(squares)?
        }
    };
    g.rename(value, "loss");
    let forward = value;

    let mut gradients = vec![];
    let name = match loss {
        Loss::CrossEntropy => "∂L/∂a",
        Loss::Squared => "∂E/∂a",
    };
    for d in autodiff::grad(&mut g, value, &[logits])? {
        g.rename(d, name);
        g.output(name, d);
        let sum = g.sum_all(d)?;
        g.rename(sum, "sum of the gradient");
        g.output("sum", sum);
        gradients.push((logits, d));
    }
    // The probability of the true class, which both losses are about.
    let hit = g.mul(y, p)?;
    let truth = g.sum_all(hit)?;
    g.rename(truth, "p of the true class");
    for (name, id) in [("p", p), ("y", y), ("p − y", error), ("loss", value), ("truth", truth)] {
        g.output(name, id);
    }
    Ok(Scene { graph: g, forward: Some(forward), loss: Some(value), gradients, ..Scene::default() })
}
