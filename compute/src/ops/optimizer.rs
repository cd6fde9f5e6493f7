//! The optimisers' new values, each ONE elementwise cell (PyTorch's formulas; `d` is the gradient
//! `g`, plus `decay p` for the rules with coupled weight decay; primes mark new values):
//!
//! ```text
//! momentum     b' = momentum b + d
//! sgd          p' = p - lr d  |  p - lr b'  |  p - lr (d + momentum b')     plain | momentum | Nesterov
//! mean         m' = beta m + (1 - beta) d
//! mean_square  v' = beta v + (1 - beta) d^2
//! rms_momentum b' = momentum b + d / (sqrt(v') + eps)
//! rmsprop      p' = p - lr d / (sqrt(v') + eps)  |  p - lr b'               plain | momentum
//! adam         p' = (1 - lr shrink) p - lr / bias1 m' / (sqrt(v') / sqrt(bias2) + eps)
//! ```
//!
//! `lr`, `bias1 = 1 - beta1^t` and `bias2 = 1 - beta2^t` are rank-0 inputs, because they change with
//! the step. With `gated` the last input, `ok`, keeps the old value where it is 0: a step whose
//! gradients are not finite changes nothing. Buffers start at 0, which makes PyTorch's special first
//! step of SGD (`b = d`) the general rule. No gradients: nothing is trained through an update.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, axes, cmp, load, num, sqrt, when};
use crate::graph::{Graph, NodeId, TensorType};

/// Which new value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// b, g
    Momentum { momentum: f64 },
    /// p, g, lr
    Sgd,
    /// p, b', lr
    SgdMomentum,
    /// p, g, b', lr
    SgdNesterov { momentum: f64 },
    /// m, g
    Mean { beta: f64 },
    /// v, g
    MeanSquare { beta: f64 },
    /// b, g, v'
    RmsMomentum { momentum: f64, eps: f64 },
    /// p, g, v', lr
    RmsProp { eps: f64 },
    /// p, m', v', lr, bias1, bias2. `shrink` is AdamW's weight decay.
    Adam { eps: f64, shrink: f64 },
}

/// One new value: its inputs are those of the rule, then p (if `decay` is not 0 and the rule does
/// not start with it), then ok (if `gated`). The first input is the old value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewValue {
    pub rule: Rule,
    /// Coupled weight decay: added to the gradient as `decay p`.
    pub decay: f64,
    pub gated: bool,
}

fn is_scalar(operand: &str) -> bool {
    matches!(operand, "lr" | "bias1" | "bias2" | "ok")
}

