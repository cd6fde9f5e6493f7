//! Kernels against their definitions: samples of ops run on a backend, and each result is compared with the
//! cell evaluated in f64. One place for the tests, natively and in a browser, and for `chainrule verify` on a
//! machine that has nothing but the binary. What a program computes starts as NaN, so an element that no kernel
//! writes is seen.
//!
//! Knows no files, clocks or words for people beyond what was wrong.

pub mod samples;
pub mod tolerance;

use std::sync::Arc;

use crate::backend::{Backend, BackendResult};
use crate::graph::{Graph, TensorType};
use crate::ops::{Sample, Tolerance};
use crate::plan::Plan;
use crate::rewrite::Fusion;
use crate::tensor::{DType, Data, Tensor};
use lanes::half;

/// As many samples as fit one program well: a pipeline each.
pub const BATCH: usize = 64;

/// Terms that the f64 evaluation of one sample may cost. A browser's tests, once more slowly, look
/// at fewer elements of large results; none may be NaN in either.
const TERMS: usize = if cfg!(target_arch = "wasm32") { 150_000 } else { 1_500_000 };

/// What the definition says of some elements of a sample: the position, the value, and the sum of
/// the absolute values of what is added for it.
pub struct Known<'a> {
    sample: &'a Sample,
    inputs: Vec<Vec<f64>>,
    elements: Vec<(usize, f64, f64)>,
}

/// How a sample went on a backend: its largest error as a share of what is allowed, or what was wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub op: &'static str,
    pub sample: String,
    pub result: Result<f64, String>,
}

/// A tensor of the values, which the type can hold.
pub fn tensor(ty: &TensorType, values: &[f64]) -> Tensor {
    let data = match ty.dtype {
        DType::F32 => Data::F32(values.iter().map(|v| *v as f32).collect()),
        DType::F16 => Data::F16(values.iter().map(|v| half::to_bits(*v as f32)).collect()),
        DType::U32 => Data::U32(values.iter().map(|v| *v as u32).collect()),
        DType::U8 => Data::U8(values.iter().map(|v| *v as u8).collect()),
    };
    Tensor::new(ty.shape.clone(), data).expect("as many values as the type has elements")
}

/// Evaluates the definitions. Errors: a sample that its own op or cell refuses, by name.
pub fn expect(samples: &[Sample]) -> Result<Vec<Known<'_>>, String> {
    let named = |s| expect_one(s).map_err(|e| format!("{}: {e}", samples::label(s)));
    samples.iter().map(named).collect()
}

fn expect_one(s: &Sample) -> Result<Known<'_>, String> {
    let inputs = samples::inputs(s);
    let types: Vec<&TensorType> = s.inputs.iter().map(|(t, _)| t).collect();
    let ty = s.op.infer(&types).map_err(|e| e.to_string())?;
    let cell = s.op.cell(&types, &ty);
    let absolute = tolerance::absolute(&cell);
    let given: Vec<(&[usize], &[f64])> =
        types.iter().zip(&inputs).map(|(t, v)| (t.shape.as_slice(), v.as_slice())).collect();
    let len = ty.numel();
    let each = if let Tolerance::Reduction(n) = s.tolerance { 2 * n.max(1) } else { 16 };
    let count = (TERMS / each).clamp(6, len.max(6)).min(len);
    let mut elements = vec![];
    for k in 0..count {
        // The first, the last, and evenly between.
        let flat = if count == len { k } else { (k as u64 * (len as u64 - 1) / (count as u64 - 1)) as usize };
        let want = tolerance::at(&cell, &ty.shape, flat, &given)?;
        let terms = match s.tolerance {
            Tolerance::Reduction(_) | Tolerance::Rounded => tolerance::at(&absolute, &ty.shape, flat, &given)?,
            _ => 0.0,
        };
        elements.push((flat, want, terms));
    }
    Ok(Known { sample: s, inputs, elements })
}

impl Known<'_> {
    /// The largest error of a result as a share of what is allowed.
    fn compare(&self, got: &[f64]) -> Result<f64, String> {
        if let Some(k) = got.iter().position(|v| v.is_nan()) {
            return Err(format!("element {k} is NaN: not written, or wrong"));
        }
        let mut worst = 0.0f64;
        for &(flat, want, terms) in &self.elements {
            let value = *got.get(flat).ok_or_else(|| format!("{} elements, none at {flat}", got.len()))?;
            let share = tolerance::check(self.sample.tolerance, value, want, terms);
            worst = worst.max(share.map_err(|e| format!("element {flat}: {e}"))?);
        }
        Ok(worst)
    }
}

/// Runs samples as one program of the backend. Its leaves are kept by name, so a backend takes one batch only.
/// Errors: what the device refuses; a wrong result is no error but an [`Outcome`].
pub async fn run(backend: &mut dyn Backend, known: &[Known<'_>]) -> BackendResult<Vec<Outcome>> {
    let mut g = Graph::new();
    let mut outputs = vec![];
    for (k, known) in known.iter().enumerate() {
        let types = &known.sample.inputs;
        let ids: Vec<_> =
            types.iter().enumerate().map(|(i, (ty, _))| g.feed(&format!("{k}.{i}"), ty.clone())).collect();
        let out = g.add_arc(known.sample.op.clone(), &ids).expect("`expect` has inferred the same");
        g.output(format!("{k}"), out);
        outputs.push(out);
    }
    let plan = Arc::new(Plan::new(&g, &Fusion::off(), None)?);
    let program = backend.load(plan.clone())?;
    for (k, known) in known.iter().enumerate() {
        for (i, ((ty, _), values)) in known.sample.inputs.iter().zip(&known.inputs).enumerate() {
            backend.write(&format!("{k}.{i}"), &tensor(ty, values))?;
        }
    }
    backend.poison(program)?;
    backend.run(program)?;
    let mut outcomes = vec![];
    for (k, known) in known.iter().enumerate() {
        let node = plan.output(&format!("{k}")).expect("each sample has an output");
        let result = known.compare(&backend.read_f64(program, node).await?);
        outcomes.push(Outcome { op: known.sample.op.name(), sample: samples::label(known.sample), result });
    }
    backend.unload(program);
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementwise::Unary;
    use crate::ops::{Fill, Tolerance};

    fn on_the_reference(sample: Sample) -> Result<f64, String> {
        let samples = [sample];
        let known = expect(&samples).unwrap();
        let mut reference = crate::backend::reference::Reference::new();
        pollster::block_on(run(&mut reference, &known)).unwrap().remove(0).result
    }

    #[test]
    fn a_result_is_held_to_the_bound_of_its_class() {
        let exp =
            |tolerance| Sample::new(Unary::Exp, vec![(TensorType::f32([9]), Fill::Uniform(-1.0, 1.0))], tolerance);
        assert_eq!(on_the_reference(exp(Tolerance::Transcendental)), Ok(0.0));
        let samples = [exp(Tolerance::Exact)];
        let known = &expect(&samples).unwrap()[0];
        let near: Vec<f64> = known.elements.iter().map(|(_, want, _)| want * (1.0 + 1e-5)).collect();
        assert!(known.compare(&near).unwrap_err().starts_with("element 0"));
        let mut hole = near;
        hole[4] = f64::NAN;
        assert!(known.compare(&hole).unwrap_err().contains("element 4 is NaN"));
        assert!(known.compare(&[]).unwrap_err().contains("0 elements"));
    }
}
