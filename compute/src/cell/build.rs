//! How op pages write cells: small functions and the usual operators, with the trivial
//! simplifications (`x + 0`, `1 * x`) made on the way so that formulas and shaders stay clean.

use std::ops;
use std::sync::Arc;

use super::{Bin, Cell, Cmp, Cond, Idx, IdxOp, RandKey, Red, Un, Var};

/// A bound name as an op page writes it.
pub fn var(name: &'static str) -> Var {
    Var(name, 0)
}

/// The position of the output element along axis `k`.
pub fn ax(k: usize) -> Idx {
    Idx::Axis(k)
}

/// All axes of an output of this rank, in order.
pub fn axes(rank: usize) -> Vec<Idx> {
    (0..rank).map(Idx::Axis).collect()
}

/// A constant index.
pub fn at(value: usize) -> Idx {
    Idx::Const(value as i64)
}

/// An element of an input.
pub fn load(input: usize, index: impl Into<Vec<Idx>>) -> Cell {
    Cell::Load(input, index.into())
}

/// An element of an integer input as an index.
pub fn load_idx(input: usize, index: impl Into<Vec<Idx>>) -> Idx {
    Idx::Load(input, index.into())
}

/// A constant number.
pub fn num(value: f64) -> Cell {
    Cell::Const(value)
}

/// An index as a number.
pub fn int(index: Idx) -> Cell {
    Cell::Int(index)
}

fn un(op: Un, x: Cell) -> Cell {
    Cell::Un(op, Arc::new(x))
}

pub fn exp(x: Cell) -> Cell {
    un(Un::Exp, x)
}

pub fn log(x: Cell) -> Cell {
    un(Un::Log, x)
}

pub fn sqrt(x: Cell) -> Cell {
    un(Un::Sqrt, x)
}

pub fn tanh(x: Cell) -> Cell {
    un(Un::Tanh, x)
}

pub fn erf(x: Cell) -> Cell {
    un(Un::Erf, x)
}

pub fn abs(x: Cell) -> Cell {
    un(Un::Abs, x)
}

pub fn floor(x: Cell) -> Cell {
    un(Un::Floor, x)
}

/// The nearest number of IEEE binary16.
pub fn half(x: Cell) -> Cell {
    un(Un::Half, x)
}

pub fn pow(a: Cell, b: Cell) -> Cell {
    Cell::Bin(Bin::Pow, Arc::new(a), Arc::new(b))
}

pub fn min(a: Cell, b: Cell) -> Cell {
    Cell::Bin(Bin::Min, Arc::new(a), Arc::new(b))
}

pub fn max(a: Cell, b: Cell) -> Cell {
    Cell::Bin(Bin::Max, Arc::new(a), Arc::new(b))
}

/// `if cond { yes } else { no }`, lazily.
pub fn when(cond: Cond, yes: Cell, no: Cell) -> Cell {
    Cell::If(Arc::new(cond), Arc::new(yes), Arc::new(no))
}

/// Names `value` so that `body` can use it as `Cell::Local(name)` without computing it again.
pub fn bind(name: Var, value: Cell, body: Cell) -> Cell {
    Cell::Let(name, Arc::new(value), Arc::new(body))
}

/// A name bound by [`bind`].
pub fn local(name: Var) -> Cell {
    Cell::Local(name)
}

/// `sum(v in lo..hi) body`
pub fn sum(v: Var, lo: Idx, hi: Idx, body: Cell) -> Cell {
    Cell::Reduce(Red::Sum, v, lo, hi, Arc::new(body))
}

/// `max(v in lo..hi) body`
pub fn max_over(v: Var, lo: Idx, hi: Idx, body: Cell) -> Cell {
    Cell::Reduce(Red::Max, v, lo, hi, Arc::new(body))
}

/// `min(v in lo..hi) body`
pub fn min_over(v: Var, lo: Idx, hi: Idx, body: Cell) -> Cell {
    Cell::Reduce(Red::Min, v, lo, hi, Arc::new(body))
}

/// A comparison of numbers.
pub fn cmp(op: Cmp, a: Cell, b: Cell) -> Cond {
    Cond::Num(op, Arc::new(a), Arc::new(b))
}

/// A comparison of indices.
pub fn cmp_idx(op: Cmp, a: Idx, b: Idx) -> Cond {
    Cond::Idx(op, a, b)
}