impl Op for NewValue {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::Momentum { .. } => "optimizer.momentum",
            Rule::Sgd | Rule::SgdMomentum | Rule::SgdNesterov { .. } => "optimizer.sgd",
            Rule::Mean { .. } => "optimizer.mean",
            Rule::MeanSquare { .. } => "optimizer.mean_square",
            Rule::RmsMomentum { .. } => "optimizer.rms_momentum",
            Rule::RmsProp { .. } => "optimizer.rmsprop",
            Rule::Adam { .. } => "optimizer.adam",
        }
    }

    fn operands(&self) -> Vec<&'static str> {
        let mut names = match self.rule {
            Rule::Momentum { .. } => vec!["b", "g"],
            Rule::Sgd => vec!["p", "g", "lr"],
            Rule::SgdMomentum => vec!["p", "b'", "lr"],
            Rule::SgdNesterov { .. } => vec!["p", "g", "b'", "lr"],
            Rule::Mean { .. } => vec!["m", "g"],
            Rule::MeanSquare { .. } => vec!["v", "g"],
            Rule::RmsMomentum { .. } => vec!["b", "g", "v'"],
            Rule::RmsProp { .. } => vec!["p", "g", "v'", "lr"],
            Rule::Adam { .. } => vec!["p", "m'", "v'", "lr", "bias1", "bias2"],
        };
        if self.decay != 0.0 && names[0] != "p" {
            names.push("p");
        }
        if self.gated {
            names.push("ok");
        }
        names
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        let names = self.operands();
        super::expect_inputs(self.name(), inputs, names.len()..=names.len())?;
        for (name, ty) in names.iter().zip(inputs) {
            let want = if is_scalar(name) { TensorType::f32([]) } else { TensorType::f32(inputs[0].shape.clone()) };
            if **ty != want {
                return Err(OpError::shape(self.name(), format!("{name} must be {want}, got {ty}")));
            }
        }
        Ok(inputs[0].clone())
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let names = self.operands();
        let read = |name: &str| {
            let input = names.iter().position(|n| *n == name).expect("a rule reads only its operands");
            load(input, if is_scalar(name) { vec![] } else { axes(output.shape.len()) })
        };
        let d = || if self.decay == 0.0 { read("g") } else { read("g") + read("p") * self.decay };
        let mix = |old: &str, beta: f64, new: Cell| read(old) * beta + new * (1.0 - beta);
        let new = match self.rule {
            Rule::Momentum { momentum } => read("b") * momentum + d(),
            Rule::Sgd => read("p") - read("lr") * d(),
            Rule::SgdMomentum => read("p") - read("lr") * read("b'"),
            Rule::SgdNesterov { momentum } => read("p") - read("lr") * (d() + read("b'") * momentum),
            Rule::Mean { beta } => mix("m", beta, d()),
            Rule::MeanSquare { beta } => mix("v", beta, d() * d()),
            Rule::RmsMomentum { momentum, eps } => read("b") * momentum + d() / (sqrt(read("v'")) + eps),
            Rule::RmsProp { eps } => read("p") - read("lr") * (d() / (sqrt(read("v'")) + eps)),
            Rule::Adam { eps, shrink } => {
                let p = if shrink == 0.0 { read("p") } else { read("p") * (num(1.0) - read("lr") * shrink) };
                let root = sqrt(read("v'")) / sqrt(read("bias2")) + eps;
                p - read("lr") / read("bias1") * (read("m'") / root)
            }
        };
        if self.gated { when(cmp(Cmp::Ne, read("ok"), num(0.0)), new, read(names[0])) } else { new }
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Err(OpError::NoGradient { op: self.name().into(), input: "its inputs".into() })
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

pub const PAGE: Page = Page { name: "optimizer", samples };

fn samples() -> Vec<Sample> {
    let rules = [
        Rule::Momentum { momentum: 0.9 },
        Rule::Sgd,
        Rule::SgdMomentum,
        Rule::SgdNesterov { momentum: 0.9 },
        Rule::Mean { beta: 0.9 },
        Rule::MeanSquare { beta: 0.999 },
        Rule::RmsMomentum { momentum: 0.9, eps: 1e-8 },
        Rule::RmsProp { eps: 1e-8 },
        Rule::Adam { eps: 1e-8, shrink: 0.0 },
        Rule::Adam { eps: 1e-8, shrink: 0.01 },
    ];
    let mut out = vec![];
    let mut add = |op: NewValue, shape: &[usize], ok: f64| {
        let inputs = op.operands().into_iter().map(|name| match name {
            "lr" => (TensorType::f32([]), Fill::Values(vec![0.01])),
            "bias1" => (TensorType::f32([]), Fill::Values(vec![0.271])),
            "bias2" => (TensorType::f32([]), Fill::Values(vec![0.002997])),
            "ok" => (TensorType::f32([]), Fill::Values(vec![ok])),
            "v" | "v'" => (TensorType::f32(shape), Fill::Uniform(0.1, 1.0)),
            _ => (TensorType::f32(shape), Fill::Uniform(-1.0, 1.0)),
        });
        let inputs = inputs.collect();
        // Not `Rounded`: the terms can cancel.
        out.push(Sample::new(op, inputs, Tolerance::Transcendental).no_gradient());
    };
    for rule in rules {
        for (shape, decay, gated) in
            [(&[1][..], 0.0, false), (&[7, 13], 0.01, false), (&[3, 65, 5], 0.0, true), (&[4099], 0.01, true)]
        {
            add(NewValue { rule, decay, gated }, shape, 1.0);
        }
        add(NewValue { rule, decay: 0.0, gated: true }, &[67], 0.0);
    }
    // More than 65,535 workgroups of 64.
    add(NewValue { rule: Rule::Sgd, decay: 0.0, gated: false }, &[4_194_367], 1.0);
    out
}
