//! Two-dimensional convolution (cross-correlation, as in every framework), and its two gradients:
//!
//! ```text
//! forward     y[b,o,h,w]  = bias[o] + sum(c,i,j) x[b, g C + c, h s + i d - p, w s + j d - p] * w[o,c,i,j]
//! backward_x  dx[b,c,h,w] = sum(o,i,j) dy[b, o, (h + p - i d)/s, (w + p - j d)/s] * w[o, c, i, j]
//! backward_w  dw[o,c,i,j] = sum(b,h,w) dy[b,o,h,w] * x[b, g C + c, h s + i d - p, w s + j d - p]
//! ```
//!
//! `x: [batch, channels, height, width]`, `w: [out, channels / groups, kh, kw]`, 0 outside `x`;
//! in `backward_x` only whole quotients count. `g` is the group of output channel `o` and `C` the
//! channels of a group. All three are linear in each operand, so their gradients are each other.
//! Operands are f32 or f16, the sum is f32; where one is f16, the gradients read `dy` as f16 too.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Cmp, Idx, at, ax, cmp_idx, load, num, sum, var, when, within};
use crate::graph::{Graph, NodeId, TensorType};

/// Strides, paddings and so on, in the order height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

impl Default for Geometry {
    fn default() -> Geometry {
        Geometry { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// Inputs: x, w and, with `bias`, bias of shape `[out]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    pub geometry: Geometry,
    pub bias: bool,
}

/// Inputs: dy, w. `size` is the height and width of x, which dy does not determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dBackwardX {
    pub geometry: Geometry,
    pub size: [usize; 2],
}

/// Inputs: x, dy. `kernel` is the height and width of w.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dBackwardW {
    pub geometry: Geometry,
    pub kernel: [usize; 2],
}

impl Geometry {
    /// Output height and width for an input and a kernel; `None` when no window fits.
    pub fn output(&self, size: [usize; 2], kernel: [usize; 2]) -> Option<[usize; 2]> {
        let side = |k: usize| {
            let span = self.dilation[k].checked_mul(kernel[k].checked_sub(1)?)?.checked_add(1)?;
            let room = size[k].checked_add(2 * self.padding[k])?.checked_sub(span)?;
            Some(room / self.stride[k] + 1)
        };
        Some([side(0)?, side(1)?])
    }

    fn check(&self, op: &str, channels: usize, out: usize) -> OpResult<()> {
        let positive = self.stride.iter().chain(&self.dilation).all(|&v| v > 0) && self.groups > 0;
        if positive && channels.is_multiple_of(self.groups) && out.is_multiple_of(self.groups) {
            return Ok(());
        }
        Err(OpError::shape(
            op,
            format!(
                "stride and dilation must be positive and {} groups divide {channels} and {out} channels",
                self.groups
            ),
        ))
    }

    /// Where output position `out` and tap `tap` read along side `k`.
    fn source(&self, k: usize, out: Idx, tap: Idx) -> Idx {
        out * at(self.stride[k]) + tap * at(self.dilation[k]) - at(self.padding[k])
    }
}

