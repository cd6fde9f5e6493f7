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
pub mod rows;
pub mod vm;
pub mod wgsl;

use std::sync::Arc;

pub use build::*;
pub use lanes::kinds::{Bin, Cmp, IdxOp, Red, Un};
pub use lanes::rand;

/// A bound name: the word a reader sees and a number that keeps inlined copies apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub &'static str, pub u32);

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
