//! The direct form of a forward convolution of few channels (`conv2d_direct.wgsl`): where it fits, how it is cut,
//! and its code written out for its sizes. A tiling `direct MxN` is a run of 4 N positions of a row for 4 M channels.
//!
//! On software devices the table takes it wherever it compiles soon. On llvmpipe the first layer of seed-cnn-32 takes 0.3 of
//! a product's time, with subgroups and without, and compiles in a third of it; 8 channels take 0.6, and 7 x 7 taps 0.5.
//!
//! On GPUs, of which none has run it, the table takes it where the pixels of a run fit an invocation's registers: Mesa's
//! compiler for RDNA 2 needs 88 of them for 3 channels of 3 x 3 taps (10 waves a SIMD), at most 128 for what the table takes
//! (8 waves), 208 for 5 x 5 (4 waves), and spills none. Then a weight, one of four that come from workgroup memory at once,
//! serves four positions, and all arithmetic counts. The product of 27 taps and 32 channels, in tiles of 64 x 64 with
//! k in steps of 32, uses less than half of its own, and finds every pixel of a patch by divisions. In any case the
//! tuner times both.

use super::blocks::stored;
use super::shape::{MEMORY_BLOCKS, Product, Tiling, Variant};
use crate::backend::gpu::kernel::Class;
use crate::backend::gpu::shaders::SUBGROUPS;
use crate::cell::wgsl::import::{ImportError, Shader};
use crate::ops::conv2d::Geometry;

/// The most channels (of a group) that are few.
const FEW: usize = 8;
/// Multiplications written out for a channel on a software device, in all, and by the table for a convolution that does not
/// take long: llvmpipe compiles 216 in 0.12 s, 588 in 0.6 s; a product in 0.4 s.
const WRITTEN: usize = 640;
const SHORT_WRITTEN: usize = 320;
const LONG: u64 = 1 << 27;
/// Pixels of a run: on a software device they lie in a cache, on a GPU in registers. A lane of Intel's has the
/// fewest, 128, of which the table leaves a quarter to everything else; others have twice as many.
const SOFTWARE_PIXELS: usize = 320;
const GPU_PIXELS: usize = 128;
const GPU_TABLE: usize = 96;
/// Invocations of a workgroup: on a GPU, and on a software device without subgroups.
const GPU_THREADS: usize = 64;
const ALONE: usize = 16;
/// The most blocks of 4 channels an invocation computes.
const BLOCKS: usize = 8;

/// What the direct form knows of a convolution beside its sizes as a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    channels: usize,
    kernel: [usize; 2],
    stride: usize,
    dilation: usize,
    /// Positions of a row of the result.
    row: usize,
}

impl Window {
    /// Of a convolution with these weights and this result; `None` if its channels or taps are not few.
    pub fn new(geometry: Geometry, w: &[usize], y: &[usize]) -> Option<Window> {
        let (channels, kernel, row) = (w[1], [w[2], w[3]], y[3]);
        let taps = channels.saturating_mul(kernel[0]).saturating_mul(kernel[1]);
        let few = channels <= FEW && (1..=WRITTEN / 4).contains(&taps) && row > 0;
        let [stride, dilation] = [geometry.stride[1], geometry.dilation[1]];
        few.then_some(Window { channels, kernel, stride, dilation, row })
    }

    /// Columns that a run sees, from its first on.
    fn columns(&self, run: usize) -> Vec<usize> {
        let width = self.kernel[1] * self.dilation;
        let seen = |column: usize, p: usize| {
            let from = column.checked_sub(p * self.stride);
            from.is_some_and(|j| j < width && j.is_multiple_of(self.dilation))
        };
        (0..run * self.stride + width).filter(|column| (0..run).any(|p| seen(*column, p))).collect()
    }

    fn pixels(&self, run: usize) -> usize {
        self.channels * self.kernel[0] * self.columns(run).len()
    }

    /// Positions that runs compute past the ends of rows, as a share of a row.
    fn waste(&self, run: usize) -> f64 {
        self.row.next_multiple_of(run) as f64 / self.row as f64 - 1.0
    }
}

/// How the invocations of a workgroup come by the weights of a channel.
#[derive(Clone, Copy, PartialEq)]
enum Weights {
    /// Each reads them.
    Read,
    /// Each lane reads some, and they are handed round.
    Shuffled,
    /// From workgroup memory.
    Held,
}

