//! Kernels of rows: what the planner joins, and that one pass over a row computes what the definitions say, on every
//! backend and in every variant.

use compute::autodiff::{grad, vjp};
use compute::backend::Backend;
use compute::backend::gpu::{AdapterChoice, Gpu, Variants};
use compute::cell::rand::bits;
use compute::graph::{Graph, NodeId, TensorType};
use compute::network::{ImageShape, train_step};
use compute::nn::loss::cross_entropy;
use compute::ops::elementwise::{Binary, Unary};
use compute::ops::reduce::{Reduce, Reduction};
use compute::plan::Plan;
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::{DType, Data, Tensor};
use pollster::block_on;
use tests::backends;

/// A feed that no graph of another shape knows by the same name.
fn feed(g: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    let dtype = if name == "labels" { DType::U32 } else { DType::F32 };
    let ty = TensorType { shape: shape.to_vec(), dtype };
    g.feed(&format!("{name} {ty}"), ty)
}

/// Mean cross-entropy of logits `[n, classes]` and their gradient.
fn cross_entropy_step(n: usize, classes: usize, smoothing: f64, weighted: bool) -> Graph {
    let mut g = Graph::new();
    let logits = feed(&mut g, "logits", &[n, classes]);
    let labels = feed(&mut g, "labels", &[n]);
    let weights = weighted.then(|| feed(&mut g, "weights", &[classes]));
    let loss = cross_entropy(&mut g, logits, labels, smoothing, weights).expect("a loss");
    let d = grad(&mut g, loss, &[logits]).expect("gradients");
    g.output("loss", loss);
    g.output("d logits", d[0]);
    g
}

/// Layer norm over the last axis with weights and bias, and all gradients.
fn layer_norm(n: usize, width: usize) -> Graph {
    let mut g = Graph::new();
    let x = feed(&mut g, "x", &[n, width]);
    let (scale, shift) = (feed(&mut g, "scale", &[width]), feed(&mut g, "shift", &[width]));
    let dy = feed(&mut g, "dy", &[n, width]);
    let y = normalised(&mut g, x, 1e-5)
        .and_then(|d| g.mul(d, scale))
        .and_then(|d| g.binary(Binary::Add, d, shift))
        .expect("layer norm");
    let d = vjp(&mut g, y, dy, &[x, scale, shift]).expect("gradients");
    g.output("y", y);
    for (k, d) in d.into_iter().enumerate() {
        g.output(format!("d{k}"), d);
    }
    g
}

/// `(x - mean) / sqrt(variance + eps)` along the last axis.
fn normalised(g: &mut Graph, x: NodeId, eps: f64) -> compute::ops::OpResult<NodeId> {
    let last = g.shape(x).len() - 1;
    let mean = g.mean(x, &[last])?;
    let d = g.binary(Binary::Sub, x, mean)?;
    let dd = g.mul(d, d)?;
    let variance = g.mean(dd, &[last])?;
    let safe = g.affine(variance, 1.0, eps)?;
    let root = g.unary(Unary::Sqrt, safe)?;
    g.div(d, root)
}

fn plan(g: &Graph, fusion: &Fusion) -> Plan {
    Plan::new(g, fusion, None).expect("a plan")
}

/// Writes every feed: numbers in -1..1 times `size`, labels below the classes.
fn write(session: &mut Session, g: &Graph, size: f32) {
    let logits = g.leaves(|_| true).into_iter().find(|l| g.node(*l).name.starts_with("logits"));
    let classes = logits.map_or(1, |l| g.shape(l)[1]) as u32;
    for leaf in g.leaves(|l| *l == compute::graph::Leaf::Feed) {
        let ty = g.ty(leaf);
        let random = |i: usize| bits(leaf.0, 5, 0, i as u32);
        let number = |i: usize| (random(i) as f32 / 8_388_608.0 - 1.0) * size;
        let data = match g.node(leaf).name.split(' ').next() {
            Some("labels") => Data::U32((0..ty.numel()).map(|i| random(i) % classes).collect()),
            Some("weights") => Data::F32((0..ty.numel()).map(|i| 0.25 + random(i) as f32 / 16_777_216.0).collect()),
            _ => Data::F32((0..ty.numel()).map(number).collect()),
        };
        let value = Tensor::new(ty.shape.clone(), data).expect("of this shape");
        // A leaf that no output needs is unknown to the session.
        let _ = session.write(&g.node(leaf).name, &value);
    }
}

