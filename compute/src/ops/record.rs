//! A ring of the last values of a scalar, kept on the device so that training never waits for a
//! read: `y[i] = value if i = step mod n else ring[i]`, with `step` the second number of `rng`.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, at, ax, cmp_idx, load, load_idx, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// Inputs: ring `[n]`, value `[]`, rng u32 `[2]` = (seed, step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record;

impl Op for Record {
    fn name(&self) -> &'static str {
        "record"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["ring", "value", "rng"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["i"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("record", inputs, 3..=3)?;
        let right = inputs[0].shape.len() == 1
            && inputs[1].shape.is_empty()
            && inputs[2].shape == [2]
            && inputs[2].dtype == DType::U32;
        if right && inputs[0].numel() > 0 {
            Ok(inputs[0].clone())
        } else {
            Err(OpError::shape("record", "needs a ring [n], a scalar and (seed, step) as u32[2]"))
        }
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let now = load_idx(2, [at(1)]) % at(output.shape[0]);
        when(cmp_idx(Cmp::Eq, ax(0), now), load(1, []), load(0, [ax(0)]))
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Ok(vec![None, None, None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Graph {
    /// Keeps the last `n` values of a scalar in the state `name`.
    pub fn record(&mut self, name: &str, n: usize, value: NodeId, rng: NodeId) -> OpResult<()> {
        let ring = self.state(name, [n]);
        let next = self.add(Record, &[ring, value, rng])?;
        self.update(ring, next);
        Ok(())
    }
}

pub const PAGE: Page = Page { name: "record", samples };

fn samples() -> Vec<Sample> {
    let inputs = vec![
        (TensorType::f32([7]), Fill::Uniform(-1.0, 1.0)),
        (TensorType::f32([]), Fill::Uniform(-1.0, 1.0)),
        (TensorType::u32([2]), Fill::Values(vec![3.0, 19.0])),
    ];
    vec![Sample::new(Record, inputs, Tolerance::Exact).no_gradient()]
}
