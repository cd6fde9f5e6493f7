//! Matrix products whose one operand is computed band by band ([`Source`]) and never stored:
//!
//! ```text
//! rows      y[m, n] = bias[n] + sum(k) a[m, k] b[k, n]     a in bands: a linear layer
//! columns   y[n, k] = sum(m) a[m, n] b[m, k]               b in bands: its weight's gradient
//! ```
//!
//! The cut into tasks follows from the sizes alone: see [`super::matmul`].

use super::matmul::{PARTS, TILE, add_bias, combine};
use super::shared::Shared;
use super::source::{Band, Find, Grid, Source, numbers};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::{Scratch, Workers};
use crate::graph::NodeId;
use crate::ops::matmul::Matmul;
use crate::plan::Plan;
use lanes::Strides;
use lanes::micro;
use lanes::threads::prelude::*;
use lanes::vector::{Lanes, WIDE};

/// Longest chain of additions in f32; shorter than elsewhere, because sums are longest here.
const BAND_CHAIN: usize = 256;

/// A product with one operand in bands.
struct Banded {
    rows: bool,
    source: Source,
    /// The stored operand as k x n (rows) or n x m (columns).
    other: Place,
    strides: Strides,
    bias: Option<Place>,
    out: Place,
    grid: Grid,
    images: usize,
    n: usize,
    /// Of each task of the rows form: its sums, and a vector of partial sums for each.
    parts: Vec<f64>,
    lanes: Vec<Lanes>,
}

/// The banded form of a product, if it has one.
pub fn step(
    plan: &Plan,
    op: Matmul,
    inputs: &[NodeId],
    out: &Place,
    bias: Option<&Place>,
    find: Find,
) -> Option<Box<dyn Step<f32>>> {
    let g = &plan.graph;
    let (a, b) = (inputs[0], inputs[1]);
    if g.shape(a).len() != 2 || g.shape(b).len() != 2 {
        return None;
    }
    let (rows, inner, other) = match (find(a).is_some(), find(b).is_some()) {
        (false, true) if !op.transpose_a => (true, a, find(b)?),
        (true, false) if op.transpose_a && !op.transpose_b && !op.bias => (false, b, find(a)?),
        _ => return None,
    };
    let source = Source::new(plan, inner, find)?;
    let (images, k) = (g.shape(inner)[0], g.shape(inner)[1]);
    let grid = source.grid().unwrap_or(Grid { channels: 1, plane: k, row: 1 });
    // Small operands are made whole, cheaper than in bands.
    if !source.agrees(&grid) || grid.channels * grid.plane != k || images * k < TILE {
        return None;
    }
    let s = Strides::rows(0, other.ty.shape[1]);
    let turned = if rows { op.transpose_b } else { true };
    let strides = if turned { s.transposed() } else { s };
    // Rows of b are read as rows: a weight stored [k, n] has none.
    if rows && strides.rs != 1 {
        return None;
    }
    let n = if rows { out.ty.shape[1] } else { out.ty.shape[0] };
    let size = if rows { grid.bands().min(PARTS) * images * n } else { 0 };
    let (parts, lanes) = (vec![0.0; size], vec![[0.0; WIDE]; size]);
    let (bias, out) = (bias.cloned(), out.clone());
    Some(Box::new(Banded { rows, source, other, strides, bias, out, grid, images, n, parts, lanes }))
}

impl Banded {
    fn band(&self, index: usize, len: usize) -> Band {
        let offset = index * len;
        let len = len.min(self.grid.plane - offset);
        // The rows form needs no more than what fills a block; the columns form is the longer the
        // sum over images that it makes at once the faster.
        let most = if self.rows { self.images.min(8) } else { self.images };
        Band { first: 0, images: (TILE / (self.grid.channels * len)).clamp(1, most), offset, len }
    }

    /// Calls `f` with each tile of a band.
    fn tiles(
        &self,
        buffers: &[Buffer<f32>],
        band: Band,
        local: &mut Scratch<f32>,
        mut f: impl FnMut(Band, &[f32]),
    ) -> Result<(), String> {
        let mut tile = local.take(self.grid.size(&band));
        for first in (0..self.images).step_by(band.images) {
            let part = Band { first, images: band.images.min(self.images - first), ..band };
            let t = &mut tile[..self.grid.size(&part)];
            self.source.fill(buffers, &self.grid, &part, t, local)?;
            f(part, t);
        }
        local.give(tile);
        Ok(())
    }

    fn multiply(&mut self, buffers: &[Buffer<f32>], out: &mut [f32], workers: &Workers<f32>) -> Result<(), String> {
        let other = numbers(buffers, &self.other)?;
        let (len, bands) = (self.grid.band_len(), self.grid.bands());
        let Grid { channels, plane, .. } = self.grid;
        let n = self.n;
        if self.rows {
            let (mut parts, mut lanes) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.lanes));
            let tasks = bands.min(PARTS);
            parts.fill(0.0);
            let size = self.images * n;
            let each = parts.par_chunks_exact_mut(size).zip(lanes.par_chunks_exact_mut(size));
            let done = each.enumerate().try_for_each(|(t, (y, lanes))| {
                workers.with(|local| {
                    for index in t * bands / tasks..(t + 1) * bands / tasks {
                        let band = self.band(index, len);
                        self.tiles(buffers, band, local, |band, tile| {
                            let own = band.first * n..(band.first + band.images) * n;
                            let mut chain = 0;
                            for c in 0..channels {
                                let left = Strides::rows(c * band.len, channels * band.len);
                                let right = Strides::rows(self.strides.at + c * plane + band.offset, self.strides.cs);
                                let size = (band.images, n, band.len);
                                micro::dots(size, &mut lanes[own.clone()], tile, left, other, right);
                                chain += band.len / WIDE;
                                if chain >= BAND_CHAIN || c + 1 == channels {
                                    micro::fold(&mut lanes[own.clone()], &mut y[own.clone()]);
                                    chain = 0;
                                }
                            }
                        })?;
                    }
                    Ok::<(), String>(())
                })
            });
            self.lanes = lanes;
            combine(&parts, out);
            self.parts = parts;
            if let Some(bias) = &self.bias {
                add_bias(out, numbers(buffers, bias)?);
            }
            return done;
        }
        let shared = Shared::new(out);
        (0..bands).into_par_iter().try_for_each(|index| {
            workers.with(|local| {
                let band = self.band(index, len);
                let width = channels * band.len;
                let mut acc = local.take(n * width);
                acc.fill(0.0);
                self.tiles(buffers, band, local, |band, tile| {
                    let left = Strides { at: self.strides.at + band.first * self.strides.cs, ..self.strides };
                    let size = (n, width, band.images);
                    let rows = Strides::rows(0, width);
                    micro::panel(size, &mut acc, rows, true, other, left, tile, rows);
                })?;
                for (row, line) in acc.chunks_exact(width).enumerate() {
                    for (c, part) in line.chunks_exact(band.len).enumerate() {
                        // SAFETY: every task writes the positions of its own band.
                        let to = unsafe { shared.part(row * channels * plane + c * plane + band.offset, band.len) };
                        to.copy_from_slice(part);
                    }
                }
                local.give(acc);
                Ok::<(), String>(())
            })
        })
    }
}

impl Step<f32> for Banded {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let mut target = std::mem::take(&mut buffers[self.out.buffer]);
        let n = self.out.ty.numel();
        let done = self.multiply(buffers, &mut target.num[..n], workers);
        buffers[self.out.buffer] = target;
        done
    }

    fn bytes(&self) -> usize {
        self.parts.len() * 8 + self.lanes.len() * WIDE * 4
    }
}
