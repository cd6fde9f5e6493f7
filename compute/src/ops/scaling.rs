//! The two usual ways to bring the columns of a table to one scale, each in one expression.
//!
//! ```text
//! standardize  y[n, j] = (x[n, j] - mean[0, j]) / std[0, j]
//! min_max      y[n, j] = (x[n, j] - min[0, j]) / (max[0, j] - min[0, j])
//! ```
//!
//! `x: [rows, columns]`, the statistics `[1, columns]`. They are inputs, so that those of the training
//! rows can be applied to others. A column without spread divides by 0; callers drop it before.

use super::elementwise::Binary;
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, at, ax, load};
use crate::graph::{Graph, NodeId, TensorType};

/// Inputs: x, mean, std; or x, min, max.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Standardize,
    MinMax,
}

impl Op for Scaling {
    fn name(&self) -> &'static str {
        match self {
            Scaling::Standardize => "standardize",
            Scaling::MinMax => "min_max",
        }
    }

    fn operands(&self) -> Vec<&'static str> {
        match self {
            Scaling::Standardize => vec!["x", "mean", "std"],
            Scaling::MinMax => vec!["x", "min", "max"],
        }
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["n", "j"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 3..=3)?;
        let [_, columns] = inputs[0].shape[..] else {
            return Err(OpError::shape(self.name(), format!("x must be a table, got {}", inputs[0])));
        };
        match inputs[1..].iter().find(|s| s.shape != [1, columns]) {
            Some(s) => Err(OpError::shape(self.name(), format!("the statistics must be [1, {columns}], got {s}"))),
            None => Ok(inputs[0].clone()),
        }
    }

    fn cell(&self, _: &[&TensorType], _: &TensorType) -> Cell {
        let column = |k: usize| load(k, [at(0), ax(1)]);
        let away = load(0, [ax(0), ax(1)]) - column(1);
        match self {
            Scaling::Standardize => away / column(2),
            Scaling::MinMax => away / (column(2) - column(1)),
        }
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let [_, first, second] = g.node(node).inputs[..] else { return Ok(vec![None; 3]) };
        let unit = match self {
            Scaling::Standardize => second,
            Scaling::MinMax => g.binary(Binary::Sub, second, first)?,
        };
        let dx = g.div(dy, unit)?;
        // What the scaled values say of the unit: d/d unit of away / unit is -y / unit.
        let along = g.mul(dx, node)?;
        let along = g.sum(along, &[0])?;
        let shift = g.sum(dx, &[0])?;
        let d_second = g.neg(along)?;
        let d_first = match self {
            Scaling::Standardize => g.neg(shift)?,
            Scaling::MinMax => g.binary(Binary::Sub, along, shift)?,
        };
        Ok(vec![Some(dx), Some(d_first), Some(d_second)])
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
    /// `(x - mean) / std`, column by column.
    pub fn standardize(&mut self, x: NodeId, mean: NodeId, std: NodeId) -> OpResult<NodeId> {
        self.add(Scaling::Standardize, &[x, mean, std])
    }

    /// `(x - min) / (max - min)`, column by column.
    pub fn min_max(&mut self, x: NodeId, min: NodeId, max: NodeId) -> OpResult<NodeId> {
        self.add(Scaling::MinMax, &[x, min, max])
    }
}

pub const PAGE: Page = Page { name: "scaling", samples };

fn samples() -> Vec<Sample> {
    let mut out = vec![];
    for (rows, columns) in [(1, 1), (8, 2), (7, 13), (65, 33)] {
        let table = (TensorType::f32([rows, columns]), Fill::Uniform(-1.0, 1.0));
        let row = |low: f64, high: f64| (TensorType::f32([1, columns]), Fill::Uniform(low, high));
        let standard = vec![table.clone(), row(-1.0, 1.0), row(0.5, 2.0)];
        let between = vec![table, row(-2.0, -1.0), row(1.0, 2.0)];
        out.push(Sample::new(Scaling::Standardize, standard, Tolerance::Transcendental));
        out.push(Sample::new(Scaling::MinMax, between, Tolerance::Transcendental));
    }
    out
}
