//! One neuron, its curve and its tangent; and a row of equal neurons.
//!
//! ```text
//! z = w x + b,  a = f(z)                      all scalars
//! curve[i] = f(w grid[i] + b)                 [POINTS], slope[i] = d curve[i] / d grid[i]
//! tangent[i] = a + da/dx (ends[i] - x)        [2]
//!
//! chain: a_0 = x, a_k = f(w a_(k-1) + b), k = 1..n
//! products[k] = da_n/da_k, factors[k] = da_(k+1)/da_k = w f'(z_(k+1))      [n]
//! ```
//!
//! Feeds: `x`, `w`, `b`, all `[]`.

use compute::autodiff;
use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::OpResult;
use compute::ops::elementwise::{Binary, Unary};
use compute::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::Scene;
use crate::widgets::format::subscript;

/// The function of a neuron.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    Relu,
    Sigmoid,
    Tanh,
    Gelu,
}

impl Activation {
    fn op(self) -> Unary {
        match self {
            Activation::Relu => Unary::Relu,
            Activation::Sigmoid => Unary::Sigmoid,
            Activation::Tanh => Unary::Tanh,
            Activation::Gelu => Unary::Gelu,
        }
    }
}

/// The inputs for which the curve is drawn: -REACH to REACH.
pub const REACH: f32 = 6.0;
const POINTS: usize = 241;

/// `a_3` with a real subscript.
pub fn layer(k: usize) -> String {
    if k == 0 { "x".into() } else { format!("a{}", subscript(k)) }
}

/// The gradient node of the row's output by the output of neuron `k`.
pub fn product(n: usize, k: usize) -> String {
    format!("∂{}/∂{}", layer(n), layer(k))
}

/// The factor that neuron `k` adds.
pub fn factor(k: usize) -> String {
    format!("∂{}/∂{}", layer(k), layer(k - 1))
}

fn feeds(g: &mut Graph) -> [NodeId; 3] {
    ["x", "w", "b"].map(|name| g.feed(name, TensorType::f32([])))
}

/// `w x + b`, named after its part in the scene.
fn weighted(g: &mut Graph, w: NodeId, x: NodeId, b: NodeId, name: &str) -> OpResult<NodeId> {
    let product = g.mul(w, x)?;
    g.rename(product, format!("w·{}", g.node(x).name));
    let z = g.binary(Binary::Add, product, b)?;
    g.rename(z, name);
    Ok(z)
}

pub fn neuron(f: Activation) -> OpResult<Scene> {
    let mut g = Graph::new();
    let [x, w, b] = feeds(&mut g);
    let z = weighted(&mut g, w, x, b, "z")?;
    let a = g.unary(f.op(), z)?;
    g.rename(a, "a");

    let step = 2.0 * REACH / (POINTS - 1) as f32;
    let inputs = (0..POINTS).map(|k| step * k as f32 - REACH).collect();
    let grid = g.constant("grid", Tensor::f32([POINTS], inputs));
    let z_grid = weighted(&mut g, w, grid, b, "z of the curve")?;
    let curve = g.unary(f.op(), z_grid)?;
    g.rename(curve, "curve");
    let forward = curve;

    let d = autodiff::grad(&mut g, a, &[x, w, z])?;
    for (id, name) in d.iter().zip(["∂a/∂x", "∂a/∂w", "f′(z)"]) {
        g.rename(*id, name);
        g.output(name, *id);
    }
    let one = g.full(1.0)?;
    let ones = g.broadcast_to(one, &[POINTS])?;
    let slopes = autodiff::vjp(&mut g, curve, ones, &[grid])?;
    for s in slopes {
        g.rename(s, "slope");
        g.output("slope", s);
    }
    let ends = g.constant("ends", Tensor::f32([2], vec![-REACH, REACH]));
    let away = g.binary(Binary::Sub, ends, x)?;
    let rise = g.mul(d[0], away)?;
    let tangent = g.binary(Binary::Add, a, rise)?;
    g.rename(tangent, "tangent");
    for (name, id) in [("z", z), ("a", a), ("grid", grid), ("curve", curve), ("ends", ends), ("tangent", tangent)] {
        g.output(name, id);
    }
    let gradients = vec![(x, d[0]), (w, d[1]), (z, d[2])];
    Ok(Scene { graph: g, forward: Some(forward), loss: Some(a), gradients, ..Scene::default() })
}

pub fn chain(f: Activation, n: usize) -> OpResult<Scene> {
    let mut g = Graph::new();
    let [x, w, b] = feeds(&mut g);
    let (mut outputs, mut sums) = (vec![x], vec![]);
    for k in 1..=n {
        let z = weighted(&mut g, w, outputs[k - 1], b, &format!("z{}", subscript(k)))?;
        let a = g.unary(f.op(), z)?;
        g.rename(a, layer(k));
        outputs.push(a);
        sums.push(z);
    }
    let last = outputs[n];
    let before = &outputs[..n];
    let values = collect(&mut g, &outputs[1..], "values")?;

    let both: Vec<NodeId> = before.iter().chain(&sums).copied().collect();
    let all = autodiff::grad(&mut g, last, &both)?;
    let (products, of_sums) = all.split_at(n);
    for (k, (by_output, by_sum)) in products.iter().zip(of_sums).enumerate() {
        g.rename(*by_output, product(n, k));
        g.rename(*by_sum, format!("∂{}/∂z{}", layer(n), subscript(k + 1)));
    }
    let mut factors = vec![];
    for k in 1..n {
        let one = g.full(1.0)?;
        let d = autodiff::vjp(&mut g, outputs[k], one, &[outputs[k - 1]])?;
        factors.extend(d.iter().copied());
        d.into_iter().for_each(|id| g.rename(id, factor(k)));
    }
    // The last neuron's factor is the first product.
    factors.push(products[n - 1]);
    let gradients = both.iter().copied().zip(all.iter().copied()).collect();
    collect(&mut g, products, "products")?;
    collect(&mut g, &factors, "factors")?;
    Ok(Scene { graph: g, forward: Some(values), loss: Some(last), gradients, ..Scene::default() })
}

/// Scalars side by side in one output.
fn collect(g: &mut Graph, scalars: &[NodeId], name: &str) -> OpResult<NodeId> {
    let rows = scalars.iter().map(|s| g.reshape(*s, &[1])).collect::<OpResult<Vec<_>>>()?;
    let all = g.concat(&rows, 0)?;
    g.rename(all, name);
    g.output(name, all);
    Ok(all)
}
