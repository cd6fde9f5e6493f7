//! Matrix products of whole operands, in parallel blocks; see [`super::banded`] for operands that are
//! computed on the way.
//!
//! Work is cut into tasks by the sizes alone, and partial sums are added in the order of tasks, so
//! the bits do not depend on the number of threads.

use super::banded;
use super::blas::product;
use super::operand::Operand;
use super::shared::Shared;
use super::source::{Find, numbers};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::Workers;
use crate::ops::matmul::Matmul;
use crate::plan::{Kernel, Plan};
use lanes::Strides;
use lanes::micro;
use lanes::threads::prelude::*;

/// Elements of a tile: 256 KiB, half of a core's level-2 cache.
pub const TILE: usize = 1 << 16;

/// Multiply-adds of a block of a whole product. Each block packs its operands anew, which pays where
/// there are threads to share them out to; WebAssembly has one.
const BLOCK_WORK: usize = if cfg!(target_arch = "wasm32") { 1 << 25 } else { 1 << 21 };

/// Side of a block of a result that is large both ways.
const SQUARE: usize = 256;

/// Most tasks that keep a partial result each.
pub const PARTS: usize = 32;

/// A product of at most this depth is not packed.
const SHALLOW: usize = 64;

/// Longest chain of additions in f32.
const CHAIN: usize = 1024;

/// The fast form of a product, if it has one.
pub fn step(plan: &Plan, kernel: &Kernel, op: Matmul, find: Find) -> Result<Option<Box<dyn Step<f32>>>, String> {
    let id = kernel.outputs[0];
    let inputs = &plan.graph.node(id).inputs;
    let Some(out) = find(id) else { return Ok(None) };
    let bias = if op.bias { find(inputs[2]) } else { None };
    if op.bias && bias.is_none() {
        return Ok(None);
    }
    if let Some(step) = banded::step(plan, op, inputs, &out, bias.as_ref(), find) {
        return Ok(Some(step));
    }
    let (Some(a), Some(b)) = (Operand::new(plan, inputs[0], find)?, Operand::new(plan, inputs[1], find)?) else {
        return Ok(None);
    };
    let dims = op.dims(a.shape(), b.shape()).map_err(|e| e.to_string())?;
    let parts = vec![];
    let mut whole = Whole { op, a, b, bias, out, size: (dims.m, dims.n, dims.k), batch: dims.batch, parts };
    let n = whole.splits() * whole.size.0 * whole.size.1;
    if whole.splits() > 1 {
        whole.parts = vec![0.0; n];
    }
    Ok(Some(Box::new(whole)))
}

struct Whole {
    op: Matmul,
    a: Operand,
    b: Operand,
    bias: Option<Place>,
    out: Place,
    size: (usize, usize, usize),
    batch: Vec<usize>,
    /// Partial sums of a product that is cut along k.
    parts: Vec<f32>,
}

/// The offset of a matrix in an operand whose leading axes broadcast.
fn lead(shape: &[usize], batch: &[usize], flat: usize) -> usize {
    let own = &shape[..shape.len() - 2];
    let (mut at, mut step, mut rest) = (0, shape[shape.len() - 2] * shape[shape.len() - 1], flat);
    for (k, &d) in batch.iter().enumerate().rev() {
        let index = rest % d;
        rest /= d;
        if k + own.len() >= batch.len() {
            let n = own[k + own.len() - batch.len()];
            if n > 1 {
                at += index * step;
            }
            step *= n;
        }
    }
    at
}

fn matrix(shape: &[usize], transpose: bool, at: usize) -> Strides {
    let s = Strides::rows(at, shape[shape.len() - 1]);
    if transpose { s.transposed() } else { s }
}

impl Whole {
    /// How many parts the sum over k is cut into: only where the result is too small to be cut.
    fn splits(&self) -> usize {
        let (m, n, k) = self.size;
        let small = self.batch.iter().product::<usize>() == 1 && m * n <= 128 * 128;
        if small { (k / CHAIN).clamp(1, PARTS) } else { 1 }
    }

