//! Ops that pick and place blocks: slice, concat, pad.
//!
//! ```text
//! slice           y[i, ..] = x[start + i step, ..]
//! slice.backward  dx[i, ..] = dy[(i - start) / step, ..] where the quotient is whole and inside, else 0
//! concat          y[i, ..] = a[i, ..] for the first rows, b[i - len a, ..] for the next, and so on
//! pad             y[i, ..] = x[i - before, ..] inside x, else value
//! ```

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Cond, Idx, at, ax, axes, cmp_idx, load, num, when, within};
use crate::graph::{Graph, NodeId, TensorType};

/// Every `step`-th index from `starts` to before `ends`, on each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub starts: Vec<usize>,
    pub ends: Vec<usize>,
    pub steps: Vec<usize>,
}

/// Puts a slice back into zeros of the given shape.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceBackward {
    pub starts: Vec<usize>,
    pub steps: Vec<usize>,
    pub shape: Vec<usize>,
}

/// Joins tensors along an axis: at most [`Concat::MOST`] at once, because a kernel binds at most
/// eight buffers by WebGPU's defaults ([`Graph::concat`] nests longer lists).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Concat {
    pub axis: usize,
}

/// Surrounds a tensor with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    pub before: Vec<usize>,
    pub after: Vec<usize>,
    pub value: f64,
}

