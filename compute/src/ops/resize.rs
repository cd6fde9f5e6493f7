//! Bilinear resize of images, as PyTorch's `F.interpolate(mode="bilinear", align_corners=False)`:
//!
//! ```text
//! forward   y[b,c,h,w] = sum over the 2x2 pixels around the source point, weighted by closeness
//! backward  dx[b,c,r,s] = sum(h,w) dy[b,c,h,w] weight(h -> r) weight(w -> s)
//! ```
//!
//! Output row `h` of `out` looks at source row `((2 h + 1) H - out) / (2 out)`, not below 0. That is
//! a fraction of integers, so the row and its weight are exact on every backend, where a float
//! product could fall on the other side of a whole number. Both ops are linear: their gradients are
//! each other. The backward sum runs only over output rows near `r`.

use super::pool::image;
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, at, ax, bind, cmp_idx, int, load, local, num, sum, var, when};
use crate::graph::{Graph, NodeId, TensorType};

/// `x: [batch, channels, H, W]` to `[batch, channels, out..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilinearResize {
    pub out: [usize; 2],
}

/// Input: dy. `size` is the height and width of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BilinearResizeBackward {
    pub size: [usize; 2],
}

/// Where an output position looks along one side.
struct Source {
    low: Idx,
    high: Idx,
    /// Weight of `high`.
    fraction: Cell,
}

fn source(pos: Idx, size: usize, out: usize) -> Source {
    let numerator = ((pos * at(2) + at(1)) * at(size) - at(out)).max(at(0));
    let denominator = at(2 * out);
    let low = numerator.clone() / denominator.clone();
    let high = (low.clone() + at(1)).min(at(size - 1));
    Source { low, high, fraction: int(numerator % denominator) / (2.0 * out as f64) }
}

/// The output positions that may look at `pos`: those with a source point within 1 of it.
fn looking(pos: Idx, size: usize, out: usize) -> (Idx, Idx) {
    let (n, d) = (at(size), at(2 * size));
    let first = ((pos.clone() * at(2) - at(1)) * at(out) - n.clone()) / d.clone();
    let end = ((pos * at(2) + at(3)) * at(out) + n - at(1)) / d;
    (first.max(at(0)), end.min(at(out)))
}

impl Op for BilinearResize {
    fn name(&self) -> &'static str {
        "bilinear_resize"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 1..=1)?;
        let [b, c, h, w] = image(self.name(), inputs[0])?;
        if self.out.iter().chain(&[h, w]).any(|&d| d == 0) {
            return Err(OpError::shape(self.name(), format!("{h}x{w} to {:?}: sides must be positive", self.out)));
        }
        Ok(TensorType::f32([b, c, self.out[0], self.out[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let size = &inputs[0].shape[2..];
        let rows = source(ax(2), size[0], self.out[0]);
        let cols = source(ax(3), size[1], self.out[1]);
        let (u, v) = (var("u"), var("v"));
        let line = |r: &Idx| {
            let at_col = |c: &Idx| load(0, [ax(0), ax(1), r.clone(), c.clone()]);
            at_col(&cols.low) * (num(1.0) - local(v)) + at_col(&cols.high) * local(v)
        };
        let mixed = line(&rows.low) * (num(1.0) - local(u)) + line(&rows.high) * local(u);
        bind(u, rows.fraction, bind(v, cols.fraction, mixed))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.shape(g.node(node).inputs[0]);
        let back = BilinearResizeBackward { size: [x[2], x[3]] };
        Ok(vec![Some(g.add(back, &[dy])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for BilinearResizeBackward {
    fn name(&self) -> &'static str {
        "bilinear_resize.backward"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "r", "s"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 1..=1)?;
        let [b, c, h, w] = image(self.name(), inputs[0])?;
        if self.size.iter().chain(&[h, w]).any(|&d| d == 0) {
            return Err(OpError::shape(self.name(), format!("{h}x{w} from {:?}: sides must be positive", self.size)));
        }
        Ok(TensorType::f32([b, c, self.size[0], self.size[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let out = &inputs[0].shape[2..];
        let (h, w) = (var("h"), var("w"));
        let weight = |k: usize, name: &'static str, pos: Idx, here: Idx| {
            let f = var(name);
            let s = source(pos, self.size[k], out[k]);
            let hit = |i: Idx, value: Cell| when(cmp_idx(Cmp::Eq, i, here.clone()), value, num(0.0));
            bind(f, s.fraction, hit(s.low, num(1.0) - local(f)) + hit(s.high, local(f)))
        };
        let (top, bottom) = looking(ax(2), self.size[0], out[0]);
        let (left, right) = looking(ax(3), self.size[1], out[1]);
        let across = load(0, [ax(0), ax(1), h.into(), w.into()]) * weight(1, "v", w.into(), ax(3));
        sum(h, top, bottom, weight(0, "u", h.into(), ax(2)) * sum(w, left, right, across))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let dy = g.shape(g.node(node).inputs[0]);
        let forward = BilinearResize { out: [dy[2], dy[3]] };
        Ok(vec![Some(g.add(forward, &[d])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

/// Shorthands for building with these ops.
impl Graph {
    /// Images resized to `out` (height, width).
    pub fn bilinear_resize(&mut self, x: NodeId, out: [usize; 2]) -> OpResult<NodeId> {
        self.add(BilinearResize { out }, &[x])
    }
}

pub const PAGE: Page = Page { name: "resize", samples };

fn samples() -> Vec<Sample> {
    let mut samples = vec![];
    for (shape, out) in [
        ([1, 1, 1, 1], [1, 1]),
        ([1, 2, 1, 3], [4, 1]),
        ([2, 3, 5, 7], [11, 13]),
        ([1, 2, 13, 11], [5, 3]),
        ([2, 1, 6, 6], [6, 9]),
        ([1, 3, 32, 32], [224, 224]),
        ([1, 1, 67, 65], [31, 130]),
    ] {
        let [b, c, h, w] = shape;
        // A pixel is seen by at most 2 (out / size) + 2 outputs a side.
        let seen = (0..2).map(|k: usize| 2 * usize::div_ceil(out[k], shape[k + 2]) + 2).product();
        for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0)] {
            let x = vec![(TensorType::f32(shape), fill.clone())];
            let dy = vec![(TensorType::f32([b, c, out[0], out[1]]), fill)];
            samples.push(Sample::new(BilinearResize { out }, x, Tolerance::Reduction(4)));
            samples.push(Sample::new(BilinearResizeBackward { size: [h, w] }, dy, Tolerance::Reduction(seen)));
        }
    }
    samples
}
