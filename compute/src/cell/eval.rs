//! Evaluates one cell in f64 by walking its definition: slow, obvious, and independent of the
//! compiled [`super::vm`], which it checks. The same walk records what was read, for the reader.
//!
//! Errors: an index outside its input, a division of an index by something not positive.

use std::sync::Arc;

use super::{Cell, Cond, Idx, Red, Var, rand};

/// What an evaluation reads its inputs from.
pub trait Inputs {
    /// The element of `input` at `index`, or why there is none.
    fn load(&mut self, input: usize, index: &[i64]) -> Result<f64, String>;
}

impl<F: FnMut(usize, &[i64]) -> Result<f64, String>> Inputs for F {
    fn load(&mut self, input: usize, index: &[i64]) -> Result<f64, String> {
        self(input, index)
    }
}

/// Variables bound so far, innermost last.
#[derive(Clone, Debug, Default)]
pub struct Env {
    ints: Vec<(Var, i64)>,
    nums: Vec<(Var, f64)>,
}

impl Env {
    fn int(&self, v: Var) -> Result<i64, String> {
        self.ints
            .iter()
            .rev()
            .find(|(w, _)| *w == v)
            .map(|(_, x)| *x)
            .ok_or_else(|| format!("index {} is not bound", v.0))
    }

    fn num(&self, v: Var) -> Result<f64, String> {
        self.nums.iter().rev().find(|(w, _)| *w == v).map(|(_, x)| *x).ok_or_else(|| format!("{} is not bound", v.0))
    }

    /// With `v` bound to an integer.
    pub fn with_int(&self, v: Var, value: i64) -> Env {
        let mut env = self.clone();
        env.ints.push((v, value));
        env
    }

    /// With `v` bound to a number.
    pub fn with_num(&self, v: Var, value: f64) -> Env {
        let mut env = self.clone();
        env.nums.push((v, value));
        env
    }
}

/// The value of `cell` for the output element at `axes`.
pub fn eval(cell: &Cell, axes: &[i64], inputs: &mut dyn Inputs) -> Result<f64, String> {
    eval_in(cell, axes, &mut Env::default(), inputs)
}

/// [`eval`] with variables already bound.
pub fn eval_in(cell: &Cell, axes: &[i64], env: &mut Env, inputs: &mut dyn Inputs) -> Result<f64, String> {
    Ok(match cell {
        Cell::Const(v) => *v,
        Cell::Int(i) => idx(i, axes, env, inputs)? as f64,
        Cell::Load(input, ix) => {
            let at = indices(ix, axes, env, inputs)?;
            inputs.load(*input, &at)?
        }
        Cell::Local(v) => env.num(*v)?,
        Cell::Let(v, value, body) => {
            let value = eval_in(value, axes, env, inputs)?;
            env.nums.push((*v, value));
            let out = eval_in(body, axes, env, inputs);
            env.nums.pop();
            out?
        }
        Cell::Un(op, x) => op.apply(eval_in(x, axes, env, inputs)?),
        Cell::Bin(op, a, b) => op.apply(eval_in(a, axes, env, inputs)?, eval_in(b, axes, env, inputs)?),
        Cell::If(c, yes, no) => {
            let branch = if holds(c, axes, env, inputs)? { yes } else { no };
            eval_in(branch, axes, env, inputs)?
        }
        Cell::Reduce(red, v, lo, hi, body) => {
            let (lo, hi) = (idx(lo, axes, env, inputs)?, idx(hi, axes, env, inputs)?);
            reduce(*red, *v, lo, hi, body, axes, env, inputs)?
        }
    })
}

#[allow(clippy::too_many_arguments, reason = "the parts of one Reduce form, used once")]
fn reduce(
    red: Red,
    v: Var,
    lo: i64,
    hi: i64,
    body: &Arc<Cell>,
    axes: &[i64],
    env: &mut Env,
    inputs: &mut dyn Inputs,
) -> Result<f64, String> {
    let mut total = red.identity();
    for k in lo..hi {
        env.ints.push((v, k));
        let term = eval_in(body, axes, env, inputs);
        env.ints.pop();
        total = red.combine(total, term?);
    }
    Ok(total)
}

/// The value of an index expression.
pub fn idx(i: &Idx, axes: &[i64], env: &mut Env, inputs: &mut dyn Inputs) -> Result<i64, String> {
    Ok(match i {
        Idx::Axis(k) => *axes.get(*k).ok_or_else(|| format!("the output has no axis {k}"))?,
        Idx::Var(v) => env.int(*v)?,
        Idx::Const(c) => *c,
        Idx::Bin(op, a, b) => {
            let (a, b) = (idx(a, axes, env, inputs)?, idx(b, axes, env, inputs)?);
            op.apply(a, b).ok_or_else(|| format!("{a} {op:?} {b}: the divisor must be positive"))?
        }
        Idx::Load(input, ix) => {
            let at = indices(ix, axes, env, inputs)?;
            inputs.load(*input, &at)? as i64
        }
        Idx::Rand(r) => {
            let mut part = |i: &Idx| idx(i, axes, env, inputs).map(|v| v as u32);
            let (seed, step, counter) = (part(&r.seed)?, part(&r.step)?, part(&r.counter)?);
            rand::bits(r.key, seed, step, counter).into()
        }
    })
}

fn indices(ix: &[Idx], axes: &[i64], env: &mut Env, inputs: &mut dyn Inputs) -> Result<Vec<i64>, String> {
    ix.iter().map(|i| idx(i, axes, env, inputs)).collect()
}

/// Whether a condition holds.
pub fn holds(c: &Cond, axes: &[i64], env: &mut Env, inputs: &mut dyn Inputs) -> Result<bool, String> {
    Ok(match c {
        Cond::Num(op, a, b) => op.holds(eval_in(a, axes, env, inputs)?, eval_in(b, axes, env, inputs)?),
        Cond::Idx(op, a, b) => op.holds(idx(a, axes, env, inputs)?, idx(b, axes, env, inputs)?),
        Cond::Finite(x) => eval_in(x, axes, env, inputs)?.is_finite(),
        Cond::And(a, b) => holds(a, axes, env, inputs)? && holds(b, axes, env, inputs)?,
        Cond::Or(a, b) => holds(a, axes, env, inputs)? || holds(b, axes, env, inputs)?,
        Cond::Not(a) => !holds(a, axes, env, inputs)?,
    })
}
