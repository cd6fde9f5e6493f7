//! The compiled programs against the tree-walking evaluation, over the samples of every op page.

use super::*;
use crate::cell::eval;
use crate::ops::{Fill, PAGES};
use crate::tensor::{DType, unravel};

/// Pseudo-random elements of a sample's input.
fn fill(ty: &TensorType, fill: &Fill, seed: u32) -> Vec<f64> {
    let n = ty.numel();
    let unit = |i: usize| f64::from(crate::cell::rand::bits(seed, 1, 2, i as u32)) / 16_777_216.0;
    match fill {
        Fill::Uniform(lo, hi) => (0..n).map(|i| f64::from((lo + (hi - lo) * unit(i)) as f32)).collect(),
        Fill::Distinct => (0..n).map(|i| ((i * 7919 + 13) % n) as f64 * 0.25 - 3.0).collect(),
        Fill::Below(b) => (0..n).map(|i| (unit(i) * f64::from(*b)).floor()).collect(),
        Fill::Values(v) => v.clone(),
    }
}

enum Stored<T> {
    Num(Vec<T>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl<T: Float> Stored<T> {
    fn new(ty: &TensorType, v: &[f64]) -> Stored<T> {
        match ty.dtype {
            DType::F32 => Stored::Num(v.iter().map(|x| T::from_f64(*x)).collect()),
            DType::U32 => Stored::U32(v.iter().map(|x| *x as u32).collect()),
            DType::U8 => Stored::U8(v.iter().map(|x| *x as u8).collect()),
        }
    }

    fn view(&self) -> View<'_, T> {
        match self {
            Stored::Num(v) => View::Num(v),
            Stored::U32(v) => View::U32(v),
            Stored::U8(v) => View::U8(v),
        }
    }
}

fn run_cell<T: Float>(cell: &Cell, out: &TensorType, tys: &[&TensorType], data: &[Vec<f64>]) -> Result<Vec<T>, String> {
    let program = Program::compile(cell, out, tys)?;
    let stored: Vec<Stored<T>> = tys.iter().zip(data).map(|(t, d)| Stored::new(t, d)).collect();
    let views: Vec<View<T>> = stored.iter().map(Stored::view).collect();
    let mut y = vec![T::from_f64(f64::NAN); out.numel()];
    program.run_parallel(&views, &mut y, &Workers::default())?;
    Ok(y)
}

/// Compares with the evaluation at up to `limit` elements.
fn compare(label: &str, cell: &Cell, out: &TensorType, tys: &[&TensorType], data: &[Vec<f64>], limit: usize) {
    let y = run_cell::<f64>(cell, out, tys, data).unwrap_or_else(|e| panic!("{label}: {e}"));
    let z = run_cell::<f32>(cell, out, tys, data).unwrap_or_else(|e| panic!("{label}: {e}"));
    let n = out.numel();
    let step = (n / limit.max(1)).max(1);
    for flat in (0..n).step_by(step) {
        let at: Vec<i64> = unravel(flat, &out.shape).iter().map(|&i| i as i64).collect();
        let mut read = |input: usize, index: &[i64]| -> Result<f64, String> {
            let shape = &tys[input].shape;
            let mut k = 0;
            for (&i, &d) in index.iter().zip(shape) {
                if i < 0 || i >= d as i64 {
                    return Err(format!("index {index:?} outside {shape:?}"));
                }
                k = k * d + i as usize;
            }
            Ok(data[input][k])
        };
        let exact = eval::eval(cell, &at, &mut read).unwrap_or_else(|e| panic!("{label}: {e}"));
        let scale = exact.abs().max(1.0);
        assert!(
            (y[flat] - exact).abs() <= 1e-12 * scale || y[flat] == exact,
            "{label} at {at:?}: f64 {} instead of {exact}",
            y[flat]
        );
        let close = (f64::from(z[flat]) - exact).abs() <= 3e-5 * scale || f64::from(z[flat]) == exact as f32 as f64;
        assert!(close, "{label} at {at:?}: f32 {} instead of {exact}", z[flat]);
    }
}

#[test]
fn every_sample_of_every_op_equals_the_evaluation() {
    let mut seen = 0;
    for page in PAGES {
        for (k, sample) in (page.samples)().into_iter().enumerate() {
            let tys: Vec<&TensorType> = sample.inputs.iter().map(|(t, _)| t).collect();
            let out = sample.op.infer(&tys).unwrap_or_else(|e| panic!("{}: {e}", page.name));
            let cell = sample.op.cell(&tys, &out);
            let data: Vec<Vec<f64>> =
                sample.inputs.iter().enumerate().map(|(i, (t, f))| fill(t, f, (k * 8 + i) as u32)).collect();
            let label = format!("{} sample {k} ({}, {tys:?})", page.name, sample.op.name());
            let terms = Program::compile(&cell, &out, &tys).map_or(1.0, |p| p.terms_per_element());
            let limit = (200_000.0 / terms.max(1.0)) as usize;
            compare(&label, &cell, &out, &tys, &data, limit.clamp(1, 3000));
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} samples");
}
