//! The truth of the one definition: explanations walked down to the leaves give the device's
//! numbers, and a corrupted definition shows in explanation, reference and shader alike.

use std::sync::Arc;

use compute::autodiff::grad;
use compute::cell::Cell;
use compute::cell::print::{MathMl, Names, Text, equation};
use compute::cell::rand::bits;
use compute::cell::wgsl::{self, Read};
use compute::difference::central_difference;
use compute::explain::{explain, flat};
use compute::graph::{Graph, Kind, NodeId, TensorType};
use compute::ops::elementwise::Unary;
use compute::ops::{Lowering, Op, OpResult};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::{DType, Tensor, unravel};
use tests::backends;
use tests::networks::{self, Step};
use tests::walk::Walk;

/// A network with every kind of layer, each small. No bias before batch normalisation, which takes it out again:
/// its gradient would be rounding alone, and Adam would divide that by its own size.
const LAYERS: &str = "[\"conv 4 kernel 3 padding 1 no-bias\", \"batch-norm\", \"relu\", \"max-pool 2\", \
     \"conv 6 kernel 3 stride 2 padding 1 groups 2\", \"gelu\", \"avg-pool 2\", \"dropout 0.3\", \"flatten\", \"linear 7\", \"tanh\", \"linear 5\"]";

fn step() -> Step {
    let recipe = networks::recipe(LAYERS, 3, "[augment]\ncrop_padding = 1\nflip = true\n");
    Step::new(&recipe, &networks::images(3, 12, 5), 3)
}

/// Every op node that the step needs, forward, backward and optimiser.
fn asked(g: &Graph) -> Vec<NodeId> {
    let live = g.live();
    g.ids().filter(|id| live[id.index()] && g.node(*id).op().is_some()).collect()
}

#[test]
fn a_hundred_numbers_explained_down_to_the_leaves_equal_the_devices() {
    let step = step();
    let g = &step.network.graph;
    let nodes = asked(g);
    // The same definitions, each element recomputed from the leaves in f64.
    let mut walk = Walk::new(g);
    for (name, value) in &step.leaves {
        if g.find(name).is_some() {
            walk.set_named(name, value.to_f64());
        }
    }
    for leaf in g.leaves(|l| *l == compute::graph::Leaf::State) {
        let name = g.node(leaf).name.clone();
        if step.leaves.iter().all(|(n, _)| *n != name) {
            walk.set_named(&name, vec![0.0; g.ty(leaf).numel()]);
        }
    }
    for (name, backend) in backends::both() {
        let mut session = Session::new(backend(), Fusion::default());
        let mut picks = vec![];
        for k in 0..100u32 {
            let node = nodes[bits(31, 0, 0, k) as usize % nodes.len()];
            picks.push((node, bits(32, 0, 0, k) as usize % g.ty(node).numel()));
        }
        let mut ops = std::collections::BTreeSet::new();
        for chunk in picks.chunks(20) {
            let ids: Vec<NodeId> = chunk.iter().map(|p| p.0).collect();
            let mut inspected = g.clone();
            inspected.updates.clear();
            inspected.outputs = ids.iter().map(|n| (n.0.to_string(), *n)).collect();
            // Leaves exist from the first load on.
            session.load(&inspected).unwrap_or_else(|e| panic!("{e}"));
            step.write(&mut session);
            let values = pollster::block_on(session.inspect(g, &ids)).unwrap_or_else(|e| panic!("{e}"));
            for (&(node, at), device) in chunk.iter().zip(&values) {
                let index = unravel(at, g.shape(node));
                let mut read = |n: NodeId, ix: &[usize]| Ok(walk.get(n)[flat(ix, g.shape(n))]);
                let d = explain(g, node, &index, usize::MAX, &mut read)
                    .unwrap_or_else(|e| panic!("{}: {e}", g.node(node).name));
                let op = g.node(node).op().expect("an op").name();
                ops.insert(op);
                let scale = device.iter().fold(1e-6f64, |m, x| m.max(x.abs()));
                // Where terms cancel, f32 is exact to their sizes, not to the size of their sum.
                let sizes: f64 = d.terms.iter().map(|t| t.value.abs()).sum();
                let error = (d.value - device[at]).abs();
                assert!(
                    error < 2e-4 * scale + 1e-5 * sizes,
                    "{name}: {op} {} {index:?}: explained {}, device {}",
                    g.node(node).name,
                    d.value,
                    device[at]
                );
                if d.reduction == Some(compute::cell::Red::Sum) && d.frame == "Σ" {
                    let total: f64 = d.terms.iter().map(|t| t.value).sum();
                    assert!(
                        (total - d.value).abs() <= 1e-9 * total.abs().max(1.0),
                        "{op}: terms {total}, value {}",
                        d.value
                    );
                }
                assert!(!d.formula.is_empty() && (d.terms.is_empty() || !d.terms[0].text.is_empty()));
                for r in &d.reads {
                    assert!(g.node(node).inputs.contains(&r.node), "{op} reads what is not its input");
                }
            }
        }
        assert!(ops.len() > 25, "only {ops:?}");
    }
}

