//! The kernels under test, on whatever backend and in whatever place: natively (`kernels.rs`) and
//! in a browser (`browser.rs`) the same bodies run. Every sample of every op page is compared with
//! its definition in f64 ([`compute::verify`]).

use std::sync::Arc;

use compute::backend::cpu::Cpu;
use compute::backend::gpu::tune::{CANDIDATES, Tiling};
use compute::backend::gpu::{AdapterChoice, Gpu, Limits, Variants};
use compute::backend::{Backend, Memory};
use compute::graph::{Graph, TensorType};
use compute::ops::conv2d::{Conv2d, Geometry};
use compute::ops::elementwise::{Binary, Unary};
use compute::ops::{Fill, PAGES, Sample};
use compute::plan::Plan;
use compute::rewrite::Fusion;
use compute::tensor::Tensor;
pub use compute::verify::samples::large_shapes;
use compute::verify::{self, BATCH, Known, tensor};

use crate::samples;

/// Any adapter, software ones too. A test without one fails: a green run means that kernels ran.
pub async fn gpu(limits: Limits) -> Gpu {
    Gpu::open_with(&AdapterChoice::Any, limits).await.unwrap_or_else(|e| {
        panic!("{e}; the tests need a Vulkan driver (mesa-vulkan-drivers) or Chromium's WebGPU: ./check installs both")
    })
}

/// Any adapter with some kernels: its own with all it allows, others held to what every browser grants.
pub async fn gpu_as(variants: Variants) -> Gpu {
    let own = variants == Variants::Device;
    gpu_with(variants, if own { Limits::Adapter } else { Limits::WebGpuDefaults }).await
}

/// An adapter with the kernels of another kind of device, and with these limits.
pub async fn gpu_with(variants: Variants, limits: Limits) -> Gpu {
    let mut gpu = gpu(limits).await;
    gpu.set_variants(variants);
    gpu
}

fn none_failed(failures: &[String], all: &[Sample]) {
    assert!(!all.is_empty(), "there are no samples");
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), all.len(), failures.join("\n"));
}