fn rank4(op: &str, ty: &TensorType) -> OpResult<[usize; 4]> {
    <[usize; 4]>::try_from(ty.shape.as_slice())
        .map_err(|_| OpError::shape(op, format!("needs 4 axes, got {:?}", ty.shape)))
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn operands(&self) -> Vec<&'static str> {
        if self.bias { vec!["x", "w", "bias"] } else { vec!["x", "w"] }
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "o", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        let arity = if self.bias { 3 } else { 2 };
        super::expect_inputs("conv2d", inputs, arity..=arity)?;
        let [b, c, h, w] = rank4("conv2d", inputs[0])?;
        let [o, ci, kh, kw] = rank4("conv2d", inputs[1])?;
        self.geometry.check("conv2d", c, o)?;
        if ci * self.geometry.groups != c {
            return Err(OpError::shape(
                "conv2d",
                format!(
                    "x has {c} channels in {} groups, w {:?} expects {ci} a group",
                    self.geometry.groups, inputs[1].shape
                ),
            ));
        }
        if self.bias && inputs[2].shape != [o] {
            return Err(OpError::shape("conv2d", format!("the bias must be [{o}], got {:?}", inputs[2].shape)));
        }
        let [oh, ow] = self.geometry.output([h, w], [kh, kw]).ok_or_else(|| {
            OpError::shape("conv2d", format!("a {kh}x{kw} kernel does not fit a {h}x{w} image with this padding"))
        })?;
        Ok(TensorType::f32([b, o, oh, ow]))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let [_, ci, kh, kw] = dims(inputs[1]);
        let size = &inputs[0].shape[2..];
        let (c, i, j) = (var("c"), var("i"), var("j"));
        let group = ax(1) / at(output.shape[1] / self.geometry.groups);
        let row = self.geometry.source(0, ax(2), i.into());
        let col = self.geometry.source(1, ax(3), j.into());
        let x = load(0, [ax(0), group * at(ci) + c, row.clone(), col.clone()]);
        let w = load(1, [ax(1), c.into(), i.into(), j.into()]);
        let term = guarded(self.geometry, &[(row, size[0]), (col, size[1])], x * w);
        let total = sum(c, at(0), at(ci), sum(i, at(0), at(kh), sum(j, at(0), at(kw), term)));
        if self.bias { load(2, [ax(1)]) + total } else { total }
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let inputs = g.node(node).inputs.clone();
        let (x, w) = (inputs[0], inputs[1]);
        let dy = g.half_like(dy, &[x, w], format!("d {}.half", g.node(node).name))?;
        let mut out = vec![None; inputs.len()];
        if wanted[0] {
            out[0] = Some(g.add(self.backward_x(g.shape(x)), &[dy, w])?);
        }
        if wanted[1] {
            out[1] = Some(g.add(self.backward_w(g.shape(w)), &[x, dy])?);
        }
        if self.bias && wanted[2] {
            let s = g.sum(dy, &[0, 2, 3])?;
            let shape = g.shape(inputs[2]).to_vec();
            out[2] = Some(g.reshape(s, &shape)?);
        }
        Ok(out)
    }

    fn lowering(&self) -> Lowering {
        Lowering::Conv2d(*self)
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Conv2d {
    fn backward_x(&self, x: &[usize]) -> Conv2dBackwardX {
        Conv2dBackwardX { geometry: self.geometry, size: [x[2], x[3]] }
    }

    fn backward_w(&self, w: &[usize]) -> Conv2dBackwardW {
        Conv2dBackwardW { geometry: self.geometry, kernel: [w[2], w[3]] }
    }
}

fn dims(ty: &TensorType) -> [usize; 4] {
    [ty.shape[0], ty.shape[1], ty.shape[2], ty.shape[3]]
}

/// `term` where the source lies inside, else 0; without padding every source does.
fn guarded(geometry: Geometry, sources: &[(Idx, usize)], term: Cell) -> Cell {
    let mut tests =
        sources.iter().zip(geometry.padding).filter(|(_, p)| *p > 0).map(|((i, size), _)| within(i, 0, *size as i64));
    match tests.next() {
        None => term,
        Some(first) => when(tests.fold(first, |all, t| all.and(t)), term, num(0.0)),
    }
}

impl Op for Conv2dBackwardX {
    fn name(&self) -> &'static str {
        "conv2d.backward_x"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["dy", "w"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        let [b, o, oh, ow] = rank4(self.name(), inputs[0])?;
        let [wo, ci, kh, kw] = rank4(self.name(), inputs[1])?;
        let c = ci * self.geometry.groups;
        self.geometry.check(self.name(), c, o)?;
        if wo != o || self.geometry.output(self.size, [kh, kw]) != Some([oh, ow]) {
            return Err(OpError::shape(
                self.name(),
                format!(
                    "dy {:?}, w {:?} and an input of {:?} do not belong together",
                    inputs[0].shape, inputs[1].shape, self.size
                ),
            ));
        }
        Ok(TensorType::f32([b, c, self.size[0], self.size[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let [_, o_all, oh, ow] = dims(inputs[0]);
        let [_, ci, kh, kw] = dims(inputs[1]);
        let g = self.geometry;
        let per_group = o_all / g.groups;
        let (o, i, j) = (var("o"), var("i"), var("j"));
        let group = ax(1) / at(output.shape[1] / g.groups);
        let channel = group * at(per_group) + o;
        let back = |k: usize, pos: Idx, tap: Idx| pos + at(g.padding[k]) - tap * at(g.dilation[k]);
        let (row, col) = (back(0, ax(2), i.into()), back(1, ax(3), j.into()));
        let (qr, qc) = (row.clone() / at(g.stride[0]), col.clone() / at(g.stride[1]));
        let dy = load(0, [ax(0), channel.clone(), qr.clone(), qc.clone()]);
        let w = load(1, [channel, ax(1) % at(ci), i.into(), j.into()]);
        let mut test = within(&qr, 0, oh as i64).and(within(&qc, 0, ow as i64));
        for (k, pos) in [(0, row), (1, col)] {
            if g.stride[k] > 1 {
                test = test.and(cmp_idx(Cmp::Eq, pos % at(g.stride[k]), at(0)));
            }
        }
        let term = when(test, dy * w, num(0.0));
        sum(o, at(0), at(per_group), sum(i, at(0), at(kh), sum(j, at(0), at(kw), term)))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let (dy, w) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let d = g.half_like(d, &[dy, w], format!("d {}.half", g.node(node).name))?;
        let forward = Conv2d { geometry: self.geometry, bias: false };
        let back_w = forward.backward_w(g.shape(w));
        Ok(vec![
            if wanted[0] { Some(g.add(forward, &[d, w])?) } else { None },
            if wanted[1] { Some(g.add(back_w, &[d, dy])?) } else { None },
        ])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Conv2dBackwardX(*self)
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

impl Op for Conv2dBackwardW {
    fn name(&self) -> &'static str {
        "conv2d.backward_w"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x", "dy"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["o", "c", "i", "j"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        let [b, c, h, w] = rank4(self.name(), inputs[0])?;
        let [bd, o, oh, ow] = rank4(self.name(), inputs[1])?;
        self.geometry.check(self.name(), c, o)?;
        if b != bd || self.geometry.output([h, w], self.kernel) != Some([oh, ow]) {
            return Err(OpError::shape(
                self.name(),
                format!(
                    "x {:?}, dy {:?} and a kernel of {:?} do not belong together",
                    inputs[0].shape, inputs[1].shape, self.kernel
                ),
            ));
        }
        Ok(TensorType::f32([o, c / self.geometry.groups, self.kernel[0], self.kernel[1]]))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let [batch, _, height, width] = dims(inputs[0]);
        let [_, o_all, oh, ow] = dims(inputs[1]);
        let g = self.geometry;
        let ci = output.shape[1];
        let (b, h, w) = (var("b"), var("h"), var("w"));
        let group = ax(0) / at(o_all / g.groups);
        let (row, col) = (g.source(0, h.into(), ax(2)), g.source(1, w.into(), ax(3)));
        let x = load(0, [b.into(), group * at(ci) + ax(1), row.clone(), col.clone()]);
        let dy = load(1, [b.into(), ax(0), h.into(), w.into()]);
        let term = guarded(g, &[(row, height), (col, width)], x * dy);
        sum(b, at(0), at(batch), sum(h, at(0), at(oh), sum(w, at(0), at(ow), term)))
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, d: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let (x, dy) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let d = g.half_like(d, &[x, dy], format!("d {}.half", g.node(node).name))?;
        let forward = Conv2d { geometry: self.geometry, bias: false };
        let back_x = forward.backward_x(g.shape(x));
        Ok(vec![
            if wanted[0] { Some(g.add(back_x, &[dy, d])?) } else { None },
            if wanted[1] { Some(g.add(forward, &[x, d])?) } else { None },
        ])
    }

    fn lowering(&self) -> Lowering {
        Lowering::Conv2dBackwardW(*self)
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

/// Shorthands for building with these ops.
impl Graph {
    pub fn conv2d(&mut self, x: NodeId, w: NodeId, bias: Option<NodeId>, geometry: Geometry) -> OpResult<NodeId> {
        let inputs: Vec<NodeId> = [x, w].into_iter().chain(bias).collect();
        self.add(Conv2d { geometry, bias: bias.is_some() }, &inputs)
    }
}

pub const PAGE: Page = Page { name: "conv2d", samples };

fn samples() -> Vec<Sample> {
    let g = Geometry::default();
    // x, out channels, kernel, geometry
    let cases: [([usize; 4], usize, [usize; 2], Geometry); 12] = [
        ([1, 1, 1, 1], 1, [1, 1], g),
        ([2, 3, 7, 5], 4, [3, 3], Geometry { padding: [1, 1], ..g }),
        ([1, 3, 11, 13], 5, [5, 5], Geometry { padding: [2, 2], stride: [2, 2], ..g }),
        ([2, 4, 9, 9], 6, [3, 3], Geometry { groups: 2, ..g }),
        ([1, 2, 12, 10], 3, [3, 2], Geometry { dilation: [2, 3], padding: [2, 1], ..g }),
        ([2, 6, 8, 8], 6, [3, 3], Geometry { groups: 6, padding: [1, 1], stride: [1, 2], ..g }),
        ([3, 17, 6, 6], 33, [1, 1], g),
        ([2, 3, 37, 41], 32, [3, 3], Geometry { padding: [1, 1], ..g }),
        ([1, 5, 10, 10], 7, [4, 4], Geometry { stride: [3, 3], ..g }),
        // Rows of whole fours.
        ([2, 4, 6, 8], 36, [3, 3], Geometry { padding: [1, 1], ..g }),
        ([2, 4, 5, 12], 6, [3, 5], Geometry { groups: 2, padding: [1, 6], ..g }),
        ([1, 2, 12, 11], 3, [3, 2], Geometry { dilation: [2, 3], padding: [2, 2], stride: [2, 1], ..g }),
    ];
    let mut out = vec![];
    for ([b, c, h, w], o, kernel, geometry) in cases {
        let [oh, ow] = geometry.output([h, w], kernel).expect("samples fit");
        let x = TensorType::f32([b, c, h, w]);
        let wt = TensorType::f32([o, c / geometry.groups, kernel[0], kernel[1]]);
        let dy = TensorType::f32([b, o, oh, ow]);
        let (both, positive) = (Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0));
        for (fill, halves) in [(&both, false), (&positive, false), (&both, true)] {
            let ty = |t: &TensorType| {
                if halves && t.shape.len() == 4 { TensorType::f16(t.shape.clone()) } else { t.clone() }
            };
            let with = |tys: &[&TensorType]| tys.iter().map(|t| (ty(t), fill.clone())).collect::<Vec<_>>();
            let first = out.len();
            let taps = c / geometry.groups * kernel[0] * kernel[1];
            let forward = |bias| Conv2d { geometry, bias };
            out.push(Sample::new(forward(false), with(&[&x, &wt]), Tolerance::Reduction(taps)));
            out.push(Sample::new(forward(true), with(&[&x, &wt, &TensorType::f32([o])]), Tolerance::Reduction(taps)));
            let back_x = Conv2dBackwardX { geometry, size: [h, w] };
            out.push(Sample::new(back_x, with(&[&dy, &wt]), Tolerance::Reduction(o * kernel[0] * kernel[1])));
            let back_w = Conv2dBackwardW { geometry, kernel };
            out.push(Sample::new(back_w, with(&[&x, &dy]), Tolerance::Reduction(b * oh * ow)));
            // `dy` is rounded to f16 before it is multiplied, which no difference knows of.
            out[first..].iter_mut().for_each(|s: &mut Sample| s.differentiable = !halves);
        }
    }
    out
}
