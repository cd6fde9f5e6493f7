//! Deterministic inputs for the samples of the op pages, and samples past every tile.

use crate::cell::rand::bits;
use crate::graph::TensorType;
use crate::ops::elementwise::Unary;
use crate::ops::matmul::Matmul;
use crate::ops::{Fill, PAGES, Sample, Tolerance};
use crate::tensor::DType;
use lanes::half;

/// Spacing of [`Fill::Uniform`] numbers; each input has its own offset on this grid, so numbers of
/// different inputs differ by at least a quarter of it, far more than any difference step.
const GRID: f64 = 0.004;

/// What input number `input` of a sample holds. All values are exact in f32, or in f16
/// where that is the type.
pub fn fill(ty: &TensorType, fill: &Fill, input: usize) -> Vec<f64> {
    let numbers = numbers(ty, fill, input);
    if ty.dtype == DType::F16 { numbers.into_iter().map(half::round_f64).collect() } else { numbers }
}

fn numbers(ty: &TensorType, fill: &Fill, input: usize) -> Vec<f64> {
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
    if ty.dtype == DType::F32 { f64::from(v as f32) } else { v }
}

/// All inputs of a sample.
pub fn inputs(sample: &Sample) -> Vec<Vec<f64>> {
    sample.inputs.iter().enumerate().map(|(k, (ty, f))| fill(ty, f, k)).collect()
}

/// The samples of all pages.
pub fn all() -> Vec<Sample> {
    PAGES.iter().flat_map(|page| (page.samples)()).collect()
}

/// What a sample is called in a failure.
pub fn label(sample: &Sample) -> String {
    let types: Vec<String> = sample.inputs.iter().map(|(ty, _)| ty.to_string()).collect();
    format!("{:?} of {}", sample.op, types.join(", "))
}

/// Past every register tile, past a split, past the limit of a grid's side; vector loads and none.
pub fn large_shapes() -> Vec<Sample> {
    let sample = |op: Matmul, a: [usize; 2], b: [usize; 2], k: usize| {
        let fill = Fill::Uniform(-1.0, 1.0);
        Sample::new(op, vec![(TensorType::f32(a), fill.clone()), (TensorType::f32(b), fill)], Tolerance::Reduction(k))
    };
    let plain = |transpose_a, transpose_b| Matmul { transpose_a, transpose_b, bias: false };
    vec![
        sample(plain(false, false), [257, 260], [260, 300], 260),
        sample(plain(false, true), [256, 64], [288, 64], 64),
        // The largest tile of `lanes`, in parts of the longest span.
        sample(plain(false, false), [67, 9000], [9000, 300], 9000),
        sample(plain(true, false), [36, 260], [36, 264], 36),
        sample(plain(false, true), [64, 20_000], [10, 20_000], 20_000),
        sample(plain(true, true), [5003, 12], [7, 5003], 5003),
        Sample::new(Unary::Neg, vec![(TensorType::f32([65_537 * 64 + 3]), Fill::Uniform(-1.0, 1.0))], Tolerance::Exact),
    ]
}
