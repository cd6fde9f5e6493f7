//! Ops that read by a run-time index: gather, its gradient, and one-hot.
//!
//! ```text
//! gather           y[j.., ..] = x[index[j..], ..]        (x may come in parts, one after the other)
//! gather.backward  dx[r, ..] = sum(j..) dy[j.., ..] where index[j..] == r
//! one_hot          y[j.., c] = 1 where label[j..] == c, else 0
//! ```
//!
//! An index outside `x` is an error in the reference; callers check labels where they enter.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, Var, at, ax, axes, cmp_idx, load, load_idx, num, sum, var, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// Rows of `x` (axis 0) by an index tensor of any shape. Inputs: x in `parts` tensors whose rows follow each
/// other, so that each can keep to what a device binds; index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    pub parts: usize,
}

/// With its output and the index the most that WebGPU binds by default.
pub const MOST_PARTS: usize = 6;

/// Adds each row of dy to the row it was read from. Inputs: dy, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherBackward {
    pub rows: usize,
}

/// Labels as rows of 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneHot {
    pub classes: usize,
}

const NAMES: [&str; 4] = ["j", "k", "l", "m"];

fn expect_index(op: &str, ty: &TensorType) -> OpResult<()> {
    if ty.dtype == DType::U32 && ty.shape.len() <= NAMES.len() {
        return Ok(());
    }
    Err(OpError::shape(op, format!("the index must be u32 with at most {} axes, got {ty}", NAMES.len())))
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn operands(&self) -> Vec<&'static str> {
        let parts: &[&str] = if self.parts == 1 { &["x"] } else { &["x0", "x1", "x2", "x3", "x4", "x5"] };
        let parts = &parts[..self.parts.clamp(1, MOST_PARTS)];
        [parts, &["index"]].concat()
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        if !(1..=MOST_PARTS).contains(&self.parts) {
            return Err(OpError::shape("gather", format!("{} parts; it takes 1 to {MOST_PARTS}", self.parts)));
        }
        super::expect_inputs("gather", inputs, self.parts + 1..=self.parts + 1)?;
        let (index, parts) = (inputs[self.parts], &inputs[..self.parts]);
        expect_index("gather", index)?;
        let Some((_, row)) = parts[0].shape.split_first() else {
            return Err(OpError::shape("gather", "a scalar has no rows"));
        };
        if let Some(other) = parts.iter().find(|p| p.dtype != parts[0].dtype || p.shape.get(1..) != Some(row)) {
            return Err(OpError::shape("gather", format!("the rows of {} and {other} differ", parts[0])));
        }
        Ok(TensorType { shape: [&index.shape, row].concat(), dtype: parts[0].dtype })
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let lead = inputs[self.parts].shape.len();
        let row = || load_idx(self.parts, axes(lead));
        // Row by row in one part: `first` is the part's first row.
        let read = |part: usize, first: usize| {
            let mut index = vec![if first == 0 { row() } else { row() - at(first) }];
            index.extend((lead..output.shape.len()).map(ax));
            load(part, index)
        };
        let mut firsts = vec![0];
        for part in &inputs[..self.parts] {
            firsts.push(firsts[firsts.len() - 1] + part.shape[0]);
        }
        let mut body = read(self.parts - 1, firsts[self.parts - 1]);
        for part in (0..self.parts - 1).rev() {
            body = when(cmp_idx(Cmp::Lt, row(), at(firsts[part + 1])), read(part, firsts[part]), body);
        }
        body
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let inputs = g.node(node).inputs.clone();
        let mut out = vec![None; inputs.len()];
        if wanted[..self.parts].iter().any(|w| *w) {
            let rows = inputs[..self.parts].iter().map(|x| g.shape(*x)[0]).sum();
            let whole = g.add(GatherBackward { rows }, &[dy, inputs[self.parts]])?;
            let mut first = 0;
            for (part, x) in inputs[..self.parts].iter().enumerate() {
                let n = g.shape(*x)[0];
                out[part] = Some(if self.parts == 1 { whole } else { g.slice(whole, 0, first, first + n)? });
                first += n;
            }
        }
        Ok(out)
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![self.parts]
    }
}

