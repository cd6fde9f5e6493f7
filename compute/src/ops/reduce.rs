//! Reductions along axes: `y[..] = sum | mean | max | min (k) x[.. k ..]`, and `argmax`.
//!
//! Max and min pass their gradient to every element that equals the extreme, in equal shares
//! (PyTorch's `amax`). Argmax takes the first of equal elements.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, Red, Var, at, ax, cmp, int, load, max_over, min_over, num, var, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::elementwise::Unary;

/// What is made of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
}

/// A reduction over `axes`, which keep length 1 in the result (`reshape` drops them).
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    pub kind: Reduction,
    pub axes: Vec<usize>,
}

/// The position of the largest element along `axis`, which is dropped. u32.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMax {
    pub axis: usize,
}

/// Names of reduction variables, in order.
const NAMES: [&str; 6] = ["r", "s", "t", "u", "v", "z"];

fn check_axes(op: &str, axes: &[usize], rank: usize) -> OpResult<()> {
    let sorted = axes.windows(2).all(|w| w[0] < w[1]);
    if sorted && axes.iter().all(|&a| a < rank) && axes.len() <= NAMES.len() {
        return Ok(());
    }
    Err(OpError::shape(op, format!("axes {axes:?} must be ascending and below the rank, {rank}")))
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Max => "max_along",
            Reduction::Min => "min_along",
        }
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 1..=1)?;
        if !inputs[0].dtype.is_float() {
            return Err(OpError::shape(self.name(), format!("needs f32 or f16, got {}", inputs[0].dtype)));
        }
        let mut shape = inputs[0].shape.clone();
        check_axes(self.name(), &self.axes, shape.len())?;
        for &a in &self.axes {
            shape[a] = 1;
        }
        Ok(TensorType::f32(shape))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let shape = &inputs[0].shape;
        let vars: Vec<Var> = NAMES.iter().take(self.axes.len()).map(|n| var(n)).collect();
        let mut index: Vec<Idx> = (0..output.shape.len()).map(ax).collect();
        let mut count = 1.0;
        for (&a, &v) in self.axes.iter().zip(&vars) {
            index[a] = v.into();
            count *= shape[a] as f64;
        }
        let red = match self.kind {
            Reduction::Sum | Reduction::Mean => Red::Sum,
            Reduction::Max => Red::Max,
            Reduction::Min => Red::Min,
        };
        let mut body = load(0, index);
        for (&a, &v) in self.axes.iter().zip(&vars).rev() {
            body = Cell::Reduce(red, v, at(0), at(shape[a]), body.into());
        }
        if self.kind == Reduction::Mean { body / count } else { body }
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.node(node).inputs[0];
        let shape = g.shape(x).to_vec();
        let count: usize = self.axes.iter().map(|&a| shape[a]).product();
        Ok(vec![Some(match self.kind {
            Reduction::Sum => g.broadcast_to(dy, &shape)?,
            Reduction::Mean => {
                let share = g.affine(dy, 1.0 / count as f64, 0.0)?;
                g.broadcast_to(share, &shape)?
            }
            Reduction::Max | Reduction::Min => {
                let hit = g.compare(Cmp::Eq, x, node)?;
                let hits = g.sum(hit, &self.axes)?;
                let share = g.div(dy, hits)?;
                g.mul(hit, share)?
            }
        })])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for ArgMax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("argmax", inputs, 1..=1)?;
        let mut shape = inputs[0].shape.clone();
        if self.axis >= shape.len() || shape[self.axis] == 0 {
            return Err(OpError::shape(
                "argmax",
                format!("axis {} of {shape:?} does not exist or is empty", self.axis),
            ));
        }
        shape.remove(self.axis);
        Ok(TensorType::u32(shape))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let n = inputs[0].shape[self.axis];
        let read = |v: Var| {
            let mut index: Vec<Idx> = (0..output.shape.len()).map(ax).collect();
            index.insert(self.axis, v.into());
            load(0, index)
        };
        let (j, k, top) = (var("j"), var("k"), var("top"));
        let best = max_over(k, at(0), at(n), read(k));
        let first = when(cmp(Cmp::Eq, read(j), Cell::Local(top)), int(j.into()), num(n as f64 - 1.0));
        crate::cell::bind(top, best, min_over(j, at(0), at(n), first))
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

