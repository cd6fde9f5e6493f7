//! Elementwise ops with NumPy's broadcasting: `y[i...] = f(a[i...], b[i...], ...)`, where an axis
//! of length 1 (or a missing leading axis) is read at 0.
//!
//! Gradients follow PyTorch where a convention is needed: relu'(0) = 0, |x|' at 0 = 0, clamp
//! passes the gradient strictly inside its range (as 2.15 does; older versions did at the bounds
//! too), equal arguments of max and min share it.

mod binary;
mod unary;

pub use binary::Binary;
pub use unary::Unary;

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, ax, cmp, num, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// `y = where(c != 0, a, b)`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Select;

/// The index at which an input of this shape is read for an output of that one. Where both are 1 it is the
/// output's own, so that what is not broadcast is seen to be read at its own element.
pub fn broadcast_index(shape: &[usize], output: &[usize]) -> Vec<Idx> {
    let skip = output.len() - shape.len();
    let stretched = |k: usize| shape[k] == 1 && output[k + skip] != 1;
    (0..shape.len()).map(|k| if stretched(k) { Idx::Const(0) } else { ax(k + skip) }).collect()
}

/// The shape that two shapes broadcast to.
pub fn broadcast_shape(op: &str, a: &[usize], b: &[usize]) -> OpResult<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |s: &[usize], k: usize| if k + s.len() < rank { 1 } else { s[k + s.len() - rank] };
    (0..rank)
        .map(|k| match (dim(a, k), dim(b, k)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => Err(OpError::shape(op, format!("{a:?} and {b:?} do not broadcast: axis {k} is {x} and {y}"))),
        })
        .collect()
}

fn expect_f32(op: &str, ty: &TensorType) -> OpResult<()> {
    match ty.dtype {
        DType::F32 | DType::F16 => Ok(()),
        other => Err(OpError::shape(op, format!("needs f32, got {other}; convert with to_f32"))),
    }
}

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["c", "a", "b"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("select", inputs, 3..=3)?;
        let mut shape = vec![];
        for ty in inputs {
            expect_f32("select", ty)?;
            shape = broadcast_shape("select", &shape, &ty.shape)?;
        }
        Ok(TensorType::f32(shape))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let read = |i: usize| crate::cell::load(i, broadcast_index(&inputs[i].shape, &output.shape));
        when(cmp(Cmp::Ne, read(0), num(0.0)), read(1), read(2))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let (c, a, b) = (g.node(node).inputs[0], g.node(node).inputs[1], g.node(node).inputs[2]);
        let zero = g.full(0.0)?;
        let da = if wanted[1] {
            let d = g.select(c, dy, zero)?;
            Some(g.sum_to(d, a)?)
        } else {
            None
        };
        let db = if wanted[2] {
            let d = g.select(c, zero, dy)?;
            Some(g.sum_to(d, b)?)
        } else {
            None
        };
        Ok(vec![None, da, db])
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
    pub fn unary(&mut self, op: Unary, x: NodeId) -> OpResult<NodeId> {
        self.add(op, &[x])
    }

    /// `x` as f16, rounded unless it is already.
    pub fn half(&mut self, x: NodeId) -> OpResult<NodeId> {
        if self.ty(x).dtype == DType::F16 { Ok(x) } else { self.unary(Unary::Half, x) }
    }

    /// `x` as what it is multiplied with is stored: as f16, under this name, where one of `others` is.
    pub fn half_like(&mut self, x: NodeId, others: &[NodeId], name: String) -> OpResult<NodeId> {
        if self.ty(x).dtype == DType::F16 || others.iter().all(|o| self.ty(*o).dtype != DType::F16) {
            return Ok(x);
        }
        let half = self.half(x)?;
        self.rename(half, name);
        Ok(half)
    }

    pub fn binary(&mut self, op: Binary, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.add(op, &[a, b])
    }

    pub fn neg(&mut self, x: NodeId) -> OpResult<NodeId> {
        self.unary(Unary::Neg, x)
    }

    pub fn affine(&mut self, x: NodeId, a: f64, b: f64) -> OpResult<NodeId> {
        self.unary(Unary::Affine(a, b), x)
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.binary(Binary::Mul, a, b)
    }

    pub fn div(&mut self, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.binary(Binary::Div, a, b)
    }

    pub fn compare(&mut self, op: Cmp, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.binary(Binary::Compare(op), a, b)
    }

    pub fn select(&mut self, c: NodeId, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.add(Select, &[c, a, b])
    }
}

pub const PAGE: Page = Page { name: "elementwise", samples };

