//! How closely a device must agree with the f64 reference, by the class of an op ([`Tolerance`]): one check for
//! the tests and for `chainrule verify`. A NaN never agrees, unless the reference is NaN too.

use crate::cell::eval::eval;
use crate::cell::{Bin, Cell, Red, abs};
use crate::ops::Tolerance;
use crate::tensor::unravel;

/// The largest chain of additions that a kernel may have.
const CHAIN: usize = 1024;

/// The error of `got` as a share of what is allowed, or what is wrong with it. `terms` is the sum of the
/// absolute values of what was added; [`Tolerance::Exact`] and [`Tolerance::Transcendental`] do not look at it.
pub fn check(tolerance: Tolerance, got: f64, want: f64, terms: f64) -> Result<f64, String> {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() { Ok(0.0) } else { Err(format!("{got} where {want} is right")) };
    }
    if got == want {
        return Ok(0.0);
    }
    // The reference is exact; a device stores f32.
    let stored = f64::from(want as f32);
    let allowed = match tolerance {
        Tolerance::Exact => 0.0,
        // Relative to what was added: where it nearly cancels, f32 has lost the rest already.
        Tolerance::Rounded => 1e-6 * want.abs().max(terms),
        Tolerance::Transcendental => 1e-6 + 1e-5 * want.abs(),
        Tolerance::Reduction(n) => 4.0 * (n.clamp(1, CHAIN) as f64).sqrt() * f64::from(f32::EPSILON) * terms,
    };
    let error = (got - want).abs();
    if error <= allowed || got == stored {
        return Ok(if got == stored { 0.0 } else { error / allowed });
    }
    Err(format!("{got} where {want} is right: off by {error:e}, allowed {allowed:e}"))
}

/// A cell with the absolute value around every term that is added: its value is `sum |terms|`.
pub fn absolute(cell: &Cell) -> Cell {
    match cell {
        Cell::Reduce(Red::Sum, v, lo, hi, body) => {
            Cell::Reduce(Red::Sum, *v, lo.clone(), hi.clone(), absolute(body).into())
        }
        Cell::Bin(Bin::Add | Bin::Sub, a, b) => absolute(a) + absolute(b),
        Cell::Bin(Bin::Mul, a, b) => absolute(a) * absolute(b),
        Cell::Bin(Bin::Div, a, b) => absolute(a) / abs((**b).clone()),
        Cell::Let(v, value, body) => Cell::Let(*v, value.clone(), absolute(body).into()),
        other => abs(other.clone()),
    }
}

/// The value of a cell at a flat index, its inputs given as (shape, values).
pub fn at(cell: &Cell, shape: &[usize], flat: usize, inputs: &[(&[usize], &[f64])]) -> Result<f64, String> {
    let axes: Vec<i64> = unravel(flat, shape).into_iter().map(|i| i as i64).collect();
    let mut read = |input: usize, index: &[i64]| -> Result<f64, String> {
        let (shape, values) = inputs[input];
        let mut flat = 0;
        for (i, d) in index.iter().zip(shape) {
            if *i < 0 || *i >= *d as i64 {
                return Err(format!("{index:?} is outside {shape:?}"));
            }
            flat = flat * d + *i as usize;
        }
        Ok(values[flat])
    };
    eval(cell, &axes, &mut read)
}
