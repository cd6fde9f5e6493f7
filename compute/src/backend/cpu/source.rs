//! Operands that are computed where they are read: a tile at a time, in cache.
//!
//! A tensor `[batch, channels, height, width]` (or `[batch, k]`: one channel) is cut into bands: a
//! run of positions of every channel of some images. A consumer asks its operand for a band. A
//! stored tensor answers with its own memory; a convolution multiplies the patches of the band; a
//! product of small depth multiplies a band of its right side; whatever is elementwise over these
//! runs through the interpreter. So an activation of 411 MB exists only a few hundred KB at a time.

use super::window::{Rows, Window};
use crate::backend::host::{Buffer, Place};
use crate::cell::vm::{Program, Scratch, View};
use crate::graph::NodeId;
use crate::ops::Lowering;
use crate::plan::Plan;
use crate::rewrite::view_root;
use lanes::Strides;
use lanes::micro;

/// Positions `offset..offset + len` of all channels of images `first..first + images`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    pub first: usize,
    pub images: usize,
    pub offset: usize,
    pub len: usize,
}

/// How a tensor is cut: channels, positions a channel, and the length of a row of those, which
/// bands prefer not to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub channels: usize,
    pub plane: usize,
    pub row: usize,
}

impl Grid {
    /// Positions of a band: one channel by one band of this length, over all channels, is a
    /// quarter of a level-1 cache or a little more.
    pub fn band_len(&self) -> usize {
        let target = (4096 / self.channels.max(1)).clamp(64, 512);
        if self.row > target {
            self.row.div_ceil(self.row.div_ceil(target)).next_multiple_of(8).min(self.plane)
        } else {
            (target / self.row * self.row).min(self.plane)
        }
    }

    /// How many bands there are.
    pub fn bands(&self) -> usize {
        self.plane.div_ceil(self.band_len())
    }

    /// Elements of a band.
    pub fn size(&self, band: &Band) -> usize {
        band.images * self.channels * band.len
    }
}

/// A convolution computed band by band.
pub struct Conv {
    pub window: Window,
    pub groups: usize,
    pub channels: [usize; 2],
    pub x: Source,
    pub w: Place,
    pub bias: Option<Place>,
}

/// Rows of x that a band sees: where they are stored, or computed for it.
pub struct Seen<'a> {
    stored: Option<&'a Place>,
    computed: Vec<f32>,
    /// Of the first image.
    rows: Rows,
    /// Numbers from an image to the next.
    image: usize,
}

impl Seen<'_> {
    pub fn numbers<'a>(&'a self, buffers: &'a [Buffer<f32>]) -> Result<&'a [f32], String> {
        self.stored.map_or(Ok(&self.computed), |place| numbers(buffers, place))
    }

    /// The rows of an image, counted from the band's first.
    pub fn rows(&self, image: usize) -> Rows {
        Rows { at: self.rows.at + image * self.image, ..self.rows }
    }

    /// Gives memory back.
    pub fn give(self, local: &mut Scratch<f32>) {
        if self.stored.is_none() {
            local.give(self.computed);
        }
    }
}

pub enum Source {
    Stored(Place),
    Conv(Box<Conv>),
    /// `a b`, a: `[m, depth]`, b: `[depth, k]`, both stored.
    Product {
        a: Place,
        b: Place,
        sa: Strides,
        sb: Strides,
        depth: usize,
    },
    /// Elementwise over stored tensors and tiles of the same shape.
    Cells {
        program: Box<Program>,
        inputs: Vec<Input>,
        pointwise: Option<usize>,
    },
}

pub enum Input {
    Stored(Place),
    Tile(Source),
}

/// Finds the buffer of a stored node.
pub type Find<'a> = &'a dyn Fn(NodeId) -> Option<Place>;

/// Most tensors that an elementwise source reads, and most tiles among them.
pub(super) const MOST_INPUTS: usize = 12;
pub(super) const MOST_TILES: usize = 8;