impl Weights {
    fn of(class: Class) -> Weights {
        match class.software {
            false => Weights::Held,
            true if SUBGROUPS && class.lanes >= 4 => Weights::Shuffled,
            true => Weights::Read,
        }
    }
}

impl Product {
    /// The direct form, where the table takes it.
    pub(super) fn direct_table(&self, class: Class) -> Option<Tiling> {
        let t = self.direct(class)?;
        let window = self.window.as_ref()?;
        let run = 4 * t.blocks[1];
        let good = match Weights::of(class) {
            Weights::Held => window.pixels(run) <= GPU_TABLE,
            // Where each invocation reads a weight for itself, it should be for more than four positions.
            weights => run * self.k <= SHORT_WRITTEN || (self.is_long() && (run > 4 || weights == Weights::Shuffled)),
        };
        (good && window.waste(run) <= 0.5).then_some(t)
    }

    fn is_long(&self) -> bool {
        [self.batch, self.m, self.n, self.k].iter().map(|v| *v as u64).product::<u64>() >= LONG
    }

    /// The direct form that is best by the reasoning of the table, if any fits.
    pub(super) fn direct(&self, class: Class) -> Option<Tiling> {
        let window = self.window.as_ref()?;
        let most = if self.is_long() { WRITTEN } else { SHORT_WRITTEN };
        let eight = class.software && window.waste(8) <= 0.2 && 8 * self.k <= most;
        let t = self.direct_run(if eight { 2 } else { 1 }, class);
        self.fits_direct(&t, class).then_some(t)
    }

    /// Runs of so many blocks, for all channels or, where that would leave the device idle, for some.
    fn direct_run(&self, n4: usize, class: Class) -> Tiling {
        let threads = match Weights::of(class) {
            Weights::Held => GPU_THREADS,
            Weights::Shuffled => class.lanes,
            Weights::Read => ALONE,
        };
        let all = self.m.div_ceil(4).clamp(1, BLOCKS);
        let cut = |m4| Tiling { variant: Variant::Direct, blocks: [m4, n4], threads, turned: false, splits: 1 };
        let enough = if class.software { 16 } else { 256 };
        let m4 = (1..=all).rev().find(|m4| self.direct_groups(&cut(*m4)) >= enough);
        cut(m4.unwrap_or(1))
    }

    /// Runs of other lengths, and the product.
    pub(super) fn direct_beside(&self, table: Tiling, class: Class) -> Vec<Tiling> {
        let mut out = vec![self.product_table(class)];
        out.extend([1, 2, 4].map(|n4| self.direct_run(n4, class)));
        let [m4, n4] = table.blocks;
        out.push(Tiling { blocks: [m4.div_ceil(2), n4], ..table });
        if !class.software {
            out.push(Tiling { threads: 2 * GPU_THREADS, ..table });
        }
        out
    }

    /// Whether the direct form can run it, cut like this. Code of a computed operand is written out for each
    /// pixel, so that with loops it would be too long. Pairs of halves must not lie in two rows.
    pub(super) fn fits_direct(&self, t: &Tiling, class: Class) -> bool {
        let Some(window) = &self.window else { return false };
        let [m4, n4] = t.blocks;
        let pixels = window.pixels(4 * n4);
        let runs = match Weights::of(class) {
            Weights::Held => {
                let held = 4 * m4 * self.k.div_ceil(4) * 16;
                [64, 128].contains(&t.threads) && pixels <= GPU_PIXELS && held <= 64 * MEMORY_BLOCKS
            }
            Weights::Shuffled => t.threads == class.lanes,
            Weights::Read => t.threads == ALONE,
        };
        let written = !class.software || (self.k * 4 * n4 <= WRITTEN && pixels <= SOFTWARE_PIXELS);
        let plain = !self.any_computed() || (self.turns == 0 && !class.flat);
        let cut = (1..=BLOCKS).contains(&m4) && [1, 2, 4].contains(&n4) && t.splits == 1 && !t.turned;
        runs && written && plain && cut && (!self.pairs || window.row.is_multiple_of(2))
    }

    /// Workgroups of it.
    pub(super) fn direct_groups(&self, t: &Tiling) -> usize {
        let row = self.window.map_or(1, |w| w.row);
        let runs = self.n / row * row.div_ceil(4 * t.blocks[1]);
        runs.div_ceil(t.threads) * self.m.div_ceil(4 * t.blocks[0]) * self.batch
    }