#[test]
fn every_op_prints_as_text_and_mathml() {
    for sample in tests::samples::all() {
        let types: Vec<&TensorType> = sample.inputs.iter().map(|(t, _)| t).collect();
        let out = sample.op.infer(&types).expect("a sample is right");
        let cell = sample.op.cell(&types, &out);
        let names = Names::new(&sample.op.operands(), &sample.op.axes(), out.shape.len());
        let text = equation(&Text, "y", &cell, &names, out.shape.len());
        let math = equation(&MathMl, "y", &cell, &names, out.shape.len());
        assert!(text.starts_with('y') && text.contains('='), "{text}");
        let (open, close) = (math.matches("<m").count(), math.matches("</m").count());
        assert_eq!(open, close, "{math}");
    }
}

#[test]
fn formulas_read_as_a_person_would_write_them() {
    let check = |op: &dyn Op, types: &[TensorType], expect: &str| {
        let refs: Vec<&TensorType> = types.iter().collect();
        let out = op.infer(&refs).expect("types fit");
        let names = Names::new(&op.operands(), &op.axes(), out.shape.len());
        assert_eq!(equation(&Text, "y", &op.cell(&refs, &out), &names, out.shape.len()), expect);
    };
    let f32 = |s: &[usize]| TensorType::f32(s);
    check(
        &compute::ops::matmul::Matmul::default(),
        &[f32(&[2, 3]), f32(&[3, 4])],
        "y[m, n] = Σ(k=0..2) a[m, k]·b[k, n]",
    );
    let relu = compute::ops::elementwise::Unary::Relu;
    check(&relu, &[f32(&[5])], "y[n] = max(x[n], 0)");
    let conv = compute::ops::conv2d::Conv2d { geometry: Default::default(), bias: true };
    check(
        &conv,
        &[f32(&[1, 3, 5, 5]), f32(&[2, 3, 3, 3]), f32(&[2])],
        "y[b, o, h, w] = bias[o] + Σ(c=0..2) Σ(i=0..2) Σ(j=0..2) x[b, ⌊o/2⌋·3 + c, h + i, w + j]·w[o, c, i, j]",
    );
}

/// An op with something added to its definition, and nothing else changed.
#[derive(Debug)]
struct Corrupted(Arc<dyn Op>);

impl Op for Corrupted {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn operands(&self) -> Vec<&'static str> {
        self.0.operands()
    }

    fn axes(&self) -> Vec<&'static str> {
        self.0.axes()
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        self.0.infer(inputs)
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        self.0.cell(inputs, output) + 0.5
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        self.0.vjp(g, node, dy, wanted)
    }

    fn lowering(&self) -> Lowering {
        // The generated kernel: a hand-written one does not come from the definition.
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        self.0.stored_operands()
    }
}

