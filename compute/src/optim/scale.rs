//! Dynamic loss scaling for gradients that pass through f16, by the rule of PyTorch's `GradScaler`.
//!
//! The gradients are those of `scale * loss`, so that small ones are not lost below f16's 2^-24, and are divided by
//! the scale at the seam before clipping and the optimiser. A step whose gradients are not finite changes nothing but
//! the scale, which halves; after [`PATIENCE`] good steps in a row it doubles. The optimiser's bias corrections count
//! steps from the host's number, so a step that changed nothing counts there.
//!
//! States: `optimizer.loss_scale` (65,536 at first) and `optimizer.good_steps`, kept with the moments. No step waits
//! for the host to read them.

use crate::cell::Cmp;
use crate::graph::{Graph, NodeId};
use crate::ops::OpResult;
use crate::ops::elementwise::{Binary, Unary};

/// The state that holds the scale.
pub const SCALE: &str = "optimizer.loss_scale";
/// Good steps in a row after which the scale doubles.
pub const PATIENCE: f64 = 2000.0;
/// The least and the largest scale. At the least training stops: no scale makes the gradients finite.
pub const BOUNDS: [f64; 2] = [1.0 / 16_777_216.0, 16_777_216.0 * 16_777_216.0];

/// The scale's state in a graph.
pub struct Scale {
    scale: NodeId,
    good: NodeId,
}

impl Scale {
    pub fn new(g: &mut Graph) -> Scale {
        Scale { scale: g.state(SCALE, []), good: g.state("optimizer.good_steps", []) }
    }

    /// `scale * loss`
    pub fn loss(&self, g: &mut Graph, loss: NodeId) -> OpResult<NodeId> {
        let scaled = g.mul(loss, self.scale)?;
        g.rename(scaled, "scaled loss");
        Ok(scaled)
    }

    /// The gradients of the loss from those of the scaled loss.
    pub fn gradients(&self, g: &mut Graph, scaled: &[NodeId]) -> OpResult<Vec<NodeId>> {
        let mut out = vec![];
        for &d in scaled {
            let name = g.node(d).name.clone();
            g.rename(d, format!("scaled {name}"));
            let unscaled = self.unscaled(g, d)?;
            g.rename(unscaled, name);
            out.push(unscaled);
        }
        Ok(out)
    }

    /// One gradient of the loss from that of the scaled loss.
    pub fn unscaled(&self, g: &mut Graph, scaled: NodeId) -> OpResult<NodeId> {
        g.div(scaled, self.scale)
    }

    /// What the optimiser multiplies scaled gradients by: `clip / scale`, and 0 where the step may change nothing.
    /// One number for all three, because a kernel binds few buffers.
    pub fn factor(&self, g: &mut Graph, ok: NodeId, clip: Option<NodeId>) -> OpResult<NodeId> {
        let (one, zero) = (g.full(1.0)?, g.full(0.0)?);
        let factor = g.div(clip.unwrap_or(one), self.scale)?;
        // Chosen, not multiplied: where a gradient is NaN the clip is too.
        let factor = g.select(ok, factor, zero)?;
        g.rename(factor, "gradient factor");
        Ok(factor)
    }

    /// Adds the scale's update and gives whether the step may change anything: whether the loss and all
    /// gradients are finite. Where the loss is not, the scale stays too, so that the step can be replayed.
    pub fn adapt(&self, g: &mut Graph, loss_is_finite: NodeId, gradients: &[NodeId]) -> OpResult<NodeId> {
        let norm = g.global_norm(gradients)?;
        let finite = g.unary(Unary::IsFinite, norm)?;
        g.rename(finite, "gradients are finite");
        let ok = g.mul(loss_is_finite, finite)?;

        let count = g.affine(self.good, 1.0, 1.0)?;
        let most = g.full(PATIENCE)?;
        let grow = g.compare(Cmp::Ge, count, most)?;
        let zero = g.full(0.0)?;
        let count = g.select(grow, zero, count)?;
        let count = g.select(finite, count, zero)?;

        let factor = g.affine(grow, 1.0, 1.0)?;
        let half = g.full(0.5)?;
        let factor = g.select(finite, factor, half)?;
        let scale = g.binary(Binary::Mul, self.scale, factor)?;
        let scale = g.unary(Unary::Clamp(BOUNDS[0], BOUNDS[1]), scale)?;

        for (old, new) in [(self.scale, scale), (self.good, count)] {
            let next = g.select(loss_is_finite, new, old)?;
            let name = format!("{}.next", g.node(old).name);
            g.rename(next, name);
            g.update(old, next);
        }
        Ok(ok)
    }
}
