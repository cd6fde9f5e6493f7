//! Max pooling over windows of an image, and its gradient:
//!
//! ```text
//! max_pool           y[b,c,h,w] = max(r,s) x[b,c,r,s]               r, s in the window, inside x
//! max_pool.index     i[b,c,h,w] = min(r,s) r W + s where x[b,c,r,s] is that maximum
//! max_pool.backward  dx[b,c,r,s] = sum(h,w) dy[b,c,h,w] where i[b,c,h,w] == r W + s
//! ```
//!
//! `x: [batch, channels, H, W]`. Padding never wins: windows are cut at the image's edge. The first
//! of equal elements takes the gradient, as in PyTorch; the index makes that an exact integer
//! comparison, so backends that round differently still route the gradient the same way. The
//! backward sum runs only over the windows that can cover the pixel.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{
    Cell, Cmp, Idx, Red, at, ax, bind, cmp, cmp_idx, int, load, load_idx, local, num, sum, var, when, within,
};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::DType;

/// Windows in the order height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

/// The parts of max pooling that have kernels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    Max(Window),
    Index(Window),
    Backward(Window),
}

/// The largest element of each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    pub window: Window,
}

/// Where in the image (row times width plus column) the first largest element is. u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPoolIndex {
    pub window: Window,
}

/// Inputs: dy, index. `size` is the height and width of x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPoolBackward {
    pub window: Window,
    pub size: [usize; 2],
}

/// Reads an image at the stored positions: the gradient of [`MaxPoolBackward`]. Inputs: x, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPoolTake;

impl Window {
    /// A square window that moves by its own size.
    pub fn square(kernel: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [kernel; 2], padding: [0; 2] }
    }

    /// Output height and width; `None` when no window fits or padding exceeds half the window.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let side = |k: usize| {
            let ok = self.stride[k] > 0 && self.kernel[k] > 0 && self.padding[k] <= self.kernel[k] / 2;
            let room = size[k].checked_add(2 * self.padding[k])?.checked_sub(self.kernel[k])?;
            ok.then(|| room / self.stride[k] + 1)
        };
        Some([side(0)?, side(1)?])
    }

    /// The rows (or columns) of x under output position `out`, cut at the edges.
    pub fn range(&self, k: usize, out: Idx, size: usize) -> (Idx, Idx) {
        let start = out * at(self.stride[k]) - at(self.padding[k]);
        let end = start.clone() + at(self.kernel[k]);
        if self.padding[k] == 0 { (start, end) } else { (start.max(at(0)), end.min(at(size))) }
    }

    /// The output positions whose windows cover row (or column) `pos`.
    pub fn covering(&self, k: usize, pos: Idx, outputs: usize) -> (Idx, Idx) {
        let shifted = pos + at(self.padding[k]);
        // ceil((pos + p - kernel + 1) / stride) ..= floor((pos + p) / stride)
        let first = (shifted.clone() + at(self.stride[k]) - at(self.kernel[k])) / at(self.stride[k]);
        let last = shifted / at(self.stride[k]);
        (first.max(at(0)), (last + at(1)).min(at(outputs)))
    }

    /// `sum of term(h, w)` over the windows (h, w) that cover the output element's own place, axes
    /// 2 and 3. Windows that do not overlap need no sum: at most one covers a place.
    pub fn over_covering(&self, outputs: [usize; 2], term: impl Fn(Idx, Idx) -> Cell) -> Cell {
        if (0..2).any(|k| self.kernel[k] > self.stride[k]) {
            let (h, w) = (var("h"), var("w"));
            let (top, bottom) = self.covering(0, ax(2), outputs[0]);
            let (left, right) = self.covering(1, ax(3), outputs[1]);
            return sum(h, top, bottom, sum(w, left, right, term(h.into(), w.into())));
        }
        let shifted = |k: usize| ax(k + 2) + at(self.padding[k]);
        let window = |k: usize| shifted(k) / at(self.stride[k]);
        let tests = (0..2).map(|k| {
            let exists = cmp_idx(Cmp::Lt, window(k), at(outputs[k]));
            if self.kernel[k] == self.stride[k] {
                return exists;
            }
            exists.and(cmp_idx(Cmp::Lt, shifted(k) % at(self.stride[k]), at(self.kernel[k])))
        });
        let covered = tests.reduce(|all, t| all.and(t));
        let term = term(window(0), window(1));
        covered.into_iter().fold(term, |term, test| when(test, term, num(0.0)))
    }
}