#[test]
fn a_corrupted_definition_shows_everywhere() {
    let op: Arc<dyn Op> = Arc::new(compute::ops::matmul::Matmul::default());
    let mut answers = vec![];
    for op in [op.clone(), Arc::new(Corrupted(op)) as Arc<dyn Op>] {
        let mut g = Graph::new();
        let (a, b) = (g.feed("a", TensorType::f32([2, 3])), g.feed("b", TensorType::f32([3, 2])));
        let y = g.add_arc(op, &[a, b]).expect("shapes fit");
        g.output("y", y);
        let values = [1.0f32, -2.0, 0.5, 4.0, 0.25, 3.0];
        let run = |mut session: Session| {
            let program = session.load(&g).unwrap_or_else(|e| panic!("{e}"));
            session.write("a", &Tensor::f32([2, 3], values.to_vec())).expect("a leaf");
            session.write("b", &Tensor::f32([3, 2], values.to_vec())).expect("a leaf");
            session.run(program).unwrap_or_else(|e| panic!("{e}"));
            pollster::block_on(session.output_f64(program, "y")).unwrap_or_else(|e| panic!("{e}"))
        };
        let reference = run(backends::reference());
        let gpu = run(Session::new(backends::gpu(), Fusion::default()));
        let cpu = run(Session::new(backends::cpu(), Fusion::default()));
        let mut read = |n: NodeId, ix: &[usize]| Ok(f64::from(values[flat(ix, g.shape(n))]));
        let told = explain(&g, y, &[1, 0], usize::MAX, &mut read).expect("an explanation");
        let Kind::Op(op) = &g.node(y).kind else { panic!("an op") };
        let cell = op.cell(&[g.ty(a), g.ty(b)], g.ty(y));
        let reads = [Read::buffer("a", DType::F32, g.shape(a)), Read::buffer("b", DType::F32, g.shape(b))];
        let shader = wgsl::function("y", &cell, g.shape(y), &reads).expect("a printable cell");
        answers.push((reference, gpu, cpu, told.value, told.formula, shader));
    }
    let (good, bad) = (&answers[0], &answers[1]);
    for k in 0..4 {
        assert!((bad.0[k] - good.0[k] - 0.5).abs() < 1e-12, "reference");
        assert!((bad.1[k] - good.1[k] - 0.5).abs() < 1e-5, "gpu");
        assert!((bad.2[k] - good.2[k] - 0.5).abs() < 1e-5, "cpu");
    }
    assert!((bad.3 - good.3 - 0.5).abs() < 1e-12, "explanation");
    assert!(bad.4 != good.4 && bad.4.contains("0.5"), "formula: {}", bad.4);
    assert!(bad.5 != good.5, "shader");
}

/// A long sum shows its largest terms and the total of the rest; a gradient equals its central
/// difference, of a leaf and of a value between.
#[test]
fn long_sums_fold_and_gradients_have_a_numerical_check() {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([3, 50]));
    let w = g.param("w", [50, 2]);
    let y = g.matmul(x, w).expect("matmul");
    let h = g.unary(Unary::Tanh, y).expect("tanh");
    let loss = g.sum_all(h).expect("sum");
    let grads = grad(&mut g, loss, &[w, y]).expect("gradients");
    for (k, d) in grads.iter().enumerate() {
        g.output(format!("d{k}"), *d);
    }
    let leaves: Vec<(String, Tensor)> = [("x", vec![3, 50]), ("w", vec![50, 2])]
        .into_iter()
        .enumerate()
        .map(|(k, (name, shape))| {
            let n: usize = shape.iter().product();
            let values = (0..n).map(|i| bits(3, k as u32, 1, i as u32) as f32 / 16_777_216.0 - 0.5).collect();
            (name.to_string(), Tensor::f32(shape, values))
        })
        .collect();

    let mut read = |n: NodeId, ix: &[usize]| {
        let (_, t) = leaves.iter().find(|(name, _)| *name == g.node(n).name).expect("a leaf");
        Ok(t.at(flat(ix, t.shape())))
    };
    let all = explain(&g, y, &[1, 1], usize::MAX, &mut read).expect("an explanation");
    let few = explain(&g, y, &[1, 1], 8, &mut read).expect("an explanation");
    assert_eq!((all.terms.len(), all.folded), (50, None));
    assert_eq!((few.terms.as_slice(), few.value, few.reads.len()), (&all.terms[..8], all.value, 100));
    let folded = few.folded.expect("a rest");
    let shown: f64 = few.terms.iter().map(|t| t.value).sum();
    assert_eq!(folded.count, 42);
    assert!((shown + folded.value - all.value).abs() < 1e-12);
    assert!(all.mathml.starts_with("<math") && all.mathml.contains("∑"));

    let mut session = backends::reference();
    let program = session.load(&g).expect("loads");
    for (name, value) in &leaves {
        session.write(name, value).expect("a leaf");
    }
    session.run(program).expect("runs");
    for (k, (node, at)) in [(w, 37), (y, 4)].into_iter().enumerate() {
        let analytic = pollster::block_on(session.output_f64(program, &format!("d{k}"))).expect("a gradient")[at];
        let index = unravel(at, g.shape(node));
        let mut fresh = backends::reference();
        let check = central_difference(&mut fresh, &g, loss, node, &index, 1e-5, &leaves);
        let numeric = pollster::block_on(check).expect("a difference").slope;
        assert!((analytic - numeric).abs() < 1e-8, "{analytic} and {numeric}");
        assert!(analytic.abs() > 1e-3);
    }
}
