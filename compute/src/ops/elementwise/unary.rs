//! Functions of one tensor: `y[i..] = f(x[i..])`, and their derivatives.

use super::{Binary, expect_f32};
use crate::cell::{Cell, Cmp, abs, erf, exp, half, log, max, min, num, sqrt, tanh, when};
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::{Lowering, Op, OpResult, expect_inputs};
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
    /// u8, u32 or f16 to f32.
    ToF32,
    /// f32 to f16: the nearest number of IEEE binary16, infinite past 65,504. Its gradient passes as it is.
    Half,
    /// 1 where the number is neither infinite nor NaN, else 0.
    IsFinite,
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
            Unary::Affine(a, 0.0) => x * a,
            Unary::Affine(1.0, b) => x + b,
            Unary::Affine(a, b) => x * a + b,
            Unary::ToF32 => x,
            Unary::Half => half(x),
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
            Unary::Half => "half",
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
        expect_inputs(self.name(), inputs, 1..=1)?;
        if *self != Unary::ToF32 {
            expect_f32(self.name(), inputs[0])?;
        }
        let dtype = match self {
            Unary::Half => DType::F16,
            // 0 and the number itself are halves where that is one.
            Unary::Relu => inputs[0].dtype,
            _ => DType::F32,
        };
        Ok(TensorType { shape: inputs[0].shape.clone(), dtype })
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
            Unary::ToF32 if g.ty(x).dtype == DType::F16 => dy,
            Unary::Half => dy,
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
