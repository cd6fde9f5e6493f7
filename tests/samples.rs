//! Deterministic inputs for the samples of the op pages.

use compute::cell::rand::bits;
use compute::graph::TensorType;
use compute::ops::{Fill, Sample};

/// Spacing of [`Fill::Uniform`] numbers; each input has its own offset on this grid, so numbers of
/// different inputs differ by at least a quarter of it, far more than any difference step.
const GRID: f64 = 0.004;

/// What input number `input` of a sample holds. All values are exact in f32.
pub fn fill(ty: &TensorType, fill: &Fill, input: usize) -> Vec<f64> {
    let n = ty.numel();
    let key = 0x7f4a_7c15 ^ input as u32;
    let random = |i: usize| f64::from(bits(key, 1, 0, i as u32)) / 16_777_216.0;
    match fill {
        Fill::Uniform(lo, hi) => (0..n)
            .map(|i| {
                let steps = ((lo + (hi - lo) * random(i)) / GRID).floor();
                let v = steps * GRID + 0.001 * (1 + input % 3) as f64;
                // Away from 0, where many functions have a kink; by whole steps, to stay on the grid.
                let v = if v.abs() < 0.05 { v + (13.0 * GRID).copysign(v) } else { v };
                f64::from(v as f32)
            })
            .collect(),
        Fill::Distinct => {
            let mut order: Vec<usize> = (0..n).collect();
            for i in (1..n).rev() {
                order.swap(i, bits(key, 2, 0, i as u32) as usize % (i + 1));
            }
            order.into_iter().map(|v| (v as f64 - n as f64 / 2.0 + 0.25) / 128.0).collect()
        }
        Fill::Below(bound) => (0..n).map(|i| f64::from(bits(key, 3, 0, i as u32) % bound)).collect(),
        Fill::Values(values) => values.iter().copied().cycle().take(n).map(|v| round(ty, v)).collect(),
    }
}

fn round(ty: &TensorType, v: f64) -> f64 {
    if ty.dtype == compute::tensor::DType::F32 { f64::from(v as f32) } else { v }
}

/// All inputs of a sample.
pub fn inputs(sample: &Sample) -> Vec<Vec<f64>> {
    sample.inputs.iter().enumerate().map(|(k, (ty, f))| fill(ty, f, k)).collect()
}

/// The samples of all pages.
pub fn all() -> Vec<Sample> {
    compute::ops::PAGES.iter().flat_map(|page| (page.samples)()).collect()
}

/// What a sample is called in a failure.
pub fn label(sample: &Sample) -> String {
    let types: Vec<String> = sample.inputs.iter().map(|(ty, _)| ty.to_string()).collect();
    format!("{:?} of {}", sample.op, types.join(", "))
}
