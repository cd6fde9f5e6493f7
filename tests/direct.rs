//! The direct form of a convolution of few channels: that first layers take it, and that it computes the definition
//! whatever its strides, paddings, groups, sizes and operands.

use std::sync::Arc;

use compute::backend::Backend;
use compute::backend::gpu::kernel::{Class, dispatches};
use compute::backend::gpu::tune::CANDIDATES;
use compute::backend::gpu::{Limits, Variants};
use compute::backend::reference::Reference;
use compute::graph::{Graph, TensorType};
use compute::network::{ImageShape, train_step};
use compute::ops::conv2d::{Conv2d, Geometry};
use compute::ops::elementwise::Unary;
use compute::ops::{Fill, Lowering, Sample, Tolerance};
use compute::plan::Plan;
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::tensor::{DType, Tensor};
use compute::verify::tensor;
use pollster::block_on;
use tests::samples;
use tests::suite::{self, check_candidates, check_gpu};

const FAST: [Variants; 3] = [Variants::Device, Variants::Software, Variants::Hardware];

/// The entry points of a plan's forward convolutions: on software devices with subgroups and without, on a GPU.
fn entries(plan: &Plan) -> Vec<[String; 3]> {
    let forward = plan.kernels.iter().filter(|k| matches!(k.lowering, Lowering::Conv2d(_)));
    let class = |software, lanes| Class { software, lanes, max_buffer_bytes: 128 << 20, flat: false, tiling: None };
    let entry = |kernel, class| dispatches(plan, kernel, class).expect("a text")[0].entry.clone();
    forward.map(|k| [class(true, 8), class(true, 0), class(false, 32)].map(|c| entry(k, c))).collect()
}

#[test]
fn first_layers_of_recipes_are_direct_and_later_ones_products() {
    for (name, channels, side, layers) in [("seed-cnn-32", 3, 32, 1), ("quick", 1, 28, 2), ("cnn-32", 3, 32, 6)] {
        for precision in ["f32", "mixed"] {
            let sets = [format!("train.precision={precision}")];
            let recipe = Recipe::parse(name, find_shipped(name).expect("shipped"), &sets).expect("a recipe");
            let shape = ImageShape { channels, height: side, width: side, classes: 10 };
            let graph = train_step(&recipe, shape, recipe.train.batch).expect("a model").graph;
            let mut found = entries(&Plan::new(&graph, &Fusion::default(), None).expect("a plan"));
            assert!(found.len() >= layers, "{name}: {found:?}");
            assert_eq!(found.remove(0), ["direct"; 3], "{name}, {precision}");
            assert!(found.iter().flatten().all(|e| e != "direct"), "{name}, {precision}: {found:?}");
        }
    }
}

/// Runs that end with a row and past it, rows of odd length, one row for many groups; strides and dilations that
/// leave gaps; taps outside on every side; more channels than an invocation computes, and fewer than a block.
fn few_channels() -> Vec<Sample> {
    let g = Geometry::default();
    let cases = [
        ([2, 3, 9, 16], 36, [3, 3], Geometry { padding: [1, 1], ..g }),
        ([3, 1, 13, 11], 9, [5, 5], Geometry { padding: [4, 3], ..g }),
        ([2, 3, 15, 17], 10, [7, 7], Geometry { stride: [2, 2], padding: [3, 3], ..g }),
        ([2, 8, 10, 13], 8, [3, 2], Geometry { groups: 4, stride: [1, 3], dilation: [2, 2], padding: [1, 2] }),
        ([5, 6, 7, 12], 6, [3, 3], Geometry { groups: 6, padding: [1, 1], ..g }),
        ([1, 4, 6, 6], 7, [1, 1], g),
        ([2, 8, 5, 9], 5, [2, 3], Geometry { dilation: [1, 4], padding: [0, 4], ..g }),
    ];
    let mut out = vec![];
    for ([b, c, h, w], o, kernel, geometry) in cases {
        let taps = c / geometry.groups * kernel[0] * kernel[1];
        for (bias, halves) in [(false, false), (true, false), (true, true)] {
            let ty = |s: [usize; 4]| if halves { TensorType::f16(s) } else { TensorType::f32(s) };
            let mut types = vec![ty([b, c, h, w]), ty([o, c / geometry.groups, kernel[0], kernel[1]])];
            types.extend(bias.then(|| TensorType::f32([o])));
            let inputs = types.into_iter().map(|t| (t, Fill::Uniform(-1.0, 1.0))).collect();
            out.push(Sample::new(Conv2d { geometry, bias }, inputs, Tolerance::Reduction(taps)));
        }
    }
    out
}

