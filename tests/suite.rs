//! The kernels under test, on whatever backend and in whatever place: natively (`kernels.rs`) and
//! in a browser (`browser.rs`) the same bodies run. Every sample of every op page is compared with
//! its definition in f64; buffers start as NaN.

use std::sync::Arc;

use compute::backend::cpu::Cpu;
use compute::backend::gpu::{AdapterChoice, Gpu, Limits, Variants};
use compute::backend::{Backend, Memory, ProgramId};
use compute::graph::{Graph, TensorType};
use compute::ops::conv2d::{Conv2d, Geometry};
use compute::ops::elementwise::{Binary, Unary};
use compute::ops::matmul::Matmul;
use compute::ops::{Fill, PAGES, Sample, Tolerance};
use compute::plan::Plan;
use compute::rewrite::Fusion;
use compute::tensor::{DType, Data, Tensor};

use crate::{samples, tolerance};

/// Any adapter, software ones too. A test without one fails: a green run means that kernels ran.
pub async fn gpu(limits: Limits) -> Gpu {
    Gpu::open_with(&AdapterChoice::Any, limits).await.unwrap_or_else(|e| {
        panic!("{e}; the tests need a Vulkan driver (mesa-vulkan-drivers) or Chromium's WebGPU: ./check installs both")
    })
}

fn tensor(ty: &TensorType, values: &[f64]) -> Tensor {
    let data = match ty.dtype {
        DType::F32 => Data::F32(values.iter().map(|v| *v as f32).collect()),
        DType::U32 => Data::U32(values.iter().map(|v| *v as u32).collect()),
        DType::U8 => Data::U8(values.iter().map(|v| *v as u8).collect()),
    };
    Tensor::new(ty.shape.clone(), data).expect("sizes agree")
}

/// One graph of many samples: a pipeline each, but one program.
fn load(backend: &mut dyn Backend, batch: &Batch) -> (ProgramId, Arc<Plan>) {
    let mut g = Graph::new();
    for (k, (s, _)) in batch.iter().enumerate() {
        let ids: Vec<_> =
            s.inputs.iter().enumerate().map(|(i, (ty, _))| g.feed(&format!("{k}.{i}"), ty.clone())).collect();
        let out = g.add_arc(s.op.clone(), &ids).expect("samples are well formed");
        g.output(format!("{k}"), out);
    }
    let plan = Arc::new(Plan::new(&g, &Fusion::off(), None).expect("samples are small"));
    let program = backend.load(plan.clone()).unwrap_or_else(|e| panic!("{e}"));
    (program, plan)
}

/// Terms that the f64 evaluation of one sample may cost. A browser's tests, once more slowly, look
/// at fewer elements of large results; none may be NaN in either.
const TERMS: usize = if cfg!(target_arch = "wasm32") { 150_000 } else { 1_500_000 };

/// What the definition says of some elements of a sample: the position, the value, and the sum of
/// the absolute values of what is added for it.
struct Expected {
    inputs: Vec<Vec<f64>>,
    elements: Vec<(usize, f64, f64)>,
}

fn expected(s: &Sample) -> Result<Expected, String> {
    let inputs = samples::inputs(s);
    let types: Vec<&TensorType> = s.inputs.iter().map(|(t, _)| t).collect();
    let ty = s.op.infer(&types).expect("samples are well formed");
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
    Ok(Expected { inputs, elements })
}

fn compare(s: &Sample, got: &[f64], expected: &Expected) -> Result<(), String> {
    let types: Vec<&TensorType> = s.inputs.iter().map(|(t, _)| t).collect();
    assert_eq!(got.len(), s.op.infer(&types).expect("samples are well formed").numel());
    if let Some(k) = got.iter().position(|v| v.is_nan()) {
        return Err(format!("element {k} is NaN: not written, or wrong"));
    }
    for &(flat, want, terms) in &expected.elements {
        tolerance::check(s.tolerance, got[flat], want, terms).map_err(|e| format!("element {flat}: {e}"))?;
    }
    Ok(())
}

