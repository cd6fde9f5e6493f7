//! Binary cross-entropy from logits, element by element:
//!
//! `y[..] = max(x, 0) - x t + log(1 + exp(-|x|))`, with `dx = dy (sigmoid(x) - t)`, `dt = -dy x`
//!
//! An op of its own, because the gradient of the parts at x = 0, where max and |x| have their kinks,
//! would not be that of the whole. The other losses are subgraphs: see `nn::loss`.

use super::elementwise::{Binary, Unary};
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, abs, axes, exp, load, log, max, num};
use crate::graph::{Graph, NodeId, TensorType};

/// Inputs: x (logits), t (targets in 0..=1), of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BceWithLogits;

impl Op for BceWithLogits {
    fn name(&self) -> &'static str {
        "bce_with_logits"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x", "t"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        let want = TensorType::f32(inputs[0].shape.clone());
        if *inputs[0] != want || *inputs[1] != want {
            return Err(OpError::shape(
                self.name(),
                format!("logits {} and targets {} must be f32 of one shape", inputs[0], inputs[1]),
            ));
        }
        Ok(want)
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let index = axes(output.shape.len());
        let (x, t) = (load(0, index.clone()), load(1, index));
        max(x.clone(), num(0.0)) - x.clone() * t + log(num(1.0) + exp(-abs(x)))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let (x, t) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let mut out = vec![None, None];
        if wanted[0] {
            let p = g.unary(Unary::Sigmoid, x)?;
            let slope = g.binary(Binary::Sub, p, t)?;
            out[0] = Some(g.mul(dy, slope)?);
        }
        if wanted[1] {
            let slope = g.neg(x)?;
            out[1] = Some(g.mul(dy, slope)?);
        }
        Ok(out)
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

pub const PAGE: Page = Page { name: "loss", samples };

fn samples() -> Vec<Sample> {
    [vec![1], vec![7, 13], vec![3, 64, 5], vec![4099]]
        .into_iter()
        .map(|shape: Vec<usize>| {
            let x = (TensorType::f32(shape.clone()), Fill::Uniform(-4.0, 4.0));
            let t = (TensorType::f32(shape), Fill::Uniform(0.0, 1.0));
            Sample::new(BceWithLogits, vec![x, t], Tolerance::Transcendental)
        })
        .collect()
}
