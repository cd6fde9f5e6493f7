//! Softmax of one row of logits:
//!
//! ```text
//! a = logits + c                                  [1, n]
//! p = softmax(a)                                  [1, n]
//! J[i, j] = dp_i/da_j = p_i (delta_ij - p_j)      [n, n], row by row the vjp of p for dp = e_i
//! naive = exp(a) / sum(exp(a))                    what overflows without the maximum
//! ```
//!
//! Feeds: `logits` `[1, n]`, `c` `[]`.

use compute::autodiff;
use compute::graph::{Graph, TensorType};
use compute::ops::OpResult;
use compute::ops::elementwise::{Binary, Unary};
use compute::tensor::Tensor;

use super::Scene;

pub fn scene(n: usize) -> OpResult<Scene> {
    let mut g = Graph::new();
    let logits = g.feed("logits", TensorType::f32([1, n]));
    let c = g.feed("c", TensorType::f32([]));
    let a = g.binary(Binary::Add, logits, c)?;
    g.rename(a, "a");
    let p = g.softmax(a, 1)?;
    g.rename(p, "p");

    let e = g.unary(Unary::Exp, a)?;
    g.rename(e, "exp(a)");
    let total = g.sum(e, &[1])?;
    let naive = g.div(e, total)?;
    g.rename(naive, "naive");
    let forward = naive;

    let mut rows = vec![];
    for i in 0..n {
        let unit: Vec<f32> = (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
        let dp = g.constant(&format!("e{}", i + 1), Tensor::f32([1, n], unit));
        let [row] = autodiff::vjp(&mut g, p, dp, &[a])?[..] else { continue };
        rows.push(row);
    }
    let jacobian = g.concat(&rows, 0)?;
    g.rename(jacobian, "J");
    let over_rows = g.sum(jacobian, &[0])?;
    g.rename(over_rows, "column sums");
    let over_columns = g.sum(jacobian, &[1])?;
    g.rename(over_columns, "row sums");
    for (name, id) in
        [("p", p), ("naive", naive), ("J", jacobian), ("column sums", over_rows), ("row sums", over_columns)]
    {
        g.output(name, id);
    }
    Ok(Scene { graph: g, forward: Some(forward), ..Scene::default() })
}
