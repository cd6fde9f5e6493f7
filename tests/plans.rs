//! What the planner decides for the reference network, and that its decisions are general.

use std::collections::BTreeSet;

use compute::backend::reference::Reference;
use compute::graph::{Graph, TensorType};
use compute::network::{ImageShape, train_step};
use compute::ops::Lowering;
use compute::ops::elementwise::{Binary, Unary};
use compute::plan::Plan;
use compute::recipe::{Precision, Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use tests::{backends, networks};

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
fn a_kernel_binds_at_most_eight_buffers_and_never_reads_what_it_writes() {
    let mut mixed = ["seed-cnn-224", "seed-cnn-32", "cnn-32"].map(|name| (name, shipped(name)));
    mixed.iter_mut().for_each(|(_, recipe)| recipe.train.precision = Precision::Mixed);
    let plain = ["seed-cnn-224", "seed-cnn-32", "cnn-32"].map(|name| (name, shipped(name)));
    for (name, recipe) in plain.iter().chain(&mixed) {
        let plan = plan(recipe, 32, 64);
        for k in &plan.kernels {
            let buffer = |id: &compute::graph::NodeId| plan.storage[id.index()].expect("stored");
            let reads: BTreeSet<_> = k.reads.iter().map(buffer).collect();
            let writes: BTreeSet<_> = k.outputs.iter().map(buffer).collect();
            let label = &plan.graph.node(k.outputs[0]).name;
            assert_eq!(writes.len(), k.outputs.len(), "{name}: {label} writes two values to one buffer");
            assert!(reads.union(&writes).count() <= 8, "{name}: {label} binds {reads:?} and {writes:?}");
            let replaced: BTreeSet<_> = k.in_place.iter().map(|(o, _)| buffer(o)).collect();
            let both: BTreeSet<_> = reads.intersection(&writes).copied().collect();
            assert!(both.is_subset(&replaced), "{name}: {label} reads and writes {both:?}");
        }
    }
}

#[test]
fn a_new_weight_and_its_moments_are_one_pass() {
    for (optimizer, outputs) in [
        ("kind = \"adam\"", 3),
        ("kind = \"adamw\"\nweight_decay = 0.01", 3),
        ("kind = \"sgd\"\nmomentum = 0.9\nweight_decay = 0.01", 2),
        ("kind = \"rmsprop\"\nmomentum = 0.9", 3),
    ] {
        let text = format!(
            "[data]\nset = \"fashion-sample\"\nvalidation = 0\n[model]\nlayers = [\"flatten\", \"linear 20\", \"relu\", \"linear 10\"]\n\
             [train]\nbatch = 16\nsteps = 1\n[optimizer]\nlr = 0.01\n{optimizer}"
        );
        let recipe = Recipe::parse("test", &text, &[]).expect("a recipe");
        let shape = ImageShape { channels: 1, height: 4, width: 4, classes: 10 };
        let step = train_step(&recipe, shape, 16).expect("a model");
        let plan = Plan::new(&step.graph, &Fusion::default(), None).expect("a plan");
        let updates: Vec<_> = plan.kernels.iter().filter(|k| !k.in_place.is_empty()).collect();
        let sizes: Vec<usize> = updates.iter().map(|k| k.in_place.len()).filter(|n| *n > 1).collect();
        assert_eq!(sizes, [outputs; 4], "{optimizer}: two weights and two biases");
        assert!(updates.iter().all(|k| k.in_place.len() == k.outputs.len()), "{optimizer}: all in place");
        assert!(plan.copies.is_empty(), "{optimizer}: nothing is copied");
    }
}

#[test]
fn updates_alike_are_one_dispatch() {
    let plan = plan(&shipped("cnn-32"), 32, 128);
    let updates = plan.kernels.iter().filter(|k| !k.in_place.is_empty()).count();
    let saved = plan.kernels.len() - plan.dispatches();
    // What is left: weights; scales, in two steps; means and variances that run along; the two rings of metrics.
    assert!(updates > 30 && updates - saved <= 9, "{updates} updates, {saved} of them saved by packs");
    let mut taken = BTreeSet::new();
    for pack in &plan.packs {
        assert!(pack.iter().all(|b| taken.insert(*b)), "a buffer has two places");
    }
    for t in &plan.together {
        let of = |k: &compute::plan::Kernel| -> BTreeSet<_> {
            k.reads.iter().chain(&k.outputs).filter_map(|id| plan.storage[id.index()]).collect()
        };
        for (i, k) in plan.kernels[t.kernels.clone()].iter().enumerate() {
            for pack in &t.packs {
                assert!(of(k).contains(&plan.packs[*pack][i]), "kernel {i} has its place in each pack");
            }
        }
    }
}

/// Weights that lay elsewhere before keep their place, and the updates run one by one, to the same bits.
#[test]
fn packs_change_no_bit() {
    let layers = "[\"conv 4 kernel 3 padding 1\", \"batch-norm\", \"relu\", \"flatten\", \"linear 6\", \"linear 5\"]";
    let step = networks::Step::new(&networks::recipe(layers, 8, ""), &networks::images(8, 8, 5), 8);
    // What another program reads first: nothing, all weights, or one of them.
    let run = |first: Option<compute::graph::NodeId>| {
        let mut session = Session::new(backends::gpu(), Fusion::default());
        if let Some(node) = first {
            let mut forward = step.network.graph.clone();
            let shown = forward.neg(node).expect("neg");
            forward.updates.clear();
            forward.outputs = vec![("shown".into(), shown)];
            session.load(&forward).expect("loads");
        }
        let program = session.load(&step.network.graph).expect("loads");
        let packed = !session.program(program).expect("loaded").together.is_empty();
        assert!(packed, "nothing to pack");
        for (name, value) in &step.leaves {
            session.write(name, value).expect("written");
        }
        for _ in 0..3 {
            session.run(program).expect("runs");
        }
        let names = step.network.graph.updates.iter().map(|(leaf, _)| step.network.graph.node(*leaf).name.clone());
        names.map(|n| pollster::block_on(session.leaf(&n)).expect("read")).collect::<Vec<_>>()
    };
    let packed = run(None);
    for first in [step.network.logits, step.network.params[0], step.network.params[1]] {
        assert_eq!(run(Some(first)), packed);
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

#[test]
fn constants_leave_sums_so_that_equal_ones_are_one() {
    let mut g = Graph::new();
    let (x, c) = (g.feed("x", TensorType::f32([4, 3, 5])), g.feed("c", TensorType::f32([1, 3, 1])));
    let root = g.unary(Unary::Sqrt, c).expect("sqrt");
    let scaled = g.mul(x, c).expect("mul");
    let twice = g.binary(Binary::Add, scaled, scaled).expect("add");
    let wide = g.broadcast_to(c, &[4, 3, 5]).expect("broadcast");
    let less = g.neg(x).and_then(|n| g.div(n, root)).and_then(|d| g.mul(wide, d)).expect("terms");
    let square = g.mul(x, x).and_then(|s| g.div(s, c)).expect("square");
    let mean = g.mean(x, &[0, 2]).expect("mean");
    let deviation = g.binary(Binary::Sub, x, mean).and_then(|d| g.mul(d, c)).expect("deviation");
    for (name, term) in [("a", twice), ("b", less), ("c", square), ("d", deviation)] {
        let sum = g.sum(term, &[0, 2]).expect("sum");
        g.output(name, sum);
    }
    let reductions = |fusion: &Fusion| {
        let plan = Plan::new(&g, fusion, None).expect("a plan");
        let name = |k: &compute::plan::Kernel| plan.graph.node(k.outputs[0]).op().map(|op| op.name());
        plan.kernels.iter().filter(|k| name(k) == Some("sum")).count()
    };
    // Those of x and of its square; the mean is none, and deviations from it add up to 0.
    assert_eq!(reductions(&Fusion::default()), 2);
    assert_eq!(reductions(&Fusion::off()), 4);
    let values = |n: usize, from: f32| (0..n).map(|i| from + (i * 7 % 11) as f32 / 8.0).collect();
    let feeds = [("x", Tensor::f32([4, 3, 5], values(60, -0.5))), ("c", Tensor::f32([1, 3, 1], values(3, 0.5)))];
    let run = |fusion| {
        let mut session = Session::new(Box::new(Reference::new()), fusion);
        let program = session.load(&g).expect("a program");
        for (name, value) in &feeds {
            session.write(name, value).expect("a feed");
        }
        session.run(program).expect("a step");
        let mut read = |n: &str| pollster::block_on(session.output_f64(program, n)).expect("an output");
        ["a", "b", "c", "d"].into_iter().flat_map(&mut read).collect::<Vec<f64>>()
    };
    for (a, b) in run(Fusion::default()).into_iter().zip(run(Fusion::off())) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} instead of {b}");
    }
}
