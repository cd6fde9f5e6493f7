//! The gradient of a convolution's weights where there are many of them: their partial sums, a vector for
//! each as in [`super::conv`], would not stay in cache. Here the positions of several images lie side by
//! side and make a product that is worth packing:
//!
//! ```text
//! dw[o, tap] += sum(position) dy[o, position] patch[tap, position]
//! ```

use super::blas::product;
use super::conv::{settle, sum};
use super::matmul::combine;
use super::source::{Band, Conv, Grid, Source};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::{Scratch, Workers};
use lanes::Strides;
use lanes::threads::prelude::*;

/// Weights from which this form is the faster: their vectors of partial sums fill a part of the level-2 cache.
pub const MANY: usize = 1 << 12;

/// Most tasks that keep a partial gradient each.
const PARTS: usize = 16;

/// Longest chain of additions in f32.
const CHAIN: usize = 1024;

/// Numbers of the patches that lie side by side: half of a level-2 cache.
const TILE: usize = 1 << 17;

/// Fewer positions than this are not worth packing, however many numbers their patches have.
const SHALLOW: usize = 256;

/// What is between the rows of the two matrices: without it they lie a power of two apart, fall into the same
/// cache lines, and a product takes three times as long.
const PAD: usize = 16;

/// Positions that lie side by side where a patch has so many numbers.
fn depth(taps: usize) -> usize {
    (TILE / taps).clamp(SHALLOW, CHAIN)
}

pub struct DeepBackwardW {
    /// For the patches of x; its weight is the output.
    conv: Conv,
    dy: Source,
    grid: Grid,
    images: usize,
    /// Positions of a band.
    len: usize,
    /// Whether the bands of an image follow one another, or the images of a band.
    by_image: bool,
    out: Place,
    bias: Option<Place>,
    /// Of each task: the gradient of w, then that of the bias.
    parts: Vec<f64>,
    sums: Vec<f32>,
}

impl DeepBackwardW {
    pub fn new(conv: Conv, dy: Source, grid: Grid, images: usize, out: Place, bias: Option<Place>) -> DeepBackwardW {
        let size = out.ty.numel() + grid.channels;
        // Stored images are read one after the other: a band of all of them would touch a page of each channel of
        // each for a few rows. What is computed is computed in bands that its grid prefers.
        let stored = matches!((&conv.x, &dy), (Source::Stored(_), Source::Stored(_)));
        let most = depth(conv.channels[0] * conv.window.taps());
        let rows = if stored { most / grid.row } else { 0 };
        let len = if rows > 0 { rows * grid.row } else { grid.band_len() }.min(grid.plane);
        let by_image = stored && len < grid.plane;
        let tasks = (grid.plane.div_ceil(len) * images).min(PARTS);
        let (parts, sums) = (vec![0.0; tasks * size], vec![0.0; size]);
        DeepBackwardW { conv, dy, grid, images, len, by_image, out, bias, parts, sums }
    }

    fn bands(&self) -> usize {
        self.grid.plane.div_ceil(self.len)
    }

    fn task(
        &self,
        buffers: &[Buffer<f32>],
        units: std::ops::Range<usize>,
        part: &mut [f64],
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let Grid { channels, plane, .. } = self.grid;
        let len = self.len;
        let groups = self.conv.groups;
        let (taps, per) = (self.conv.channels[0] / groups * self.conv.window.taps(), channels / groups);
        let (dw, db) = part.split_at_mut(channels * taps);
        let most = if self.by_image { 1 } else { (depth(groups * taps) / len).max(1) };
        let pitch = most * len + PAD;
        let mut tile = local.take(most * channels * len);
        let (mut left, mut right) = (local.take(channels * pitch), local.take(groups * taps * pitch));
        let mut acc = local.take(dw.len());
        let mut chain = 0;
        let mut unit = units.start;
        while unit < units.end {
            let (index, first) = match self.by_image {
                true => (unit % self.bands(), unit / self.bands()),
                false => (unit / self.images, unit % self.images),
            };
            let images = most.min(self.images - first).min(units.end - unit);
            let offset = index * len;
            let band = Band { first, images, offset, len: len.min(plane - offset) };
            let (size, width) = (channels * band.len, images * band.len);
            self.dy.fill(buffers, &self.grid, &band, &mut tile[..images * size], local)?;
            for (image, dy) in tile[..images * size].chunks_exact(size).enumerate() {
                let at = image * band.len;
                self.conv.columns(buffers, first + image, &band, (&mut right[at..], pitch), local)?;
                for (row, line) in dy.chunks_exact(band.len).enumerate() {
                    left[row * pitch + at..][..band.len].copy_from_slice(line);
                    if self.bias.is_some() {
                        db[row] += f64::from(sum(line));
                    }
                }
            }
            for g in 0..groups {
                let own = &mut acc[g * per * taps..(g + 1) * per * taps];
                let a = Strides::rows(g * per * pitch, pitch);
                let b = Strides::rows(g * taps * pitch, pitch).transposed();
                product((per, taps, width), own, Strides::rows(0, taps), chain > 0, &left, a, &right, b);
            }
            chain += width;
            unit += images;
            if chain + most * len > CHAIN || unit == units.end {
                dw.iter_mut().zip(&acc).for_each(|(dw, a)| *dw += f64::from(*a));
                chain = 0;
            }
        }
        [tile, left, right, acc].into_iter().for_each(|t| local.give(t));
        Ok(())
    }
}

impl Step<f32> for DeepBackwardW {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let size = self.sums.len();
        let units = self.bands() * self.images;
        let mut parts = std::mem::take(&mut self.parts);
        let tasks = parts.len() / size;
        parts.fill(0.0);
        let (this, shared) = (&*self, &*buffers);
        let done = parts.par_chunks_exact_mut(size).enumerate().try_for_each(|(t, part)| {
            workers.with(|local| this.task(shared, t * units / tasks..(t + 1) * units / tasks, part, local))
        });
        combine(&parts, &mut self.sums);
        self.parts = parts;
        settle(&self.sums, &self.out, self.bias.as_ref(), buffers);
        done
    }

    fn bytes(&self) -> usize {
        2 * self.parts.len() * 4 + self.sums.len() * 4
    }
}