/// Samples of one program, with what is right.
type Batch<'a> = Vec<(&'a Sample, Expected)>;

fn batch(samples: &[Sample]) -> Batch<'_> {
    let with = |s| (s, expected(s).unwrap_or_else(|e| panic!("{}: {e}", samples::label(s))));
    samples.iter().map(with).collect()
}

/// Runs samples as one program and returns what went wrong. Leaves are kept by name, so a backend
/// takes one batch only.
async fn run(backend: &mut dyn Backend, what: &str, batch: &Batch<'_>) -> Vec<String> {
    let (program, plan) = load(backend, batch);
    for (k, (s, expected)) in batch.iter().enumerate() {
        for (i, (ty, _)) in s.inputs.iter().enumerate() {
            backend.write(&format!("{k}.{i}"), &tensor(ty, &expected.inputs[i])).expect("a feed");
        }
    }
    backend.poison(program).expect("buffers");
    backend.run(program).unwrap_or_else(|e| panic!("{e}"));
    let mut failures = vec![];
    for (k, (s, expected)) in batch.iter().enumerate() {
        let node = plan.output(&format!("{k}")).expect("an output");
        let got = backend.read_f64(program, node).await.unwrap_or_else(|e| panic!("{e}"));
        if let Err(e) = compare(s, &got, expected) {
            failures.push(format!("{what}: {}: {e}", samples::label(s)));
        }
    }
    backend.unload(program);
    failures
}

fn none_failed(failures: &[String], all: &[Sample]) {
    assert!(!all.is_empty(), "there are no samples");
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.join("\n"));
}

/// Samples on an adapter, once for each choice of variants.
pub async fn check_gpu(variants: &[Variants], all: &[Sample]) {
    let mut failures = vec![];
    for samples in all.chunks(64) {
        let batch = batch(samples);
        for v in variants {
            let mut gpu = gpu(Limits::Adapter).await;
            gpu.set_variants(*v);
            failures.extend(run(&mut gpu, &format!("{v:?}"), &batch).await);
        }
    }
    none_failed(&failures, all);
}

/// Samples on the cpu backend.
pub async fn check_cpu(all: &[Sample]) {
    let mut failures = vec![];
    for samples in all.chunks(64) {
        failures.extend(run(&mut Cpu::new(), "cpu", &batch(samples)).await);
    }
    none_failed(&failures, all);
}

/// The samples of a page of the table of ops.
pub fn page(name: &str) -> Vec<Sample> {
    let page = PAGES.iter().find(|p| p.name == name).expect("a page");
    (page.samples)()
}

/// Pages whose ops have kernels of their own; those of all others are printed from the cells.
pub const HAND_WRITTEN: [&str; 3] = ["matmul", "conv2d", "reduce"];

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

/// A convolution, an activation and a product, with a loss and two gradients.
fn small_net() -> Graph {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([2, 3, 9, 8]));
    let w1 = g.feed("w1", TensorType::f32([4, 3, 3, 3]));
    let w2 = g.feed("w2", TensorType::f32([5, 4 * 9 * 8]));
    let t = g.feed("t", TensorType::f32([2, 5]));
    let same = Geometry { padding: [1, 1], ..Geometry::default() };
    let c = g.add(Conv2d { geometry: same, bias: false }, &[x, w1]).expect("conv");
    let r = g.unary(Unary::Tanh, c).expect("tanh");
    let f = g.flatten(r).expect("flatten");
    let y = g.linear(f, w2, None).expect("linear");
    let d = g.binary(Binary::Sub, y, t).expect("sub");
    let dd = g.mul(d, d).expect("square");
    let loss = g.sum_all(dd).expect("sum");
    let grads = compute::autodiff::grad(&mut g, loss, &[w1, w2]).expect("gradients");
    g.output("loss", loss);
    for (k, d) in grads.iter().enumerate() {
        g.output(format!("d{k}"), *d);
    }
    g
}

