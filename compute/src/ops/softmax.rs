//! Softmax and log-softmax along an axis, shifted by the maximum so that nothing overflows:
//!
//! ```text
//! top = max(j) x[.., j], total = sum(k) exp(x[.., k] - top)
//! softmax      y[.., c] = exp(x[.., c] - top) / total        dx = y (dy - sum(c) dy y)
//! log_softmax  y[.., c] = x[.., c] - top - log(total)        dx = dy - exp(y) sum(c) dy
//! ```

use super::elementwise::{Binary, Unary};
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Idx, at, axes, bind, exp, load, local, log, max_over, sum, var};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// Numbers in 0..1 that sum to 1 along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    pub axis: usize,
}

/// The logarithm of [`Softmax`], without the detour through numbers that round to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSoftmax {
    pub axis: usize,
}

fn infer(op: &str, axis: usize, inputs: &[&TensorType]) -> OpResult<TensorType> {
    super::expect_inputs(op, inputs, 1..=1)?;
    let x = inputs[0];
    if x.dtype != DType::F32 || x.shape.get(axis).is_none_or(|&d| d == 0) {
        return Err(OpError::shape(op, format!("needs f32 with a non-empty axis {axis}, got {x}")));
    }
    Ok(x.clone())
}

/// `top` and `total` bound around what `make` builds from x, top and total.
fn shifted(axis: usize, shape: &[usize], make: impl FnOnce(Cell, Cell, Cell) -> Cell) -> Cell {
    let read = |i: Option<Idx>| {
        let mut index = axes(shape.len());
        if let Some(i) = i {
            index[axis] = i;
        }
        load(0, index)
    };
    let (j, k, top, total) = (var("j"), var("k"), var("top"), var("total"));
    let largest = max_over(j, at(0), at(shape[axis]), read(Some(j.into())));
    let sum_exp = sum(k, at(0), at(shape[axis]), exp(read(Some(k.into())) - local(top)));
    bind(top, largest, bind(total, sum_exp, make(read(None), local(top), local(total))))
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        infer("softmax", self.axis, inputs)
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        shifted(self.axis, &output.shape, |x, top, total| exp(x - top) / total)
    }

    fn vjp(&self, g: &mut Graph, y: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let weighted = g.mul(dy, y)?;
        let mean = g.sum(weighted, &[self.axis])?;
        let rest = g.binary(Binary::Sub, dy, mean)?;
        Ok(vec![Some(g.mul(y, rest)?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        infer("log_softmax", self.axis, inputs)
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        shifted(self.axis, &output.shape, |x, top, total| x - top - log(total))
    }

    fn vjp(&self, g: &mut Graph, y: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let total = g.sum(dy, &[self.axis])?;
        let p = g.unary(Unary::Exp, y)?;
        let share = g.mul(p, total)?;
        Ok(vec![Some(g.binary(Binary::Sub, dy, share)?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

/// Shorthands for building with these ops.
impl Graph {
    pub fn softmax(&mut self, x: NodeId, axis: usize) -> OpResult<NodeId> {
        self.add(Softmax { axis }, &[x])
    }

    pub fn log_softmax(&mut self, x: NodeId, axis: usize) -> OpResult<NodeId> {
        self.add(LogSoftmax { axis }, &[x])
    }
}

pub const PAGE: Page = Page { name: "softmax", samples };

fn samples() -> Vec<Sample> {
    let mut out = vec![];
    let cases: [(&[usize], usize); 6] =
        [(&[1], 0), (&[5, 7], 1), (&[5, 7], 0), (&[3, 10, 4], 1), (&[67, 131], 1), (&[2, 1031], 1)];
    for (shape, axis) in cases {
        let inputs = || vec![(TensorType::f32(shape), Fill::Uniform(-4.0, 4.0))];
        out.push(Sample::new(Softmax { axis }, inputs(), Tolerance::Transcendental));
        out.push(Sample::new(LogSoftmax { axis }, inputs(), Tolerance::Transcendental));
    }
    // Would overflow without the shift.
    let far = || vec![(TensorType::f32([2, 3]), Fill::Values(vec![300.0, 298.5, -300.0, 1000.0, 999.0, 1001.5]))];
    out.push(Sample::new(Softmax { axis: 1 }, far(), Tolerance::Transcendental));
    out.push(Sample::new(LogSoftmax { axis: 1 }, far(), Tolerance::Transcendental));
    out
}
