//! The operators of cells: what each does to numbers.

use crate::{half, rand};

/// Integer operators. `Div` and `Mod` are floored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdxOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Min,
    Max,
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Un {
    Neg,
    Exp,
    Log,
    Sqrt,
    Tanh,
    Erf,
    Abs,
    Floor,
    /// The nearest number of IEEE binary16.
    Half,
}

/// Functions of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bin {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
}

/// Reductions over an index range. The empty sum is 0, the empty max -inf, the empty min +inf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Red {
    Sum,
    Max,
    Min,
}

impl Cmp {
    /// Decides the comparison.
    pub fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Cmp::Lt => a < b,
            Cmp::Le => a <= b,
            Cmp::Gt => a > b,
            Cmp::Ge => a >= b,
            Cmp::Eq => a == b,
            Cmp::Ne => a != b,
        }
    }
}

impl IdxOp {
    /// Applies the operator; `None` for a divisor that is not positive.
    pub fn apply(self, a: i64, b: i64) -> Option<i64> {
        Some(match self {
            IdxOp::Add => a.wrapping_add(b),
            IdxOp::Sub => a.wrapping_sub(b),
            IdxOp::Mul => a.wrapping_mul(b),
            IdxOp::Div if b > 0 => a.div_euclid(b),
            IdxOp::Mod if b > 0 => a.rem_euclid(b),
            IdxOp::Div | IdxOp::Mod => return None,
            IdxOp::Min => a.min(b),
            IdxOp::Max => a.max(b),
        })
    }
}

impl Un {
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Un::Neg => -x,
            Un::Exp => x.exp(),
            Un::Log => x.ln(),
            Un::Sqrt => x.sqrt(),
            Un::Tanh => x.tanh(),
            Un::Erf => rand::erf(x),
            Un::Abs => x.abs(),
            Un::Floor => x.floor(),
            Un::Half => half::round_f64(x),
        }
    }
}

impl Bin {
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Bin::Add => a + b,
            Bin::Sub => a - b,
            Bin::Mul => a * b,
            Bin::Div => a / b,
            Bin::Pow => a.powf(b),
            Bin::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Bin::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

impl Red {
    /// The value of an empty reduction.
    pub fn identity(self) -> f64 {
        match self {
            Red::Sum => 0.0,
            Red::Max => f64::NEG_INFINITY,
            Red::Min => f64::INFINITY,
        }
    }

    pub fn combine(self, a: f64, b: f64) -> f64 {
        match self {
            Red::Sum => a + b,
            Red::Max => Bin::Max.apply(a, b),
            Red::Min => Bin::Min.apply(a, b),
        }
    }
}
