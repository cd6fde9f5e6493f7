//! Optimisers as graph nodes: each parameter's new value, and each moment's, is one node of
//! `ops::optimizer`; [`apply`] adds them and registers the updates.
//!
//! What varies with the step enters as rank-0 feeds (`train.lr`, `train.bias1`, `train.bias2`);
//! [`scalars`] computes them on the host in f64. Moments are state leaves named
//! `optimizer.<parameter>.exp_avg`, `.exp_avg_sq`, `.momentum_buffer`, `.square_avg`, after PyTorch's
//! own names, and start at 0. Formulas and defaults of use are PyTorch's.

pub mod scale;

use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::OpResult;
use crate::ops::elementwise::Binary;
use crate::ops::optimizer::{NewValue, Rule};

/// An optimiser with its fixed numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optim {
    Sgd { momentum: f64, nesterov: bool, weight_decay: f64 },
    RmsProp { alpha: f64, eps: f64, momentum: f64, weight_decay: f64 },
    Adam { beta1: f64, beta2: f64, eps: f64, weight_decay: f64 },
    AdamW { beta1: f64, beta2: f64, eps: f64, weight_decay: f64 },
}

/// The values of the feeds that [`apply`] reads at step `t` (counted from 1) with learning rate `lr`.
pub fn scalars(kind: &Optim, t: u64, lr: f64) -> Vec<(&'static str, f32)> {
    let mut out = vec![("train.lr", lr as f32)];
    if let Optim::Adam { beta1, beta2, .. } | Optim::AdamW { beta1, beta2, .. } = kind {
        out.push(("train.bias1", (1.0 - beta1.powf(t as f64)) as f32));
        out.push(("train.bias2", (1.0 - beta2.powf(t as f64)) as f32));
    }
    out
}

/// What [`apply`] needs for every parameter.
struct Context {
    lr: NodeId,
    decay: f64,
    ok: Option<NodeId>,
}

impl Context {
    /// Adds one new value; `inputs` are those of the rule, `p` the parameter.
    fn value(&self, g: &mut Graph, rule: Rule, decay: f64, inputs: &[NodeId], p: NodeId) -> OpResult<NodeId> {
        let mut inputs = inputs.to_vec();
        if decay != 0.0 && inputs[0] != p {
            inputs.push(p);
        }
        inputs.extend(self.ok);
        g.add(NewValue { rule, decay, gated: self.ok.is_some() }, &inputs)
    }

    /// Adds the new value of a moment of `p`, and its update.
    fn moment(
        &self,
        g: &mut Graph,
        rule: Rule,
        name: &str,
        (p, grad): (NodeId, NodeId),
        more: Option<NodeId>,
    ) -> OpResult<NodeId> {
        let name = format!("optimizer.{}.{name}", g.node(p).name);
        let shape = g.shape(p).to_vec();
        let old = g.state(&name, shape);
        let inputs: Vec<NodeId> = [old, grad].into_iter().chain(more).collect();
        let new = self.value(g, rule, self.decay, &inputs, p)?;
        g.rename(new, format!("{name}.next"));
        g.update(old, new);
        Ok(new)
    }
}

/// Adds the update of every parameter by its gradient. With `ok`, a scalar, a step where it is 0
/// keeps all old values. Errors: a gradient of another shape than its parameter.
pub fn apply(g: &mut Graph, kind: &Optim, params_and_grads: &[(NodeId, NodeId)], ok: Option<NodeId>) -> OpResult<()> {
    let lr = g.feed("train.lr", TensorType::f32([]));
    for &(p, grad) in params_and_grads {
        let pair = (p, grad);
        let new = match *kind {
            Optim::Sgd { momentum, nesterov, weight_decay } => {
                let c = Context { lr, decay: weight_decay, ok };
                if momentum == 0.0 {
                    c.value(g, Rule::Sgd, weight_decay, &[p, grad, lr], p)?
                } else {
                    let b = c.moment(g, Rule::Momentum { momentum }, "momentum_buffer", pair, None)?;
                    if nesterov {
                        c.value(g, Rule::SgdNesterov { momentum }, weight_decay, &[p, grad, b, lr], p)?
                    } else {
                        c.value(g, Rule::SgdMomentum, 0.0, &[p, b, lr], p)?
                    }
                }
            }
            Optim::RmsProp { alpha, eps, momentum, weight_decay } => {
                let c = Context { lr, decay: weight_decay, ok };
                let v = c.moment(g, Rule::MeanSquare { beta: alpha }, "square_avg", pair, None)?;
                if momentum == 0.0 {
                    c.value(g, Rule::RmsProp { eps }, weight_decay, &[p, grad, v, lr], p)?
                } else {
                    let b = c.moment(g, Rule::RmsMomentum { momentum, eps }, "momentum_buffer", pair, Some(v))?;
                    c.value(g, Rule::SgdMomentum, 0.0, &[p, b, lr], p)?
                }
            }
            Optim::Adam { beta1, beta2, eps, weight_decay } => {
                let c = Context { lr, decay: weight_decay, ok };
                adam(g, &c, (beta1, beta2), Rule::Adam { eps, shrink: 0.0 }, pair)?
            }
            Optim::AdamW { beta1, beta2, eps, weight_decay } => {
                let c = Context { lr, decay: 0.0, ok };
                adam(g, &c, (beta1, beta2), Rule::Adam { eps, shrink: weight_decay }, pair)?
            }
        };
        let name = format!("{}.next", g.node(p).name);
        g.rename(new, name);
        g.update(p, new);
    }
    Ok(())
}

fn adam(g: &mut Graph, c: &Context, betas: (f64, f64), rule: Rule, pair: (NodeId, NodeId)) -> OpResult<NodeId> {
    let bias1 = g.feed("train.bias1", TensorType::f32([]));
    let bias2 = g.feed("train.bias2", TensorType::f32([]));
    let m = c.moment(g, Rule::Mean { beta: betas.0 }, "exp_avg", pair, None)?;
    let v = c.moment(g, Rule::MeanSquare { beta: betas.1 }, "exp_avg_sq", pair, None)?;
    // The moments already hold the decayed gradient.
    c.value(g, rule, 0.0, &[pair.0, m, v, c.lr, bias1, bias2], pair.0)
}

/// Scales gradients so that their common norm is at most `max_norm`, and gives the norm before:
/// `g * min(1, max_norm / (norm + 1e-6))`, PyTorch's `clip_grad_norm_`.
pub fn clip_by_norm(g: &mut Graph, grads: &[NodeId], max_norm: f64) -> OpResult<(Vec<NodeId>, NodeId)> {
    let (ratio, norm) = clip_ratio(g, grads, max_norm)?;
    let clipped = grads.iter().map(|&d| g.mul(d, ratio)).collect::<OpResult<_>>()?;
    Ok((clipped, norm))
}

/// What [`clip_by_norm`] multiplies gradients by, and their norm.
pub fn clip_ratio(g: &mut Graph, grads: &[NodeId], max_norm: f64) -> OpResult<(NodeId, NodeId)> {
    let norm = g.global_norm(grads)?;
    let most = g.full(max_norm)?;
    let one = g.full(1.0)?;
    let safe = g.affine(norm, 1.0, 1e-6)?;
    let ratio = g.div(most, safe)?;
    Ok((g.binary(Binary::Min, ratio, one)?, norm))
}