/// `yes` where all tests hold, else `no`.
fn where_all(tests: Vec<Cond>, yes: Cell, no: Cell) -> Cell {
    match tests.into_iter().reduce(Cond::and) {
        Some(all) => when(all, yes, no),
        None => yes,
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("slice", inputs, 1..=1)?;
        let x = &inputs[0].shape;
        let rank = x.len();
        let fits = [self.starts.len(), self.ends.len(), self.steps.len()] == [rank; 3]
            && (0..rank).all(|k| self.starts[k] <= self.ends[k] && self.ends[k] <= x[k] && self.steps[k] > 0);
        if !fits {
            return Err(OpError::shape(
                "slice",
                format!("{:?}..{:?} by {:?} is not a part of {x:?}", self.starts, self.ends, self.steps),
            ));
        }
        let shape: Vec<usize> = (0..rank).map(|k| (self.ends[k] - self.starts[k]).div_ceil(self.steps[k])).collect();
        Ok(TensorType { shape, dtype: inputs[0].dtype })
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let index: Vec<Idx> = (0..output.shape.len()).map(|k| ax(k) * at(self.steps[k]) + at(self.starts[k])).collect();
        load(0, index)
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let shape = g.shape(g.node(node).inputs[0]).to_vec();
        let back = SliceBackward { starts: self.starts.clone(), steps: self.steps.clone(), shape };
        Ok(vec![Some(g.add(back, &[dy])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl SliceBackward {
    /// The slice that this undoes, for a slice of that shape.
    fn forward(&self, dy: &[usize]) -> Slice {
        let end = |k: usize| if dy[k] == 0 { self.starts[k] } else { self.starts[k] + (dy[k] - 1) * self.steps[k] + 1 };
        Slice { starts: self.starts.clone(), ends: (0..dy.len()).map(end).collect(), steps: self.steps.clone() }
    }
}

impl Op for SliceBackward {
    fn name(&self) -> &'static str {
        "slice.backward"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("slice.backward", inputs, 1..=1)?;
        let full = TensorType { shape: self.shape.clone(), dtype: inputs[0].dtype };
        if [self.starts.len(), self.steps.len(), self.shape.len()] != [inputs[0].shape.len(); 3] {
            return Err(OpError::shape(
                "slice.backward",
                format!("{:?} is not a slice of {:?}", inputs[0].shape, self.shape),
            ));
        }
        self.forward(&inputs[0].shape).infer(&[&full])?;
        Ok(full)
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let (mut tests, mut index) = (vec![], vec![]);
        for (k, (&from, &to)) in inputs[0].shape.iter().zip(&output.shape).enumerate() {
            let shifted = ax(k) - at(self.starts[k]);
            let quotient = shifted.clone() / at(self.steps[k]);
            if from != to {
                tests.push(within(&quotient, 0, from as i64));
            }
            if self.steps[k] > 1 {
                tests.push(cmp_idx(Cmp::Eq, shifted % at(self.steps[k]), at(0)));
            }
            index.push(quotient);
        }
        where_all(tests, load(0, index), num(0.0))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let forward = self.forward(g.shape(g.node(node).inputs[0]));
        Ok(vec![Some(g.add(forward, &[d])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Concat {
    /// How many tensors one kernel joins.
    pub const MOST: usize = 7;
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["a", "b", "c", "d", "e", "f", "g"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("concat", inputs, 1..=Self::MOST)?;
        let mut out = inputs[0].clone();
        if self.axis >= out.shape.len() {
            return Err(OpError::shape("concat", format!("{:?} has no axis {}", out.shape, self.axis)));
        }
        for ty in &inputs[1..] {
            let same = ty.dtype == out.dtype
                && ty.shape.len() == out.shape.len()
                && (0..ty.shape.len()).all(|k| k == self.axis || ty.shape[k] == out.shape[k]);
            if !same {
                return Err(OpError::shape(
                    "concat",
                    format!("{} and {ty} differ outside axis {}", inputs[0], self.axis),
                ));
            }
            out.shape[self.axis] += ty.shape[self.axis];
        }
        Ok(out)
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let mut ends = vec![0];
        for ty in inputs {
            ends.push(ends[ends.len() - 1] + ty.shape[self.axis]);
        }
        let read = |i: usize| {
            let mut index = axes(output.shape.len());
            index[self.axis] = ax(self.axis) - at(ends[i]);
            load(i, index)
        };
        let last = inputs.len() - 1;
        (0..last)
            .rev()
            .fold(read(last), |rest, i| when(cmp_idx(Cmp::Lt, ax(self.axis), at(ends[i + 1])), read(i), rest))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let mut start = 0;
        let mut out = vec![];
        for (input, &want) in g.node(node).inputs.clone().into_iter().zip(wanted) {
            let end = start + g.shape(input)[self.axis];
            out.push(if want { Some(g.slice(dy, self.axis, start, end)?) } else { None });
            start = end;
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

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("pad", inputs, 1..=1)?;
        let x = &inputs[0].shape;
        if [self.before.len(), self.after.len()] != [x.len(); 2] {
            return Err(OpError::shape(
                "pad",
                format!("{:?} and {:?} do not give both sides of {x:?}", self.before, self.after),
            ));
        }
        let shape: Vec<usize> = (0..x.len()).map(|k| self.before[k] + x[k] + self.after[k]).collect();
        Ok(TensorType { shape, dtype: inputs[0].dtype })
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let (mut tests, mut index) = (vec![], vec![]);
        for (k, &d) in inputs[0].shape.iter().enumerate() {
            let i = ax(k) - at(self.before[k]);
            if self.before[k] + self.after[k] > 0 {
                tests.push(within(&i, 0, d as i64));
            }
            index.push(i);
        }
        where_all(tests, load(0, index), num(self.value))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.shape(g.node(node).inputs[0]).to_vec();
        let ends = (0..x.len()).map(|k| self.before[k] + x[k]).collect();
        Ok(vec![Some(g.add(Slice { starts: self.before.clone(), ends, steps: vec![1; x.len()] }, &[dy])?)])
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
    /// The indices `start..end` of one axis.
    pub fn slice(&mut self, x: NodeId, axis: usize, start: usize, end: usize) -> OpResult<NodeId> {
        let mut ends = self.shape(x).to_vec();
        let mut starts = vec![0; ends.len()];
        if axis >= ends.len() {
            return Err(OpError::shape("slice", format!("{ends:?} has no axis {axis}")));
        }
        let steps = vec![1; ends.len()];
        (starts[axis], ends[axis]) = (start, end);
        self.add(Slice { starts, ends, steps }, &[x])
    }

    /// Joins any number of tensors along an axis.
    pub fn concat(&mut self, xs: &[NodeId], axis: usize) -> OpResult<NodeId> {
        let mut level = xs.to_vec();
        while level.len() > Concat::MOST {
            let parts = level.chunks(Concat::MOST);
            level = parts.map(|part| self.add(Concat { axis }, part)).collect::<OpResult<_>>()?;
        }
        self.add(Concat { axis }, &level)
    }

    /// Surrounds `x` with `value`.
    pub fn pad(&mut self, x: NodeId, before: &[usize], after: &[usize], value: f64) -> OpResult<NodeId> {
        self.add(Pad { before: before.to_vec(), after: after.to_vec(), value }, &[x])
    }
}

pub const PAGE: Page = Page { name: "index", samples };

fn samples() -> Vec<Sample> {
    let x = |shape: &[usize]| (TensorType::f32(shape), Fill::Uniform(-1.0, 1.0));
    let mut out = vec![];
    let slices: [(&[usize], &[usize], &[usize], &[usize]); 4] = [
        (&[1], &[0], &[1], &[1]),
        (&[7, 5], &[2, 0], &[6, 5], &[1, 1]),
        (&[3, 67, 5], &[1, 3, 0], &[3, 66, 5], &[1, 4, 2]),
        (&[4099], &[17], &[4001], &[3]),
    ];
    for (shape, starts, ends, steps) in slices {
        let op = Slice { starts: starts.to_vec(), ends: ends.to_vec(), steps: steps.to_vec() };
        let part: Vec<usize> = (0..shape.len()).map(|k| (ends[k] - starts[k]).div_ceil(steps[k])).collect();
        let back = SliceBackward { starts: starts.to_vec(), steps: steps.to_vec(), shape: shape.to_vec() };
        out.push(Sample::new(op, vec![x(shape)], Tolerance::Exact));
        out.push(Sample::new(back, vec![x(&part)], Tolerance::Exact));
    }
    for (axis, shapes) in [
        (0, vec![vec![1]]),
        (0, vec![vec![2, 3], vec![5, 3], vec![1, 3]]),
        (1, vec![vec![3, 65, 2], vec![3, 7, 2]]),
        (
            2,
            vec![
                vec![1, 2, 1],
                vec![1, 2, 2],
                vec![1, 2, 3],
                vec![1, 2, 4],
                vec![1, 2, 5],
                vec![1, 2, 6],
                vec![1, 2, 7],
            ],
        ),
    ] {
        out.push(Sample::new(Concat { axis }, shapes.iter().map(|s| x(s)).collect(), Tolerance::Exact));
    }
    for (shape, before, after, value) in [
        (vec![1], vec![0], vec![0], 0.0),
        (vec![3, 5], vec![1, 0], vec![0, 2], 0.5),
        (vec![2, 3, 33, 31], vec![0, 0, 4, 4], vec![0, 0, 4, 3], 0.0),
    ] {
        out.push(Sample::new(Pad { before, after, value }, vec![x(&shape)], Tolerance::Exact));
    }
    out
}
