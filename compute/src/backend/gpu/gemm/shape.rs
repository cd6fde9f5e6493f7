//! The sizes of a product, and the tile that it is cut into: by a table for its class of device, or as
//! [`Class::tiling`] says where that fits.

use std::fmt;
use std::str::FromStr;

use super::direct::Window;
use crate::backend::gpu::kernel::{Class, SOFTWARE_TURNS};
use crate::backend::gpu::shaders::SUBGROUPS;

/// The longest part of a split sum: blocks of 4 are added first, so the chain is 1,024 long.
const SPAN: usize = 4096;
/// Workgroups of the table: invocations of `rows` (`ROWS`) and of `tiled`.
const ROWS: usize = 16;
const TILED: usize = 256;
/// Lanes of a workgroup of `lanes` on a GPU: a team, which is smaller there than a subgroup, leaves few to do alone.
const LANES: usize = 64;
/// Lanes of a team on a GPU.
pub(super) const TEAM: usize = 8;
/// Blocks of 4x4 floats that fit 16 KiB, WebGPU's default limit of workgroup memory.
pub(super) const MEMORY_BLOCKS: usize = 256;

/// The sizes of one batched product and what is known of its operands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub(super) file: (&'static str, &'static str),
    pub(super) batch: usize,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Whether A and B are computed where they are read.
    pub(super) computed: [bool; 2],
    /// Loop turns of one read of A or B.
    pub(super) turns: u64,
    /// Whether A or B is f16.
    pub(super) halves: bool,
    /// Whether C is stored two halves at a time.
    pub(super) pairs: bool,
    /// Of a forward convolution of few channels.
    pub(super) window: Option<Window>,
}

/// Which entry point runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Rows,
    Tiled,
    Lanes,
    Direct,
}

impl Variant {
    /// Whether this is `lanes`, which a page never runs.
    pub(super) fn is_lanes(self) -> bool {
        SUBGROUPS && self == Variant::Lanes
    }
}

const VARIANTS: [(Variant, &str); 4] =
    [(Variant::Rows, "rows"), (Variant::Tiled, "tiled"), (Variant::Lanes, "lanes"), (Variant::Direct, "direct")];

/// How a product is cut: what a tuner chooses. Its text is `rows 4x2 by 16 split 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    pub variant: Variant,
    /// What an invocation computes, in blocks of 4 rows and 4 columns.
    pub blocks: [usize; 2],
    /// Invocations of a workgroup; of `lanes` the lanes of a team.
    pub threads: usize,
    /// Whether `lanes` forms C transposed.
    pub turned: bool,
    /// Parts of k; more where a part would be too long.
    pub splits: usize,
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = VARIANTS.iter().find(|(v, _)| *v == self.variant).map_or("", |(_, name)| name);
        write!(f, "{name} {}x{} by {}", self.blocks[0], self.blocks[1], self.threads)?;
        if self.turned {
            write!(f, " turned")?;
        }
        if self.splits > 1 {
            write!(f, " split {}", self.splits)?;
        }
        Ok(())
    }
}

/// A text that is no [`Tiling`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no tiling: `rows`, `tiled`, `lanes` or `direct`, `MxN`, `by THREADS`, then perhaps `turned` and `split PARTS`"
)]
pub struct NoTiling(String);

impl FromStr for Tiling {
    type Err = NoTiling;

    fn from_str(text: &str) -> Result<Tiling, NoTiling> {
        let parse = || {
            let mut words = text.split(' ').peekable();
            let name = words.next()?;
            let (variant, _) = VARIANTS.into_iter().find(|(_, n)| *n == name)?;
            let (m, n) = words.next()?.split_once('x')?;
            let number = |word: &str, most: usize| word.parse().ok().filter(|n| (1..=most).contains(n));
            let blocks = [number(m, 8)?, number(n, 8)?];
            words.next().filter(|w| *w == "by")?;
            let threads = number(words.next()?, 256)?;
            let turned = words.next_if(|w| *w == "turned").is_some();
            let splits = match words.next() {
                None => 1,
                Some("split") => number(words.next()?, 1 << 20)?,
                Some(_) => return None,
            };
            words.next().is_none().then_some(Tiling { variant, blocks, threads, turned, splits })
        };
        parse().ok_or_else(|| NoTiling(text.into()))
    }
}

/// A tiling in the numbers of one product.
#[derive(Debug, PartialEq)]
pub(super) struct Shape {
    pub variant: Variant,
    pub tiling: Tiling,
    /// Tile of an invocation of `rows` and `direct`, of a workgroup of `tiled`, of a team of `lanes`.
    pub tile: [usize; 2],
    pub splits: usize,
    pub span: usize,
    /// Loop turns of an invocation.
    pub turns: u64,
}

impl Tiling {
    /// Rows and columns of a workgroup of `tiled`.
    pub(super) fn threads_by_side(&self) -> [usize; 2] {
        match self.threads {
            64 => [8, 8],
            128 => [8, 16],
            _ => [16, 16],
        }
    }