/// Numbers at which rounding to f16 decides: ties, the smallest, the largest and what lies past it.
const EDGES: [f64; 14] = [
    1.00048828125,
    1.00146484375,
    -2049.0,
    2051.0,
    65504.0,
    65519.0,
    65520.0,
    -1e6,
    6.1035156e-5,
    6.0945749e-5,
    -5.9604645e-8,
    2.9802322e-8,
    8.9406967e-8,
    0.0,
];

fn samples() -> Vec<Sample> {
    use Tolerance::{Exact, Rounded, Transcendental};
    let shapes: [&[usize]; 4] = [&[1], &[7, 13], &[3, 64, 5], &[4099]];
    let mut out = vec![];
    let wide = Fill::Uniform(-3.0, 3.0);
    let positive = Fill::Uniform(0.2, 4.0);
    for shape in shapes {
        let ty = || TensorType::f32(shape.to_vec());
        for (op, fill, tolerance) in [
            (Unary::Neg, &wide, Exact),
            (Unary::Exp, &wide, Transcendental),
            (Unary::Log, &positive, Transcendental),
            (Unary::Sqrt, &positive, Rounded),
            (Unary::Tanh, &wide, Transcendental),
            (Unary::Sigmoid, &wide, Transcendental),
            (Unary::Relu, &wide, Exact),
            (Unary::Gelu, &wide, Transcendental),
            (Unary::GeluTanh, &wide, Transcendental),
            (Unary::Silu, &wide, Transcendental),
            (Unary::Abs, &wide, Exact),
            (Unary::Erf, &wide, Transcendental),
            (Unary::Clamp(-1.02, 1.27), &wide, Exact),
            (Unary::Affine(1.5, -0.25), &wide, Rounded),
            (Unary::IsFinite, &wide, Exact),
        ] {
            out.push(Sample::new(op, vec![(ty(), fill.clone())], tolerance));
        }
        // Its steps have no slope; the gradient passes straight through.
        out.push(Sample::new(Unary::Half, vec![(ty(), wide.clone())], Exact).no_gradient());
        let halves = || (TensorType::f16(shape.to_vec()), wide.clone());
        out.push(Sample::new(Unary::Relu, vec![halves()], Exact));
        out.push(Sample::new(Unary::Tanh, vec![halves()], Transcendental));
        out.push(Sample::new(Binary::Mul, vec![halves(), (ty(), wide.clone())], Exact));
    }
    out.push(Sample::new(Unary::ToF32, vec![(TensorType::u8([3, 5]), Fill::Below(256))], Exact).no_gradient());
    out.push(
        Sample::new(Unary::Half, vec![(TensorType::f32([EDGES.len()]), Fill::Values(EDGES.to_vec()))], Exact)
            .no_gradient(),
    );
    out.push(Sample::new(Unary::ToF32, vec![(TensorType::u32([17]), Fill::Below(9000))], Exact).no_gradient());
    let pairs: [(&[usize], &[usize]); 5] =
        [(&[7], &[7]), (&[3, 5], &[5]), (&[2, 1, 11], &[3, 1]), (&[], &[4, 3]), (&[257, 9], &[257, 1])];
    for (a, b) in pairs {
        let inputs = |fill: &Fill| {
            vec![(TensorType::f32(a.to_vec()), fill.clone()), (TensorType::f32(b.to_vec()), fill.clone())]
        };
        for (op, fill, tolerance) in [
            (Binary::Add, &wide, Exact),
            (Binary::Sub, &wide, Exact),
            (Binary::Mul, &wide, Exact),
            (Binary::Div, &positive, Rounded),
            (Binary::Pow, &positive, Transcendental),
            (Binary::Min, &wide, Exact),
            (Binary::Max, &wide, Exact),
            (Binary::Compare(Cmp::Lt), &wide, Exact),
            (Binary::Compare(Cmp::Le), &wide, Exact),
            (Binary::Compare(Cmp::Gt), &wide, Exact),
            (Binary::Compare(Cmp::Ge), &wide, Exact),
            (Binary::Compare(Cmp::Eq), &wide, Exact),
            (Binary::Compare(Cmp::Ne), &wide, Exact),
        ] {
            out.push(Sample::new(op, inputs(fill), tolerance));
        }
        let mut three = vec![(TensorType::f32(b.to_vec()), Fill::Values(vec![1.0, 0.0, 1.0, 0.0, 0.0]))];
        three.extend(inputs(&wide));
        out.push(Sample::new(Select, three, Exact));
    }
    out
}
