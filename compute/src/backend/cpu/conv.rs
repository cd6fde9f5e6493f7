//! Convolutions as matrix products of patches, a band of rows at a time: forward, with respect to
//! x, and with respect to w (and bias, in the same pass). Operands may be computed band by band.
//!
//! Tasks are cut by the sizes alone; partial gradients are added in their order.

use super::conv_deep::{self, DeepBackwardW};
use super::matmul::combine;
use super::shared::Shared;
use super::source::{Band, Conv, Find, Grid, Source, numbers};
use super::window::{Rows, Window};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::{Scratch, Workers};
use crate::graph::NodeId;
use crate::ops::Lowering;
use crate::ops::conv2d::Geometry;
use crate::plan::{Kernel, Plan};
use lanes::Strides;
use lanes::micro;
use lanes::threads::prelude::*;
use lanes::vector::{Lanes, WIDE};

/// Most tasks that keep a partial gradient each.
const PARTS: usize = 32;

/// Elements of a tile of dy.
const TILE: usize = 1 << 14;

/// Longest chain of additions in f32.
const CHAIN: usize = 128;

/// The fast form of a convolution, if it has one.
pub fn step(plan: &Plan, kernel: &Kernel, find: Find) -> Option<Box<dyn Step<f32>>> {
    let g = &plan.graph;
    let id = kernel.outputs[0];
    let inputs = &g.node(id).inputs;
    let out = find(id)?;
    let four = |n: NodeId| <[usize; 4]>::try_from(g.shape(n)).ok();
    let geometry: Geometry;
    let (x, w, y) = match kernel.lowering {
        Lowering::Conv2d(op) => {
            geometry = op.geometry;
            (four(inputs[0])?, four(inputs[1])?, four(id)?)
        }
        Lowering::Conv2dBackwardX(op) => {
            geometry = op.geometry;
            (four(id)?, four(inputs[1])?, four(inputs[0])?)
        }
        Lowering::Conv2dBackwardW(op) => {
            geometry = op.geometry;
            (four(inputs[0])?, four(id)?, four(inputs[1])?)
        }
        _ => return None,
    };
    let window = Window { geometry, kernel: [w[2], w[3]], input: [x[2], x[3]], output: [y[2], y[3]] };
    if x.contains(&0) || y.contains(&0) || w.contains(&0) {
        return None;
    }
    let grid = Grid { channels: y[1], plane: y[2] * y[3], row: y[3] };
    let x_channels = x[1];
    let conv = |x: Source, w: Place, bias: Option<Place>| Conv {
        window,
        groups: geometry.groups,
        channels: [x_channels, y[1]],
        x,
        w,
        bias,
    };
    let fits = |s: &Source| match s {
        Source::Stored(_) => true,
        other => other.grid().is_none_or(|own| other.agrees(&own)),
    };
    match kernel.lowering {
        Lowering::Conv2d(op) => {
            let x = Source::new(plan, inputs[0], find).filter(fits)?;
            let bias = if op.bias { Some(find(inputs[2])?) } else { None };
            let conv = conv(x, find(inputs[1])?, bias);
            Some(Box::new(Forward { conv, grid, images: y[0], out, turned: None }))
        }
        Lowering::Conv2dBackwardX(_) => {
            let dy = Source::new(plan, inputs[0], find).filter(|s| s.agrees(&grid))?;
            let w = find(inputs[1])?;
            if let (Source::Stored(_), Some(window)) = (&dy, window.turned()) {
                let turned = Some(vec![0.0; w.ty.numel()]);
                let grid = Grid { channels: x[1], plane: x[2] * x[3], row: x[3] };
                let (groups, channels) = (geometry.groups, [y[1], x[1]]);
                let conv = Conv { window, groups, channels, x: dy, w, bias: None };
                return Some(Box::new(Forward { conv, grid, images: x[0], out, turned }));
            }
            Some(Box::new(BackwardX {
                window,
                groups: geometry.groups,
                channels: [x[1], y[1]],
                dy,
                w,
                grid,
                images: x[0],
                out,
            }))
        }
        _ => {
            let xs = Source::new(plan, inputs[0], find).filter(fits)?;
            let dy = Source::new(plan, inputs[1], find).filter(|s| s.agrees(&grid))?;
            let bias = match kernel.outputs.get(1) {
                Some(b) => Some(find(*b)?),
                None => None,
            };
            let conv = conv(xs, out.clone(), None);
            if out.ty.numel() >= conv_deep::MANY {
                return Some(Box::new(DeepBackwardW::new(conv, dy, grid, y[0], out, bias)));
            }
            let bands = grid.bands() * y[0];
            let size = out.ty.numel() + y[1];
            let tasks = bands.min(PARTS);
            let lanes = vec![[0.0; WIDE]; tasks * out.ty.numel()];
            let (parts, sums) = (vec![0.0; tasks * size], vec![0.0; size]);
            Some(Box::new(BackwardW { conv, dy, grid, images: y[0], out, bias, parts, sums, lanes }))
        }
    }
}