    /// Teams of a workgroup of `lanes`.
    pub(super) fn teams(&self, class: Class) -> usize {
        if class.software { 1 } else { (LANES / self.threads).max(1) }
    }

    /// By how many blocks `tiled` advances along k at a time.
    pub(super) fn step(&self) -> usize {
        let [rows, columns] = self.threads_by_side();
        let beside = rows * self.blocks[0] + columns * self.blocks[1];
        if beside * 8 <= MEMORY_BLOCKS { 8 } else { 4 }
    }

    fn tile(&self) -> [usize; 2] {
        let [m4, n4] = self.blocks;
        let [rows, columns] = self.threads_by_side();
        match self.variant {
            Variant::Rows | Variant::Direct => [4 * m4, 4 * n4],
            Variant::Tiled => [4 * rows * m4, 4 * columns * n4],
            Variant::Lanes if self.turned => [4 * self.threads * n4, 4 * m4],
            Variant::Lanes => [4 * m4, 4 * self.threads * n4],
        }
    }
}

impl Product {
    /// The class of products that share a choice: kind, batch and sizes rounded up to powers of two,
    /// which operands are computed, precision; and whether its channels are few, as what is best for these fits no
    /// other convolution of the same sizes.
    pub fn key(&self) -> String {
        let kind = self.file.0.trim_end_matches(".wgsl");
        let few = if self.window.is_some() { "-few" } else { "" };
        let [b, m, n, k] = [self.batch, self.m, self.n, self.k].map(usize::next_power_of_two);
        let operands = match self.computed {
            [false, false] => "stored",
            [true, false] => "computed-a",
            [false, true] => "computed-b",
            [true, true] => "computed-ab",
        };
        let precision = if self.halves { "f16" } else { "f32" };
        format!("{kind}{few} {b}x{m}x{n}x{k} {operands} {precision}")
    }

    /// The class's tiling where it fits, else the table's.
    pub(super) fn choose(&self, class: Class) -> Shape {
        let wanted = class.tiling.filter(|t| self.fits(t, class));
        self.shape(wanted.unwrap_or_else(|| self.table(class)), class)
    }

    /// What the table says.
    pub fn table(&self, class: Class) -> Tiling {
        self.direct_table(class).unwrap_or_else(|| self.product_table(class))
    }

    /// What it says of products of matrices.
    pub(super) fn product_table(&self, class: Class) -> Tiling {
        let variant = match class.software {
            true if SUBGROUPS && self.fits_lanes(class.lanes, class) => Variant::Lanes,
            false if self.m > 16 && self.n > 16 => Variant::Tiled,
            _ => Variant::Rows,
        };
        match variant {
            Variant::Lanes => {
                let (turned, blocks) = self.lane_blocks(class.lanes);
                self.tiling(variant, blocks, class.lanes, turned, class)
            }
            Variant::Tiled => self.tiling(variant, [1, 1], TILED, false, class),
            Variant::Rows | Variant::Direct => {
                // 16 x 16 in software: 32 x 32 runs 1.6 times as fast, and llvmpipe compiles it for 100 s.
                let side = |side: usize, size: usize| {
                    let most = if class.software && size >= 48 { 4 } else { 2 };
                    size.div_ceil(4).clamp(1, self.widest(side, most))
                };
                self.tiling(variant, [side(0, self.m), side(1, self.n)], ROWS, false, class)
            }
        }
    }

    /// How many blocks a side of a tile of `rows` may have: of a computed operand one, so that its code
    /// is written out once; the other side is then as wide as it may be, because that divides the
    /// recomputation.
    fn widest(&self, side: usize, plain: usize) -> usize {
        match (self.computed[side], self.computed[1 - side]) {
            (true, _) => 1,
            (_, true) => 4,
            _ => plain,
        }
    }

    /// A tiling that is split so that the device has enough to do.
    pub(super) fn tiling(
        &self,
        variant: Variant,
        blocks: [usize; 2],
        threads: usize,
        turned: bool,
        class: Class,
    ) -> Tiling {
        let one = Tiling { variant, blocks, threads, turned, splits: 1 };
        let tile = one.tile();
        let tiles = self.m.div_ceil(tile[0]) * self.n.div_ceil(tile[1]);
        // 64 lanes in software, 256 workgroups or 16 K lanes else.
        let enough = match (class.software, variant) {
            (true, Variant::Lanes) => 64 / class.lanes.max(1),
            (true, _) => 64,
            (_, Variant::Tiled) => 256,
            (_, Variant::Lanes) => 16_384 / threads.max(1),
            (_, Variant::Rows | Variant::Direct) => 16_384,
        };
        let splits = (enough / (tiles * self.batch).max(1)).clamp(1, self.k.div_ceil(256).max(1));
        self.with_splits(one, splits, class)
    }

