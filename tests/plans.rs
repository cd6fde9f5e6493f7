//! What the planner decides for the reference network, and that its decisions are general.

use compute::graph::Graph;
use compute::network::{ImageShape, train_step};
use compute::ops::Lowering;
use compute::plan::Plan;
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use tests::networks;

const LIMIT: usize = 128 << 20;

fn shipped(name: &str) -> Recipe {
    Recipe::parse(name, find_shipped(name).expect("shipped"), &[]).expect("a shipped recipe is right")
}

fn plan(recipe: &Recipe, side: usize, batch: usize) -> Plan {
    let shape = ImageShape { channels: 3, height: side, width: side, classes: 10 };
    let step = train_step(recipe, shape, batch).expect("a model");
    Plan::new(&step.graph, &Fusion::default(), Some(LIMIT)).expect("a plan within the limit")
}

/// Names of the ops inlined into kernels of a lowering.
fn inlined(plan: &Plan, of: impl Fn(&Lowering) -> bool) -> Vec<Vec<&'static str>> {
    let op = |id: &compute::graph::NodeId| plan.graph.node(*id).op().map(|op| op.name());
    plan.kernels.iter().filter(|k| of(&k.lowering)).map(|k| k.inlined.iter().filter_map(op).collect()).collect()
}

#[test]
fn the_reference_step_stores_no_activation_of_the_convolution() {
    let plan = plan(&shipped("seed-cnn-224"), 32, 64);
    let largest = plan.buffers.iter().map(|b| b.bytes).max().expect("buffers");
    assert!(largest <= LIMIT, "a buffer of {largest} bytes");
    // Weights, two moments, the gradient: four times 64 MB, and the resized batch.
    assert!(plan.peak_bytes() < 340 << 20, "{} bytes", plan.peak_bytes());
    let products = inlined(&plan, |l| matches!(l, Lowering::Matmul(_)));
    assert!(
        products.iter().filter(|ops| ops.contains(&"conv2d") && ops.contains(&"relu")).count() == 2,
        "{products:?}"
    );
    let back = inlined(&plan, |l| matches!(l, Lowering::Conv2dBackwardW(_)));
    assert!(back[0].contains(&"conv2d") && back[0].contains(&"matmul") && back[0].contains(&"select"), "{back:?}");
    // The bias gradient is formed in the same pass.
    assert!(plan.kernels.iter().any(|k| matches!(k.lowering, Lowering::Conv2dBackwardW(_)) && k.outputs.len() == 2));
    // Every new state is written over the old one.
    assert!(plan.copies.is_empty(), "{:?}", plan.copies);
    let gflop = plan.flops() / 1e9;
    assert!((20.0..40.0).contains(&gflop), "{gflop} GFLOP");
}

#[test]
fn small_activations_are_stored() {
    let plan = plan(&shipped("seed-cnn-32"), 32, 64);
    assert!(inlined(&plan, |_| true).iter().flatten().all(|op| *op != "conv2d"));
}

#[test]
fn inlining_is_no_special_case() {
    for (layers, mib) in [
        ("[\"conv 32 kernel 5 stride 2 padding 2\", \"tanh\", \"flatten\", \"linear 10\"]", 64),
        (
            "[\"conv 8 kernel 3 padding 1\", \"gelu\", \"conv 64 kernel 3 padding 1\", \"relu\", \"flatten\", \"linear 10\"]",
            128,
        ),
    ] {
        let recipe = networks::recipe(layers, 64, "");
        let shape = ImageShape { channels: 3, height: 224, width: 224, classes: 10 };
        let step = train_step(&recipe, shape, 64).expect("a model");
        let limit = Fusion { max_buffer_bytes: mib << 20, ..Fusion::default() };
        let plan = Plan::new(&step.graph, &limit, None).expect("a plan");
        let products = inlined(&plan, |l| matches!(l, Lowering::Matmul(_)));
        assert!(products.iter().any(|ops| ops.contains(&"conv2d")), "{layers}: {products:?}");
    }
}

#[test]
fn a_kernel_reads_at_most_seven_buffers_and_never_what_it_writes() {
    for name in ["seed-cnn-224", "seed-cnn-32", "cnn-32"] {
        let plan = plan(&shipped(name), 32, 64);
        for k in &plan.kernels {
            let buffer = |id: &compute::graph::NodeId| plan.storage[id.index()];
            let mut reads: Vec<_> = k.reads.iter().filter_map(buffer).collect();
            reads.sort();
            reads.dedup();
            let allowed = if k.in_place.is_some() { 7 } else { 7 + 1 - k.outputs.len() };
            assert!(reads.len() <= allowed, "{name}: {} reads {}", plan.graph.node(k.outputs[0]).name, reads.len());
            for out in &k.outputs {
                let own = buffer(out).expect("outputs are stored");
                assert!(k.in_place.is_some() || !reads.contains(&own), "{name}: reads and writes one buffer");
            }
        }
    }
}

#[test]
fn a_buffer_beyond_the_hard_limit_is_an_error_that_names_it() {
    let recipe = networks::recipe(
        "[\"conv1: conv 256 kernel 7\", \"relu\", \"conv2: conv 256 kernel 7\", \"flatten\", \"linear 10\"]",
        64,
        "",
    );
    let shape = ImageShape { channels: 3, height: 64, width: 64, classes: 10 };
    let step = train_step(&recipe, shape, 64).expect("a model");
    let error = Plan::new(&step.graph, &Fusion::default(), Some(LIMIT)).expect_err("too large").to_string();
    assert!(error.contains("conv") && error.contains("smaller batch"), "{error}");
}

#[test]
fn equal_nodes_are_merged_and_dead_ones_dropped() {
    let mut g = Graph::new();
    let x = g.param("x", [4]);
    let a = g.neg(x).expect("neg");
    let b = g.neg(x).expect("neg");
    let _dead = g.affine(x, 2.0, 0.0).expect("affine");
    let y = g.mul(a, b).expect("mul");
    g.output("y", y);
    let plan = Plan::new(&g, &Fusion::off(), None).expect("a plan");
    assert_eq!(plan.graph.nodes().len(), 3);
    assert_eq!(plan.find(a), plan.find(b));
}