impl Source {
    /// The source of a node; `None` when it has no banded form.
    pub fn new(plan: &Plan, id: NodeId, find: Find) -> Option<Source> {
        let g = &plan.graph;
        if let Some(place) = find(id) {
            return place.ty.dtype.is_float().then_some(Source::Stored(place));
        }
        let id = view_root(g, id);
        let node = g.node(id);
        let op = node.op()?;
        match op.lowering() {
            Lowering::Conv2d(conv) => {
                let [_, c, h, w] = <[usize; 4]>::try_from(g.shape(node.inputs[0])).ok()?;
                let [o, _, kh, kw] = <[usize; 4]>::try_from(g.shape(node.inputs[1])).ok()?;
                let output = [node.ty.shape[2], node.ty.shape[3]];
                Some(Source::Conv(Box::new(Conv {
                    window: Window { geometry: conv.geometry, kernel: [kh, kw], input: [h, w], output },
                    groups: conv.geometry.groups,
                    channels: [c, o],
                    x: Source::new(plan, node.inputs[0], find)?,
                    w: find(node.inputs[1])?,
                    bias: if conv.bias { Some(find(node.inputs[2])?) } else { None },
                })))
            }
            Lowering::Matmul(m) if !m.bias => {
                let (a, b) = (find(node.inputs[0])?, find(node.inputs[1])?);
                if a.ty.shape.len() != 2 || b.ty.shape.len() != 2 {
                    return None;
                }
                let rows = |p: &Place, t: bool| {
                    let s = Strides::rows(0, p.ty.shape[1]);
                    if t { s.transposed() } else { s }
                };
                let (sa, sb) = (rows(&a, m.transpose_a), rows(&b, m.transpose_b));
                let depth = if m.transpose_a { a.ty.shape[0] } else { a.ty.shape[1] };
                (depth <= 64 && sb.cs == 1).then_some(Source::Product { a, b, sa, sb, depth })
            }
            Lowering::Cells => super::pointwise::cells(plan, id, find),
            _ => None,
        }
    }

    /// How the tensor must be cut; `None` when any cut will do.
    pub fn grid(&self) -> Option<Grid> {
        match self {
            Source::Stored(_) | Source::Product { .. } => None,
            Source::Conv(c) => Some(Grid {
                channels: c.channels[1],
                plane: c.window.output[0] * c.window.output[1],
                row: c.window.output[1],
            }),
            Source::Cells { inputs, .. } => inputs.iter().find_map(|i| match i {
                Input::Tile(s) => s.grid(),
                Input::Stored(_) => None,
            }),
        }
    }

    /// Whether every part agrees on the cut.
    pub fn agrees(&self, grid: &Grid) -> bool {
        match self {
            Source::Cells { inputs, .. } => inputs.iter().all(|i| match i {
                Input::Tile(s) => s.agrees(grid),
                Input::Stored(_) => true,
            }),
            other => other.grid().is_none_or(|g| g == *grid),
        }
    }

    /// Writes a band, images outermost, then channels, then positions.
    pub fn fill(
        &self,
        buffers: &[Buffer<f32>],
        grid: &Grid,
        band: &Band,
        out: &mut [f32],
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let tile = grid.channels * band.len;
        let flat = |image: usize, c: usize| ((band.first + image) * grid.channels + c) * grid.plane + band.offset;
        match self {
            Source::Stored(place) => {
                let x = numbers(buffers, place)?;
                for (k, part) in out.chunks_exact_mut(band.len).enumerate() {
                    let at = flat(k / grid.channels, k % grid.channels);
                    part.copy_from_slice(x.get(at..at + band.len).ok_or("a band outside its tensor")?);
                }
            }
            Source::Conv(conv) => {
                let (w, bias) = conv.weights(buffers)?;
                let taps = conv.channels[0] / conv.groups * conv.window.taps();
                let mut cols = local.take(conv.groups * taps * band.len);
                for (image, part) in out.chunks_exact_mut(tile).enumerate() {
                    conv.columns(buffers, band.first + image, band, &mut cols, local)?;
                    conv.apply(w, bias, &cols, band.len, part);
                }
                local.give(cols);
            }
            Source::Product { a, b, sa, sb, depth } => {
                let (x, y) = (numbers(buffers, a)?, numbers(buffers, b)?);
                let left = Strides { at: sa.at + band.first * sa.rs, ..*sa };
                for c in 0..grid.channels {
                    let right = Strides { at: sb.at + (c * grid.plane + band.offset) * sb.cs, ..*sb };
                    let to = Strides::rows(c * band.len, tile);
                    micro::panel((band.images, band.len, *depth), out, to, false, x, left, y, right);
                }
            }
            Source::Cells { program, inputs, pointwise } => {
                let mut tiles: [Vec<f32>; MOST_TILES] = Default::default();
                let mut used = 0;
                for input in inputs {
                    if let Input::Tile(s) = input {
                        let mut t = local.take(out.len());
                        s.fill(buffers, grid, band, &mut t, local)?;
                        tiles[used] = t;
                        used += 1;
                    }
                }
                // The run of `len` elements at `at`, which the tiles hold from `skip` on.
                let mut run = |at: usize, skip: usize, part: &mut [f32]| -> Result<(), String> {
                    let mut views = [View::Num(&[][..]); MOST_INPUTS];
                    let mut next = 0;
                    for (view, input) in views.iter_mut().zip(inputs) {
                        *view = match input {
                            Input::Stored(p) => buffers.get(p.buffer).ok_or("a lost buffer")?.view(&p.ty),
                            Input::Tile(_) => {
                                next += 1;
                                View::Part(&tiles[next - 1][skip..skip + part.len()], at)
                            }
                        };
                    }
                    program.run(&views[..inputs.len()], at, part, local)
                };
                if let Some(most) = pointwise {
                    // No index matters: the tile is runs of elements wherever they start.
                    for (k, part) in out.chunks_mut(*most).enumerate() {
                        run(0, k * most, part)?;
                    }
                } else {
                    for (k, part) in out.chunks_exact_mut(band.len).enumerate() {
                        run(flat(k / grid.channels, k % grid.channels), k * band.len, part)?;
                    }
                }
                tiles.into_iter().take(used).for_each(|t| local.give(t));
            }
        }
        Ok(())
    }
}