/// `lo <= i && i < hi`, the test that padding needs.
pub fn within(i: &Idx, lo: i64, hi: i64) -> Cond {
    cmp_idx(Cmp::Ge, i.clone(), Idx::Const(lo)).and(cmp_idx(Cmp::Lt, i.clone(), Idx::Const(hi)))
}

/// Neither infinite nor NaN.
pub fn finite(x: Cell) -> Cond {
    Cond::Finite(Arc::new(x))
}

/// 24 random bits as an integer in `0..2^24`.
pub fn rand_bits(key: u32, seed: Idx, step: Idx, counter: Idx) -> Idx {
    Idx::Rand(Arc::new(RandKey { key, seed, step, counter }))
}

/// The flat row-major index of the element at `index`.
pub fn flatten(index: &[Idx], shape: &[usize]) -> Idx {
    let mut flat = Idx::Const(0);
    for (i, &d) in index.iter().zip(shape) {
        flat = flat * at(d) + i.clone();
    }
    flat
}

impl Cond {
    pub fn and(self, other: Cond) -> Cond {
        Cond::And(Arc::new(self), Arc::new(other))
    }

    pub fn or(self, other: Cond) -> Cond {
        Cond::Or(Arc::new(self), Arc::new(other))
    }

    pub fn negate(self) -> Cond {
        Cond::Not(Arc::new(self))
    }
}

impl Idx {
    fn bin(op: IdxOp, a: Idx, b: Idx) -> Idx {
        use IdxOp::*;
        match (op, &a, &b) {
            (_, Idx::Const(x), Idx::Const(y)) => {
                if let Some(v) = op.apply(*x, *y) {
                    return Idx::Const(v);
                }
            }
            (Add | Sub, _, Idx::Const(0)) | (Mul | Div, _, Idx::Const(1)) => return a,
            (Add, Idx::Const(0), _) | (Mul, Idx::Const(1), _) => return b,
            (Mul, _, Idx::Const(0)) | (Mul | Div | Mod, Idx::Const(0), _) | (Mod, _, Idx::Const(1)) => {
                return Idx::Const(0);
            }
            _ => {}
        }
        Idx::Bin(op, Arc::new(a), Arc::new(b))
    }

    pub fn min(self, other: Idx) -> Idx {
        Idx::bin(IdxOp::Min, self, other)
    }

    pub fn max(self, other: Idx) -> Idx {
        Idx::bin(IdxOp::Max, self, other)
    }

    /// Whether the expression mentions axis `k`.
    pub fn uses_axis(&self, k: usize) -> bool {
        match self {
            Idx::Axis(a) => *a == k,
            Idx::Var(_) | Idx::Const(_) => false,
            Idx::Bin(_, a, b) => a.uses_axis(k) || b.uses_axis(k),
            Idx::Load(_, ix) => ix.iter().any(|i| i.uses_axis(k)),
            Idx::Rand(r) => r.seed.uses_axis(k) || r.step.uses_axis(k) || r.counter.uses_axis(k),
        }
    }
}

impl From<Var> for Idx {
    fn from(v: Var) -> Idx {
        Idx::Var(v)
    }
}

impl From<i64> for Idx {
    fn from(v: i64) -> Idx {
        Idx::Const(v)
    }
}

impl From<f64> for Cell {
    fn from(v: f64) -> Cell {
        Cell::Const(v)
    }
}

macro_rules! idx_ops {
    ($($trait:ident $method:ident $op:ident),*) => {$(
        impl<R: Into<Idx>> ops::$trait<R> for Idx {
            type Output = Idx;
            fn $method(self, rhs: R) -> Idx {
                Idx::bin(IdxOp::$op, self, rhs.into())
            }
        }
    )*};
}
idx_ops!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, Rem rem Mod);

macro_rules! cell_ops {
    ($($trait:ident $method:ident $op:ident),*) => {$(
        impl<R: Into<Cell>> ops::$trait<R> for Cell {
            type Output = Cell;
            fn $method(self, rhs: R) -> Cell {
                Cell::Bin(Bin::$op, Arc::new(self), Arc::new(rhs.into()))
            }
        }
    )*};
}
cell_ops!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl ops::Neg for Cell {
    type Output = Cell;
    fn neg(self) -> Cell {
        un(Un::Neg, self)
    }
}
