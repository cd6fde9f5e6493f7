//! What happens to images before the network: random crop and flip, and normalisation.
//!
//! ```text
//! crop_flip  y[b,c,h,w] = x[b, c, h + dy_b - p, w' + dx_b - p], 0 outside; w' = w or W - 1 - w
//! normalize  y[b,c,h,w] = (x[b,c,h,w] / 255 - mean[c]) / std[c]
//! ```
//!
//! Offsets `dy_b, dx_b` in `0..=2p` and the flip are drawn once an image from (key, seed, step,
//! position in the batch), as torchvision's RandomCrop with zero padding, then RandomHorizontalFlip.
//! Both ops take u8 or f32 pixels and give f32, so that raw bytes are read where they lie.

use super::random::expect_rng;
use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance};
use crate::cell::{Cell, Idx, at, ax, load, load_idx, num, rand_bits, when, within};
use crate::graph::{Graph, NodeId, TensorType};
use crate::tensor::{DType, Tensor};

/// Inputs: x, rng (u32 `[2]`: seed, step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomCropFlip {
    pub padding: usize,
    pub flip: bool,
    pub key: u32,
}

/// Inputs: x, mean, std; the last two of shape `[1, c, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalize;

fn pixels(op: &str, ty: &TensorType) -> OpResult<[usize; 4]> {
    match <[usize; 4]>::try_from(ty.shape.as_slice()) {
        Ok(dims) if ty.dtype != DType::U32 => Ok(dims),
        _ => Err(OpError::shape(op, format!("needs u8 or f32 [batch, channels, height, width], got {ty}"))),
    }
}

impl Op for RandomCropFlip {
    fn name(&self) -> &'static str {
        "crop_flip"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x", "rng"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs(self.name(), inputs, 2..=2)?;
        expect_rng(self.name(), inputs[1])?;
        let dims = pixels(self.name(), inputs[0])?;
        Ok(TensorType::f32(dims))
    }

    fn cell(&self, inputs: &[&TensorType], _: &TensorType) -> Cell {
        let (h, w) = (inputs[0].shape[2], inputs[0].shape[3]);
        let draw = |which: usize, bound: usize| {
            let counter = ax(0) * at(3) + at(which);
            rand_bits(self.key, load_idx(1, [at(0)]), load_idx(1, [at(1)]), counter) % at(bound)
        };
        let shift = |pos: Idx, which: usize| match self.padding {
            0 => pos,
            p => pos + draw(which, 2 * p + 1) - at(p),
        };
        let mut column = ax(3);
        if self.flip {
            // w when flip is 0, W - 1 - w when it is 1
            let flip = draw(2, 2);
            column = column.clone() + flip * (at(w) - at(1) - column * at(2));
        }
        let (row, column) = (shift(ax(2), 0), shift(column, 1));
        let x = load(0, [ax(0), ax(1), row.clone(), column.clone()]);
        match self.padding {
            0 => x,
            _ => when(within(&row, 0, h as i64).and(within(&column, 0, w as i64)), x, num(0.0)),
        }
    }

    fn vjp(&self, _: &mut Graph, _: NodeId, _: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
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

impl Op for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn operands(&self) -> Vec<&'static str> {
        vec!["x", "mean", "std"]
    }

    fn axes(&self) -> Vec<&'static str> {
        vec!["b", "c", "h", "w"]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        super::expect_inputs("normalize", inputs, 3..=3)?;
        let dims = pixels("normalize", inputs[0])?;
        for ty in &inputs[1..] {
            if **ty != TensorType::f32([1, dims[1], 1, 1]) {
                return Err(OpError::shape(
                    "normalize",
                    format!("mean and std must be f32[1, {}, 1, 1], got {ty}", dims[1]),
                ));
            }
        }
        Ok(TensorType::f32(dims))
    }

    fn cell(&self, _: &[&TensorType], output: &TensorType) -> Cell {
        let channel = || [at(0), ax(1), at(0), at(0)];
        let x = load(0, crate::cell::axes(output.shape.len()));
        (x / 255.0 - load(1, channel())) / load(2, channel())
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let inputs = g.node(node).inputs.clone();
        // y = z / std with z = x / 255 - mean: dz = dy / std, dstd = -sum dy y / std
        let dz = g.div(dy, inputs[2])?;
        let mut out = vec![None; 3];
        if wanted[0] {
            out[0] = Some(g.affine(dz, 1.0 / 255.0, 0.0)?);
        }
        if wanted[1] {
            let total = g.sum_to(dz, inputs[1])?;
            out[1] = Some(g.neg(total)?);
        }
        if wanted[2] {
            let slope = g.mul(dz, node)?;
            let total = g.sum_to(slope, inputs[2])?;
            out[2] = Some(g.neg(total)?);
        }
        Ok(out)
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
    /// Random crop from `padding` zeros around, and a flip, drawn under a stable name.
    pub fn crop_flip(&mut self, x: NodeId, rng: NodeId, padding: usize, flip: bool, name: &str) -> OpResult<NodeId> {
        self.add(RandomCropFlip { padding, flip, key: crate::cell::rand::key_of(name) }, &[x, rng])
    }

    /// Pixels 0..255 to `(x / 255 - mean) / std` per channel.
    pub fn normalize(&mut self, x: NodeId, mean: &[f32], std: &[f32]) -> OpResult<NodeId> {
        let row = |v: &[f32]| Tensor::f32([1, v.len(), 1, 1], v.to_vec());
        let mean = self.constant("normalize.mean", row(mean));
        let std = self.constant("normalize.std", row(std));
        self.add(Normalize, &[x, mean, std])
    }
}

pub const PAGE: Page = Page { name: "augment", samples };

fn samples() -> Vec<Sample> {
    let rng = || (TensorType::u32([2]), Fill::Values(vec![17.0, 3.0]));
    let mut out = vec![];
    for (shape, padding, flip) in
        [([1, 1, 1, 1], 0, false), ([5, 3, 7, 6], 2, true), ([67, 1, 5, 9], 4, true), ([3, 2, 8, 8], 0, true)]
    {
        let op = RandomCropFlip { padding, flip, key: 0x5bd1_e995 };
        let bytes = (TensorType::u8(shape), Fill::Below(256));
        let floats = (TensorType::f32(shape), Fill::Uniform(-1.0, 1.0));
        out.push(Sample::new(op, vec![bytes.clone(), rng()], Tolerance::Exact).no_gradient());
        out.push(Sample::new(op, vec![floats.clone(), rng()], Tolerance::Exact).no_gradient());
        let channels = TensorType::f32([1, shape[1], 1, 1]);
        let (mean, std) = ((channels.clone(), Fill::Uniform(0.1, 0.6)), (channels, Fill::Uniform(0.2, 0.5)));
        // Not `Rounded`: the difference of x / 255 and the mean can cancel.
        let near = Tolerance::Transcendental;
        out.push(Sample::new(Normalize, vec![bytes, mean.clone(), std.clone()], near).no_gradient());
        out.push(Sample::new(Normalize, vec![floats, mean, std], near));
    }
    out
}
