//! Average pooling, over windows or over as many regions as the output has elements:
//!
//! ```text
//! forward   y[b,c,h,w] = sum(r,s) x[b,c,r,s] / n(h,w)      r, s in the region of (h, w)
//! backward  dx[b,c,r,s] = sum(h,w) dy[b,c,h,w] / n(h,w)    (h, w) whose region covers (r, s)
//! ```
//!
//! `n` is the size of the window (PyTorch's `count_include_pad`, its default) or the number of
//! elements inside the image. Region `h` of an adaptive pool of `out` rows over `H` is
//! `floor(h H / out) .. ceil((h + 1) H / out)`, as in PyTorch. Both are linear, so their gradients
//! are each other; the backward sum runs only over regions that cover the pixel.

use super::pool::{Window, image, sample_windows};
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Idx, at, ax, int, load, num, sum, var};
use crate::graph::{Graph, NodeId, TensorType};

/// What each output element averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    Window { window: Window, count_include_pad: bool },
    Adaptive { out: [usize; 2] },
}

/// The mean of each region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool {
    pub region: Region,
}

/// Input: dy. `size` is the height and width of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPoolBackward {
    pub region: Region,
    pub size: [usize; 2],
}

impl Region {
    fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        match self {
            Region::Window { window, .. } => window.output(size),
            Region::Adaptive { out } => out.iter().chain(&size).all(|&d| d > 0).then_some(*out),
        }
    }

    /// The rows (`k` = 0) or columns of x in region `pos`.
    fn range(&self, k: usize, pos: Idx, size: usize) -> (Idx, Idx) {
        match self {
            Region::Window { window, .. } => window.range(k, pos, size),
            Region::Adaptive { out } => {
                let (n, d) = (at(size), at(out[k]));
                let end = (pos.clone() * n.clone() + n.clone() + at(out[k] - 1)) / d.clone();
                (pos * n / d, end)
            }
        }
    }

    /// The regions that hold row (or column) `pos` of x.
    fn covering(&self, k: usize, pos: Idx, size: usize, outputs: usize) -> (Idx, Idx) {
        match self {
            Region::Window { window, .. } => window.covering(k, pos, outputs),
            Region::Adaptive { out } => {
                // o n / d < pos + 1 and (o + 1) n / d > pos
                let (n, d) = (at(size), at(out[k]));
                let last = (pos.clone() * d.clone() + d.clone() - at(1)) / n.clone();
                (pos * d / n, last + at(1))
            }
        }
    }

    /// The number of elements that the region at (h, w) divides by.
    fn count(&self, h: Idx, w: Idx, size: [usize; 2]) -> Cell {
        if let Region::Window { window, count_include_pad } = self
            && (*count_include_pad || window.padding == [0, 0])
        {
            return num((window.kernel[0] * window.kernel[1]) as f64);
        }
        let (top, bottom) = self.range(0, h, size[0]);
        let (left, right) = self.range(1, w, size[1]);
        int((bottom - top) * (right - left))
    }

    fn name(&self, backward: bool) -> &'static str {
        match (self, backward) {
            (Region::Window { .. }, false) => "avg_pool",
            (Region::Window { .. }, true) => "avg_pool.backward",
            (Region::Adaptive { .. }, false) => "adaptive_avg_pool",
            (Region::Adaptive { .. }, true) => "adaptive_avg_pool.backward",
        }
    }
}

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        self.region.name(false)
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
        let [oh, ow] = self.region.output([h, w]).ok_or_else(|| {
            OpError::shape(
                self.name(),
                format!("{:?} does not fit a {h}x{w} image, or its padding exceeds half of it", self.region),
            )
        })?;
        Ok(TensorType::f32([b, c, oh, ow]))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let size = [inputs[0].shape[2], inputs[0].shape[3]];
        let (r, s) = (var("r"), var("s"));
        let (top, bottom) = self.region.range(0, ax(2), size[0]);
        let (left, right) = self.region.range(1, ax(3), size[1]);
        let total = sum(r, top, bottom, sum(s, left, right, load(0, [ax(0), ax(1), r.into(), s.into()])));
        total / self.region.count(ax(2), ax(3), size)
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.shape(g.node(node).inputs[0]);
        let back = AvgPoolBackward { region: self.region, size: [x[2], x[3]] };
        Ok(vec![Some(g.add(back, &[dy])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for AvgPoolBackward {
    fn name(&self) -> &'static str {
        self.region.name(true)
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "r", "s"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 1..=1)?;
        let [b, c, oh, ow] = image(self.name(), inputs[0])?;
        if self.region.output(self.size) != Some([oh, ow]) {
            return Err(OpError::shape(
                self.name(),
                format!("dy {} and an input of {:?} do not belong together", inputs[0], self.size),
            ));
        }
        Ok(TensorType::f32([b, c, self.size[0], self.size[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let outputs = [inputs[0].shape[2], inputs[0].shape[3]];
        let term = |h: Idx, w: Idx| load(0, [ax(0), ax(1), h.clone(), w.clone()]) / self.region.count(h, w, self.size);
        if let Region::Window { window, .. } = &self.region {
            return window.over_covering(outputs, term);
        }
        let (h, w) = (var("h"), var("w"));
        let (top, bottom) = self.region.covering(0, ax(2), self.size[0], outputs[0]);
        let (left, right) = self.region.covering(1, ax(3), self.size[1], outputs[1]);
        sum(h, top, bottom, sum(w, left, right, term(h.into(), w.into())))
    }

    fn vjp(&self, g: &mut Graph, _: NodeId, d: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Ok(vec![Some(g.add(AvgPool { region: self.region }, &[d])?)])
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
    /// Means of windows; padding counts as zeros (PyTorch's default).
    pub fn avg_pool(&mut self, x: NodeId, window: Window) -> OpResult<NodeId> {
        self.add(AvgPool { region: Region::Window { window, count_include_pad: true } }, &[x])
    }

    /// Means of as many regions as `out` asks for.
    pub fn adaptive_avg_pool(&mut self, x: NodeId, out: [usize; 2]) -> OpResult<NodeId> {
        self.add(AvgPool { region: Region::Adaptive { out } }, &[x])
    }
}

pub const PAGE: Page = Page { name: "avg_pool", samples };

fn samples() -> Vec<Sample> {
    let mut cases = vec![];
    for (shape, window) in sample_windows() {
        for count_include_pad in [true, false] {
            cases.push((shape, Region::Window { window, count_include_pad }));
        }
    }
    for (shape, out) in [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 3, 7, 5], [1, 1]),
        ([1, 2, 7, 10], [3, 4]),
        ([2, 1, 5, 3], [7, 3]),
        ([1, 3, 33, 65], [8, 17]),
    ] {
        cases.push((shape, Region::Adaptive { out }));
    }
    let mut out = vec![];
    for (shape, region) in cases {
        let [b, c, h, w] = shape;
        let [oh, ow] = region.output([h, w]).expect("samples fit");
        for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0)] {
            let x = vec![(TensorType::f32(shape), fill.clone())];
            let dy = vec![(TensorType::f32([b, c, oh, ow]), fill)];
            let n = Tolerance::Reduction(h * w);
            out.push(Sample::new(AvgPool { region }, x, n));
            out.push(Sample::new(AvgPoolBackward { region, size: [h, w] }, dy, n));
        }
    }
    out
}