/// Shorthands for building with these ops.
impl Graph {
    /// Sum over `axes`, which keep length 1.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> OpResult<NodeId> {
        self.add(Reduce { kind: Reduction::Sum, axes: axes.to_vec() }, &[x])
    }

    /// Mean over `axes`, which keep length 1.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> OpResult<NodeId> {
        self.add(Reduce { kind: Reduction::Mean, axes: axes.to_vec() }, &[x])
    }

    /// Mean of all elements, as a scalar.
    pub fn mean_all(&mut self, x: NodeId) -> OpResult<NodeId> {
        let all: Vec<usize> = (0..self.shape(x).len()).collect();
        let m = self.mean(x, &all)?;
        self.reshape(m, &[])
    }

    /// Sum of all elements, as a scalar.
    pub fn sum_all(&mut self, x: NodeId) -> OpResult<NodeId> {
        let all: Vec<usize> = (0..self.shape(x).len()).collect();
        let s = self.sum(x, &all)?;
        self.reshape(s, &[])
    }

    /// Variance over `axes` (kept with length 1): `mean (x - mean x)^2 * n / (n - correction)`.
    pub fn variance(&mut self, x: NodeId, axes: &[usize], correction: usize) -> OpResult<NodeId> {
        let n: usize = axes.iter().filter_map(|&a| self.shape(x).get(a)).product();
        if n <= correction {
            return Err(OpError::shape(
                "variance",
                format!("of {n} elements with correction {correction} is undefined"),
            ));
        }
        let mean = self.mean(x, axes)?;
        let d = self.binary(super::elementwise::Binary::Sub, x, mean)?;
        let dd = self.mul(d, d)?;
        let v = self.mean(dd, axes)?;
        if correction == 0 { Ok(v) } else { self.affine(v, n as f64 / (n - correction) as f64, 0.0) }
    }

    /// Sums a gradient down to the shape of the input it belongs to: the vjp of broadcasting.
    pub fn sum_to(&mut self, d: NodeId, like: NodeId) -> OpResult<NodeId> {
        let (from, to) = (self.shape(d).to_vec(), self.shape(like).to_vec());
        if from == to {
            return Ok(d);
        }
        let skip = from.len() - to.len();
        let axes: Vec<usize> = (0..from.len()).filter(|&k| k < skip || (to[k - skip] == 1 && from[k] != 1)).collect();
        let summed = if axes.is_empty() { d } else { self.sum(d, &axes)? };
        self.reshape(summed, &to)
    }

    /// A scalar constant.
    pub fn full(&mut self, value: f64) -> OpResult<NodeId> {
        self.add(super::shape::Full { value, shape: vec![] }, &[])
    }

    /// The square root of the sum of squares of several tensors, as a scalar.
    pub fn global_norm(&mut self, xs: &[NodeId]) -> OpResult<NodeId> {
        let mut total = self.full(0.0)?;
        for &x in xs {
            let xx = self.mul(x, x)?;
            let s = self.sum_all(xx)?;
            total = self.binary(super::elementwise::Binary::Add, total, s)?;
        }
        self.unary(Unary::Sqrt, total)
    }
}

pub const PAGE: Page = Page { name: "reduce", samples };

fn samples() -> Vec<Sample> {
    let cases: [(&[usize], &[usize]); 7] = [
        (&[1], &[0]),
        (&[5, 7], &[1]),
        (&[5, 7], &[0]),
        (&[4, 3, 6, 5], &[0, 2, 3]),
        (&[2, 1031], &[1]),
        (&[70_001], &[0]),
        (&[70_003, 2], &[1]),
    ];
    let mut out = vec![];
    for (shape, axes) in cases {
        let n: usize = axes.iter().map(|&a| shape[a]).product();
        for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0)] {
            for kind in [Reduction::Sum, Reduction::Mean] {
                let op = Reduce { kind, axes: axes.to_vec() };
                out.push(Sample::new(op, vec![(TensorType::f32(shape), fill.clone())], Tolerance::Reduction(n)));
            }
        }
        for kind in [Reduction::Max, Reduction::Min] {
            let op = Reduce { kind, axes: axes.to_vec() };
            out.push(Sample::new(op, vec![(TensorType::f32(shape), Fill::Distinct)], Tolerance::Exact));
        }
        if axes.len() == 1 {
            let op = ArgMax { axis: axes[0] };
            out.push(Sample::new(op, vec![(TensorType::f32(shape), Fill::Distinct)], Tolerance::Exact).no_gradient());
        }
    }
    out
}