    fn block(
        &self,
        buffers: &[Buffer<f32>],
        flat: usize,
        rows: (usize, usize),
        columns: (usize, usize),
        ks: (usize, usize),
        c: &mut [f32],
    ) -> Result<(), String> {
        let (x, y) = (self.a.numbers(buffers)?, self.b.numbers(buffers)?);
        let (sa, sb) = (self.a.shape(), self.b.shape());
        let mut left = matrix(sa, self.op.transpose_a, lead(sa, &self.batch, flat));
        let mut right = matrix(sb, self.op.transpose_b, lead(sb, &self.batch, flat));
        let (m, n) = (rows.1 - rows.0, columns.1 - columns.0);
        left.at += rows.0 * left.rs;
        right.at += columns.0 * right.cs;
        let to = Strides::rows(0, n);
        match &self.bias {
            Some(bias) => {
                let bias = &numbers(buffers, bias)?[columns.0..columns.1];
                c.chunks_exact_mut(n).for_each(|row| row.copy_from_slice(bias));
            }
            None => c.fill(0.0),
        }
        let mut k = ks.0;
        while k < ks.1 {
            let depth = (ks.1 - k).min(CHAIN);
            let (a, b) =
                (Strides { at: left.at + k * left.cs, ..left }, Strides { at: right.at + k * right.rs, ..right });
            // What is shallow is not worth packing.
            if self.size.2 <= SHALLOW && b.cs == 1 {
                micro::panel((m, n, depth), c, to, true, x, a, y, b);
            } else {
                product((m, n, depth), c, to, true, x, a, y, b);
            }
            k += depth;
        }
        Ok(())
    }

    fn multiply(&mut self, buffers: &[Buffer<f32>], out: &mut [f32], workers: &Workers<f32>) -> Result<(), String> {
        let (m, n, k) = self.size;
        if m * n == 0 {
            return Ok(());
        }
        let splits = self.splits();
        if splits > 1 {
            let mut parts = std::mem::take(&mut self.parts);
            let bias = self.bias.take();
            let done = parts.par_chunks_exact_mut(m * n).enumerate().try_for_each(|(t, c)| {
                self.block(buffers, 0, (0, m), (0, n), (t * k / splits, (t + 1) * k / splits), c)
            });
            self.bias = bias;
            combine(&parts, out);
            self.parts = parts;
            if let Some(bias) = &self.bias {
                add_bias(out, numbers(buffers, bias)?);
            }
            return done;
        }
        let matrices: usize = self.batch.iter().product();
        let (rows, columns) = blocks(m, n, k);
        let (across, down) = (n.div_ceil(columns), m.div_ceil(rows));
        let shared = Shared::new(out);
        (0..matrices * down * across).into_par_iter().try_for_each(|t| {
            let (flat, r, c) = (t / (down * across), t / across % down, t % across);
            let (r0, c0) = (r * rows, c * columns);
            let (r1, c1) = ((r0 + rows).min(m), (c0 + columns).min(n));
            workers.with(|local| {
                let mut tile = local.take((r1 - r0) * (c1 - c0));
                let done = self.block(buffers, flat, (r0, r1), (c0, c1), (0, k), &mut tile);
                for (row, line) in (r0..r1).zip(tile.chunks_exact(c1 - c0)) {
                    // SAFETY: every task writes its own block.
                    unsafe { shared.part((flat * m + row) * n + c0, c1 - c0) }.copy_from_slice(line);
                }
                local.give(tile);
                done
            })
        })
    }
}

/// Rows and columns of the blocks that an m x n result of depth k is cut into.
fn blocks(m: usize, n: usize, k: usize) -> (usize, usize) {
    if m.min(n) >= SQUARE && !cfg!(target_arch = "wasm32") {
        // Square: what a block packs is least for what it multiplies.
        let side = |d: usize| d.div_ceil(d.div_ceil(SQUARE * 2)).clamp(SQUARE, 2 * SQUARE);
        let halved = m * n <= 16 * SQUARE * SQUARE;
        return if halved { (SQUARE, SQUARE) } else { (side(m), side(n)) };
    }
    // Of whole rows or, for wide results, of columns.
    let work = BLOCK_WORK / k.max(1);
    if n > m {
        // Not a power of two: the rows of a tile would fall into the same cache lines.
        (m, ((work / m).clamp(64, (TILE / m).max(64)) - 16).min(n))
    } else {
        ((work / n).clamp(16, m.max(16)).min(m), n)
    }
}

impl Step<f32> for Whole {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let mut target = std::mem::take(&mut buffers[self.out.buffer]);
        let made = self.a.make(buffers, workers).and_then(|()| self.b.make(buffers, workers));
        let n = self.out.ty.numel();
        let done = made.and_then(|()| self.multiply(buffers, &mut target.num[..n], workers));
        buffers[self.out.buffer] = target;
        done
    }

    fn bytes(&self) -> usize {
        self.a.bytes() + self.b.bytes() + self.parts.len() * 4
    }
}

/// Adds partial results in order.
pub fn combine<T: Copy + Into<f64>>(parts: &[T], out: &mut [f32]) {
    let n = out.len();
    for (i, y) in out.iter_mut().enumerate() {
        *y = parts[i..].iter().step_by(n).map(|p| -> f64 { (*p).into() }).sum::<f64>() as f32;
    }
}

/// Adds a bias to each row.
pub fn add_bias(out: &mut [f32], bias: &[f32]) {
    out.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += *b));
}