/// A convolution; or the gradient of one with respect to x, which is the convolution of `dy` with the weights
/// turned round.
struct Forward {
    conv: Conv,
    grid: Grid,
    images: usize,
    out: Place,
    turned: Option<Vec<f32>>,
}

impl Forward {
    fn all(&self, buffers: &[Buffer<f32>], out: &mut [f32], workers: &Workers<f32>) -> Result<(), String> {
        let Grid { channels, plane, .. } = self.grid;
        let len = self.grid.band_len();
        let bands = self.grid.bands();
        let taps = self.conv.channels[0] * self.conv.window.taps();
        let (w, bias) = match &self.turned {
            Some(turned) => (turned.as_slice(), None),
            None => self.conv.weights(buffers)?,
        };
        let shared = Shared::new(out);
        (0..self.images * bands).into_par_iter().try_for_each(|t| {
            workers.with(|local| {
                let (image, offset) = (t / bands, t % bands * len);
                let band = Band { first: image, images: 1, offset, len: len.min(plane - offset) };
                let mut cols = local.take(taps * band.len);
                let mut tile = local.take(channels * band.len);
                self.conv.columns(buffers, image, &band, &mut cols, local)?;
                self.conv.apply(w, bias, &cols, band.len, &mut tile);
                for (c, line) in tile.chunks_exact(band.len).enumerate() {
                    // SAFETY: every task writes its own image and band.
                    unsafe { shared.part((image * channels + c) * plane + offset, band.len) }.copy_from_slice(line);
                }
                local.give(tile);
                local.give(cols);
                Ok::<(), String>(())
            })
        })
    }
}

/// The weights `[y channels, x channels of a group, i, j]` as those of the way back: channels of x and y change
/// places in each group, taps come in the opposite order.
fn turn(w: &[f32], groups: usize, [per_x, per_y]: [usize; 2], taps: usize, out: &mut [f32]) {
    let size = per_x * per_y * taps;
    for (w, out) in w.chunks_exact(size).zip(out.chunks_exact_mut(size)).take(groups) {
        for (k, tap) in out.chunks_exact_mut(taps).enumerate() {
            let (x, y) = (k / per_y, k % per_y);
            let from = &w[(y * per_x + x) * taps..][..taps];
            tap.iter_mut().zip(from.iter().rev()).for_each(|(t, w)| *t = *w);
        }
    }
}

impl Step<f32> for Forward {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        if let Some(turned) = &mut self.turned {
            let w = numbers(buffers, &self.conv.w)?;
            let per = [self.conv.channels[1], self.conv.channels[0]].map(|c| c / self.conv.groups);
            turn(w, self.conv.groups, per, self.conv.window.taps(), turned);
        }
        let mut target = std::mem::take(&mut buffers[self.out.buffer]);
        let n = self.out.ty.numel();
        let done = self.all(buffers, &mut target.num[..n], workers);
        buffers[self.out.buffer] = target;
        done
    }

    fn bytes(&self) -> usize {
        self.turned.as_ref().map_or(0, |t| t.len() * 4)
    }
}

struct BackwardX {
    window: Window,
    groups: usize,
    /// Of x and of y.
    channels: [usize; 2],
    dy: Source,
    w: Place,
    grid: Grid,
    images: usize,
    out: Place,
}

impl BackwardX {
    /// The gradient of one group of channels of one image.
    fn group(
        &self,
        buffers: &[Buffer<f32>],
        image: usize,
        dx: &mut [f32],
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let w = numbers(buffers, &self.w)?;
        let (per_x, per_y) = (self.channels[0] / self.groups, self.channels[1] / self.groups);
        let taps = per_x * self.window.taps();
        let (plane, len) = (self.grid.plane, self.grid.band_len());
        let size = self.window.input[0] * self.window.input[1];
        dx.fill(0.0);
        let mut cols = local.take(taps * len);
        let mut dy = local.take(self.grid.channels * len);
        for offset in (0..plane).step_by(len) {
            let band = Band { first: image, images: 1, offset, len: len.min(plane - offset) };
            self.dy.fill(buffers, &self.grid, &band, &mut dy[..self.grid.channels * band.len], local)?;
            for g in 0..self.groups {
                let cols = &mut cols[..taps * band.len];
                let left = Strides::rows(g * per_y * taps, taps).transposed();
                let right = Strides::rows(g * per_y * band.len, band.len);
                micro::panel((taps, band.len, per_y), cols, Strides::rows(0, band.len), false, w, left, &dy, right);
                let rows = Rows { at: 0, channel: size, first: 0, rows: self.window.input[0] };
                self.window.scatter(cols, rows, g * per_x..(g + 1) * per_x, (offset, band.len), dx);
            }
        }
        local.give(dy);
        local.give(cols);
        Ok(())
    }
}

