//! Eight flats, a linear model of their rent, and the shape of its loss under three scalings of
//! the inputs: none, min-max, z-score. All three are computed side by side, along axis 0.
//!
//! ```text
//! inputs = x | (x - min) / (max - min) | (x - mean) / std                     [3, N, 2]
//! H = 2/N inputsᵀ inputs, c = 2/N inputsᵀ y     gradient of the loss: H w - c  [3, 2, 2], [3, 2, 1]
//! λ = (h11 + h22)/2 ± sqrt(((h11 - h22)/2)² + h12²), the smaller one as det / λmax: no digits lost
//! w* = H⁻¹ c, loss on a square grid around it, levels for contours, and
//! path: w(0) = 0, w(t+1) = w(t) - rate (H w(t) - c) = w(t) (I - rate H) + rate c  [3, STEPS + 1, 2]
//! ```
//!
//! Feeds: `x` `[N, 2]` (area, distance), `rate` `[]`.

use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::OpResult;
use compute::ops::elementwise::{Binary, Unary};
use compute::ops::reduce::{Reduce, Reduction};
use compute::tensor::Tensor;

use super::Scene;

/// Rows.
pub const N: usize = 8;
/// Rent per month of each flat.
const RENT: [f32; N] = [590.0, 840.0, 610.0, 1000.0, 790.0, 980.0, 1170.0, 985.0];
/// Steps of gradient descent on show.
pub const STEPS: usize = 40;
/// Points of the grid along each weight.
pub const GRID: usize = 49;
/// Contour lines.
pub const LEVELS: usize = 10;

/// A graph with shorthands.
struct Build(Graph);

impl Build {
    fn named(&mut self, id: NodeId, name: &str) -> NodeId {
        self.0.rename(id, name);
        id
    }

    fn sub(&mut self, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.0.binary(Binary::Sub, a, b)
    }

    fn plus(&mut self, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.0.binary(Binary::Add, a, b)
    }

    fn shown(&mut self, id: NodeId, name: &str) -> NodeId {
        self.0.rename(id, name);
        self.0.output(name, id);
        id
    }

    /// An entry of each of the three matrices, `[3, 1, 1]`.
    fn entry(&mut self, m: NodeId, i: usize, j: usize, name: &str) -> OpResult<NodeId> {
        let row = self.0.slice(m, 1, i, i + 1)?;
        let id = self.0.slice(row, 2, j, j + 1)?;
        Ok(self.named(id, name))
    }

    /// `a b - c d`
    fn cross(&mut self, [a, b, c, d]: [NodeId; 4]) -> OpResult<NodeId> {
        let (left, right) = (self.0.mul(a, b)?, self.0.mul(c, d)?);
        self.sub(left, right)
    }

    /// The mean squared error of weights `[3, n, 2]`: `[3, n, 1]`.
    fn loss(&mut self, weights: NodeId, transposed: NodeId, y: NodeId) -> OpResult<NodeId> {
        let predicted = self.0.matmul(weights, transposed)?;
        let row = self.0.reshape(y, &[1, 1, N])?;
        let error = self.sub(predicted, row)?;
        let squares = self.0.mul(error, error)?;
        self.0.mean(squares, &[2])
    }
}

pub fn scene() -> OpResult<Scene> {
    let mut b = Build(Graph::new());
    let x = b.0.feed("x", TensorType::f32([N, 2]));
    let rate = b.0.feed("rate", TensorType::f32([]));
    let y = b.0.constant("rent", Tensor::f32([N, 1], RENT.to_vec()));
    b.0.output("x", x);
    b.0.output("rent", y);

    let inputs = inputs(&mut b, x)?;
    let transposed = b.0.permute(inputs, &[0, 2, 1])?;
    b.named(transposed, "inputsᵀ");
    let products = b.0.matmul(transposed, inputs)?;
    let h = b.0.affine(products, 2.0 / N as f64, 0.0)?;
    b.shown(h, "H");
    let moments = b.0.matmul(transposed, y)?;
    let c = b.0.affine(moments, 2.0 / N as f64, 0.0)?;
    b.named(c, "c");
    let (h11, h12) = (b.entry(h, 0, 0, "h11")?, b.entry(h, 0, 1, "h12")?);
    let h22 = b.entry(h, 1, 1, "h22")?;
    let det = b.cross([h11, h22, h12, h12])?;
    b.named(det, "det H");
    eigenvalues(&mut b, [h11, h12, h22], det)?;

    let (c1, c2) = (b.entry(c, 0, 0, "c1")?, b.entry(c, 1, 0, "c2")?);
    let first = b.cross([h22, c1, h12, c2])?;
    let second = b.cross([h11, c2, h12, c1])?;
    let both = b.0.concat(&[first, second], 2)?;
    let best = b.0.div(both, det)?;
    b.shown(best, "w*");
    surface(&mut b, best, transposed, y)?;

    // The path, from 0.
    let scaled = b.0.mul(rate, h)?;
    let one = b.0.constant("I", Tensor::f32([1, 2, 2], vec![1.0, 0.0, 0.0, 1.0]));
    let step = b.sub(one, scaled)?;
    b.named(step, "I − rate·H");
    let row = b.0.reshape(c, &[3, 1, 2])?;
    let shift = b.0.mul(rate, row)?;
    b.named(shift, "rate·c");
    let mut w = b.0.constant("w(0)", Tensor::f32([3, 1, 2], vec![0.0; 6]));
    let mut path = vec![w];
    for t in 1..=STEPS {
        let turned = b.0.matmul(w, step)?;
        w = b.plus(turned, shift)?;
        b.named(w, &format!("w({t})"));
        path.push(w);
    }
    let path = b.0.concat(&path, 1)?;
    b.shown(path, "path");
    let along = b.loss(path, transposed, y)?;
    b.shown(along, "loss along the path");
    Ok(Scene { graph: b.0, ..Scene::default() })
}