fn outputs(session: &mut Session, g: &Graph, size: f32) -> Vec<Vec<f64>> {
    let program = session.load(g).unwrap_or_else(|e| panic!("{e}"));
    write(session, g, size);
    session.run(program).unwrap_or_else(|e| panic!("{e}"));
    let names = g.outputs.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    let all =
        names.iter().map(|n| block_on(session.output_f64(program, n)).unwrap_or_else(|e| panic!("{e}"))).collect();
    session.unload(program);
    all
}

fn gpu(variants: Variants) -> Box<dyn Backend> {
    let mut gpu = block_on(Gpu::open(&AdapterChoice::Any)).unwrap_or_else(|e| panic!("{e}"));
    gpu.set_variants(variants);
    Box::new(gpu)
}

/// The cpu backend and the fast variants of the gpu backend, by name.
fn fast() -> Vec<(String, Box<dyn Backend>)> {
    let variants = [Variants::Device, Variants::Software, Variants::Hardware];
    let gpus = variants.into_iter().map(|v| (format!("{v:?}"), gpu(v)));
    std::iter::once(("cpu".to_string(), backends::cpu())).chain(gpus).collect()
}

/// Holds backends, fused, to the reference, unfused: every element to the largest of its tensor.
fn check(cases: &[(&str, Graph, f32)], backends: Vec<(String, Box<dyn Backend>)>, fusion: &Fusion) {
    let mut reference = backends::reference();
    let want: Vec<_> = cases.iter().map(|(_, g, size)| outputs(&mut reference, g, *size)).collect();
    for (name, backend) in backends {
        let mut session = Session::new(backend, fusion.clone());
        for ((what, g, size), want) in cases.iter().zip(&want) {
            let got = outputs(&mut session, g, *size);
            // Some gradients are 0 but for rounding: each is held to at least a hundredth of the largest.
            let all = want.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
            for (k, (got, want)) in got.iter().zip(want).enumerate() {
                let largest = want.iter().fold(1e-2 * all, |m, x| m.max(x.abs()));
                let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let known = got.iter().all(|x| x.is_finite()) && got.len() == want.len();
                assert!(
                    known && worst <= 5e-5 * largest,
                    "{name}, {what}: output {k} differs by {worst:.1e} of {largest:.1e}"
                );
            }
        }
    }
}

#[test]
fn cross_entropy_and_its_gradient_are_one_kernel() {
    // Beside it only the mean; with weights the sum of the labels' weights, its reciprocal and the quotient.
    for (smoothing, weighted, kernels) in [(0.0, false, 2), (0.1, false, 2), (0.0, true, 5), (0.1, true, 5)] {
        let g = cross_entropy_step(64, 10, smoothing, weighted);
        let plan = plan(&g, &Fusion::default());
        let logits = plan.graph.find("logits f32[64, 10]").expect("a leaf");
        let readers: Vec<_> = plan.kernels.iter().filter(|k| k.reads.contains(&logits)).collect();
        assert_eq!((readers.len(), plan.kernels.len()), (1, kernels), "{smoothing} {weighted}:\n{plan}");
        let shapes: Vec<&[usize]> = readers[0].outputs.iter().map(|o| plan.graph.shape(*o)).collect();
        assert_eq!(shapes, [&[64, 1][..], &[64, 10]], "the samples' losses, and the gradient");
        // Log-probabilities are nowhere.
        let largest = plan.buffers.iter().filter(|b| b.leaf.is_none() && b.bytes >= 64 * 10 * 4).count();
        assert_eq!(largest, 1, "{plan}");
    }
    // As everywhere, in a training step.
    let recipe = Recipe::parse("t", find_shipped("mlp-fashion").expect("shipped"), &[]).expect("a recipe");
    let step =
        train_step(&recipe, ImageShape { channels: 1, height: 28, width: 28, classes: 10 }, 128).expect("a model");
    let plan = plan(&step.graph, &Fusion::default());
    let of =
        |name: &str| plan.kernels.iter().filter(|k| k.inlined.iter().any(|n| plan.graph.node(*n).name == name)).count();
    assert_eq!(of("loss.log_softmax"), 1, "{plan}");
}

