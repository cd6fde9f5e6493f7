//! Uniform random numbers: `y[..] = bits(key, seed, step, flat index) / 2^24`, in [0, 1).
//!
//! A pure function of its keys (see `cell::rand`), so every backend draws the same numbers and a
//! resumed run goes on with them. Input: rng, u32 `[2]` = (seed, step). No gradient.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, at, axes, flatten, int, load_idx, rand_bits};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// See the module's introduction. `key` is the hash of a stable name (`cell::rand::key_of`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    pub key: u32,
    pub shape: Vec<usize>,
}

/// Checks the (seed, step) input of ops that draw.
pub(super) fn expect_rng(op: &str, ty: &TensorType) -> OpResult<()> {
    if ty.dtype == DType::U32 && ty.shape == [2] {
        return Ok(());
    }
    Err(OpError::shape(op, format!("rng must be u32[2], seed and step, got {ty}")))
}

impl Op for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["rng"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("random", inputs, 1..=1)?;
        expect_rng("random", inputs[0])?;
        Ok(TensorType::f32(self.shape.clone()))
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let counter = flatten(&axes(output.shape.len()), &output.shape);
        let bits = rand_bits(self.key, load_idx(0, [at(0)]), load_idx(0, [at(1)]), counter);
        int(bits) * (1.0 / 16_777_216.0)
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Ok(vec![None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![0]
    }
}

/// Shorthands for building with this op.
impl Graph {
    /// Uniform numbers in [0, 1) drawn under a stable name.
    pub fn random(&mut self, name: &str, rng: NodeId, shape: &[usize]) -> OpResult<NodeId> {
        self.add(Random { key: crate::cell::rand::key_of(name), shape: shape.to_vec() }, &[rng])
    }
}

pub const PAGE: Page = Page { name: "random", samples };

fn samples() -> Vec<Sample> {
    [vec![], vec![1], vec![7, 13], vec![3, 64, 5], vec![4099]]
        .into_iter()
        .map(|shape| {
            let rng = vec![(TensorType::u32([2]), Fill::Values(vec![4_000_000_007.0, 12.0]))];
            Sample::new(Random { key: 0x9e37_79b9, shape }, rng, Tolerance::Exact).no_gradient()
        })
        .collect()
}