impl Conv {
    /// What a band of some images sees of x.
    pub fn see(&self, buffers: &[Buffer<f32>], band: &Band, local: &mut Scratch<f32>) -> Result<Seen<'_>, String> {
        let w = &self.window;
        let [plane, channels] = [w.input[0] * w.input[1], self.channels[0]];
        if let Source::Stored(place) = &self.x {
            let rows = Rows { at: band.first * channels * plane, channel: plane, first: 0, rows: w.input[0] };
            return Ok(Seen { stored: Some(place), computed: vec![], rows, image: channels * plane });
        }
        let (r0, r1) = w.sees(band.offset, band.len);
        let grid = self.x.grid().unwrap_or(Grid { channels, plane, row: w.input[1] });
        let len = (r1 - r0) * w.input[1];
        let inner = Band { offset: r0 * w.input[1], len, ..*band };
        let mut computed = local.take(band.images * channels * len);
        self.x.fill(buffers, &grid, &inner, &mut computed, local)?;
        let rows = Rows { at: 0, channel: len, first: r0, rows: r1 - r0 };
        Ok(Seen { stored: None, computed, rows, image: channels * len })
    }

    /// The patches of a band of one image, group by group.
    pub fn columns(
        &self,
        buffers: &[Buffer<f32>],
        image: usize,
        band: &Band,
        cols: &mut [f32],
        local: &mut Scratch<f32>,
    ) -> Result<(), String> {
        let seen = self.see(buffers, &Band { first: image, images: 1, ..*band }, local)?;
        let run = (band.offset, band.len);
        self.window.gather(seen.numbers(buffers)?, seen.rows(0), 0..self.channels[0], run, cols, band.len);
        seen.give(local);
        Ok(())
    }

    /// The stored weights and biases.
    pub fn weights<'a>(&self, buffers: &'a [Buffer<f32>]) -> Result<(&'a [f32], Option<&'a [f32]>), String> {
        let bias = self.bias.as_ref().map(|b| numbers(buffers, b)).transpose()?;
        Ok((numbers(buffers, &self.w)?, bias))
    }

    /// One image's band of outputs from its patches.
    pub fn apply(&self, w: &[f32], bias: Option<&[f32]>, cols: &[f32], len: usize, out: &mut [f32]) {
        let (taps, per) = (self.channels[0] / self.groups * self.window.taps(), self.channels[1] / self.groups);
        if let Some(bias) = bias {
            out.chunks_exact_mut(len).zip(bias).for_each(|(y, b)| y.fill(*b));
        }
        for g in 0..self.groups {
            let (left, right) = (Strides::rows(g * per * taps, taps), Strides::rows(g * taps * len, len));
            let to = Strides::rows(g * per * len, len);
            micro::panel((per, len, taps), out, to, bias.is_some(), w, left, cols, right);
        }
    }
}

/// The numbers of a stored tensor.
pub fn numbers<'a>(buffers: &'a [Buffer<f32>], place: &Place) -> Result<&'a [f32], String> {
    let n = place.ty.numel();
    buffers.get(place.buffer).and_then(|b| b.num.get(..n)).ok_or_else(|| "a lost buffer".into())
}