/// What went wrong with samples on a backend.
async fn failures(backend: &mut dyn Backend, what: &str, known: &[Known<'_>]) -> Vec<String> {
    let outcomes = verify::run(backend, known).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let wrong = |o: verify::Outcome| o.result.err().map(|e| format!("{what}: {}: {e}", o.sample));
    outcomes.into_iter().filter_map(wrong).collect()
}

/// Samples on an adapter, once for each choice of variants.
pub async fn check_gpu(variants: &[Variants], all: &[Sample]) {
    let mut wrong = vec![];
    for samples in all.chunks(BATCH) {
        let known = verify::expect(samples).unwrap_or_else(|e| panic!("{e}"));
        for v in variants {
            let mut gpu = gpu(Limits::Adapter).await;
            gpu.set_variants(*v);
            wrong.extend(failures(&mut gpu, &format!("{v:?}"), &known).await);
        }
    }
    none_failed(&wrong, all);
}

/// Products on an adapter, once for each tiling that a tuner may choose, for every kind of device.
pub async fn check_candidates(all: &[Sample]) {
    let mut wrong = vec![];
    for samples in all.chunks(BATCH) {
        let known = verify::expect(samples).unwrap_or_else(|e| panic!("{e}"));
        // Subgroups are there only natively.
        for (v, limits) in [
            (Variants::Device, Limits::Adapter),
            (Variants::Software, Limits::WebGpuDefaults),
            (Variants::Hardware, Limits::WebGpuDefaults),
            (Variants::Hardware, Limits::Adapter),
        ] {
            for k in 1..CANDIDATES {
                let mut gpu = gpu_with(v, limits).await;
                gpu.set_candidate(Some(k));
                wrong.extend(failures(&mut gpu, &format!("{v:?}, {limits:?}, candidate {k}"), &known).await);
            }
        }
    }
    none_failed(&wrong, all);
}

/// Samples with the kernels of real GPUs, every product cut like this where it fits.
pub async fn check_tiling(all: &[Sample], tiling: Tiling) {
    let mut wrong = vec![];
    for samples in all.chunks(BATCH) {
        let known = verify::expect(samples).unwrap_or_else(|e| panic!("{e}"));
        let mut gpu = gpu_with(Variants::Hardware, Limits::Adapter).await;
        gpu.set_tiling(Some(tiling));
        wrong.extend(failures(&mut gpu, &tiling.to_string(), &known).await);
    }
    none_failed(&wrong, all);
}

/// Samples on the cpu backend.
pub async fn check_cpu(all: &[Sample]) {
    let mut wrong = vec![];
    for samples in all.chunks(BATCH) {
        let known = verify::expect(samples).unwrap_or_else(|e| panic!("{e}"));
        wrong.extend(failures(&mut Cpu::new(), "cpu", &known).await);
    }
    none_failed(&wrong, all);
}

/// The samples of a page of the table of ops.
pub fn page(name: &str) -> Vec<Sample> {
    let page = PAGES.iter().find(|p| p.name == name).expect("a page");
    (page.samples)()
}

/// Pages whose ops have kernels of their own; those of all others are printed from the cells.
pub const HAND_WRITTEN: [&str; 3] = ["matmul", "conv2d", "reduce"];

/// A convolution, an activation and a product, with a loss and two gradients.
fn small_net([images, channels, classes]: [usize; 3], [h, w]: [usize; 2]) -> Graph {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([images, 3, h, w]));
    let w1 = g.feed("w1", TensorType::f32([channels, 3, 3, 3]));
    let w2 = g.feed("w2", TensorType::f32([classes, channels * h * w]));
    let t = g.feed("t", TensorType::f32([images, classes]));
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
    // A limit so small that convolution and activation are computed where they are read.
    let fused = Fusion { max_buffer_bytes: 1200, max_terms: 4000.0, ..Fusion::default() };
    let fast = [Variants::Software, Variants::Hardware].map(|v| (fused.clone(), v, None));
    let mut ways = vec![(Fusion::off(), Variants::Naive, None), (fused.clone(), Variants::Naive, None)];
    ways.extend(fast);
    equal_in_all_ways(&small_net([2, 4, 5], [9, 8]), &ways).await;
}

/// The same for every tiling that a tuner may choose, with sides past the tiles in workgroup memory.
pub async fn candidates_equal_stored_operands() {
    let fused = Fusion { max_buffer_bytes: 10_000, max_terms: 40_000.0, ..Fusion::default() };
    let mut ways = vec![(Fusion::off(), Variants::Naive, None)];
    for v in [Variants::Device, Variants::Software, Variants::Hardware] {
        ways.extend((1..CANDIDATES).map(|k| (fused.clone(), v, Some(k))));
    }
    equal_in_all_ways(&small_net([18, 20, 24], [5, 4]), &ways).await;
}

async fn equal_in_all_ways(g: &Graph, ways: &[(Fusion, Variants, Option<usize>)]) {
    let mut results = vec![];
    for (fusion, variants, candidate) in ways {
        let mut gpu = gpu_as(*variants).await;
        gpu.set_candidate(*candidate);
        let plan = Arc::new(Plan::new(g, fusion, None).expect("a plan"));
        if fusion.enabled {
            assert!(plan.kernels.iter().any(|k| !k.inlined.is_empty()), "nothing is inlined");
        }
        let program = match gpu.load(plan.clone()) {
            Ok(program) => program,
            // A tuner is refused the same: on a real GPU loops may be longer.
            Err(e) if candidate.is_some() && e.to_string().contains("loop turns") => continue,
            Err(e) => panic!("{e}"),
        };
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
    assert!(results.len() > ways.len() * 3 / 4, "only {} of {} ways ran", results.len(), ways.len());
    let scale = results[0].iter().fold(1.0f64, |m, v| m.max(v.abs().sqrt()));
    for other in &results[1..] {
        assert_eq!(other.len(), results[0].len());
        for (a, b) in results[0].iter().zip(other) {
            assert!((a - b).abs() <= scale * 1e-5 + 1e-4 * a.abs(), "{a} and {b}");
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
