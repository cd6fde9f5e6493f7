//! The gradient of a convolution's weights where there are many of them: their partial sums, a vector for
//! each as in [`super::conv`], would not stay in cache. Here it is formed transposed, as products of panels that
//! do stay there:
//!
//! ```text
//! dw[tap, o] += sum(position) patch[tap, position] dy[position, o]
//! ```
//!
//! The positions of several images lie side by side; dy is turned round in strips of [`STRIP`] channels, and patches
//! are gathered for a few channels of x at a time, so that neither is packed again. Tasks share out the positions,
//! and the channels of x where the gradient would not stay in cache.

use super::conv::{settle, sum};
use super::matmul::combine;
use super::source::{Band, Conv, Grid, Source};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::{Scratch, Workers};
use lanes::threads::{self, prelude::*};
use lanes::{Strides, micro};

/// Weights from which this form is the faster: their vectors of partial sums fill a part of the level-2 cache.
pub const MANY: usize = 1 << 12;

/// Tasks, about: each keeps the partial gradient of its channels.
const TASKS: usize = 16;

/// Numbers of a task's gradient, at most: half of a level-2 cache.
const GRADIENT: usize = 1 << 17;

/// Longest chain of additions in f32.
const CHAIN: usize = 1024;

/// Positions that lie side by side: each pass over the gradient is one through memory.
const DEPTH: usize = 512;

/// Numbers of patches that lie side by side, at most: a quarter of a level-2 cache.
const PATCHES: usize = 1 << 16;

/// Channels of dy that lie side by side: two vectors of the widest machine.
const STRIP: usize = 32;

/// What is between rows of patches: without it they lie a power of two apart and fall into the same cache lines.
const PAD: usize = 16;

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
    /// Channels of x of a task.
    share: usize,
    out: Place,
    bias: Option<Place>,
    /// Of each part of the positions: the gradient of w, transposed in each group, then that of the bias.
    parts: Vec<f64>,
    sums: Vec<f32>,
    /// The gradient as the weights lie, and that of the bias.
    turned: Vec<f32>,
}

/// Sizes of the product of a group.
#[derive(Clone, Copy)]
struct Sizes {
    groups: usize,
    /// Channels of x and of y in a group.
    x: usize,
    y: usize,
    /// Numbers of a patch: of one channel, of a group's.
    window: usize,
    taps: usize,
}

impl DeepBackwardW {
    pub fn new(conv: Conv, dy: Source, grid: Grid, images: usize, out: Place, bias: Option<Place>) -> DeepBackwardW {
        let size = out.ty.numel() + grid.channels;
        // Stored images are read one after the other: a band of all of them would touch a page of each channel of
        // each for a few rows. What is computed is computed in bands that its grid prefers.
        let stored = matches!((&conv.x, &dy), (Source::Stored(_), Source::Stored(_)));
        let rows = if stored { DEPTH / grid.row } else { 0 };
        let len = if rows > 0 { rows * grid.row } else { grid.band_len() }.min(grid.plane);
        let by_image = stored && len < grid.plane;
        let shares = if conv.groups == 1 { out.ty.numel().div_ceil(GRADIENT).min(conv.channels[0]) } else { 1 };
        let share = (conv.channels[0] / conv.groups).div_ceil(shares);
        let tasks = (grid.plane.div_ceil(len) * images).min(TASKS.div_ceil(shares));
        let (parts, sums, turned) = (vec![0.0; tasks * size], vec![0.0; size], vec![0.0; size]);
        DeepBackwardW { conv, dy, grid, images, len, by_image, share, out, bias, parts, sums, turned }
    }

    fn bands(&self) -> usize {
        self.grid.plane.div_ceil(self.len)
    }

    fn sizes(&self) -> Sizes {
        let groups = self.conv.groups;
        let [x, y] = self.conv.channels.map(|c| c / groups);
        let window = self.conv.window.taps();
        Sizes { groups, x, y, window, taps: x * window }
    }