/// Batch, channels, height, width.
pub(super) fn image(op: &str, ty: &TensorType) -> OpResult<[usize; 4]> {
    match <[usize; 4]>::try_from(ty.shape.as_slice()) {
        Ok(dims) if ty.dtype.is_float() => Ok(dims),
        _ => Err(OpError::shape(op, format!("needs f32 or f16 [batch, channels, height, width], got {ty}"))),
    }
}

fn infer_window(op: &str, window: &Window, inputs: &[&TensorType]) -> OpResult<Vec<usize>> {
    super::expect_inputs(op, inputs, 1..=1)?;
    let [b, c, h, w] = image(op, inputs[0])?;
    let [oh, ow] = window.output([h, w]).ok_or_else(|| {
        OpError::shape(op, format!("{window:?} does not fit a {h}x{w} image, or its padding exceeds half of it"))
    })?;
    Ok(vec![b, c, oh, ow])
}

/// A reduction over the window of output position (2, 3); `body` gets row and column. Places in
/// the padding count as the reduction's identity. The tap is the variable, as in a convolution,
/// so that all elements turn equally often.
pub(super) fn over_window(
    window: &Window,
    size: &[usize],
    red: Red,
    names: [&'static str; 2],
    body: impl Fn(Idx, Idx) -> Cell,
) -> Cell {
    let (i, j) = (var(names[0]), var(names[1]));
    let place = |k: usize, tap: Idx| ax(k + 2) * at(window.stride[k]) + tap - at(window.padding[k]);
    let (row, col) = (place(0, i.into()), place(1, j.into()));
    let mut inner = body(row.clone(), col.clone());
    for (k, place) in [(0, row), (1, col)] {
        if window.padding[k] > 0 {
            inner = when(within(&place, 0, size[k] as i64), inner, num(red.identity()));
        }
    }
    let over = |v, k: usize, body: Cell| Cell::Reduce(red, v, at(0), at(window.kernel[k]), body.into());
    over(i, 0, over(j, 1, inner))
}

fn largest(window: &Window, size: &[usize]) -> Cell {
    over_window(window, size, Red::Max, ["i", "j"], |r, s| load(0, [ax(0), ax(1), r, s]))
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        // The largest of halves is one of them.
        Ok(TensorType { shape: infer_window("max_pool", &self.window, inputs)?, dtype: inputs[0].dtype })
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        largest(&self.window, &inputs[0].shape[2..])
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let x = g.node(node).inputs[0];
        let size = [g.shape(x)[2], g.shape(x)[3]];
        let index = g.add(MaxPoolIndex { window: self.window }, &[x])?;
        Ok(vec![Some(g.add(MaxPoolBackward { window: self.window, size }, &[dy, index])?)])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Pool(Pool::Max(self.window))
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for MaxPoolIndex {
    fn name(&self) -> &'static str {
        "max_pool.index"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        let shape = infer_window("max_pool.index", &self.window, inputs)?;
        let [_, _, h, w] = image("max_pool.index", inputs[0])?;
        if h * w > 1 << 24 {
            return Err(OpError::shape("max_pool.index", format!("{h}x{w} pixels are more than f32 can number")));
        }
        Ok(TensorType::u32(shape))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let size = &inputs[0].shape[2..];
        let top = var("top");
        let none = num((size[0] * size[1]) as f64 - 1.0);
        let first = over_window(&self.window, size, Red::Min, ["t", "u"], |r, s| {
            let hit = cmp(Cmp::Eq, load(0, [ax(0), ax(1), r.clone(), s.clone()]), local(top));
            when(hit, int(r * at(size[1]) + s), none.clone())
        });
        bind(top, largest(&self.window, size), first)
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        Ok(vec![None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Pool(Pool::Index(self.window))
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![0]
    }
}

impl Op for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool.backward"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy", "index"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "r", "s"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        let [b, c, oh, ow] = image(self.name(), inputs[0])?;
        let index = inputs[1];
        if index.dtype != DType::U32
            || index.shape != inputs[0].shape
            || self.window.output(self.size) != Some([oh, ow])
        {
            return Err(OpError::shape(
                self.name(),
                format!("dy {}, index {index} and an input of {:?} do not belong together", inputs[0], self.size),
            ));
        }
        Ok(TensorType::f32([b, c, self.size[0], self.size[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let outputs = [inputs[0].shape[2], inputs[0].shape[3]];
        let here = ax(2) * at(self.size[1]) + ax(3);
        self.window.over_covering(outputs, |h, w| {
            let place = [ax(0), ax(1), h, w];
            when(cmp_idx(Cmp::Eq, load_idx(1, place.clone()), here.clone()), load(0, place), num(0.0))
        })
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, _: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let index = g.node(node).inputs[1];
        Ok(vec![Some(g.add(MaxPoolTake, &[d, index])?), None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Pool(Pool::Backward(self.window))
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![1]
    }
}

impl Op for MaxPoolTake {
    fn name(&self) -> &'static str {
        "max_pool.take"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x", "index"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        image(self.name(), inputs[0])?;
        let index = inputs[1];
        if index.dtype != DType::U32 || index.shape.len() != 4 || index.shape[..2] != inputs[0].shape[..2] {
            return Err(OpError::shape(self.name(), format!("x {} and index {index} do not match", inputs[0])));
        }
        Ok(TensorType::f32(index.shape.clone()))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let width = at(inputs[0].shape[3]);
        let flat = load_idx(1, crate::cell::axes(output.shape.len()));
        load(0, [ax(0), ax(1), flat.clone() / width.clone(), flat % width])
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        // It only appears in second derivatives; a third would need the windows again.
        if wanted[0] {
            return Err(OpError::NoGradient { op: self.name().into(), input: "x".into() });
        }
        Ok(vec![None, None])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Cells
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![1]
    }
}

/// Shorthands for building with these ops.
impl Graph {
    pub fn max_pool(&mut self, x: NodeId, window: Window) -> OpResult<NodeId> {
        self.add(MaxPool { window }, &[x])
    }
}

pub const PAGE: Page = Page { name: "pool", samples };

/// Shapes and windows that both kinds of pooling are tried on.
pub(super) fn sample_windows() -> Vec<([usize; 4], Window)> {
    let w = |kernel, stride, padding| Window { kernel, stride, padding };
    vec![
        ([1, 1, 1, 1], Window::square(1)),
        ([2, 3, 7, 5], Window::square(2)),
        ([1, 2, 11, 13], w([3, 3], [2, 2], [1, 1])),
        ([2, 1, 9, 8], w([3, 2], [1, 1], [1, 0])),
        ([1, 3, 10, 7], w([2, 3], [3, 4], [0, 1])),
        ([3, 5, 33, 31], w([3, 3], [1, 2], [1, 1])),
    ]
}

/// A position inside each window, as a pooling might have stored it: a different corner by turns.
fn places(window: &Window, size: [usize; 2], outputs: [usize; 2]) -> Vec<f64> {
    let side = |k: usize, out: usize, last: bool| {
        let start = out * window.stride[k];
        let end = (start + window.kernel[k]).saturating_sub(window.padding[k]).min(size[k]);
        if last { end - 1 } else { start.saturating_sub(window.padding[k]) }
    };
    let all = (0..outputs[0]).flat_map(|h| (0..outputs[1]).map(move |w| (h, w)));
    all.map(|(h, w)| (side(0, h, (h + w) % 2 == 0) * size[1] + side(1, w, w % 3 == 0)) as f64).collect()
}

fn samples() -> Vec<Sample> {
    let mut out = vec![];
    for (shape, window) in sample_windows() {
        let [b, c, h, w] = shape;
        let [oh, ow] = window.output([h, w]).expect("samples fit");
        let x = || (TensorType::f32(shape), Fill::Distinct);
        let index = || (TensorType::u32([b, c, oh, ow]), Fill::Values(places(&window, [h, w], [oh, ow])));
        let dy = (TensorType::f32([b, c, oh, ow]), Fill::Uniform(0.1, 1.0));
        out.push(Sample::new(MaxPool { window }, vec![x()], Tolerance::Exact));
        out.push(Sample::new(MaxPoolIndex { window }, vec![x()], Tolerance::Exact).no_gradient());
        let terms = window.kernel[0] * window.kernel[1];
        let back = MaxPoolBackward { window, size: [h, w] };
        out.push(Sample::new(back, vec![dy, index()], Tolerance::Reduction(terms)));
        out.push(Sample::new(MaxPoolTake, vec![x(), index()], Tolerance::Exact).no_gradient());
    }
    // Ties: the first of equal elements.
    let ties = (TensorType::f32([1, 1, 4, 4]), Fill::Values([0.5, 0.5, 0.25, 0.5, 0.5, 0.0, 0.5, 0.5].repeat(2)));
    let index = MaxPoolIndex { window: Window { kernel: [3, 3], stride: [1, 1], padding: [1, 1] } };
    out.push(Sample::new(index, vec![ties], Tolerance::Exact).no_gradient());
    out
}
