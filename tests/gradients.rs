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
use tests::samples;
use tests::walk::{Walk, evaluate, one};

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

    /// The derivative of `dy . y` when every input moves along its part of `v`.
    fn slope(&self, inputs: &[Vec<f64>], v: &[Vec<f64>], dy: &[f64]) -> f64 {
        let at = |h: f64| {
            let moved: Vec<Vec<f64>> =
                inputs.iter().zip(v).map(|(x, v)| x.iter().zip(v).map(|(x, d)| x + h * d).collect()).collect();
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
    let grads = analytic(sample, &inputs, &dy);
    let compare = |along: &[Vec<f64>], what: &str| {
        let got: f64 = grads.iter().zip(along).map(|((d, _), v)| dot(d, v)).sum();
        let expected = definition.slope(&inputs, along, &dy);
        assert!(
            (got - expected).abs() <= 1e-8 + 1e-6 * expected.abs(),
            "{}: {what}: the vjp gives {got}, differences give {expected}",
            samples::label(sample)
        );
    };
    let still: Vec<Vec<f64>> = inputs.iter().map(|x| vec![0.0; x.len()]).collect();
    let mut moving = vec![];
    for (k, (grad, given)) in grads.iter().enumerate() {
        let (ty, fill) = &sample.inputs[k];
        assert_eq!(grad.len(), inputs[k].len(), "{}: input {k}", samples::label(sample));
        // Chosen values are switches and labels when they have no gradient: a step would flip them.
        let switch = !given && matches!(fill, Fill::Values(_));
        if !ty.dtype.is_float() || switch {
            assert!(grad.iter().all(|d| *d == 0.0), "{}: input {k} is not differentiable", samples::label(sample));
        } else {
            moving.push(k);
        }
    }
    // Large samples move all inputs at once; smaller ones one input, and the smallest one number.
    if work > 1e7 {
        let along: Vec<Vec<f64>> = (0..inputs.len())
            .map(|k| if moving.contains(&k) { noise(100 + k as u32, inputs[k].len()) } else { still[k].clone() })
            .collect();
        return compare(&along, "all inputs");
    }
    for k in moving {
        let n = inputs[k].len();
        let directions: Vec<Vec<f64>> = if n <= COORDINATES && work < 1e5 {
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect()
        } else {
            (0..3).map(|d| noise(100 + d, n)).collect()
        };
        for direction in directions {
            let mut along = still.clone();
            along[k] = direction;
            compare(&along, &format!("input {k}"));
        }
    }
}

#[test]
fn every_vjp_equals_central_differences() {
    let mut checked: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples::all().iter().filter(|s| s.differentiable) {
        check(sample);
        *checked.entry(sample.op.name()).or_default() += 1;
    }
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
    let got = dot(&wrong, &v);
    assert!((got - definition.slope(&inputs, &[v], &dy)).abs() > 1e-3);
}

#[test]
fn compiled_cells_equal_their_definition_walked() {
    for sample in samples::all() {
        let definition = Definition::new(&sample);
        let inputs = samples::inputs(&sample);
        let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        let (types, cell, output) = (&definition.types, &definition.cell, &definition.output);
        let all = evaluate(cell, types, &inputs, output).unwrap_or_else(|e| panic!("{}: {e}", samples::label(&sample)));
        let n = all.len();
        let picks = [0, 1, n / 3, n / 2, n.saturating_sub(1)];
        for flat in picks.into_iter().filter(|i| *i < n).chain((0..5).map(|k| bits(k, 6, 0, 0) as usize % n)) {
            let value =
                one(cell, types, &inputs, output, flat).unwrap_or_else(|e| panic!("{}: {e}", samples::label(&sample)));
            let close = (all[flat] - value).abs() <= 1e-11 * value.abs() + 1e-13;
            assert!(
                close || all[flat] == value,
                "{}: element {flat}: {} and {value}",
                samples::label(&sample),
                all[flat]
            );
        }
    }
}
