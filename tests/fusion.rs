//! Fused programs against the unfused f64 reference: whole training steps whose convolutions are
//! inlined into matmul, reduction and conv-gradient kernels, and random graphs.

use compute::cell::rand::bits;
use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::conv2d::Geometry;
use compute::ops::elementwise::{Binary, Unary};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use tests::backends;
use tests::networks::{self, Step, difference};

/// Forces inlining of whatever may be inlined: no buffer is small enough to be stored by choice.
fn inline_all() -> Fusion {
    // Software devices end a loop after 65,535 turns: no element may cost more.
    Fusion { max_buffer_bytes: 1 << 12, max_terms: 2e3, ..Fusion::default() }
}

const STEPS: [(&str, usize); 5] = [
    ("[\"conv1: conv 32 kernel 3 padding 1\", \"relu\", \"flatten\", \"fc1: linear 10\"]", 2),
    ("[\"conv 8 kernel 5 stride 2 padding 2\", \"tanh\", \"flatten\", \"linear 10\"]", 3),
    ("[\"conv 5 kernel 3 padding 1\", \"relu\", \"conv 7 kernel 3\", \"sigmoid\", \"flatten\", \"linear 10\"]", 2),
    ("[\"conv 6 kernel 3 groups 3\", \"batch-norm\", \"gelu\", \"max-pool 2\", \"flatten\", \"linear 10\"]", 4),
    ("[\"flatten\", \"linear 17\", \"silu\", \"linear 10\"]", 5),
];

#[test]
fn whole_steps_agree_with_the_reference_fused_and_unfused() {
    for (layers, batch) in STEPS {
        let recipe = networks::recipe(layers, batch, "");
        let step = Step::new(&recipe, &networks::images(batch, 12, 10), batch);
        let want = step.loss_and_gradients(&mut backends::reference());
        for (name, backend) in backends::both() {
            for (how, fusion) in [("off", Fusion::off()), ("default", Fusion::default()), ("all", inline_all())] {
                let got = step.loss_and_gradients(&mut Session::new(backend(), fusion));
                for (k, (a, b)) in got.iter().zip(&want).enumerate() {
                    let error = difference(a, b);
                    assert!(error < 2e-5, "{name}, fusion {how}, {layers}: tensor {k} differs by {error:.1e}");
                }
            }
        }
    }
}

#[test]
fn the_reference_step_at_224_agrees_at_batch_2() {
    let recipe = compute::recipe::Recipe::parse(
        "seed-cnn-224",
        compute::recipe::find_shipped("seed-cnn-224").expect("shipped"),
        &["train.batch=2".into()],
    )
    .expect("a recipe");
    let step = Step::new(&recipe, &networks::images(2, 32, 10), 2);
    // At batch 2 the activation would fit: the limit is lowered so that it is inlined as at 64.
    let as_at_64 = Fusion { max_buffer_bytes: 4 << 20, ..Fusion::default() };
    // The linear layer's weight has 64 MB of its own; only what can be recomputed is.
    let want = step.loss_and_gradients(&mut backends::reference());
    for (name, backend) in backends::both() {
        let got = step.loss_and_gradients(&mut Session::new(backend(), as_at_64.clone()));
        for (k, (a, b)) in got.iter().zip(&want).enumerate() {
            let error = difference(a, b);
            assert!(error < 1e-4, "{name}: tensor {k} differs by {error:.1e}");
        }
    }
}

/// A random graph over a few shapes; every node's value stays of moderate size.
fn random_graph(seed: u32) -> (Graph, NodeId) {
    let mut g = Graph::new();
    let mut draw = {
        let mut n = 0;
        move |below: usize| {
            n += 1;
            bits(seed, 77, 0, n) as usize % below
        }
    };
    let images = g.feed("x", TensorType::f32([2, 3, 9, 8]));
    let kernel = g.feed("w", TensorType::f32([3, 3, 3, 3]));
    let square = g.feed("m", TensorType::f32([8, 8]));
    let row = g.feed("r", TensorType::f32([8]));
    let mut nodes = vec![images];
    for _ in 0..8 {
        let x = nodes[draw(nodes.len())];
        let y = nodes[draw(nodes.len())];
        let next = match draw(8) {
            0 => g.unary([Unary::Tanh, Unary::Sigmoid, Unary::Relu, Unary::Abs][draw(4)], x),
            1 => g.binary([Binary::Add, Binary::Sub, Binary::Max][draw(3)], x, y),
            2 => g.binary(Binary::Mul, x, row),
            3 => g.conv2d(x, kernel, None, Geometry { padding: [1, 1], ..Geometry::default() }),
            4 => g.matmul(x, square),
            5 => {
                let m = g.mean(x, &[1, 2]).expect("mean");
                g.binary(Binary::Sub, x, m)
            }
            6 => g.softmax(x, 3),
            _ => g.affine(x, 0.5, 0.125),
        };
        nodes.push(next.unwrap_or_else(|e| panic!("{e}")));
    }
    let last = *nodes.last().expect("nodes");
    let tamed = g.unary(Unary::Tanh, last).expect("tanh");
    let loss = g.sum_all(tamed).expect("sum");
    let grads = compute::autodiff::grad(&mut g, loss, &[images, kernel, square, row]).expect("gradients");
    g.output("y", last);
    for (k, d) in grads.iter().enumerate() {
        g.output(format!("d{k}"), *d);
    }
    (g, last)
}

fn outputs(g: &Graph, session: &mut Session) -> Vec<Vec<f64>> {
    let program = session.load(g).unwrap_or_else(|e| panic!("{e}"));
    for leaf in g.leaves(|l| *l == compute::graph::Leaf::Feed) {
        let values =
            (0..g.ty(leaf).numel()).map(|i| bits(leaf.0, 3, 0, i as u32) as f32 / 16_777_216.0 - 0.5).collect();
        // A leaf that no output needs is unknown to the session.
        let _ = session.write(&g.node(leaf).name, &Tensor::f32(g.shape(leaf), values));
    }
    session.run(program).unwrap_or_else(|e| panic!("{e}"));
    let read = |n: &String| pollster::block_on(session.output_f64(program, n)).unwrap_or_else(|e| panic!("{e}"));
    g.outputs.iter().map(|(n, _)| n).map(read).collect()
}

#[test]
fn random_graphs_agree_on_every_backend_fused_and_unfused() {
    let mut sessions: Vec<(String, Session)> = vec![];
    for (name, backend) in backends::both() {
        for (how, fusion) in [("off", Fusion::off()), ("all", inline_all())] {
            sessions.push((format!("{name}, fusion {how}"), Session::new(backend(), fusion)));
        }
    }
    for seed in 0..24 {
        let (g, _) = random_graph(seed);
        let want = outputs(&g, &mut backends::reference());
        for (name, session) in &mut sessions {
            let got = outputs(&g, session);
            for (k, (a, b)) in got.iter().zip(&want).enumerate() {
                let error = difference(a, b);
                assert!(error < 5e-5, "{name}, graph {seed}: output {k} differs by {error:.1e}");
            }
        }
    }
}