impl Step<f32> for BackwardX {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let mut target = std::mem::take(&mut buffers[self.out.buffer]);
        let n = self.out.ty.numel();
        let done = target.num[..n]
            .par_chunks_exact_mut(n / self.images)
            .enumerate()
            .try_for_each(|(image, dx)| workers.with(|local| self.group(buffers, image, dx, local)));
        buffers[self.out.buffer] = target;
        done
    }

    fn bytes(&self) -> usize {
        0
    }
}

struct BackwardW {
    /// For the patches of x; its weight is the output.
    conv: Conv,
    dy: Source,
    grid: Grid,
    images: usize,
    out: Place,
    bias: Option<Place>,
    /// Of each task: the gradient of w, then that of the bias.
    parts: Vec<f64>,
    sums: Vec<f32>,
    /// Eight partial sums for each element of each task's gradient of w.
    lanes: Vec<Lanes>,
}

impl BackwardW {
    fn task(
        &self,
        buffers: &[Buffer<f32>],
        units: std::ops::Range<usize>,
        part: &mut [f64],
        lanes: &mut [Lanes],
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let Grid { channels, plane, .. } = self.grid;
        let len = self.grid.band_len();
        let groups = self.conv.groups;
        let (taps, per) = (self.conv.channels[0] / groups * self.conv.window.taps(), channels / groups);
        let (dw, db) = part.split_at_mut(channels * taps);
        let most = (TILE / (channels * len)).clamp(1, 8);
        let mut chain = 0;
        let mut cols = local.take(groups * taps * len);
        let mut tile = local.take(most * channels * len);
        // Units go band by band, so that neighbouring images share what a band needs.
        let mut unit = units.start;
        while unit < units.end {
            let (index, first) = (unit / self.images, unit % self.images);
            let images = most.min(self.images - first).min(units.end - unit);
            let offset = index * len;
            let band = Band { first, images, offset, len: len.min(plane - offset) };
            let size = channels * band.len;
            self.dy.fill(buffers, &self.grid, &band, &mut tile[..images * size], local)?;
            for (image, dy) in tile[..images * size].chunks_exact(size).enumerate() {
                let cols = &mut cols[..groups * taps * band.len];
                self.conv.columns(buffers, first + image, &band, cols, local)?;
                for g in 0..groups {
                    let left = Strides::rows(g * per * band.len, band.len);
                    let right = Strides::rows(g * taps * band.len, band.len);
                    let lanes = &mut lanes[g * per * taps..(g + 1) * per * taps];
                    micro::dots((per, taps, band.len), lanes, dy, left, cols, right);
                }
                if self.bias.is_some() {
                    for (k, line) in dy.chunks_exact(band.len).enumerate() {
                        db[k] += f64::from(sum(line));
                    }
                }
            }
            unit += images;
            chain += images * band.len / WIDE;
            if chain >= CHAIN {
                micro::fold(lanes, dw);
                chain = 0;
            }
        }
        micro::fold(lanes, dw);
        local.give(tile);
        local.give(cols);
        Ok(())
    }
}

/// Stores the gradients of w and of the bias, which lie one after the other.
pub fn settle(sums: &[f32], out: &Place, bias: Option<&Place>, buffers: &mut [Buffer<f32>]) {
    let (dw, db) = sums.split_at(out.ty.numel());
    buffers[out.buffer].num[..dw.len()].copy_from_slice(dw);
    if let Some(bias) = bias {
        buffers[bias.buffer].num[..db.len()].copy_from_slice(db);
    }
}

/// A sum in eight lanes.
pub fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let chunks = x.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().sum();
    for c in chunks {
        lanes.iter_mut().zip(c).for_each(|(l, x)| *l += *x);
    }
    lanes.iter().sum::<f32>() + rest
}

impl Step<f32> for BackwardW {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let size = self.sums.len();
        let units = self.grid.bands() * self.images;
        let (mut parts, mut lanes) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.lanes));
        let tasks = parts.len() / size;
        parts.fill(0.0);
        let (this, shared) = (&*self, &*buffers);
        let weights = self.out.ty.numel();
        let each = parts.par_chunks_exact_mut(size).zip(lanes.par_chunks_exact_mut(weights));
        let done = each.enumerate().try_for_each(|(t, (part, lanes))| {
            workers.with(|local| this.task(shared, t * units / tasks..(t + 1) * units / tasks, part, lanes, local))
        });
        self.lanes = lanes;
        combine(&parts, &mut self.sums);
        self.parts = parts;
        settle(&self.sums, &self.out, self.bias.as_ref(), buffers);
        done
    }

    fn bytes(&self) -> usize {
        (2 * self.parts.len() + self.sums.len() + WIDE * self.lanes.len()) * 4
    }
}
