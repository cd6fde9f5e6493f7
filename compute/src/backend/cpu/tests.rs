//! The fast kernels against the f64 reference: every sample of products and convolutions, and
//! whole nets with everything inlined, with the default plan and with nothing fused.

use super::Cpu;
use crate::backend::reference::Reference;
use crate::graph::{Graph, Leaf, NodeId, TensorType};
use crate::ops::conv2d::Geometry;
use crate::ops::elementwise::Unary;
use crate::ops::{PAGES, Tolerance};
use crate::rewrite::Fusion;
use crate::session::Session;
use crate::tensor::{DType, Tensor};

/// Runs a graph with reproducible feeds and parameters and reads its outputs.
fn run(g: &Graph, session: &mut Session) -> Vec<Vec<f64>> {
    let program = session.load(g).unwrap_or_else(|e| panic!("{e}"));
    for leaf in g.leaves(|l| !matches!(l, Leaf::Constant(_))) {
        let random = |i: usize| crate::cell::rand::bits(leaf.0, 5, 0, i as u32) as f32 / 16_777_216.0 - 0.5;
        let values: Vec<f32> = (0..g.ty(leaf).numel()).map(random).collect();
        let value = match g.ty(leaf).dtype {
            DType::F16 => Tensor::f16(g.shape(leaf), &values),
            _ => Tensor::f32(g.shape(leaf), values),
        };
        session.write(&g.node(leaf).name, &value).unwrap_or_else(|e| panic!("{e}"));
    }
    session.run(program).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<String> = g.outputs.iter().map(|(n, _)| n.clone()).collect();
    names.iter().map(|n| ready(session.output_f64(program, n))).collect()
}

/// The result of a future that is ready at once, as all futures of these backends are.
fn ready<T, E: std::fmt::Display>(future: impl Future<Output = Result<T, E>>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(value)) => value,
        std::task::Poll::Ready(Err(e)) => panic!("{e}"),
        std::task::Poll::Pending => panic!("a backend in memory never waits"),
    }
}

/// `max |a - b| / max |b|`
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()), "a number is not finite");
    let scale = b.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / scale
}

fn reference() -> Session {
    Session::new(Box::new(Reference::new()), Fusion::off())
}