#[test]
fn few_channels_compute_the_definition() {
    block_on(check_gpu(&FAST, &few_channels()));
}

#[test]
fn every_candidate_of_few_channels_computes_the_definition() {
    block_on(check_candidates(&few_channels()));
}

/// A picture in bytes that is normalised where it is read; the result as f32, or rounded to f16 as it is stored. Rows of
/// this length.
fn computed(width: usize, halves: bool) -> Graph {
    let mut g = Graph::new();
    let picture = g.feed("picture", TensorType { shape: vec![3, 3, 10, width], dtype: DType::U8 });
    let w = g.feed("w", TensorType::f32([10, 3, 3, 3]));
    let bias = g.feed("bias", TensorType::f32([10]));
    let x = g.unary(Unary::ToF32, picture).expect("to_f32");
    let x = g.affine(x, 1.0 / 64.0, -0.7).expect("affine");
    let geometry = Geometry { padding: [1, 1], ..Geometry::default() };
    let y = g.add(Conv2d { geometry, bias: true }, &[x, w, bias]).expect("conv2d");
    let y = if halves { g.half(y).expect("half") } else { y };
    g.output("y", y);
    g
}

#[test]
fn a_picture_is_computed_where_it_is_read() {
    // So small a limit that nothing but leaves and outputs is stored.
    let fusion = Fusion { max_buffer_bytes: 64, ..Fusion::default() };
    for (width, halves) in [(16, false), (16, true), (14, true), (13, false)] {
        let g = computed(width, halves);
        let plan = Arc::new(Plan::new(&g, &fusion, None).expect("a plan"));
        let [kernel] = &plan.kernels[..] else { panic!("{plan}") };
        assert!(kernel.inlined.len() >= 2, "{plan}");
        assert_eq!(entries(&plan), [["direct"; 3]], "{plan}");
        let inputs: Vec<(&str, Tensor)> = ["picture", "w", "bias"]
            .into_iter()
            .enumerate()
            .map(|(k, name)| {
                let ty = g.ty(g.find(name).expect("a feed"));
                let fill = if ty.dtype == DType::U8 { Fill::Below(256) } else { Fill::Uniform(-1.0, 1.0) };
                (name, tensor(ty, &samples::fill(ty, &fill, k)))
            })
            .collect();
        let run = |backend: &mut dyn Backend| -> Vec<f64> {
            let program = backend.load(plan.clone()).unwrap_or_else(|e| panic!("{e}\n{plan}"));
            for (name, value) in &inputs {
                backend.write(name, value).expect("a feed");
            }
            backend.poison(program).expect("buffers");
            backend.run(program).expect("runs");
            block_on(backend.read_f64(program, plan.output("y").expect("an output"))).expect("reads")
        };
        let want = run(&mut Reference::new());
        for v in FAST {
            for candidate in 0..CANDIDATES {
                let mut gpu = block_on(suite::gpu(Limits::Adapter));
                gpu.set_variants(v);
                gpu.set_candidate(Some(candidate));
                let got = run(&mut gpu);
                let near = if halves { 2f64.powi(-10) } else { 1e-5 };
                for (a, b) in got.iter().zip(&want) {
                    let error = (a - b).abs();
                    assert!(error <= near * b.abs() + 1e-4, "{v:?}, candidate {candidate}: {a} for {b} in\n{plan}");
                }
            }
        }
    }
}
