//! The patches of a convolution as the columns of a matrix (im2col), band by band, and back.
//!
//! A band is a run of output rows of one image; its matrix has one row a tap (channel, i, j) and
//! one column an output position.

use crate::ops::conv2d::Geometry;

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

    /// The input rows that output rows `h0..h1` see, clipped to the image.
    pub fn sees(&self, h0: usize, h1: usize) -> (usize, usize) {
        let g = self.geometry;
        let low = (h0 * g.stride[0]).saturating_sub(g.padding[0]);
        let span = (h1.max(1) - 1) * g.stride[0] + (self.kernel[0] - 1) * g.dilation[0] + 1;
        let high = span.saturating_sub(g.padding[0]);
        (low.min(self.input[0]), high.clamp(low.min(self.input[0]), self.input[0]))
    }

    /// The input row of an output row and tap row.
    fn row(&self, h: usize, i: usize) -> Option<usize> {
        let g = self.geometry;
        (h * g.stride[0] + i * g.dilation[0]).checked_sub(g.padding[0]).filter(|r| *r < self.input[0])
    }

    /// The output columns whose tap column `j` is inside, and the input column of the first.
    fn columns(&self, j: usize) -> (usize, usize, usize) {
        let (g, s) = (self.geometry, self.geometry.stride[1]);
        let shift = j * g.dilation[1];
        let from = g.padding[1].saturating_sub(shift).div_ceil(s).min(self.output[1]);
        let limit = (self.input[1] + g.padding[1]).saturating_sub(shift).div_ceil(s).min(self.output[1]);
        let to = limit.max(from);
        (from, to, (from * s + shift).saturating_sub(g.padding[1]))
    }

    /// Fills `cols` (taps x band length) from the channels `channels` of an image.
    pub fn gather(
        &self,
        x: &[f32],
        rows: Rows,
        channels: std::ops::Range<usize>,
        h0: usize,
        h1: usize,
        cols: &mut [f32],
    ) {
        let (ow, s) = (self.output[1], self.geometry.stride[1]);
        let mut out = cols.chunks_exact_mut((h1 - h0) * ow);
        for c in channels {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let Some(line) = out.next() else { return };
                    let (from, to, first) = self.columns(j);
                    for (h, y) in (h0..h1).zip(line.chunks_exact_mut(ow)) {
                        let Some(r) = self.row(h, i).filter(|r| (rows.first..rows.first + rows.rows).contains(r))
                        else {
                            y.fill(0.0);
                            continue;
                        };
                        let start = rows.at + c * rows.channel + (r - rows.first) * self.input[1] + first;
                        y[..from].fill(0.0);
                        y[to..].fill(0.0);
                        let y = &mut y[from..to];
                        if s == 1 {
                            y.copy_from_slice(&x[start..start + y.len()]);
                        } else {
                            y.iter_mut().zip(x[start..].iter().step_by(s)).for_each(|(y, x)| *y = *x);
                        }
                    }
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
        h0: usize,
        h1: usize,
        x: &mut [f32],
    ) {
        let (ow, s) = (self.output[1], self.geometry.stride[1]);
        let mut from_lines = cols.chunks_exact((h1 - h0) * ow);
        for c in channels {
            for i in 0..self.kernel[0] {
                for j in 0..self.kernel[1] {
                    let Some(line) = from_lines.next() else { return };
                    let (from, to, first) = self.columns(j);
                    for (h, y) in (h0..h1).zip(line.chunks_exact(ow)) {
                        let Some(r) = self.row(h, i) else { continue };
                        let start = rows.at + c * rows.channel + (r - rows.first) * self.input[1] + first;
                        let y = &y[from..to];
                        if s == 1 {
                            x[start..start + y.len()].iter_mut().zip(y).for_each(|(x, y)| *x += *y);
                        } else {
                            x[start..].iter_mut().step_by(s).zip(y).for_each(|(x, y)| *x += *y);
                        }
                    }
                }
            }
        }
    }
}