#[test]
fn products_and_convolutions_agree_with_the_reference() {
    let mut wrong = vec![];
    for page in PAGES.iter().filter(|p| ["matmul", "conv2d"].contains(&p.name)) {
        for (k, sample) in (page.samples)().into_iter().enumerate() {
            let mut g = Graph::new();
            let inputs: Vec<NodeId> =
                sample.inputs.iter().enumerate().map(|(i, (t, _))| g.feed(&format!("x{i}"), t.clone())).collect();
            let y = g.add_arc(sample.op.clone(), &inputs).expect("a valid sample");
            g.output("y", y);
            let want = run(&g, &mut reference());
            let got = run(&g, &mut Session::new(Box::new(Cpu::new()), Fusion::off()));
            let terms = if let Tolerance::Reduction(n) = sample.tolerance { n as f64 } else { 1.0 };
            let error = difference(&got[0], &want[0]);
            if error > 1e-6 * terms.sqrt().max(4.0) {
                wrong.push(format!("{} sample {k} {:?}: {error:.1e}", page.name, sample.op));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A net with a loss, and the gradients of all its parameters as outputs.
fn net(batch: usize, convs: &[(usize, usize, Geometry, Unary)], side: [usize; 2]) -> Graph {
    let mut g = Graph::new();
    let mut x = g.feed("x", TensorType::f32([batch, 4, side[0], side[1]]));
    for (k, &(out, kernel, geometry, act)) in convs.iter().enumerate() {
        let channels = g.shape(x)[1] / geometry.groups;
        let w = g.param(&format!("w{k}"), [out, channels, kernel, kernel]);
        let b = g.param(&format!("b{k}"), [out]);
        x = g.conv2d(x, w, Some(b), geometry).expect("fits");
        x = g.unary(act, x).expect("fits");
    }
    let x = g.flatten(x).expect("fits");
    let k = g.shape(x)[1];
    let (w, b) = (g.param("w", [10, k]), g.param("b", [10]));
    let y = g.linear(x, w, Some(b)).expect("fits");
    let y = g.affine(y, 0.05, 0.0).expect("fits");
    let y = g.unary(Unary::Tanh, y).expect("fits");
    let loss = g.sum_all(y).expect("fits");
    let params = g.params();
    let grads = crate::autodiff::grad(&mut g, loss, &params).expect("differentiable");
    g.output("y", y);
    for (p, d) in params.iter().zip(grads) {
        g.output(format!("d {}", p.0), d);
    }
    g
}

#[test]
fn nets_with_inlined_convolutions_agree_with_the_reference() {
    let g = Geometry::default();
    let pad = |p: usize| Geometry { padding: [p, p], ..g };
    let two = Geometry { padding: [2, 2], stride: [2, 2], ..g };
    let nets: [(usize, Vec<(usize, usize, Geometry, Unary)>, [usize; 2]); 6] = [
        (3, vec![(16, 3, pad(1), Unary::Relu)], [40, 36]),
        (2, vec![(8, 5, two, Unary::Tanh)], [33, 30]),
        (1, vec![(6, 3, pad(1), Unary::Relu)], [21, 50]),
        (3, vec![(5, 3, pad(1), Unary::Relu), (7, 3, g, Unary::Sigmoid)], [20, 23]),
        (2, vec![(6, 3, Geometry { groups: 2, dilation: [2, 1], ..pad(2) }, Unary::Gelu)], [17, 19]),
        (9, vec![], [30, 31]),
    ];
    let all = Fusion { max_buffer_bytes: 1 << 12, max_terms: 1e5, ..Fusion::default() };
    let mut inlined = 0;
    for (batch, convs, side) in nets {
        let g = net(batch, &convs, side);
        let want = run(&g, &mut reference());
        for (how, fusion) in [("all", all.clone()), ("default", Fusion::default()), ("off", Fusion::off())] {
            let mut session = Session::new(Box::new(Cpu::new()), fusion);
            let plan = session.plan(&g).expect("a plan");
            inlined += plan.kernels.iter().map(|k| k.inlined.len()).sum::<usize>();
            let got = run(&g, &mut session);
            for ((name, _), (a, b)) in g.outputs.iter().zip(got.iter().zip(&want)) {
                let error = difference(a, b);
                assert!(error < 2e-5, "{convs:?}, fusion {how}: {name} differs by {error:.1e}");
            }
            let again = run(&g, &mut session);
            assert_eq!(got, again, "{convs:?}, fusion {how}: the same bits every time");
        }
    }
    assert!(inlined > 20, "{inlined} nodes inlined");
}

/// Sizes from which other forms are chosen: many weights, large results, many rows to sum.
#[test]
fn large_forms_agree_with_the_reference() {
    let mut g = Graph::new();
    for (k, (m, depth, n)) in [(513, 80, 700), (300, 40, 290)].into_iter().enumerate() {
        let a = g.feed(&format!("left{k}"), TensorType::f32([m, depth]));
        let b = g.feed(&format!("right{k}"), TensorType::f32([depth, n]));
        let y = g.matmul(a, b).expect("fits");
        g.output(format!("product {m} {depth} {n}"), y);
        let sums = g.sum(a, &[0]).expect("fits");
        g.output(format!("column sums {m} {depth}"), sums);
    }
    let pad = Geometry { padding: [1, 1], ..Geometry::default() };
    for (k, (geometry, x, w)) in [
        (pad, [5, 40, 23, 19], [48, 40, 3, 3]),
        (Geometry { groups: 2, stride: [2, 1], ..pad }, [3, 64, 16, 40], [72, 32, 3, 3]),
        // More weights than one task forms.
        (pad, [4, 130, 5, 6], [129, 130, 3, 3]),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(w.iter().product::<usize>() >= super::conv_deep::MANY);
        let x = g.feed(&format!("x{k}"), TensorType::f32(x));
        let (w, b) = (g.param(&format!("w{k}"), w), g.param(&format!("b{k}"), [w[0]]));
        let y = g.conv2d(x, w, Some(b), geometry).expect("fits");
        let y = g.affine(y, 0.05, 0.0).expect("fits");
        let y = g.unary(Unary::Tanh, y).expect("fits");
        let loss = g.sum_all(y).expect("fits");
        for (name, d) in ["w", "b"].iter().zip(crate::autodiff::grad(&mut g, loss, &[w, b]).expect("differentiable")) {
            g.output(format!("d {name}{k}"), d);
        }
    }
    let want = run(&g, &mut reference());
    for fusion in [Fusion::default(), Fusion::off()] {
        let got = run(&g, &mut Session::new(Box::new(Cpu::new()), fusion));
        for ((name, _), (a, b)) in g.outputs.iter().zip(got.iter().zip(&want)) {
            let error = difference(a, b);
            assert!(error < 1e-5, "{name} differs by {error:.1e}");
        }
    }
}
