//! Layers with parameters or state, named as PyTorch's state_dict names them: `<layer>.weight`,
//! `<layer>.bias`, `<layer>.running_mean`, `<layer>.running_var`. First values: see [`super::init`].

use crate::cell::Cmp;
use crate::graph::{Graph, NodeId};
use crate::ops::conv2d::Geometry;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::{OpError, OpResult};

/// `x w' + bias` on the last axis: x `[.., in]`, weight `[out, in]`. Where x is f16, the weight is read as f16.
pub fn linear(g: &mut Graph, x: NodeId, name: &str, out: usize, bias: bool) -> OpResult<NodeId> {
    let Some(&inputs) = g.shape(x).last() else {
        return Err(OpError::shape("linear", "a scalar has no features"));
    };
    let w = g.param(&format!("{name}.weight"), [out, inputs]);
    let w = g.half_like(w, &[x], format!("{name}.weight.half"))?;
    let b = bias.then(|| g.param(&format!("{name}.bias"), [out]));
    let y = g.linear(x, w, b)?;
    g.rename(y, name);
    Ok(y)
}

/// Convolution: x `[batch, channels, height, width]`, weight `[out, channels / groups, kh, kw]`. Where x is f16,
/// the weight is read as f16.
pub fn conv2d(
    g: &mut Graph,
    x: NodeId,
    name: &str,
    out: usize,
    kernel: [usize; 2],
    geometry: Geometry,
    bias: bool,
) -> OpResult<NodeId> {
    let channels = match *g.shape(x) {
        [_, c, _, _] if geometry.groups > 0 => c,
        ref other => return Err(OpError::shape("conv2d", format!("needs 4 axes and a group, got {other:?}"))),
    };
    let w = g.param(&format!("{name}.weight"), [out, channels / geometry.groups, kernel[0], kernel[1]]);
    let w = g.half_like(w, &[x], format!("{name}.weight.half"))?;
    let b = bias.then(|| g.param(&format!("{name}.bias"), [out]));
    let y = g.conv2d(x, w, b, geometry)?;
    g.rename(y, name);
    Ok(y)
}

/// Batch normalisation of x `[n, c]` or `[n, c, h, w]` over all axes but the channels:
/// `(x - mean) / sqrt(var + eps) * weight + bias`.
///
/// In training mean and (biased) variance are the batch's, and the running ones move towards them
/// by `momentum`, the variance unbiased; otherwise the running ones are used. As PyTorch does.
pub fn batch_norm(g: &mut Graph, x: NodeId, name: &str, momentum: f64, eps: f64, train: bool) -> OpResult<NodeId> {
    let shape = g.shape(x).to_vec();
    let (c, over) = match shape[..] {
        [_, c] => (c, vec![0]),
        [_, c, _, _] => (c, vec![0, 2, 3]),
        _ => return Err(OpError::shape("batch_norm", format!("needs [n, c] or [n, c, h, w], got {shape:?}"))),
    };
    let n: usize = over.iter().map(|&a| shape[a]).product();
    if train && n < 2 {
        return Err(OpError::shape("batch_norm", format!("{n} values a channel have no variance to train with")));
    }
    let mut row = vec![1; shape.len()];
    row[1] = c;
    let weight = g.param(&format!("{name}.weight"), [c]);
    let bias = g.param(&format!("{name}.bias"), [c]);
    let running_mean = g.state(&format!("{name}.running_mean"), [c]);
    let running_var = g.state(&format!("{name}.running_var"), [c]);
    let (mean, var) = if train {
        let mean = g.mean(x, &over)?;
        let var = g.variance(x, &over, 0)?;
        g.rename(mean, format!("{name}.mean"));
        g.rename(var, format!("{name}.var"));
        let unbiased = n as f64 / (n - 1) as f64;
        for (running, batch, scale) in [(running_mean, mean, 1.0), (running_var, var, unbiased)] {
            let flat = g.reshape(batch, &[c])?;
            let new = g.affine(flat, momentum * scale, 0.0)?;
            let old = g.affine(running, 1.0 - momentum, 0.0)?;
            let next = g.binary(Binary::Add, old, new)?;
            g.update(running, next);
        }
        (mean, var)
    } else {
        (g.reshape(running_mean, &row)?, g.reshape(running_var, &row)?)
    };
    let centred = g.binary(Binary::Sub, x, mean)?;
    let safe = g.affine(var, 1.0, eps)?;
    let root = g.unary(Unary::Sqrt, safe)?;
    let unit = g.div(centred, root)?;
    let (weight, bias) = (g.reshape(weight, &row)?, g.reshape(bias, &row)?);
    let scaled = g.mul(unit, weight)?;
    let y = g.binary(Binary::Add, scaled, bias)?;
    g.rename(y, name);
    Ok(y)
}

/// Zeroes each element with probability `p` and scales the rest by `1 / (1 - p)`. `rng`: u32 `[2]`,
/// seed and step; the numbers are drawn under the layer's name. Only for training graphs.
pub fn dropout(g: &mut Graph, x: NodeId, p: f64, name: &str, rng: NodeId) -> OpResult<NodeId> {
    if !(0.0..1.0).contains(&p) {
        return Err(OpError::shape("dropout", format!("the probability must be in 0..1, got {p}")));
    }
    let shape = g.shape(x).to_vec();
    let u = g.random(name, rng, &shape)?;
    let bound = g.full(p)?;
    let keep = g.compare(Cmp::Ge, u, bound)?;
    let mask = g.affine(keep, 1.0 / (1.0 - p), 0.0)?;
    let y = g.mul(x, mask)?;
    g.rename(y, name);
    Ok(y)
}
