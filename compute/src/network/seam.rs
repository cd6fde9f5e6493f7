//! The seam of a step: all gradients are complete and no state has changed yet. Scaling, clipping and the gate that
//! keeps a bad step from changing anything are added here and nowhere else.

use super::{ModelError, RING, optimizer};
use crate::autodiff;
use crate::graph::{Graph, NodeId};
use crate::ops::OpResult;
use crate::ops::elementwise::Unary;
use crate::optim;
use crate::optim::scale::Scale;
use crate::recipe::Recipe;

/// The gradients of the scaled loss, and of the loss itself.
pub(super) fn gradients(
    g: &mut Graph,
    loss: NodeId,
    params: &[NodeId],
    scale: Option<&Scale>,
) -> OpResult<(Vec<NodeId>, Vec<NodeId>)> {
    let Some(scale) = scale else {
        let grads = autodiff::grad(g, loss, params)?;
        return Ok((grads.clone(), grads));
    };
    let loss = scale.loss(g, loss)?;
    let scaled = autodiff::grad(g, loss, params)?;
    let grads = scale.gradients(g, &scaled)?;
    Ok((scaled, grads))
}

/// Where all gradients of a step are complete: what scales, clips or gates them is added here.
pub(super) struct Seam {
    pub params: Vec<NodeId>,
    /// Gradients of the scaled loss, and of the loss.
    pub scaled: Vec<NodeId>,
    pub grads: Vec<NodeId>,
    pub loss: NodeId,
    pub hits: NodeId,
    pub rng: NodeId,
    pub scale: Option<Scale>,
}

impl Seam {
    /// Adds the new value of every state, and the record of the loss.
    pub fn update(&self, g: &mut Graph, recipe: &Recipe) -> Result<(), ModelError> {
        let mut clip = None;
        if let Some(limit) = recipe.train.clip_norm {
            let (ratio, norm) = optim::clip_ratio(g, &self.grads, limit)?;
            g.rename(norm, "gradient norm");
            clip = Some(ratio);
        }
        // A step whose loss is not finite changes nothing: the run stops with the state that led to it.
        let mut ok = g.unary(Unary::IsFinite, self.loss)?;
        g.rename(ok, "loss is finite");
        // Running statistics of the layers.
        let statistics = std::mem::take(&mut g.updates);
        let (mut factor, mut gate) = (clip, ok);
        if let Some(scale) = &self.scale {
            ok = scale.adapt(g, ok, &self.grads)?;
            // It is 0 where the step is not ok, so it gates as well.
            gate = scale.factor(g, ok, clip)?;
            factor = Some(gate);
        }
        for (leaf, new) in statistics {
            let kept = g.select(ok, new, leaf)?;
            g.update(leaf, kept);
        }
        let mut used = self.scaled.clone();
        if let Some(factor) = factor {
            used = used.iter().map(|&d| g.mul(d, factor)).collect::<OpResult<_>>()?;
        }
        let pairs: Vec<(NodeId, NodeId)> = self.params.iter().copied().zip(used).collect();
        optim::apply(g, &optimizer(recipe), &pairs, Some(gate))?;
        g.set_scope("metrics");
        g.record("metrics.loss", RING, self.loss, self.rng)?;
        g.record("metrics.hits", RING, self.hits, self.rng)?;
        g.set_scope("");
        g.output("loss", self.loss);
        Ok(())
    }
}
