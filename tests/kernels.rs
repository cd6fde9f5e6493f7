//! Every sample of every op page on an adapter, against the definition in f64: the naive kernel
//! printed from the cell, and the hand-written variants for software devices and for real GPUs.
//! Buffers start as NaN. Without a Vulkan driver these tests fail: a green run means they ran.

use std::sync::Arc;

use compute::backend::gpu::{AdapterChoice, Gpu, Limits, Variants};
use compute::backend::{Backend, ProgramId};
use compute::graph::{Graph, TensorType};
use compute::ops::conv2d::{Conv2d, Geometry};
use compute::ops::matmul::Matmul;
use compute::ops::{Fill, Sample, Tolerance};
use compute::plan::Plan;
use compute::rewrite::Fusion;
use compute::tensor::{DType, Data, Tensor};
use pollster::block_on;
use tests::{samples, tolerance};

fn gpu(limits: Limits) -> Gpu {
    block_on(Gpu::open_with(&AdapterChoice::Any, limits))
        .unwrap_or_else(|e| panic!("{e}; the tests need a Vulkan driver: install mesa-vulkan-drivers (./check does)"))
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
fn load(gpu: &mut Gpu, batch: &[Sample]) -> (ProgramId, Arc<Plan>) {
    let mut g = Graph::new();
    for (k, s) in batch.iter().enumerate() {
        let ids: Vec<_> =
            s.inputs.iter().enumerate().map(|(i, (ty, _))| g.feed(&format!("{k}.{i}"), ty.clone())).collect();
        let out = g.add_arc(s.op.clone(), &ids).expect("samples are well formed");
        g.output(format!("{k}"), out);
    }
    let plan = Arc::new(Plan::new(&g, &Fusion::off(), None).expect("samples are small"));
    let program = gpu.load(plan.clone()).unwrap_or_else(|e| panic!("{e}"));
    (program, plan)
}

/// Terms that the f64 evaluation of one sample may cost.
const TERMS: usize = 1_500_000;

fn compare(s: &Sample, got: &[f64], inputs: &[Vec<f64>]) -> Result<(), String> {
    let types: Vec<&TensorType> = s.inputs.iter().map(|(t, _)| t).collect();
    let ty = s.op.infer(&types).expect("samples are well formed");
    let cell = s.op.cell(&types, &ty);
    let absolute = tolerance::absolute(&cell);
    let given: Vec<(&[usize], &[f64])> =
        types.iter().zip(inputs).map(|(t, v)| (t.shape.as_slice(), v.as_slice())).collect();
    assert_eq!(got.len(), ty.numel());
    if let Some(k) = got.iter().position(|v| v.is_nan()) {
        return Err(format!("element {k} is NaN: not written, or wrong"));
    }
    let each = if let Tolerance::Reduction(n) = s.tolerance { 2 * n.max(1) } else { 16 };
    let count = (TERMS / each).clamp(6, got.len().max(6)).min(got.len());
    for k in 0..count {
        // The first, the last, and evenly between.
        let flat = if count == got.len() { k } else { k * (got.len() - 1) / (count - 1) };
        let want = tolerance::at(&cell, &ty.shape, flat, &given)?;
        let terms = match s.tolerance {
            Tolerance::Reduction(_) | Tolerance::Rounded => tolerance::at(&absolute, &ty.shape, flat, &given)?,
            _ => 0.0,
        };
        tolerance::check(s.tolerance, got[flat], want, terms).map_err(|e| format!("element {flat}: {e}"))?;
    }
    Ok(())
}

/// Runs samples with one choice of variants and returns what went wrong.
fn run(gpu: &mut Gpu, variants: Variants, batch: &[Sample]) -> Vec<String> {
    gpu.set_variants(variants);
    let (program, plan) = load(gpu, batch);
    let inputs: Vec<Vec<Vec<f64>>> = batch.iter().map(samples::inputs).collect();
    for (k, s) in batch.iter().enumerate() {
        for (i, (ty, _)) in s.inputs.iter().enumerate() {
            gpu.write(&format!("{k}.{i}"), &tensor(ty, &inputs[k][i])).expect("a feed");
        }
    }
    gpu.poison(program).expect("buffers");
    gpu.run(program).unwrap_or_else(|e| panic!("{e}"));
    let mut failures = vec![];
    for (k, s) in batch.iter().enumerate() {
        let node = plan.output(&format!("{k}")).expect("an output");
        let got = block_on(gpu.read_f64(program, node)).unwrap_or_else(|e| panic!("{e}"));
        if let Err(e) = compare(s, &got, &inputs[k]) {
            failures.push(format!("{variants:?}: {}: {e}", samples::label(s)));
        }
    }
    gpu.unload(program);
    failures
}

fn check(variants: &[Variants], all: &[Sample]) {
    let mut failures = vec![];
    for v in variants {
        for batch in all.chunks(64) {
            // A device each: leaves are kept by name.
            failures.extend(run(&mut gpu(Limits::Adapter), *v, batch));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.join("\n"));
}

fn page(name: &str) -> Vec<Sample> {
    let page = compute::ops::PAGES.iter().find(|p| p.name == name).expect("a page");
    (page.samples)()
}

const HAND_WRITTEN: [&str; 3] = ["matmul", "conv2d", "reduce"];

/// `Device` is what this machine's adapter gets: with subgroups where it has them.
const ALL: [Variants; 4] = [Variants::Naive, Variants::Device, Variants::Software, Variants::Hardware];

#[test]
fn naive_kernels_of_all_pages_but_products() {
    let rest: Vec<Sample> =
        compute::ops::PAGES.iter().filter(|p| !HAND_WRITTEN.contains(&p.name)).flat_map(|p| (p.samples)()).collect();
    check(&[Variants::Naive], &rest);
}

#[test]
fn matmul_in_all_variants() {
    check(&ALL, &page("matmul"));
}

#[test]
fn conv2d_in_all_variants() {
    check(&ALL, &page("conv2d"));
}

#[test]
fn reductions_in_both_variants() {
    check(&[Variants::Naive, Variants::Device], &page("reduce"));
}

/// Past every register tile, past a split, past the limit of a grid's side; vector loads and none.
#[test]
fn large_shapes() {
    let sample = |op: Matmul, a: [usize; 2], b: [usize; 2], k: usize| {
        let fill = Fill::Uniform(-1.0, 1.0);
        Sample::new(op, vec![(TensorType::f32(a), fill.clone()), (TensorType::f32(b), fill)], Tolerance::Reduction(k))
    };
    let plain = |transpose_a, transpose_b| Matmul { transpose_a, transpose_b, bias: false };
    let all = [
        sample(plain(false, false), [257, 260], [260, 300], 260),
        sample(plain(false, true), [256, 64], [288, 64], 64),
        // The largest tile of `lanes`, in parts of the longest span.
        sample(plain(false, false), [67, 9000], [9000, 300], 9000),
        sample(plain(true, false), [36, 260], [36, 264], 36),
        sample(plain(false, true), [64, 20_000], [10, 20_000], 20_000),
        sample(plain(true, true), [5003, 12], [7, 5003], 5003),
        Sample::new(
            compute::ops::elementwise::Unary::Neg,
            vec![(TensorType::f32([65_537 * 64 + 3]), Fill::Uniform(-1.0, 1.0))],
            Tolerance::Exact,
        ),
    ];
    check(&ALL[1..], &all);
}

/// Producers computed inside products, convolutions and reductions, against the same unfused.
#[test]
fn accessors_equal_stored_operands() {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([2, 3, 9, 8]));
    let w1 = g.feed("w1", TensorType::f32([4, 3, 3, 3]));
    let w2 = g.feed("w2", TensorType::f32([5, 4 * 9 * 8]));
    let t = g.feed("t", TensorType::f32([2, 5]));
    let same = Geometry { padding: [1, 1], ..Geometry::default() };
    let c = g.add(Conv2d { geometry: same, bias: false }, &[x, w1]).expect("conv");
    let r = g.unary(compute::ops::elementwise::Unary::Tanh, c).expect("tanh");
    let f = g.flatten(r).expect("flatten");
    let y = g.linear(f, w2, None).expect("linear");
    let d = g.binary(compute::ops::elementwise::Binary::Sub, y, t).expect("sub");
    let dd = g.mul(d, d).expect("square");
    let loss = g.sum_all(dd).expect("sum");
    let grads = compute::autodiff::grad(&mut g, loss, &[w1, w2]).expect("gradients");
    g.output("loss", loss);
    for (k, d) in grads.iter().enumerate() {
        g.output(format!("d{k}"), *d);
    }
    // A limit so small that convolution and activation are computed where they are read.
    let fused = Fusion { max_buffer_bytes: 1200, max_terms: 4000.0, ..Fusion::default() };
    let mut results = vec![];
    for (fusion, variants) in [
        (Fusion::off(), Variants::Naive),
        (fused.clone(), Variants::Naive),
        (fused.clone(), Variants::Software),
        (fused, Variants::Hardware),
    ] {
        let mut gpu = gpu(Limits::WebGpuDefaults);
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
            all.extend(block_on(gpu.read_f64(program, *node)).expect("reads"));
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
#[test]
fn steps_make_nothing() {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([64, 64]));
    let w = g.param("w", [64, 64]);
    let y = g.matmul(x, w).expect("matmul");
    let new = g.affine(y, 0.01, 0.0).expect("affine");
    g.update(w, new);
    let loss = g.sum_all(y).expect("sum");
    g.output("loss", loss);
    let mut gpu = gpu(Limits::WebGpuDefaults);
    let plan = Arc::new(Plan::new(&g, &Fusion::default(), None).expect("a plan"));
    let program = gpu.load(plan.clone()).expect("loads");
    let batch = Tensor::f32([64, 64], vec![0.5; 64 * 64]);
    gpu.write("w", &batch).expect("a parameter");
    let mut before = None;
    for step in 0..200 {
        gpu.write("x", &batch).expect("a feed");
        gpu.run(program).expect("runs");
        if step % 10 == 0 {
            let loss = plan.output("loss").expect("an output");
            assert!(block_on(gpu.read(program, loss)).expect("reads").at(0).is_finite());
        }
        if step == 20 {
            before = Some(gpu.memory());
        }
    }
    assert_eq!(before, Some(gpu.memory()));
}

#[test]
fn errors_name_what_is_wrong() {
    let none = block_on(Gpu::open(&AdapterChoice::Name("no such adapter".into())));
    assert!(none.is_err_and(|e| e.to_string().contains("no such adapter") && e.to_string().contains("there are")));
    let mut gpu = gpu(Limits::WebGpuDefaults);
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
