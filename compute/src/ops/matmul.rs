//! Matrix product, batched, with transposed forms that copy nothing, and an optional bias:
//!
//! `y[.., m, n] = bias[n] + sum(k) a[.., m, k] b[.., k, n]`
//!
//! `a` is stored `[.., k, m]` when `transpose_a`, `b` is stored `[.., n, k]` when `transpose_b`;
//! leading (batch) axes broadcast. A linear layer is `transpose_b` with the weight as `b`
//! (PyTorch's `[out, in]` layout). Operands are f32 or f16, the sum is f32; where one is f16, the products of the
//! gradients read `dy` as f16 too.

use super::{Fill, Lowering, Op, OpError, OpResult, Page, Sample, Tolerance, elementwise};
use crate::cell::{Cell, Idx, at, ax, load, sum, var};
use crate::graph::{Graph, NodeId, TensorType};

/// See the module's introduction. Inputs: a, b and, with `bias`, bias of shape `[n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Matmul {
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub bias: bool,
}

/// The sizes of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Broadcast leading axes.
    pub batch: Vec<usize>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Matmul {
    /// The sizes, or what does not fit.
    pub fn dims(&self, a: &[usize], b: &[usize]) -> OpResult<Dims> {
        if a.len() < 2 || b.len() < 2 {
            return Err(OpError::shape("matmul", format!("needs two matrices, got {a:?} and {b:?}")));
        }
        let (ra, rb) = (a.len(), b.len());
        let (m, ka) = if self.transpose_a { (a[ra - 1], a[ra - 2]) } else { (a[ra - 2], a[ra - 1]) };
        let (kb, n) = if self.transpose_b { (b[rb - 1], b[rb - 2]) } else { (b[rb - 2], b[rb - 1]) };
        if ka != kb {
            return Err(OpError::shape("matmul", format!("{a:?} by {b:?}: the inner sizes are {ka} and {kb}")));
        }
        let batch = elementwise::broadcast_shape("matmul", &a[..ra - 2], &b[..rb - 2])?;
        Ok(Dims { batch, m, n, k: ka })
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        if self.bias { "linear" } else { "matmul" }
    }

    fn operands(&self) -> Vec<&'static str> {
        if self.bias { vec!["x", "w", "bias"] } else { vec!["a", "b"] }
    }

    fn axes(&self) -> Vec<&'static str> {
        vec![]
    }

    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType> {
        let arity = if self.bias { 3 } else { 2 };
        super::expect_inputs(self.name(), inputs, arity..=arity)?;
        if let Some(t) = inputs.iter().find(|t| !t.dtype.is_float()) {
            return Err(OpError::shape(self.name(), format!("needs f32 or f16, got {t}")));
        }
        let d = self.dims(&inputs[0].shape, &inputs[1].shape)?;
        if self.bias && inputs[2].shape != [d.n] {
            return Err(OpError::shape(self.name(), format!("the bias must be [{}], got {:?}", d.n, inputs[2].shape)));
        }
        let mut shape = d.batch;
        shape.extend([d.m, d.n]);
        Ok(TensorType::f32(shape))
    }

    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell {
        let rank = output.shape.len();
        let k = var("k");
        let (m, n) = (ax(rank - 2), ax(rank - 1));
        let read = |i: usize, row: Idx, col: Idx| {
            let shape = &inputs[i].shape;
            let lead = &shape[..shape.len() - 2];
            let mut index = elementwise::broadcast_index(lead, &output.shape[..rank - 2]);
            index.extend([row, col]);
            load(i, index)
        };
        let a = if self.transpose_a { read(0, k.into(), m) } else { read(0, m, k.into()) };
        let b = if self.transpose_b { read(1, n.clone(), k.into()) } else { read(1, k.into(), n.clone()) };
        let shape = &inputs[0].shape;
        let depth = if self.transpose_a { shape[shape.len() - 2] } else { shape[shape.len() - 1] };
        let product = sum(k, at(0), at(depth), a * b);
        if self.bias { load(2, [n]) + product } else { product }
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>> {
        let inputs = g.node(node).inputs.clone();
        let (a, b) = (inputs[0], inputs[1]);
        let plain = |transpose_a, transpose_b| Matmul { transpose_a, transpose_b, bias: false };
        let dy = g.half_like(dy, &[a, b], format!("d {}.half", g.node(node).name))?;
        let mut out = vec![None; inputs.len()];
        if wanted[0] {
            // da = dy b' (or b dy' when a is stored transposed)
            let da = if self.transpose_a {
                g.add(plain(self.transpose_b, true), &[b, dy])?
            } else {
                g.add(plain(false, !self.transpose_b), &[dy, b])?
            };
            out[0] = Some(g.sum_to(da, a)?);
        }
        if wanted[1] {
            // db = a' dy (or dy' a when b is stored transposed)
            let db = if self.transpose_b {
                g.add(plain(true, self.transpose_a), &[dy, a])?
            } else {
                g.add(plain(!self.transpose_a, false), &[a, dy])?
            };
            out[1] = Some(g.sum_to(db, b)?);
        }
        if self.bias && wanted[2] {
            out[2] = Some(g.sum_to(dy, inputs[2])?);
        }
        Ok(out)
    }

    fn lowering(&self) -> Lowering {
        Lowering::Matmul(*self)
    }

    fn stored_operands(&self) -> Vec<usize> {
        vec![]
    }
}