/// The statistics of the columns and the inputs under each scaling.
fn inputs(b: &mut Build, x: NodeId) -> OpResult<NodeId> {
    let extreme = |kind| Reduce { kind, axes: vec![0] };
    let (least, most) = (b.0.add(extreme(Reduction::Min), &[x])?, b.0.add(extreme(Reduction::Max), &[x])?);
    b.shown(least, "min");
    b.shown(most, "max");
    let minmax = b.0.min_max(x, least, most)?;
    b.shown(minmax, "min-max");

    let mean = b.0.mean(x, &[0])?;
    b.shown(mean, "mean");
    let centred = b.sub(x, mean)?;
    b.named(centred, "x − mean");
    let squares = b.0.mul(centred, centred)?;
    b.named(squares, "(x − mean)²");
    let variance = b.0.mean(squares, &[0])?;
    b.named(variance, "variance");
    let std = b.0.unary(Unary::Sqrt, variance)?;
    b.shown(std, "std");
    let z = b.0.standardize(x, mean, std)?;
    b.shown(z, "z");

    let all = [x, minmax, z].into_iter().map(|v| b.0.reshape(v, &[1, N, 2])).collect::<OpResult<Vec<_>>>()?;
    let inputs = b.0.concat(&all, 0)?;
    Ok(b.shown(inputs, "inputs"))
}

fn eigenvalues(b: &mut Build, [h11, h12, h22]: [NodeId; 3], det: NodeId) -> OpResult<()> {
    let (sum, difference) = (b.plus(h11, h22)?, b.sub(h11, h22)?);
    let (middle, half) = (b.0.affine(sum, 0.5, 0.0)?, b.0.affine(difference, 0.5, 0.0)?);
    b.named(middle, "(h11 + h22)/2");
    b.named(half, "(h11 − h22)/2");
    let (squared, off) = (b.0.mul(half, half)?, b.0.mul(h12, h12)?);
    let total = b.plus(squared, off)?;
    let root = b.0.unary(Unary::Sqrt, total)?;
    b.named(root, "root");
    let largest = b.plus(middle, root)?;
    b.shown(largest, "λmax");
    let smallest = b.0.div(det, largest)?;
    b.shown(smallest, "λmin");
    let condition = b.0.div(largest, smallest)?;
    b.shown(condition, "κ");
    let two = b.0.full(2.0)?;
    let limit = b.0.div(two, largest)?;
    b.shown(limit, "2/λmax");
    let both = b.plus(largest, smallest)?;
    let best = b.0.div(two, both)?;
    b.shown(best, "2/(λmin + λmax)");
    Ok(())
}

/// The loss on a square around the best weights that holds the start as well, and its contours.
fn surface(b: &mut Build, best: NodeId, transposed: NodeId, y: NodeId) -> OpResult<()> {
    let size = b.0.unary(Unary::Abs, best)?;
    let longest = b.0.add(Reduce { kind: Reduction::Max, axes: vec![2] }, &[size])?;
    let reach = b.0.affine(longest, 1.5, 0.0)?;
    b.shown(reach, "reach");
    let at = |k: usize| 2.0 * k as f32 / (GRID - 1) as f32 - 1.0;
    let places = (0..GRID * GRID).flat_map(|k| [at(k % GRID), at(k / GRID)]).collect();
    let unit = b.0.constant("grid", Tensor::f32([1, GRID * GRID, 2], places));
    let away = b.0.mul(reach, unit)?;
    let weights = b.plus(best, away)?;
    let loss = b.loss(weights, transposed, y)?;
    b.shown(loss, "surface");
    let least = b.loss(best, transposed, y)?;
    b.shown(least, "least loss");
    let most = b.0.add(Reduce { kind: Reduction::Max, axes: vec![1] }, &[loss])?;
    let height = b.sub(most, least)?;
    // Squares of equal steps: on a parabola the lines are evenly spaced.
    let shares = (1..=LEVELS).map(|k| (k as f32 / (LEVELS + 1) as f32).powi(2)).collect();
    let shares = b.0.constant("shares", Tensor::f32([1, 1, LEVELS], shares));
    let rise = b.0.mul(height, shares)?;
    let levels = b.plus(least, rise)?;
    b.shown(levels, "levels");
    Ok(())
}