#[test]
fn rows_that_are_read_together_are_one_kernel() {
    let mut g = Graph::new();
    let (x, dy) = (feed(&mut g, "x", &[16, 100]), feed(&mut g, "dy", &[16, 100]));
    let y = g.softmax(x, 1).expect("softmax");
    let d = vjp(&mut g, y, dy, &[x]).expect("a gradient");
    g.output("d", d[0]);
    g.output("y", y);
    assert_eq!(plan(&g, &Fusion::default()).kernels.len(), 1);
    assert!(plan(&g, &Fusion::off()).kernels.len() > 3);
    // Mean, variance, y, and the gradient of x; those of scale and shift are sums down the columns.
    let p = plan(&layer_norm(32, 48), &Fusion::default());
    assert_eq!(
        p.kernels.iter().filter(|k| k.reads.contains(&p.graph.find("x f32[32, 48]").expect("x"))).count(),
        2,
        "{p}"
    );
}

#[test]
fn what_would_wait_for_itself_stays_apart() {
    let mut g = Graph::new();
    let (x, w) = (feed(&mut g, "x", &[16, 24]), feed(&mut g, "w", &[24, 24]));
    let p = g.softmax(x, 1).expect("softmax");
    let m = g.matmul(p, w).expect("a product");
    let both = g.mul(p, m).expect("a product of elements");
    let total = g.sum(both, &[1]).expect("a sum");
    g.output("total", total);
    let plan = plan(&g, &Fusion::default());
    assert!(plan.kernels.iter().all(|k| k.outputs.len() == 1), "{plan}");
    check(&[("a product between", g, 1.0)], fast(), &Fusion::default());
}

#[test]
fn few_long_rows_are_not_given_to_one_thread_each() {
    let rows = |n: usize| {
        let g = cross_entropy_step(n, 50_257, 0.0, false);
        plan(&g, &Fusion::default()).kernels.iter().any(|k| k.outputs.len() > 1)
    };
    assert_eq!([rows(1), rows(7), rows(8)], [false, false, true]);
}

#[test]
fn cross_entropy_agrees_with_its_definition() {
    let mut cases = vec![];
    for (n, classes) in [(64, 10), (256, 2), (5, 1), (33, 257), (9, 1031), (3, 64), (70, 33)] {
        for (smoothing, weighted) in [(0.0, false), (0.1, false), (0.0, true), (0.2, true)] {
            cases.push(("cross-entropy", cross_entropy_step(n, classes, smoothing, weighted), 4.0));
        }
    }
    // exp would overflow at 89.
    cases.push(("huge logits", cross_entropy_step(20, 300, 0.0, false), 1e4));
    // The loss alone: one number a row.
    let mut alone = cross_entropy_step(70, 129, 0.0, false);
    alone.outputs.retain(|(name, _)| name == "loss");
    cases.push(("loss", alone, 4.0));
    check(&cases, fast(), &Fusion::default());
    let naive = cases.split_off(24);
    check(&naive, vec![("naive".into(), gpu(Variants::Naive))], &Fusion::default());
    check(&naive, fast(), &Fusion::off());
}

#[test]
fn long_rows_agree_with_their_definition() {
    let mut cases = vec![];
    for classes in [1031, 50_257, 70_000] {
        cases.push(("cross-entropy", cross_entropy_step(8, classes, 0.0, false), 4.0));
        cases.push(("smoothed", cross_entropy_step(8, classes, 0.1, false), 4.0));
    }
    // Too few to be joined: a kernel of rows all the same.
    cases.push(("one row", cross_entropy_step(1, 50_257, 0.0, false), 4.0));
    check(&cases, fast(), &Fusion::default());
}