/// Producers computed inside products, convolutions and reductions, against the same unfused.
pub async fn accessors_equal_stored_operands() {
    let g = small_net();
    // A limit so small that convolution and activation are computed where they are read.
    let fused = Fusion { max_buffer_bytes: 1200, max_terms: 4000.0, ..Fusion::default() };
    let mut results = vec![];
    for (fusion, variants) in [
        (Fusion::off(), Variants::Naive),
        (fused.clone(), Variants::Naive),
        (fused.clone(), Variants::Software),
        (fused, Variants::Hardware),
    ] {
        let mut gpu = gpu(Limits::WebGpuDefaults).await;
        gpu.set_variants(variants);
        let plan = Arc::new(Plan::new(&g, &fusion, None).expect("a plan"));
        if fusion.max_buffer_bytes < 2000 {
            assert!(plan.kernels.iter().any(|k| !k.inlined.is_empty()), "nothing is inlined");
        }
        let program = gpu.load(plan.clone()).unwrap_or_else(|e| panic!("{e}"));
        for (k, name) in ["x", "w1", "w2", "t"].iter().enumerate() {
            let ty = g.ty(g.find(name).expect("a feed")).clone();
            gpu.write(name, &tensor(&ty, &samples::fill(&ty, &Fill::Uniform(-0.5, 0.5), k))).expect("a feed");
        }
        gpu.poison(program).expect("buffers");
        gpu.run(program).expect("runs");
        let mut all = vec![];
        for (_, node) in &plan.graph.outputs {
            all.extend(gpu.read_f64(program, *node).await.expect("reads"));
        }
        results.push(all);
    }
    for other in &results[1..] {
        assert_eq!(other.len(), results[0].len());
        for (a, b) in results[0].iter().zip(other) {
            assert!((a - b).abs() <= 1e-5 + 1e-4 * a.abs(), "{a} and {b}");
        }
    }
}

/// After warm-up no step makes a device object, and device memory stays flat.
pub async fn steps_make_nothing() {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([64, 64]));
    let w = g.param("w", [64, 64]);
    let y = g.matmul(x, w).expect("matmul");
    let new = g.affine(y, 0.01, 0.0).expect("affine");
    g.update(w, new);
    let loss = g.sum_all(y).expect("sum");
    g.output("loss", loss);
    let mut gpu = gpu(Limits::WebGpuDefaults).await;
    let plan = Arc::new(Plan::new(&g, &Fusion::default(), None).expect("a plan"));
    let program = gpu.load(plan.clone()).expect("loads");
    let batch = Tensor::f32([64, 64], vec![0.5; 64 * 64]);
    gpu.write("w", &batch).expect("a parameter");
    let mut before: Option<Memory> = None;
    for step in 0..200 {
        gpu.write("x", &batch).expect("a feed");
        gpu.run(program).expect("runs");
        if step % 10 == 0 {
            let loss = plan.output("loss").expect("an output");
            assert!(gpu.read(program, loss).await.expect("reads").at(0).is_finite());
        }
        if step == 20 {
            before = Some(gpu.memory());
        }
    }
    assert_eq!(before, Some(gpu.memory()));
}

/// What a device says about a tensor or a program that it does not know, or of another shape.
pub async fn errors_name_what_is_wrong() {
    let mut gpu = gpu(Limits::WebGpuDefaults).await;
    assert!(gpu.write("x", &Tensor::scalar(1.0)).is_err_and(|e| e.to_string().contains("x is not a tensor")));
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([3]));
    let y = g.neg(x).expect("neg");
    g.output("y", y);
    let program = gpu.load(Arc::new(Plan::new(&g, &Fusion::off(), None).expect("a plan"))).expect("loads");
    assert!(gpu.write("x", &Tensor::scalar(1.0)).is_err_and(|e| e.to_string().contains("f32[3]")));
    gpu.unload(program);
    assert!(gpu.run(program).is_err());
}
