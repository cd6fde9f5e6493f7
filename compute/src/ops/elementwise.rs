//! Elementwise ops with NumPy's broadcasting: `y[i...] = f(a[i...], b[i...], ...)`, where an axis
//! of length 1 (or a missing leading axis) is read at 0.
//!
//! Gradients follow PyTorch where a convention is needed: relu'(0) = 0, |x|' at 0 = 0, clamp
//! passes the gradient strictly inside its range (as 2.15 does; older versions did at the bounds
//! too), equal arguments of max and min share it.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, abs, ax, cmp, erf, exp, log, max, min, num, pow, sqrt, tanh, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// Functions of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    Neg,
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Relu,
    /// x/2 (1 + erf(x / sqrt 2))
    Gelu,
    /// The tanh approximation of GELU (Hendrycks & Gimpel 2016).
    GeluTanh,
    Silu,
    Abs,
    Erf,
    /// `min(max(x, lo), hi)`
    Clamp(f64, f64),
    /// `a x + b` with constants: one rounding step fewer than two ops, and one node.
    Affine(f64, f64),
    /// u8 or u32 to f32.
    ToF32,
    /// 1 where the number is neither infinite nor NaN, else 0.
    IsFinite,
}

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

/// `y = where(c != 0, a, b)`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Select;

/// The index at which an input of this shape is read for an output of that rank.
pub fn broadcast_index(shape: &[usize], rank: usize) -> Vec<Idx> {
    let skip = rank - shape.len();
    shape.iter().enumerate().map(|(k, &d)| if d == 1 { Idx::Const(0) } else { ax(k + skip) }).collect()
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
        DType::F32 => Ok(()),
        other => Err(OpError::shape(op, format!("needs f32, got {other}; convert with to_f32"))),
    }
}

const SQRT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

