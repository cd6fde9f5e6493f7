//! The patches of a convolution as the columns of a matrix (im2col), band by band, and back.
//!
//! A band is a run of output positions of one image; its matrix has one row a tap (channel, i, j) and
//! one column an output position.

use crate::ops::conv2d::Geometry;
use lanes::rows;

/// Sizes of one convolution. Channels are those of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub geometry: Geometry,
    pub kernel: [usize; 2],
    /// Height and width of x and of y.
    pub input: [usize; 2],
    pub output: [usize; 2],
}

/// Rows of an image in memory: row `r` of channel `c` starts at
/// `at + c * channel + (r - first) * width`; rows outside `first..first + rows` are not there.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub at: usize,
    pub channel: usize,
    pub first: usize,
    pub rows: usize,
}

impl Window {
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The window of the way back, from the gradient of y to that of x, where that is a convolution.
    pub fn turned(&self) -> Option<Window> {
        let g = self.geometry;
        let reach = [0, 1].map(|d| ((self.kernel[d] - 1) * g.dilation[d]).checked_sub(g.padding[d]));
        let [Some(p), Some(q)] = reach else { return None };
        let geometry = Geometry { padding: [p, q], ..g };
        (g.stride == [1, 1]).then_some(Window { geometry, input: self.output, output: self.input, ..*self })
    }

    /// The input rows that a run of output positions sees, clipped to the image.
    pub fn sees(&self, offset: usize, len: usize) -> (usize, usize) {
        let g = self.geometry;
        let (h0, h1) = (offset / self.output[1], (offset + len.max(1) - 1) / self.output[1]);
        let low = (h0 * g.stride[0]).saturating_sub(g.padding[0]).min(self.input[0]);
        let high = (h1 * g.stride[0] + (self.kernel[0] - 1) * g.dilation[0] + 1).saturating_sub(g.padding[0]);
        (low, high.clamp(low, self.input[0]))
    }

    /// The input row of an output row and tap row.
    fn row(&self, h: usize, i: usize) -> Option<usize> {
        let g = self.geometry;
        (h * g.stride[0] + i * g.dilation[0]).checked_sub(g.padding[0]).filter(|r| *r < self.input[0])
    }

    /// The part of output columns `from..to` whose tap column `j` is inside, and the input column
    /// of its first.
    fn columns(&self, j: usize, (from, to): (usize, usize)) -> (usize, usize, usize) {
        let (g, s) = (self.geometry, self.geometry.stride[1]);
        let shift = j * g.dilation[1];
        let low = g.padding[1].saturating_sub(shift).div_ceil(s).clamp(from, to);
        let high = (self.input[1] + g.padding[1]).saturating_sub(shift).div_ceil(s).clamp(low, to);
        (low - from, high - from, (low * s + shift).saturating_sub(g.padding[1]))
    }

    /// Calls `f` with every part of a row in a run of positions: output row, columns, and where the
    /// part starts in the run.
    fn parts(&self, offset: usize, len: usize, mut f: impl FnMut(usize, (usize, usize), usize)) {
        let (ow, mut at) = (self.output[1], 0);
        while at < len {
            let (h, from) = ((offset + at) / ow, (offset + at) % ow);
            let to = ow.min(from + len - at);
            f(h, (from, to), at);
            at += to - from;
        }
    }

    /// Fills a matrix (taps x `len`, its rows `pitch` apart) from the channels `channels` of an image.
    pub fn gather(
        &self,
        x: &[f32],
        rows: Rows,
        channels: std::ops::Range<usize>,
        (offset, len): (usize, usize),
        cols: &mut [f32],
        pitch: usize,
    ) {
        let s = self.geometry.stride[1];
        let there = rows.first..rows.first + rows.rows;
        let mut lines = cols.chunks_mut(pitch);
        let width = self.output[1];
        if s == 1 && offset % width == 0 && len % width == 0 {
            // Whole rows, as they mostly are: what is inside follows from the tap alone.
            for (tap, line) in (channels.start * self.taps()..channels.end * self.taps()).zip(lines) {
                let (c, i, j) = (tap / self.taps(), tap % self.taps() / self.kernel[1], tap % self.kernel[1]);
                let (from, to, first) = self.columns(j, (0, width));
                for (y, h) in line[..len].chunks_exact_mut(width).zip(offset / width..) {
                    let Some(r) = self.row(h, i).filter(|r| there.contains(r)) else {
                        y.fill(0.0);
                        continue;
                    };
                    let start = rows.at + c * rows.channel + (r - rows.first) * self.input[1] + first;
                    rows::clear(&mut y[..from]);
                    rows::copy(&mut y[from..to], &x[start..start + to - from]);
                    rows::clear(&mut y[to..]);
                }
            }
            return;
        }
        for c in channels {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let Some(line) = lines.next() else { return };
                    self.parts(offset, len, |h, span, at| {
                        let y = &mut line[at..at + span.1 - span.0];
                        let Some(r) = self.row(h, i).filter(|r| there.contains(r)) else { return y.fill(0.0) };
                        let (from, to, first) = self.columns(j, span);
                        let start = rows.at + c * rows.channel + (r - rows.first) * self.input[1] + first;
                        y[..from].fill(0.0);
                        y[to..].fill(0.0);
                        let y = &mut y[from..to];
                        if s == 1 {
                            rows::copy(y, &x[start..start + y.len()]);
                        } else {
                            rows::copy_every(y, &x[start..], s);
                        }
                    });
                }
            }
        }
    }

    /// Adds a matrix of columns back to the positions it would be gathered from.
    pub fn scatter(
        &self,
        cols: &[f32],
        rows: Rows,
        channels: std::ops::Range<usize>,
        (offset, len): (usize, usize),
        x: &mut [f32],
    ) {
        let s = self.geometry.stride[1];
        let mut lines = cols.chunks_exact(len);
        for c in channels {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let Some(line) = lines.next() else { return };
                    self.parts(offset, len, |h, span, at| {
                        let Some(r) = self.row(h, i) else { return };
                        let (from, to, first) = self.columns(j, span);
                        let start = rows.at + c * rows.channel + (r - rows.first) * self.input[1] + first;
                        let y = &line[at + from..at + to];
                        if s == 1 {
                            rows::add(&mut x[start..start + y.len()], y);
                        } else {
                            rows::add_every(&mut x[start..], s, y);
                        }
                    });
                }
            }
        }
    }
}