impl Op for GatherBackward {
    fn name(&self) -> &'static str {
        "gather.backward"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy", "index"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["r"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        expect_index(self.name(), inputs[1])?;
        let row = inputs[0].shape.strip_prefix(inputs[1].shape.as_slice()).ok_or_else(|| {
            OpError::shape(self.name(), format!("dy {} does not start with the axes of {}", inputs[0], inputs[1]))
        })?;
        Ok(TensorType::f32([&[self.rows], row].concat()))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let lead = &inputs[1].shape;
        let vars: Vec<Var> = NAMES.iter().take(lead.len()).map(|n| var(n)).collect();
        let position: Vec<Idx> = vars.iter().map(|v| (*v).into()).collect();
        let mut read = position.clone();
        read.extend((1..output.shape.len()).map(ax));
        let mut body = when(cmp_idx(Cmp::Eq, load_idx(1, position), ax(0)), load(0, read), num(0.0));
        for (v, &d) in vars.iter().zip(lead).rev() {
            body = sum(*v, at(0), at(d), body);
        }
        body
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let index = g.node(node).inputs[1];
        Ok(vec![Some(g.gather(d, index)?), None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![1]
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["label"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("one_hot", inputs, 1..=1)?;
        expect_index("one_hot", inputs[0])?;
        Ok(TensorType::f32([inputs[0].shape.as_slice(), &[self.classes]].concat()))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let lead = inputs[0].shape.len();
        when(cmp_idx(Cmp::Eq, load_idx(0, axes(lead)), ax(lead)), num(1.0), num(0.0))
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
    /// Rows of `x` by a u32 tensor.
    pub fn gather(&mut self, x: NodeId, index: NodeId) -> OpResult<NodeId> {
        self.gather_parts(&[x], index)
    }

    /// Rows of parts that follow each other, by a u32 tensor.
    pub fn gather_parts(&mut self, parts: &[NodeId], index: NodeId) -> OpResult<NodeId> {
        self.add(Gather { parts: parts.len() }, &[parts, &[index]].concat())
    }

    /// u32 labels as rows of 0 and 1.
    pub fn one_hot(&mut self, labels: NodeId, classes: usize) -> OpResult<NodeId> {
        self.add(OneHot { classes }, &[labels])
    }
}

pub const PAGE: Page = Page { name: "gather", samples };

fn samples() -> Vec<Sample> {
    let mut out = vec![];
    let cases: [(usize, &[usize], &[usize]); 5] =
        [(1, &[], &[1]), (7, &[3], &[5]), (13, &[], &[29]), (11, &[2, 3], &[4, 2]), (70, &[67], &[129])];
    for (rows, row, lead) in cases {
        let index = (TensorType::u32(lead), Fill::Below(rows as u32));
        for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0)] {
            let x = TensorType::f32([&[rows], row].concat());
            let dy = TensorType::f32([lead, row].concat());
            out.push(Sample::new(Gather { parts: 1 }, vec![(x, fill.clone()), index.clone()], Tolerance::Exact));
            let n = lead.iter().product();
            let back = GatherBackward { rows };
            out.push(Sample::new(back, vec![(dy, fill), index.clone()], Tolerance::Reduction(n)));
        }
        let hot = OneHot { classes: rows };
        out.push(Sample::new(hot, vec![index], Tolerance::Exact).no_gradient());
    }
    let bytes = vec![(TensorType::u8([5, 3, 2]), Fill::Below(256)), (TensorType::u32([4]), Fill::Below(5))];
    out.push(Sample::new(Gather { parts: 1 }, bytes, Tolerance::Exact).no_gradient());
    // Parts of different length; a row of bytes that does not fill its last word.
    for (rows, row) in [(&[3, 1][..], &[2][..]), (&[5, 5, 4], &[]), (&[7, 2, 9, 1, 1, 3], &[3, 5])] {
        let index = (TensorType::u32([31]), Fill::Below(rows.iter().sum::<usize>() as u32));
        let part = |n: &usize| (TensorType::f32([&[*n], row].concat()), Fill::Uniform(-1.0, 1.0));
        let inputs: Vec<_> = rows.iter().map(part).chain([index.clone()]).collect();
        out.push(Sample::new(Gather { parts: rows.len() }, inputs, Tolerance::Exact));
        let part = |n: &usize| (TensorType::u8([&[*n], row].concat()), Fill::Below(256));
        let inputs = rows.iter().map(part).chain([index]).collect();
        out.push(Sample::new(Gather { parts: rows.len() }, inputs, Tolerance::Exact).no_gradient());
    }
    out
}
