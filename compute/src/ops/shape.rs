//! Ops that move numbers without changing them: full, reshape, permute, broadcast, slice, concat,
//! pad, gather, one-hot.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, at, ax, axes, flatten, load, num};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::{numel, strides};

/// The same value everywhere: `y[..] = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Full {
    pub value: f64,
    pub shape: Vec<usize>,
}

/// The same elements in the same row-major order under another shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    pub shape: Vec<usize>,
}

/// `y[i_0, .., i_r] = x[..]` with output axis `k` being input axis `perm[k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Permute {
    pub perm: Vec<usize>,
}

/// Repeats axes of length 1 (and missing leading axes).
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    pub shape: Vec<usize>,
}

impl Op for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec![]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("full", inputs, 0..=0)?;
        Ok(TensorType::f32(self.shape.clone()))
    }

    fn cell(&self, _: &[&TensorType], _: &TensorType) -> Cell {
        num(self.value)
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Ok(vec![])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("reshape", inputs, 1..=1)?;
        if numel(&self.shape) != inputs[0].numel() {
            return Err(OpError::shape(
                "reshape",
                format!(
                    "{:?} has {} elements, {:?} has {}",
                    inputs[0].shape,
                    inputs[0].numel(),
                    self.shape,
                    numel(&self.shape)
                ),
            ));
        }
        Ok(TensorType { shape: self.shape.clone(), dtype: inputs[0].dtype })
    }

    /// `flat` is the same on both sides; axes that both shapes share in front stay as they are,
    /// so that `[n, c, h, w] -> [n, chw]` divides only by what it must.
    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let (from, to) = (&inputs[0].shape, &output.shape);
        let same = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let mut index = axes(same);
        let flat = flatten(&(same..to.len()).map(ax).collect::<Vec<_>>(), &to[same..]);
        let rest = &from[same..];
        let steps = strides(rest);
        for (k, (&d, &s)) in rest.iter().zip(&steps).enumerate() {
            let q = flat.clone() / at(s);
            index.push(if d == 1 {
                at(0)
            } else if k == 0 {
                q
            } else {
                q % at(d)
            });
        }
        load(0, index)
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let shape = g.shape(g.node(node).inputs[0]).to_vec();
        Ok(vec![Some(g.reshape(dy, &shape)?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::View
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("permute", inputs, 1..=1)?;
        let mut seen = self.perm.clone();
        seen.sort_unstable();
        if seen != (0..inputs[0].shape.len()).collect::<Vec<_>>() {
            return Err(OpError::shape(
                "permute",
                format!("{:?} is not an order of the axes of {:?}", self.perm, inputs[0].shape),
            ));
        }
        let shape: Vec<usize> = self.perm.iter().map(|&a| inputs[0].shape[a]).collect();
        Ok(TensorType { shape, dtype: inputs[0].dtype })
    }

    fn cell(&self, _: &[&TensorType], _: &TensorType) -> Cell {
        let mut index = axes(self.perm.len());
        for (k, &a) in self.perm.iter().enumerate() {
            index[a] = ax(k);
        }
        load(0, index)
    }

    fn vjp(&self, g: &mut Graph, _: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let mut inverse = vec![0; self.perm.len()];
        for (k, &a) in self.perm.iter().enumerate() {
            inverse[a] = k;
        }
        Ok(vec![Some(g.permute(dy, &inverse)?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("broadcast", inputs, 1..=1)?;
        let shape = super::elementwise::broadcast_shape("broadcast", &inputs[0].shape, &self.shape)?;
        if shape != self.shape {
            return Err(OpError::shape(
                "broadcast",
                format!("{:?} does not repeat to {:?}", inputs[0].shape, self.shape),
            ));
        }
        Ok(TensorType { shape, dtype: inputs[0].dtype })
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        load(0, super::elementwise::broadcast_index(&inputs[0].shape, &output.shape))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(g.sum_to(dy, x)?)])
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
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> OpResult<NodeId> {
        if self.shape(x) == shape { Ok(x) } else { self.add(Reshape { shape: shape.to_vec() }, &[x]) }
    }

    pub fn permute(&mut self, x: NodeId, perm: &[usize]) -> OpResult<NodeId> {
        self.add(Permute { perm: perm.to_vec() }, &[x])
    }

    pub fn broadcast_to(&mut self, x: NodeId, shape: &[usize]) -> OpResult<NodeId> {
        if self.shape(x) == shape { Ok(x) } else { self.add(Broadcast { shape: shape.to_vec() }, &[x]) }
    }

    /// Keeps the first axis and flattens the rest.
    pub fn flatten(&mut self, x: NodeId) -> OpResult<NodeId> {
        let shape = self.shape(x);
        let Some(&n) = shape.first() else {
            return Err(OpError::shape("flatten", "a scalar has no batch axis"));
        };
        let rest = numel(&shape[1..]);
        self.reshape(x, &[n, rest])
    }
}

pub const PAGE: Page = Page { name: "shape", samples };

fn samples() -> Vec<Sample> {
    let x = |shape: &[usize]| vec![(TensorType::f32(shape), Fill::Uniform(-1.0, 1.0))];
    let exact = |op: Box<dyn Fn() -> std::sync::Arc<dyn Op>>, inputs| Sample {
        op: op(),
        inputs,
        tolerance: Tolerance::Exact,
        differentiable: true,
    };
    let mut out = vec![Sample::new(Full { value: 2.5, shape: vec![3, 7] }, vec![], Tolerance::Exact)];
    let reshapes: [(&[usize], &[usize]); 5] =
        [(&[1], &[]), (&[2, 3, 4], &[2, 12]), (&[12, 5], &[3, 4, 5]), (&[7, 6], &[6, 7]), (&[2, 1, 5], &[10, 1])];
    for (from, to) in reshapes {
        let to = to.to_vec();
        out.push(exact(Box::new(move || std::sync::Arc::new(Reshape { shape: to.clone() })), x(from)));
    }
    for (shape, perm) in [(vec![3, 5], vec![1, 0]), (vec![2, 3, 4], vec![2, 0, 1]), (vec![65, 2, 33], vec![2, 1, 0])] {
        out.push(Sample::new(Permute { perm }, x(&shape), Tolerance::Exact));
    }
    for (from, to) in [(vec![], vec![4]), (vec![3, 1], vec![3, 5]), (vec![5], vec![2, 3, 5])] {
        out.push(Sample::new(Broadcast { shape: to }, x(&from), Tolerance::Exact));
    }
    out
}
