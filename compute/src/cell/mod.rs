//! The language in which every op is defined: an expression for ONE element of its output.
//!
//! `Idx` is integer arithmetic on indices, `Cell` the number itself, `Cond` a condition. The
//! language is closed (the forms below and no others) and total: integer division and remainder
//! are floored and need a positive right side, a `Load` outside its input is an error in the
//! reference, and `If` evaluates only the branch it takes, which is how padding is written.
//!
//! One definition has four uses: [`eval`] computes one element (and records how, for the reader),
//! [`vm`] runs whole tensors in f64 or f32, [`wgsl`] prints shader code, [`print`] prints the
//! formula. This module knows nothing of graphs, ops or backends.

mod build;
pub mod cost;
pub mod eval;
pub mod inline;
pub mod print;
pub mod rand;
pub mod vm;
pub mod wgsl;

use std::sync::Arc;

pub use build::*;

/// A bound name: the word a reader sees and a number that keeps inlined copies apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub &'static str, pub u32);

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

/// An integer expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Idx {
    /// The position of the output element along an axis.
    Axis(usize),
    /// A variable bound by a [`Cell::Reduce`].
    Var(Var),
    Const(i64),
    Bin(IdxOp, Arc<Idx>, Arc<Idx>),
    /// An element of an integer input, used as an index (gather, class labels, step counters).
    Load(usize, Vec<Idx>),
    /// 24 random bits: see [`rand`].
    Rand(Arc<RandKey>),
}

/// What a random number is a function of: nothing else, so it is the same on every backend and
/// there is no generator state to save.
#[derive(Clone, Debug, PartialEq)]
pub struct RandKey {
    /// Hash of the node's stable name.
    pub key: u32,
    pub seed: Idx,
    pub step: Idx,
    /// Which number of this step: usually the flat index of the element.
    pub counter: Idx,
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

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Cond {
    Num(Cmp, Arc<Cell>, Arc<Cell>),
    Idx(Cmp, Idx, Idx),
    /// Neither infinite nor NaN, decided on the bits.
    Finite(Arc<Cell>),
    And(Arc<Cond>, Arc<Cond>),
    Or(Arc<Cond>, Arc<Cond>),
    Not(Arc<Cond>),
}

/// The value of one output element.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Const(f64),
    /// An integer as a number.
    Int(Idx),
    /// An element of an input.
    Load(usize, Vec<Idx>),
    /// A name bound by `Let`.
    Local(Var),
    /// Names a value so that it is computed once.
    Let(Var, Arc<Cell>, Arc<Cell>),
    Un(Un, Arc<Cell>),
    Bin(Bin, Arc<Cell>, Arc<Cell>),
    /// Lazy: only the branch taken is evaluated.
    If(Arc<Cond>, Arc<Cell>, Arc<Cell>),
    /// A reduction over `var` in `lo..hi`; the bounds may depend on outer indices.
    Reduce(Red, Var, Idx, Idx, Arc<Cell>),
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