impl Unary {
    fn of(self, x: Cell) -> Cell {
        match self {
            Unary::Neg => -x,
            Unary::Exp => exp(x),
            Unary::Log => log(x),
            Unary::Sqrt => sqrt(x),
            Unary::Tanh => tanh(x),
            Unary::Sigmoid => num(1.0) / (num(1.0) + exp(-x)),
            Unary::Relu => max(x, num(0.0)),
            Unary::Gelu => x.clone() * 0.5 * (num(1.0) + erf(x * SQRT_HALF)),
            Unary::GeluTanh => {
                let cube = x.clone() * x.clone() * x.clone();
                x.clone() * 0.5 * (num(1.0) + tanh((x + cube * 0.044715) * SQRT_2_OVER_PI))
            }
            Unary::Silu => x.clone() / (num(1.0) + exp(-x)),
            Unary::Abs => abs(x),
            Unary::Erf => erf(x),
            Unary::Clamp(lo, hi) => min(max(x, num(lo)), num(hi)),
            Unary::Affine(a, b) if b == 0.0 => x * a,
            Unary::Affine(a, b) if a == 1.0 => x + b,
            Unary::Affine(a, b) => x * a + b,
            Unary::ToF32 => x,
            Unary::IsFinite => when(crate::cell::finite(x), num(1.0), num(0.0)),
        }
    }
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Relu => "relu",
            Unary::Gelu => "gelu",
            Unary::GeluTanh => "gelu_tanh",
            Unary::Silu => "silu",
            Unary::Abs => "abs",
            Unary::Erf => "erf",
            Unary::Clamp(..) => "clamp",
            Unary::Affine(..) => "affine",
            Unary::ToF32 => "to_f32",
            Unary::IsFinite => "is_finite",
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
        if *self != Unary::ToF32 {
            expect_f32(self.name(), inputs[0])?;
        }
        Ok(TensorType::f32(inputs[0].shape.clone()))
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        self.of(crate::cell::load(0, crate::cell::axes(output.shape.len())))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.node(node).inputs[0];
        let y = node;
        let dx = match *self {
            Unary::Neg => g.neg(dy)?,
            Unary::Exp => g.mul(dy, y)?,
            Unary::Log => g.div(dy, x)?,
            Unary::Sqrt => {
                let half = g.affine(dy, 0.5, 0.0)?;
                g.div(half, y)?
            }
            Unary::Tanh => {
                let yy = g.mul(y, y)?;
                let slope = g.affine(yy, -1.0, 1.0)?;
                g.mul(dy, slope)?
            }
            Unary::Sigmoid => {
                let rest = g.affine(y, -1.0, 1.0)?;
                let slope = g.mul(y, rest)?;
                g.mul(dy, slope)?
            }
            Unary::Relu => {
                let zero = g.full(0.0)?;
                let open = g.compare(Cmp::Gt, x, zero)?;
                g.select(open, dy, zero)?
            }
            Unary::Gelu => {
                // Phi(x) + x phi(x)
                let inner = g.affine(x, SQRT_HALF, 0.0)?;
                let e = g.unary(Unary::Erf, inner)?;
                let phi = g.affine(e, 0.5, 0.5)?;
                let xx = g.mul(x, x)?;
                let half = g.affine(xx, -0.5, 0.0)?;
                let bell = g.unary(Unary::Exp, half)?;
                let density = g.affine(bell, 0.5 * SQRT_2_OVER_PI, 0.0)?;
                let tail = g.mul(x, density)?;
                let slope = g.binary(Binary::Add, phi, tail)?;
                g.mul(dy, slope)?
            }
            Unary::GeluTanh => {
                // u = c (x + a x^3), t = tanh u; slope = (1 + t)/2 + x (1 - t^2) c (1 + 3 a x^2) / 2
                let xx = g.mul(x, x)?;
                let poly = g.affine(xx, 0.044715 * SQRT_2_OVER_PI, SQRT_2_OVER_PI)?;
                let u = g.mul(x, poly)?;
                let t = g.unary(Unary::Tanh, u)?;
                let left = g.affine(t, 0.5, 0.5)?;
                let tt = g.mul(t, t)?;
                let sech = g.affine(tt, -0.5, 0.5)?;
                let du = g.affine(xx, 3.0 * 0.044715 * SQRT_2_OVER_PI, SQRT_2_OVER_PI)?;
                let right = g.mul(sech, du)?;
                let right = g.mul(x, right)?;
                let slope = g.binary(Binary::Add, left, right)?;
                g.mul(dy, slope)?
            }
            Unary::Silu => {
                // s + y (1 - s), s = sigmoid x
                let s = g.unary(Unary::Sigmoid, x)?;
                let rest = g.affine(s, -1.0, 1.0)?;
                let tail = g.mul(y, rest)?;
                let slope = g.binary(Binary::Add, s, tail)?;
                g.mul(dy, slope)?
            }
            Unary::Abs => {
                let zero = g.full(0.0)?;
                let up = g.compare(Cmp::Gt, x, zero)?;
                let down = g.compare(Cmp::Lt, x, zero)?;
                let sign = g.binary(Binary::Sub, up, down)?;
                g.mul(dy, sign)?
            }
            Unary::Erf => {
                let xx = g.mul(x, x)?;
                let negative = g.neg(xx)?;
                let bell = g.unary(Unary::Exp, negative)?;
                let slope = g.affine(bell, std::f64::consts::FRAC_2_SQRT_PI, 0.0)?;
                g.mul(dy, slope)?
            }
            Unary::Clamp(lo, hi) => {
                let (lo, hi) = (g.full(lo)?, g.full(hi)?);
                let above = g.compare(Cmp::Gt, x, lo)?;
                let below = g.compare(Cmp::Lt, x, hi)?;
                let open = g.mul(above, below)?;
                let zero = g.full(0.0)?;
                g.select(open, dy, zero)?
            }
            Unary::Affine(a, _) => g.affine(dy, a, 0.0)?,
            Unary::ToF32 | Unary::IsFinite => return Ok(vec![None]),
        };
        Ok(vec![Some(dx)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
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
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        expect_f32(self.name(), inputs[0])?;
        expect_f32(self.name(), inputs[1])?;
        Ok(TensorType::f32(broadcast_shape(self.name(), &inputs[0].shape, &inputs[1].shape)?))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let rank = output.shape.len();
        let read = |i: usize| crate::cell::load(i, broadcast_index(&inputs[i].shape, rank));
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
        let rank = output.shape.len();
        let read = |i: usize| crate::cell::load(i, broadcast_index(&inputs[i].shape, rank));
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
    }
    out.push(Sample::new(Unary::ToF32, vec![(TensorType::u8([3, 5]), Fill::Below(256))], Exact).no_gradient());
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
