//! A whole net on one sample, with every node of its backward pass:
//!
//! ```text
//! z = x w1' + b1     h = relu(z)     a = h w2' + b2     L = -sum(c) y[c] log_p[c]
//! ```
//!
//! Feeds: `x` `[1, 2]` and `y` `[1, 2]`, the label as a row of 0 and 1. The weights have values from
//! the start, chosen so that one of the three hidden units is off.

use compute::autodiff;
use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::OpResult;
use compute::ops::elementwise::Unary;
use compute::ops::shape::Full;
use compute::tensor::Tensor;

use super::Scene;

/// Inputs, hidden units, classes.
const SIZES: [usize; 3] = [2, 3, 2];
const W1: [f32; 6] = [1.0, 0.5, -0.5, 0.6, 0.5, -0.4];
const B1: [f32; 3] = [0.0, -0.3, 0.1];
const W2: [f32; 6] = [1.0, -0.5, 0.5, -0.5, 1.0, 0.25];
const B2: [f32; 2] = [0.0, 0.1];

pub fn scene() -> OpResult<Scene> {
    let [inputs, hidden, classes] = SIZES;
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([1, inputs]));
    let w1 = g.param("w1", [hidden, inputs]);
    let b1 = g.param("b1", [hidden]);
    let z = g.linear(x, w1, Some(b1))?;
    let h = g.unary(Unary::Relu, z)?;
    let w2 = g.param("w2", [classes, hidden]);
    let b2 = g.param("b2", [classes]);
    let a = g.linear(h, w2, Some(b2))?;
    let log_p = g.log_softmax(a, 1)?;
    let y = g.feed("y", TensorType::f32([1, classes]));
    let terms = g.mul(y, log_p)?;
    let total = g.sum(terms, &[1])?;
    let loss = g.neg(total)?;
    let forward = [(z, "z"), (h, "h"), (a, "a"), (log_p, "log p"), (terms, "y log p"), (total, "Σ"), (loss, "L")];
    for (id, name) in forward {
        g.rename(id, name);
    }

    let seed = g.add(Full { value: 1.0, shape: vec![1, 1] }, &[])?;
    let mut wrt = vec![w1, b1, w2, b2];
    wrt.extend(forward[..6].iter().map(|f| f.0));
    let grads = autodiff::vjp(&mut g, loss, seed, &wrt)?;
    name_helpers(&mut g, loss, log_p);
    for (k, id) in grads.iter().enumerate().take(4) {
        let name = g.node(wrt[k]).name.clone();
        g.output(format!("d {name}"), *id);
    }
    g.output("L", loss);
    let mut gradients: Vec<(NodeId, NodeId)> = wrt.into_iter().zip(grads).collect();
    gradients.push((loss, seed));
    let initial = vec![
        ("w1".into(), Tensor::f32([hidden, inputs], W1.to_vec())),
        ("b1".into(), Tensor::f32([hidden], B1.to_vec())),
        ("w2".into(), Tensor::f32([classes, hidden], W2.to_vec())),
        ("b2".into(), Tensor::f32([classes], B2.to_vec())),
    ];
    Ok(Scene { graph: g, forward: Some(loss), loss: Some(loss), gradients, initial })
}

/// Names what the rules add between two gradients: `p = exp(log p)`, sums, shares, the corner of ReLU.
fn name_helpers(g: &mut Graph, loss: NodeId, log_p: NodeId) {
    for id in g.ids().skip(loss.index() + 1) {
        let node = g.node(id);
        let Some(op) = node.op() else { continue };
        if node.name != op.name() {
            continue;
        }
        let of = |k: usize| node.inputs.get(k).map_or(String::new(), |i| g.node(*i).name.clone());
        let name = match (op.name(), node.inputs.len()) {
            ("full", _) => "0".into(),
            ("greater", _) => format!("{} > {}", of(0), of(1)),
            ("exp", _) if node.inputs == [log_p] => "p".into(),
            ("sum", _) => format!("Σ {}", of(0)),
            ("mul", _) => format!("{} · {}", of(0), of(1)),
            (_, 2) => format!("{} of {}, {}", op.name(), of(0), of(1)),
            _ => continue,
        };
        g.rename(id, name);
    }
}