    /// The same in other parts, as many as there really will be.
    pub(super) fn with_splits(&self, tiling: Tiling, splits: usize, class: Class) -> Tiling {
        Tiling { splits: self.shape(Tiling { splits, ..tiling }, class).splits, ..tiling }
    }

    fn shape(&self, tiling: Tiling, class: Class) -> Shape {
        if tiling.variant == Variant::Direct {
            let (tile, turns) = (tiling.tile(), 4 * tiling.blocks[0] as u64);
            let tiling = Tiling { splits: 1, ..tiling };
            return Shape { variant: tiling.variant, tiling, tile, splits: 1, span: self.k, turns };
        }
        let bytes = (self.batch * self.m * self.n * 4).max(1);
        let room = (class.max_buffer_bytes / bytes).max(1);
        // A block of a computed operand is a loop of 16 with the operand's own loops inside.
        let computed = self.computed.iter().filter(|c| **c).count() as u64;
        let each = if tiling.variant == Variant::Lanes { 1 } else { 1 + computed * 17 * (1 + self.turns) };
        // How far k advances at a time.
        let grain = match tiling.variant {
            Variant::Lanes => tiling.threads,
            _ if class.software => 4,
            _ => 32,
        };
        let most = if class.software { (4 * SOFTWARE_TURNS / each).clamp(4, SPAN as u64) as usize } else { SPAN };
        let needed = self.k.div_ceil((most / grain * grain).max(grain));
        let splits = tiling.splits.max(needed).min(room).max(1);
        let span = self.k.div_ceil(splits).next_multiple_of(grain);
        let turns = (span as u64 / 4).saturating_mul(each);
        let splits = self.k.div_ceil(span).max(1);
        Shape { variant: tiling.variant, tiling, tile: tiling.tile(), splits, span, turns }
    }

    /// Whether a tiling can run this product on a device of this class.
    pub(super) fn fits(&self, t: &Tiling, class: Class) -> bool {
        let within = |most: [usize; 2]| t.blocks.iter().zip(most).all(|(b, most)| (1..=most).contains(b));
        let runs = match t.variant {
            Variant::Lanes if !SUBGROUPS => false,
            Variant::Lanes => {
                let team =
                    if class.software { t.threads == class.lanes } else { [TEAM / 2, TEAM].contains(&t.threads) };
                team && self.fits_lanes(t.threads, class) && within([8, 2])
            }
            Variant::Tiled => !class.software && [64, 128, 256].contains(&t.threads) && within([2, 2]),
            Variant::Direct => self.fits_direct(t, class),
            Variant::Rows => [16, 64].contains(&t.threads) && within([self.widest(0, 4), self.widest(1, 4)]),
        };
        runs && (t.variant == Variant::Lanes || !t.turned) && t.splits <= self.k.div_ceil(64).max(1)
    }

    /// Whether `lanes` can run it in teams of so many. Code of a computed operand is written out for each
    /// element of a lane's blocks, so that with loops it would be too long.
    pub(super) fn fits_lanes(&self, team: usize, class: Class) -> bool {
        (4..=class.lanes).contains(&team)
            && team.is_multiple_of(4)
            && self.m.max(self.n) >= team
            && (!self.any_computed() || (self.turns == 0 && !class.flat))
    }

    /// Whether `lanes` forms C transposed, and a lane's blocks of 4 rows and of 4 columns. A larger
    /// tile reads less and compiles longer (on llvmpipe 8, 16 and 32 rows take 0.1, 0.12 and 0.2 s),
    /// so it is for products that take long.
    pub(super) fn lane_blocks(&self, lanes: usize) -> (bool, [usize; 2]) {
        let work = self.m as u64 * self.n as u64 * self.k as u64 * self.batch as u64;
        let most = match work {
            0..0x0010_0000 => 2,
            0x0010_0000..0x0100_0000 => 4,
            _ => 8,
        };
        let area = |rows: usize, columns: usize| {
            let wide = 4 * lanes.max(1);
            rows.next_multiple_of(4 * even(rows, most)) * columns.next_multiple_of(wide)
        };
        let turned = area(self.n, self.m) < area(self.m, self.n);
        let (rows, columns) = if turned { (self.n, self.m) } else { (self.m, self.n) };
        let m4 = even(rows, most);
        // Wider rows of B come in longer runs: where a tile is low, or reads from far away.
        let low = m4 <= 4 && work >= 0x0040_0000;
        let wide = columns >= 32 * lanes && (low || work >= 0x4000_0000);
        (turned, [m4, if wide { 2 } else { 1 }])
    }

    /// Whether an operand is computed in the kernel (it may then read any of the buffers).
    pub(super) fn any_computed(&self) -> bool {
        self.computed.contains(&true)
    }
}

/// Blocks of 4 of so many rows, at most `most` at a time, and as many each time as can be.
pub(super) fn even(rows: usize, most: usize) -> usize {
    let blocks = rows.div_ceil(4).max(1);
    blocks.div_ceil(blocks.div_ceil(most))
}
