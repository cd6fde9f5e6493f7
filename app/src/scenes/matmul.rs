//! Matrix products: a small one with every product of its sums, and square ones to measure.
//!
//! ```text
//! C = A B                              A: [4, 3], B: [3, 5]
//! terms[m, n, k] = A[m, k] B[k, n]     [4, 5, 3]
//! ```
//!
//! Feeds of the small one: `A` and `B`. The square ones hold numbers between -1 and 1 from the start.

use compute::graph::{Graph, TensorType};
use compute::ops::OpResult;
use compute::tensor::Tensor;

use super::Scene;

/// Rows of A, columns of A, columns of B.
pub const SIZES: [usize; 3] = [4, 3, 5];

pub fn cells() -> OpResult<Scene> {
    let [m, k, n] = SIZES;
    let mut g = Graph::new();
    let a = g.feed("A", TensorType::f32([m, k]));
    let b = g.feed("B", TensorType::f32([k, n]));
    let c = g.matmul(a, b)?;
    g.rename(c, "C");
    let rows = g.reshape(a, &[m, 1, k])?;
    g.rename(rows, "rows of A");
    let across = g.permute(b, &[1, 0])?;
    g.rename(across, "columns of B");
    let columns = g.reshape(across, &[1, n, k])?;
    let terms = g.mul(rows, columns)?;
    g.rename(terms, "terms");
    g.output("C", c);
    g.output("terms", terms);
    Ok(Scene { graph: g, forward: Some(terms), ..Scene::default() })
}

pub fn product(n: usize) -> OpResult<Scene> {
    let mut g = Graph::new();
    let a = g.param("A", [n, n]);
    let b = g.param("B", [n, n]);
    let c = g.matmul(a, b)?;
    g.rename(c, "C");
    g.output("C", c);
    let initial = vec![("A".into(), numbers(n, 1)), ("B".into(), numbers(n, 2))];
    Ok(Scene { graph: g, forward: Some(c), initial, ..Scene::default() })
}

/// Numbers between -1 and 1 in no visible order, always the same: a multiplicative generator.
fn numbers(n: usize, seed: u32) -> Tensor {
    let mut state = 747_796_405u32.wrapping_mul(seed);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::f32([n, n], (0..n * n).map(next).collect())
}