#[test]
fn normalisation_agrees_with_its_definition() {
    let cases: Vec<_> =
        [(16, 48), (3, 7), (8, 1031), (40, 256)].map(|(n, w)| ("layer norm", layer_norm(n, w), 2.0)).into();
    check(&cases, fast(), &Fusion::default());
    check(&cases[..2], vec![("naive".into(), gpu(Variants::Naive))], &Fusion::default());
}

/// A random chain over rows: softmaxes, statistics of a row, and what is elementwise, along any axis.
fn random_graph(seed: u32) -> Graph {
    let mut n = 0;
    let mut draw = move |below: usize| {
        n += 1;
        bits(seed, 78, 0, n) as usize % below
    };
    let shape = [[4, 9, 37], [3, 70, 5], [2, 3, 300], [9, 1, 8]][draw(4)];
    let last = if draw(4) == 0 { 1 } else { 2 };
    let mut g = Graph::new();
    let (x, z) = (feed(&mut g, "x", &shape), feed(&mut g, "z", &shape));
    let row = feed(&mut g, "row", &[shape[2]]);
    let mut nodes = vec![x, z];
    for _ in 0..5 {
        let (a, b) = (nodes[draw(nodes.len())], nodes[draw(nodes.len())]);
        let next = match draw(9) {
            0 => g.softmax(a, last),
            1 => g.log_softmax(a, last).and_then(|y| g.affine(y, 0.125, 0.0)),
            2 => g.sum(a, &[last]).and_then(|s| g.affine(s, 1.0 / shape[last] as f64, 0.0)).and_then(|s| g.mul(b, s)),
            // Not a difference from it, which what follows may not depend on: its gradient would be rounding alone.
            3 => g
                .add(Reduce { kind: Reduction::Max, axes: vec![last] }, &[a])
                .and_then(|m| g.unary(Unary::Tanh, m))
                .and_then(|m| g.mul(b, m)),
            // Far from 0, where small errors would grow.
            4 => normalised(&mut g, a, 0.1),
            5 => g.unary([Unary::Tanh, Unary::Sigmoid, Unary::Relu][draw(3)], a),
            6 => g.binary([Binary::Add, Binary::Sub, Binary::Mul][draw(3)], a, b),
            7 => g.mul(a, row),
            _ => g.mean(a, &[last]).and_then(|m| g.broadcast_to(m, &shape)).and_then(|m| g.binary(Binary::Add, m, b)),
        };
        nodes.push(next.unwrap_or_else(|e| panic!("{e}")));
    }
    let y = nodes[nodes.len() - 1];
    let tamed = g.unary(Unary::Tanh, y).expect("tanh");
    let loss = g.sum_all(tamed).expect("a sum");
    let d = grad(&mut g, loss, &[x, z, row]).expect("gradients");
    g.output("y", y);
    let middle = nodes[3];
    g.output("middle", middle);
    for (k, d) in d.into_iter().enumerate() {
        g.output(format!("d{k}"), d);
    }
    g
}

#[test]
fn random_rows_agree_with_the_reference_fused_and_unfused() {
    let cases: Vec<_> = (0..40).map(|seed| ("a random graph", random_graph(seed), 1.0)).collect();
    let joined = |g: &Graph| {
        let p = plan(g, &Fusion::default());
        let reduces = |k: &compute::plan::Kernel| {
            k.outputs.iter().any(|o| compute::cell::rows::reduced(&p.fused_cell(*o).0).is_some())
        };
        p.kernels.iter().filter(|k| k.outputs.len() > 1 && reduces(k)).count()
    };
    let count: usize = cases.iter().map(|(_, g, _)| joined(g)).sum();
    assert!(count >= 20, "only {count} kernels of several outputs are tried");
    check(&cases, fast(), &Fusion::default());
    check(&cases[..8], vec![("naive".into(), gpu(Variants::Naive))], &Fusion::default());
    check(&cases[..8], fast(), &Fusion::off());
}

#[test]
fn the_same_rows_give_the_same_bits() {
    let g = cross_entropy_step(300, 1031, 0.1, true);
    for (name, backend) in fast() {
        let mut session = Session::new(backend, Fusion::default());
        let first = outputs(&mut session, &g, 3.0);
        for _ in 0..3 {
            assert!(outputs(&mut session, &g, 3.0) == first, "{name}");
        }
    }
}
