//! Losses as subgraphs of ops, each a scalar mean with PyTorch's semantics.
//!
//! ```text
//! cross_entropy   -sum(n,c) q[n,c] w[c] log_softmax(x)[n,c] / sum(n) w[label n]
//!                 q = (1 - smoothing) one_hot(label) + smoothing / C
//! bce_with_logits mean of max(x, 0) - x t + log(1 + exp(-|x|))
//! mse             mean of (x - t)^2
//! ```

use crate::cell::Cmp;
use crate::graph::{Graph, NodeId};
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::loss::BceWithLogits;
use crate::ops::{OpError, OpResult};

/// Samples and classes of logits `[n, classes]`.
fn sizes(g: &Graph, logits: NodeId) -> OpResult<(usize, usize)> {
    match *g.shape(logits) {
        [n, c] if n > 0 && c > 0 => Ok((n, c)),
        ref other => Err(OpError::shape("cross_entropy", format!("logits must be [samples, classes], got {other:?}"))),
    }
}

/// Each sample's loss `[n]` before the division by the total weight (PyTorch's
/// `reduction="none"`). `labels`: u32 `[n]`; `weights`: f32 `[classes]`.
pub fn cross_entropy_each(
    g: &mut Graph,
    logits: NodeId,
    labels: NodeId,
    label_smoothing: f64,
    weights: Option<NodeId>,
) -> OpResult<NodeId> {
    let (n, classes) = sizes(g, logits)?;
    let log_p = g.log_softmax(logits, 1)?;
    let hot = g.one_hot(labels, classes)?;
    let mut target = hot;
    if label_smoothing != 0.0 {
        target = g.affine(target, 1.0 - label_smoothing, label_smoothing / classes as f64)?;
    }
    if let Some(w) = weights {
        let row = g.reshape(w, &[1, classes])?;
        target = g.mul(target, row)?;
    }
    let terms = g.mul(target, log_p)?;
    let total = g.sum(terms, &[1])?;
    let flat = g.reshape(total, &[n])?;
    g.neg(flat)
}

/// Mean cross-entropy, see the module's introduction. `labels`: u32 `[n]`; `weights`: f32
/// `[classes]`, a constant; the mean is then weighted by the weights of the labels.
pub fn cross_entropy(
    g: &mut Graph,
    logits: NodeId,
    labels: NodeId,
    label_smoothing: f64,
    weights: Option<NodeId>,
) -> OpResult<NodeId> {
    let each = cross_entropy_each(g, logits, labels, label_smoothing, weights)?;
    let loss = match weights {
        None => g.mean_all(each)?,
        Some(w) => {
            let (_, classes) = sizes(g, logits)?;
            let column = g.reshape(w, &[classes, 1])?;
            let of_labels = g.gather(column, labels)?;
            let total = g.sum_all(of_labels)?;
            let sum = g.sum_all(each)?;
            g.div(sum, total)?
        }
    };
    g.rename(loss, "loss");
    Ok(loss)
}

/// How many rows of the logits have their largest element at the label: a scalar.
pub fn correct(g: &mut Graph, logits: NodeId, labels: NodeId) -> OpResult<NodeId> {
    let predicted = g.add(crate::ops::reduce::ArgMax { axis: 1 }, &[logits])?;
    let (a, b) = (g.unary(Unary::ToF32, predicted)?, g.unary(Unary::ToF32, labels)?);
    let hit = g.compare(Cmp::Eq, a, b)?;
    let count = g.sum_all(hit)?;
    g.rename(count, "correct");
    Ok(count)
}

/// Mean binary cross-entropy of logits against targets in 0..=1 of the same shape.
pub fn bce_with_logits(g: &mut Graph, logits: NodeId, targets: NodeId) -> OpResult<NodeId> {
    let each = g.add(BceWithLogits, &[logits, targets])?;
    let loss = g.mean_all(each)?;
    g.rename(loss, "loss");
    Ok(loss)
}

/// Mean squared error against targets of the same shape.
pub fn mse(g: &mut Graph, x: NodeId, targets: NodeId) -> OpResult<NodeId> {
    if g.ty(x) != g.ty(targets) {
        let message = format!("{} and {} must have one shape", g.ty(x), g.ty(targets));
        return Err(OpError::shape("mse", message));
    }
    let d = g.binary(Binary::Sub, x, targets)?;
    let dd = g.mul(d, d)?;
    let loss = g.mean_all(dd)?;
    g.rename(loss, "loss");
    Ok(loss)
}