    /// Adds what some units give to the gradient of the channels of x from `from` on, and to that of the bias.
    fn task(
        &self,
        buffers: &[Buffer<f32>],
        units: std::ops::Range<usize>,
        from: usize,
        (dw, db): (&mut [f64], &mut [f64]),
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let Grid { channels, plane, .. } = self.grid;
        let len = self.len;
        let most = if self.by_image { 1 } else { (DEPTH / len).max(1) };
        let mut tile = local.take(channels * len);
        let mut right = local.take(channels * most * len);
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
            let width = images * band.len;
            for image in 0..images {
                let tile = &mut tile[..channels * band.len];
                let one = Band { first: first + image, images: 1, ..band };
                self.dy.fill(buffers, &self.grid, &one, tile, local)?;
                self.turn_round(tile, band.len, image * band.len, width, &mut right);
                if !db.is_empty() {
                    tile.chunks_exact(band.len).zip(&mut *db).for_each(|(line, db)| *db += f64::from(sum(line)));
                }
            }
            self.add(buffers, &band, &right, from, (&mut acc, chain > 0), local)?;
            chain += width;
            unit += images;
            if chain + most * len > CHAIN || unit == units.end {
                dw.iter_mut().zip(&acc).for_each(|(dw, a)| *dw += f64::from(*a));
                chain = 0;
            }
        }
        [tile, right, acc].into_iter().for_each(|t| local.give(t));
        Ok(())
    }

    /// Puts dy `[channels, len]` of an image at position `at` of strips `[width, STRIP]`.
    fn turn_round(&self, dy: &[f32], len: usize, at: usize, width: usize, strips: &mut [f32]) {
        let Sizes { y, .. } = self.sizes();
        for (group, dy) in strips.chunks_mut(y * width).zip(dy.chunks_exact(y * len)) {
            for (strip, dy) in group.chunks_mut(STRIP * width).zip(dy.chunks(STRIP * len)) {
                let wide = dy.len() / len;
                let rows = strip[at * wide..(at + len) * wide].chunks_exact_mut(wide);
                for (position, row) in rows.enumerate() {
                    row.iter_mut().zip(dy[position..].iter().step_by(len)).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }

    /// Adds the products of a band for the channels of x from `first` on to `acc`, or begins it.
    fn add(
        &self,
        buffers: &[Buffer<f32>],
        band: &Band,
        right: &[f32],
        first: usize,
        (acc, more): (&mut [f32], bool),
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let Sizes { groups, x, y, window, .. } = self.sizes();
        let width = band.images * band.len;
        let pitch = width + PAD;
        let own = self.share.min(x - first);
        let step = (PATCHES / (window * pitch)).clamp(1, own);
        let mut left = local.take(step * window * pitch);
        let seen = self.conv.see(buffers, band, local)?;
        for group in 0..groups {
            let size = own * window * y;
            let (acc, right) = (&mut acc[group * size..][..size], &right[group * y * width..][..y * width]);
            for from in (0..own).step_by(step) {
                let start = group * x + first;
                let here = start + from..start + (from + step).min(own);
                for image in 0..band.images {
                    let run = (band.offset, band.len);
                    let rows = seen.rows(image);
                    let numbers = seen.numbers(buffers)?;
                    self.conv.window.gather(numbers, rows, here.clone(), run, &mut left[image * band.len..], pitch);
                }
                let (row, count) = (from * window, here.len() * window);
                for (s, strip) in right.chunks(STRIP * width).enumerate() {
                    let wide = strip.len() / width;
                    let to = Strides::rows(row * y + s * STRIP, y);
                    let (a, b) = (Strides::rows(0, pitch), Strides::rows(0, wide));
                    micro::panel((count, wide, width), acc, to, more, &left, a, strip, b);
                }
            }
        }
        seen.give(local);
        local.give(left);
        Ok(())
    }

    /// The gradient as the weights lie: `[y channels, taps]`.
    fn transpose(&mut self) {
        let Sizes { y, taps, .. } = self.sizes();
        let all = self.out.ty.numel();
        for (to, from) in self.turned[..all].chunks_exact_mut(y * taps).zip(self.sums.chunks_exact(y * taps)) {
            for (o, row) in to.chunks_exact_mut(taps).enumerate() {
                row.iter_mut().zip(from[o..].iter().step_by(y)).for_each(|(to, from)| *to = *from);
            }
        }
        self.turned[all..].copy_from_slice(&self.sums[all..]);
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
        let Sizes { groups, y, window, .. } = self.sizes();
        let done = parts.par_chunks_exact_mut(size).enumerate().try_for_each(|(t, part)| {
            let units = t * units / tasks..(t + 1) * units / tasks;
            let share = |s: usize, to: (&mut [f64], &mut [f64])| {
                workers.with(|local| this.task(shared, units.clone(), s * this.share, to, local))
            };
            let (dw, db) = part.split_at_mut(this.out.ty.numel());
            // The gradient of the bias is the first's.
            let own = groups * this.share * window * y;
            let (first, others) = dw.split_at_mut(own.min(dw.len()));
            let db = if this.bias.is_some() { db } else { &mut [] };
            let (a, b) = threads::join(
                || share(0, (first, db)),
                || others.par_chunks_mut(own).enumerate().try_for_each(|(s, dw)| share(s + 1, (dw, &mut []))),
            );
            a.and(b)
        });
        combine(&parts, &mut self.sums);
        self.parts = parts;
        self.transpose();
        settle(&self.turned, &self.out, self.bias.as_ref(), buffers);
        done
    }

    fn bytes(&self) -> usize {
        (2 * self.parts.len() + self.sums.len() + self.turned.len()) * 4
    }
}