    /// Sets what the entry point `direct` has of this tiling.
    pub(super) fn write_direct(&self, shader: Shader, t: &Tiling, class: Class) -> Result<Shader, ImportError> {
        let Some(window) = &self.window else { return Ok(shader) };
        let weights = Weights::of(class);
        let shader = shader.set("RUN", 4 * t.blocks[1])?.set("CHANNELS", 4 * t.blocks[0])?.set("DIRECT", t.threads)?;
        let shader = if weights == Weights::Held { shader.set("HELD", "CHANNELS * FOURS")? } else { shader };
        shader.replace("direct_tile", &written_out(window, t, weights))
    }
}

/// `direct_tile` written out for runs of this tiling.
fn written_out(window: &Window, t: &Tiling, weights: Weights) -> String {
    let Window { channels, kernel: [kh, kw], stride, dilation, .. } = *window;
    let (n4, taps) = (t.blocks[1], channels * kh * kw);
    let mut text = "fn direct_tile(group: i32, m0: i32, lane: i32, image: i32, h: i32, w: i32) {
    let top = h * STRIDE_H - PADDING_H;
    let left = w * STRIDE_W - PADDING_W;
"
    .to_string();
    for row in 0..channels * kh {
        let (c, i) = (row / kh, row % kh);
        for column in window.columns(4 * n4) {
            let at = format!("group, image, {c}, top + {i} * DILATION_H, left + {column}");
            text += &format!("    let x{row}_{column} = pixel({at});\n");
        }
    }
    if weights == Weights::Held {
        text += "    for (var e = lane; e < HELD; e += DIRECT) {
        held[e] = row_a(group, m0 + e / FOURS, e % FOURS * 4);
    }
    workgroupBarrier();
";
    }
    text += "    for (var m = m0; m < min(M, m0 + CHANNELS); m++) {\n";
    let lanes = t.threads;
    match weights {
        Weights::Read => {}
        Weights::Shuffled => {
            for e in 0..taps.div_ceil(lanes) {
                text += &format!("        let own{e} = load_a(group, m, min(lane + {}, K - 1));\n", e * lanes);
            }
        }
        Weights::Held => {
            for e in 0..taps.div_ceil(4) {
                text += &format!("        let own{e} = held[(m - m0) * FOURS + {e}];\n");
            }
        }
    }
    for k in 0..taps {
        let value = match weights {
            Weights::Read => format!("load_a(group, m, {k})"),
            Weights::Shuffled => format!("subgroupShuffle(own{}, {}u)", k / lanes, k % lanes),
            Weights::Held => format!("own{}[{}]", k / 4, k % 4),
        };
        text += &format!("        let t{k} = {value};\n");
        for q in 0..n4 {
            let column = |p: usize| format!("x{}_{}", k / kw, (4 * q + p) * stride + k % kw * dilation);
            let (new, sign) = if k == 0 { ("var ", "=") } else { ("", "+=") };
            let seen = (0..4).map(column).collect::<Vec<_>>().join(", ");
            text += &format!("        {new}y{q} {sign} t{k} * vec4<f32>({seen});\n");
        }
    }
    for q in 0..n4 {
        text += &format!("        put_run(group, m, image, h, w + {}, y{q});\n", 4 * q);
    }
    text + "    }\n}\n"
}

/// `put_run` where rows are whole fours. `bias`: whether there is one; `halves`: they are stored as f16.
pub(super) fn put_fours(bias: bool, halves: bool) -> String {
    let value = if bias { "vec4<f32>(bias(group * CO + m)) + four" } else { "four" };
    format!(
        "fn put_run(group: i32, m: i32, image: i32, h: i32, w: i32, four: vec4<f32>) {{
    if (w < OW) {{
        out[(((image * (GROUPS * CO) + group * CO + m) * OH + h) * OW + w) / 4] = {};
    }}
}}
",
        stored(value, halves)
    )
}

