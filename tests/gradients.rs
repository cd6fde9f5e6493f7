//! Every gradient of every op, against central differences of the op's own definition, in f64.
//!
//! For an op `y = f(x, ..)` and a random `dy`, the vjp graph's `dx` must satisfy
//! `dx . v = d/dh (dy . f(x + h v))`: along every coordinate for small inputs, along random
//! directions for large ones. The difference is of fourth order, so its own error stays below 1e-10.

use std::collections::BTreeMap;

use compute::cell::cost::cost;
use compute::cell::rand::bits;
use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::{Fill, Sample};
use compute::tensor::DType;
use tests::samples;
use tests::walk::{Walk, evaluate};

const H: f64 = 1e-4;
/// Inputs up to this size are checked along every coordinate.
const COORDINATES: usize = 24;

fn noise(key: u32, n: usize) -> Vec<f64> {
    (0..n).map(|i| f64::from(bits(key, 5, 0, i as u32)) / 8_388_608.0 - 1.0).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The definition, ready to be evaluated at many points.
struct Definition<'s> {
    sample: &'s Sample,
    types: Vec<&'s TensorType>,
    output: TensorType,
    cell: compute::cell::Cell,
}

impl Definition<'_> {
    fn new(sample: &Sample) -> Definition<'_> {
        let types: Vec<&TensorType> = sample.inputs.iter().map(|(ty, _)| ty).collect();
        let output = sample.op.infer(&types).unwrap_or_else(|e| panic!("{}: {e}", samples::label(sample)));
        let cell = sample.op.cell(&types, &output);
        Definition { sample, types, output, cell }
    }

    fn projected(&self, inputs: &[Vec<f64>], dy: &[f64]) -> f64 {
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let y = evaluate(&self.cell, &self.types, &inputs, &self.output);
        dot(&y.unwrap_or_else(|e| panic!("{}: {e}", samples::label(self.sample))), dy)
    }

    /// The derivative of `dy . y` when input `k` moves along `v`.
    fn slope(&self, inputs: &[Vec<f64>], k: usize, v: &[f64], dy: &[f64]) -> f64 {
        let mut moved = inputs.to_vec();
        let mut at = |h: f64| {
            for ((m, x), d) in moved[k].iter_mut().zip(&inputs[k]).zip(v) {
                *m = x + h * d;
            }
            self.projected(&moved, dy)
        };
        (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H)
    }
}

/// The vjp's gradients by input, and whether the op gave each one at all.
fn analytic(sample: &Sample, inputs: &[Vec<f64>], dy: &[f64]) -> Vec<(Vec<f64>, bool)> {
    let mut g = Graph::new();
    let leaves: Vec<NodeId> =
        sample.inputs.iter().enumerate().map(|(k, (ty, _))| g.feed(&format!("x{k}"), ty.clone())).collect();
    let built = (|| {
        let y = g.add_arc(sample.op.clone(), &leaves)?;
        let dy = g.feed("dy", g.ty(y).clone());
        let given = sample.op.vjp(&mut g, y, dy, &vec![true; leaves.len()])?;
        let grads = compute::autodiff::vjp(&mut g, y, dy, &leaves)?;
        Ok::<_, compute::ops::OpError>((given, grads))
    })();
    let (given, grads) = built.unwrap_or_else(|e| panic!("{}: {e}", samples::label(sample)));
    let mut walk = Walk::new(&g);
    walk.set_named("dy", dy.to_vec());
    for (leaf, values) in leaves.iter().zip(inputs) {
        walk.set(*leaf, values.clone());
    }
    grads.into_iter().zip(given).map(|(d, given)| (walk.get(d), given.is_some())).collect()
}

fn check(sample: &Sample) {
    let definition = Definition::new(sample);
    let inputs = samples::inputs(sample);
    let dy = noise(1, definition.output.numel());
    let work = cost(&definition.cell, inputs.len()).weight() * definition.output.numel() as f64;
    let directions = if work > 1e6 { 1 } else { 3 };
    for (k, (grad, given)) in analytic(sample, &inputs, &dy).into_iter().enumerate() {
        let (ty, fill) = &sample.inputs[k];
        // Chosen values are switches and labels when they have no gradient: a step would flip them.
        let switch = !given && matches!(fill, Fill::Values(_));
        if ty.dtype != DType::F32 || switch {
            assert!(grad.iter().all(|d| *d == 0.0), "{}: input {k} is not differentiable", samples::label(sample));
            continue;
        }
        let n = inputs[k].len();
        assert_eq!(grad.len(), n, "{}: input {k}", samples::label(sample));
        let along: Vec<Vec<f64>> = if n <= COORDINATES && work < 1e5 {
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect()
        } else {
            (0..directions).map(|d| noise(100 + d, n)).collect()
        };
        for v in along {
            let (got, expected) = (dot(&grad, &v), definition.slope(&inputs, k, &v, &dy));
            assert!(
                (got - expected).abs() <= 1e-8 + 1e-6 * expected.abs(),
                "{}: input {k}: the vjp gives {got}, differences give {expected}",
                samples::label(sample)
            );
        }
    }
}

#[test]
fn every_vjp_equals_central_differences() {
    let mut checked: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples::all().iter().filter(|s| s.differentiable) {
        let start = std::time::Instant::now();
        check(sample);
        let took = start.elapsed();
        if took.as_millis() > 500 {
            println!("{took:?} {}", samples::label(sample));
        }
        *checked.entry(sample.op.name()).or_default() += 1;
    }
    println!("{checked:?}");
    assert!(checked.len() > 50, "only {} ops were checked", checked.len());
}

#[test]
fn a_wrong_gradient_is_noticed() {
    // relu's definition with tanh's gradient would pass a test that cannot fail.
    use compute::ops::elementwise::Unary;
    let sample = Sample::new(
        Unary::Tanh,
        vec![(TensorType::f32([5]), Fill::Uniform(-2.0, 2.0))],
        compute::ops::Tolerance::Transcendental,
    );
    let definition = Definition::new(&sample);
    let inputs = samples::inputs(&sample);
    let dy = noise(1, 5);
    let v = noise(2, 5);
    let wrong: Vec<f64> = inputs[0].iter().zip(&dy).map(|(x, d)| if *x > 0.0 { *d } else { 0.0 }).collect();
    assert!((dot(&wrong, &v) - definition.slope(&inputs, 0, &v, &dy)).abs() > 1e-3);
}