/// Shorthands for building with these ops.
impl Graph {
    /// `a b`
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> OpResult<NodeId> {
        self.add(Matmul::default(), &[a, b])
    }

    /// `x w' + bias`, with `w: [out, in]`.
    pub fn linear(&mut self, x: NodeId, w: NodeId, bias: Option<NodeId>) -> OpResult<NodeId> {
        let op = Matmul { transpose_a: false, transpose_b: true, bias: bias.is_some() };
        let inputs: Vec<NodeId> = [x, w].into_iter().chain(bias).collect();
        self.add(op, &inputs)
    }
}

pub const PAGE: Page = Page { name: "matmul", samples };

fn samples() -> Vec<Sample> {
    let mut out = vec![];
    let sizes = [(1, 1, 1), (2, 3, 5), (17, 13, 31), (65, 70, 67), (64, 10, 1500), (10, 515, 7), (130, 33, 64)];
    for (m, n, k) in sizes {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for fill in [Fill::Uniform(-1.0, 1.0), Fill::Uniform(0.1, 1.0)] {
                let a = if ta { [k, m] } else { [m, k] };
                let b = if tb { [n, k] } else { [k, n] };
                let op = Matmul { transpose_a: ta, transpose_b: tb, bias: false };
                let inputs = vec![(TensorType::f32(a), fill.clone()), (TensorType::f32(b), fill)];
                out.push(Sample::new(op, inputs, Tolerance::Reduction(k)));
            }
        }
        let op = Matmul { transpose_a: false, transpose_b: true, bias: true };
        let fill = Fill::Uniform(-1.0, 1.0);
        let inputs = vec![
            (TensorType::f32([m, k]), fill.clone()),
            (TensorType::f32([n, k]), fill.clone()),
            (TensorType::f32([n]), fill),
        ];
        out.push(Sample::new(op, inputs, Tolerance::Reduction(k)));
    }
    for (m, n, k) in [(1, 1, 1), (5, 3, 2), (17, 13, 31), (64, 36, 68), (10, 515, 7), (64, 10, 1500)] {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let a = if ta { [k, m] } else { [m, k] };
            let b = if tb { [n, k] } else { [k, n] };
            let op = Matmul { transpose_a: ta, transpose_b: tb, bias: false };
            let fill = Fill::Uniform(-1.0, 1.0);
            for (a, b) in [(TensorType::f16(a), TensorType::f16(b)), (TensorType::f16(a), TensorType::f32(b))] {
                let inputs = vec![(a, fill.clone()), (b, fill.clone())];
                // `dy` is rounded to f16 before it is multiplied, which no difference knows of.
                out.push(Sample::new(op, inputs, Tolerance::Reduction(k)).no_gradient());
            }
        }
        let op = Matmul { transpose_a: false, transpose_b: true, bias: true };
        let types = [TensorType::f16([m, k]), TensorType::f16([n, k]), TensorType::f32([n])];
        let inputs = types.map(|ty| (ty, Fill::Uniform(-1.0, 1.0))).to_vec();
        out.push(Sample::new(op, inputs, Tolerance::Reduction(k)).no_gradient());
    }
    let batched: [(&[usize], &[usize]); 4] =
        [(&[3, 4, 5], &[3, 5, 6]), (&[3, 4, 5], &[5, 6]), (&[4, 5], &[2, 5, 7]), (&[2, 1, 3, 8], &[5, 8, 2])];
    for (a, b) in batched {
        let fill = Fill::Uniform(-1.0, 1.0);
        let inputs = vec![(TensorType::f32(a), fill.clone()), (TensorType::f32(b), fill)];
        out.push(Sample::new(Matmul::default(), inputs, Tolerance::Reduction(8)));
    }
    out
}