/// `put_run` of halves in pairs, where rows are whole pairs.
pub(super) const PUT_PAIRS: &str = "fn put_run(group: i32, m: i32, image: i32, h: i32, w: i32, four: vec4<f32>) {
    let n = (image * OH + h) * OW + w;
    if (w < OW) {
        store_c(group, m, n, four.xy);
    }
    if (w + 2 < OW) {
        store_c(group, m, n + 2, four.zw);
    }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 64 images.
    fn product([ci, co]: [usize; 2], kernel: usize, row: usize, stride: usize, halves: bool) -> Product {
        let geometry = Geometry { stride: [stride, stride], ..Geometry::default() };
        let window = Window::new(geometry, &[co, ci, kernel, kernel], &[64, co, row, row]);
        let (n, k) = (64 * row * row, ci * kernel * kernel);
        let file = ("conv2d_forward.wgsl", "");
        Product { file, batch: 1, m: co, n, k, computed: [false; 2], turns: 0, halves, pairs: halves, window }
    }

    /// With subgroups, without, and a GPU.
    fn classes() -> [Class; 3] {
        let class = |software, lanes| Class { software, lanes, max_buffer_bytes: 128 << 20, flat: false, tiling: None };
        [class(true, 8), class(true, 0), class(false, 32)]
    }

    fn table(p: &Product) -> [String; 3] {
        classes().map(|class| p.choose(class).tiling.to_string())
    }

    #[test]
    fn first_layers_are_direct() {
        let seed = product([3, 32], 3, 32, 1, false);
        assert_eq!(table(&seed), ["direct 8x2 by 8", "direct 8x2 by 16", "direct 8x1 by 64"]);
        let others =
            [([1, 8], 3, 28, 1), ([1, 64], 5, 28, 1), ([4, 16], 3, 64, 1), ([3, 64], 3, 112, 2), ([1, 1], 3, 16, 1)];
        for (channels, kernel, row, stride) in others {
            for halves in [false, true] {
                let p = product(channels, kernel, row, stride, halves);
                assert!(table(&p).iter().all(|t| t.starts_with("direct")), "{p:?}: {:?}", table(&p));
            }
        }
        // Many taps, which a software device computes so where they take long.
        assert!(table(&product([3, 64], 7, 112, 2, false))[0].starts_with("direct"));
    }

    #[test]
    fn other_convolutions_are_products() {
        let none = |p: &Product| table(p).iter().all(|t| !t.starts_with("direct"));
        let many = product([9, 32], 3, 32, 1, false);
        assert!(none(&many));
        // A choice for one is not asked of the other: 4 channels of 5 x 5 and 9 of 3 x 3 have sums alike.
        let few = product([4, 32], 5, 32, 1, false);
        assert_eq!(few.key().replace("-few", ""), many.key());
        assert_ne!(few.key(), many.key());
        // Half of each run would be nothing.
        assert!(none(&product([3, 32], 3, 2, 1, false)));
        // Pairs of halves in two rows.
        assert!(none(&product([3, 32], 3, 31, 1, true)));
        let looped = Product { computed: [false, true], turns: 3, ..product([3, 32], 3, 32, 1, false) };
        assert!(none(&looped));
        let tap = product([3, 64], 7, 8, 1, false);
        assert!(none(&tap), "{:?}", table(&tap));
    }

    #[test]
    fn a_tuner_compares_the_direct_form_with_the_product() {
        for class in classes() {
            for p in [product([3, 32], 3, 32, 1, false), product([3, 32], 5, 32, 1, false)] {
                let found = p.candidates(class);
                let direct = |t: &&Tiling| t.variant == Variant::Direct;
                assert!(found.contains(&p.product_table(class)) && found.iter().any(|t| direct(&t)), "{found:?}");
                assert!(found.iter().filter(direct).all(|t| p.fits(t, class)));
            }
        }
    }

    #[test]
    fn a_run_sees_each_column_once() {
        let window = |stride, dilation| {
            let geometry = Geometry { stride: [1, stride], dilation: [1, dilation], ..Geometry::default() };
            Window::new(geometry, &[8, 3, 3, 3], &[1, 8, 9, 9]).expect("few channels")
        };
        assert_eq!(window(1, 1).columns(4), [0, 1, 2, 3, 4, 5]);
        assert_eq!(window(2, 1).columns(4), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(window(1, 4).columns(4), (0..12).collect::<Vec<_>>());
        assert_eq!(window(4, 3).columns(4), [0, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 18]);
        assert_eq!(window(1, 1).pixels(8), 90);
    }
}
