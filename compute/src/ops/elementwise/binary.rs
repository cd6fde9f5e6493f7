//! Functions of two tensors with broadcasting: `y[i..] = f(a[i..], b[i..])`, and their gradients,
//! summed back to each input's shape.

use super::{Unary, broadcast_index, broadcast_shape, expect_f32};
use crate::cell::{Cell, Cmp, cmp, max, min, num, pow, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::{Lowering, Op, OpResult, expect_inputs};

/// Functions of two tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    /// 1 where the comparison holds, else 0.
    Compare(Cmp),
}

impl Binary {
    fn of(self, a: Cell, b: Cell) -> Cell {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => pow(a, b),
            Binary::Min => min(a, b),
            Binary::Max => max(a, b),
            Binary::Compare(op) => when(cmp(op, a, b), num(1.0), num(0.0)),
        }
    }
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Pow => "pow",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Compare(Cmp::Lt) => "less",
            Binary::Compare(Cmp::Le) => "less_equal",
            Binary::Compare(Cmp::Gt) => "greater",
            Binary::Compare(Cmp::Ge) => "greater_equal",
            Binary::Compare(Cmp::Eq) => "equal",
            Binary::Compare(Cmp::Ne) => "not_equal",
        }
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["a", "b"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), inputs[0])?;
        expect_f32(self.name(), inputs[1])?;
        Ok(TensorType::f32(broadcast_shape(self.name(), &inputs[0].shape, &inputs[1].shape)?))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let read = |i: usize| crate::cell::load(i, broadcast_index(&inputs[i].shape, &output.shape));
        self.of(read(0), read(1))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let (da, db) = match *self {
            Binary::Add => (Some(dy), Some(dy)),
            Binary::Sub => (Some(dy), if wanted[1] { Some(g.neg(dy)?) } else { None }),
            Binary::Mul => {
                (if wanted[0] { Some(g.mul(dy, b)?) } else { None }, if wanted[1] { Some(g.mul(dy, a)?) } else { None })
            }
            Binary::Div => {
                let da = g.div(dy, b)?;
                let db = if wanted[1] {
                    let scaled = g.mul(da, node)?;
                    Some(g.neg(scaled)?)
                } else {
                    None
                };
                (Some(da), db)
            }
            Binary::Pow => {
                // d/da = b a^(b-1), d/db = a^b log a
                let da = if wanted[0] {
                    let less = g.affine(b, 1.0, -1.0)?;
                    let power = g.binary(Binary::Pow, a, less)?;
                    let slope = g.mul(b, power)?;
                    Some(g.mul(dy, slope)?)
                } else {
                    None
                };
                let db = if wanted[1] {
                    let log = g.unary(Unary::Log, a)?;
                    let slope = g.mul(node, log)?;
                    Some(g.mul(dy, slope)?)
                } else {
                    None
                };
                (da, db)
            }
            Binary::Min | Binary::Max => {
                let first = if *self == Binary::Max { Cmp::Gt } else { Cmp::Lt };
                let win = g.compare(first, a, b)?;
                let tie = g.compare(Cmp::Eq, a, b)?;
                let share = g.affine(tie, 0.5, 0.0)?;
                let weight = g.binary(Binary::Add, win, share)?;
                let rest = g.affine(weight, -1.0, 1.0)?;
                (Some(g.mul(dy, weight)?), Some(g.mul(dy, rest)?))
            }
            Binary::Compare(_) => return Ok(vec![None, None]),
        };
        let mut sum = |d: Option<NodeId>, of: NodeId, want: bool| match d {
            Some(d) if want => g.sum_to(d, of).map(Some),
            _ => Ok(None),
        };
        Ok(vec![sum(da, a, wanted[0])?, sum(db, b, wanted[1])?])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        match self {
            Binary::Compare(Cmp::Eq | Cmp::Ne) => vec![0, 1],
            _ => vec![],
        }
    }
}
