//! Products and convolutions: sizes, tiles, splits and accessors for the shaders built on
//! `shared/gemm.wgsl`.
//!
//! Which variant runs: on a software device (one SIMD lane an invocation, memory reads slow, no
//! real workgroup memory) the register-tiled `rows` with tiles up to 16 x 16, or, with subgroups
//! and operands that are stored or cheap to compute, `lanes` with tiles up to 32 x 64; on a GPU the
//! workgroup-tiled `tiled`, or small register tiles when a side is narrow. Sums longer than [`SPAN`],
//! and products with too few tiles to fill a device, are split along k. Operands are read in whole
//! vec4s where memory allows ([`blocks`], [`fours`]), and results may be stored as f16 ([`halves`]).

mod blocks;
pub(super) mod conv2d;
mod fours;
mod halves;

use blocks::{LANES_TURNED, NO_STORE, computed_block, lanes_written_out, vector_block, vector_put, written_out};

use super::kernel::{Accessors, Bound, Class, Dispatch, LowerError, Place, SOFTWARE_TURNS, label};
use super::pointwise::fours;
use super::shaders;
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{Read, fold_groups, function};
use crate::cell::{Idx, at, ax, load};
use crate::graph::NodeId;
use crate::ops::elementwise::broadcast_index;
use crate::ops::matmul::Matmul;
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::{numel, strides};

/// The longest part of a split sum: blocks of 4 are added first, so the chain is 1,024 long.
const SPAN: usize = 4096;
/// Invocations of a workgroup of `rows` (its `ROWS`).
const ROWS: usize = 16;

/// The sizes of one batched product and what is known of its operands.
struct Product {
    file: (&'static str, &'static str),
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// Whether A and B are computed where they are read.
    computed: [bool; 2],
    /// Loop turns of one read of A or B.
    turns: u64,
    /// Whether C is stored two halves at a time.
    pairs: bool,
}

/// Which entry point runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Rows,
    Tiled,
    Lanes,
}

/// Tiles and split of a product.
#[derive(Debug, PartialEq)]
struct Shape {
    variant: Variant,
    /// Tile of an invocation in blocks of 4.
    blocks: [usize; 2],
    /// Tile of an invocation of `rows`, or of a workgroup of the others.
    tile: [usize; 2],
    /// Whether `lanes` forms C transposed.
    turned: bool,
    splits: usize,
    span: usize,
    /// Loop turns of an invocation.
    turns: u64,
}

impl Product {
    fn choose(&self, class: Class) -> Shape {
        let variant = match class.software {
            true if self.fits_lanes(class) => Variant::Lanes,
            false if self.m > 16 && self.n > 16 => Variant::Tiled,
            _ => Variant::Rows,
        };
        // 16 x 16 in software: 32 x 32 runs 1.6 times as fast, and llvmpipe compiles it for 100 s.
        let side = |size: usize, own: bool, computed: bool| {
            // A computed operand is one block wide, so that its code is written out once; the
            // other side is as wide as it may be, because that divides the recomputation.
            let most = match (class.software, own, computed) {
                (_, true, _) => 1,
                (_, _, true) => 4,
                (true, ..) if size >= 48 => 4,
                _ => 2,
            };
            size.div_ceil(4).clamp(1, most)
        };
        let (turned, lane_blocks) = self.lane_blocks(class.lanes);
        let blocks = match variant {
            Variant::Lanes => lane_blocks,
            _ => [side(self.m, self.computed[0], self.computed[1]), side(self.n, self.computed[1], self.computed[0])],
        };
        let tile = match variant {
            Variant::Lanes => lane_tile(turned, blocks, class.lanes),
            Variant::Tiled => [64, 64],
            Variant::Rows => blocks.map(|b| 4 * b),
        };
        let tiles = self.m.div_ceil(tile[0]) * self.n.div_ceil(tile[1]);
        // Enough tiles to fill the device: 64 lanes in software, 256 workgroups or 16 K lanes else.
        let enough = match (class.software, variant) {
            (true, Variant::Lanes) => 64 / class.lanes.max(1),
            (true, _) => 64,
            (_, Variant::Tiled) => 256,
            _ => 16_384,
        };
        let wanted = (enough / (tiles * self.batch).max(1)).clamp(1, self.k.div_ceil(256).max(1));
        let bytes = (self.batch * self.m * self.n * 4).max(1);
        let room = (class.max_buffer_bytes / bytes).max(1);
        // A block of a computed operand is a loop of 16 with the operand's own loops inside.
        let computed = self.computed.iter().filter(|c| **c).count() as u64;
        let each = if variant == Variant::Lanes { 1 } else { 1 + computed * 17 * (1 + self.turns) };
        // How far k advances at a time.
        let grain = match variant {
            Variant::Lanes => class.lanes,
            _ if class.software => 4,
            _ => 32,
        };
        let most = if class.software { (4 * SOFTWARE_TURNS / each).clamp(4, SPAN as u64) as usize } else { SPAN };
        let splits = wanted.max(self.k.div_ceil((most / grain * grain).max(grain))).min(room).max(1);
        let span = self.k.div_ceil(splits).next_multiple_of(grain);
        let turns = (span as u64 / 4).saturating_mul(each);
        Shape { variant, blocks, tile, turned, splits: self.k.div_ceil(span).max(1), span, turns }
    }

    /// Whether `lanes` can run it. Code of a computed operand is written out for each element of a
    /// lane's blocks, so that with loops it would be too long.
    fn fits_lanes(&self, class: Class) -> bool {
        class.lanes >= 4
            && class.lanes.is_multiple_of(4)
            && self.m.max(self.n) >= class.lanes
            && (!any_computed(self) || (self.turns == 0 && !class.flat))
    }

    /// Whether `lanes` forms C transposed, and a lane's blocks of 4 rows and of 4 columns. A larger
    /// tile reads less and compiles longer (on llvmpipe 8, 16 and 32 rows take 0.1, 0.12 and 0.2 s),
    /// so it is for products that take long.
    fn lane_blocks(&self, lanes: usize) -> (bool, [usize; 2]) {
        let work = self.m as u64 * self.n as u64 * self.k as u64 * self.batch as u64;
        let most = match work {
            0..0x0010_0000 => 2,
            0x0010_0000..0x0100_0000 => 4,
            _ => 8,
        };
        let even = |rows: usize| {
            let blocks = rows.div_ceil(4).max(1);
            blocks.div_ceil(blocks.div_ceil(most))
        };
        let area = |rows: usize, columns: usize| {
            let wide = 4 * lanes.max(1);
            rows.next_multiple_of(4 * even(rows)) * columns.next_multiple_of(wide)
        };
        let turned = area(self.n, self.m) < area(self.m, self.n);
        let (rows, columns) = if turned { (self.n, self.m) } else { (self.m, self.n) };
        let m4 = even(rows);
        // Wider rows of B come in longer runs: where a tile is low, or reads from far away.
        let low = m4 <= 4 && work >= 0x0040_0000;
        let wide = columns >= 32 * lanes && (low || work >= 0x4000_0000);
        (turned, [m4, if wide { 2 } else { 1 }])
    }

    /// The dispatches, given a shader with its sizes and accessors set.
    fn finish(
        &self,
        a: &Accessors,
        shader: Shader,
        vectors: &[BufferId],
        bias: Option<BufferId>,
        class: Class,
    ) -> Result<Vec<Dispatch>, LowerError> {
        let s = self.choose(class);
        let checked = any_computed(self);
        if self.batch * self.m * self.n == 0 {
            return Ok(vec![]);
        }
        let mut shader = shader;
        for (name, computed) in [("block_a", self.computed[0]), ("block_b", self.computed[1])] {
            if computed && s.variant != Variant::Lanes {
                shader = shader.replace(name, &computed_block(name))?;
            }
        }
        let shader = shader.set("SPLITS", s.splits)?.set("SPAN", s.span)?;
        let shader = match s.variant {
            Variant::Rows => {
                shader.set("TM4", s.blocks[0])?.set("TN4", s.blocks[1])?.replace("rows_tile", &written_out(s.blocks))?
            }
            Variant::Tiled => shader,
            Variant::Lanes => {
                let mut shader = shader
                    .append(shaders::GEMM_LANES)
                    .set("LANES", class.lanes)?
                    .set("LANE_M4", s.blocks[0])?
                    .set("LANE_N4", s.blocks[1])?
                    .replace("lanes_tile", &lanes_written_out(class.lanes, s.blocks))?;
                if s.turned {
                    shader = shader.set("LANE_ROWS", "N")?.set("LANE_COLUMNS", "M")?;
                    for (name, text) in LANES_TURNED {
                        shader = shader.replace(name, text)?;
                    }
                }
                shader
            }
        };
        let whole = shader.append(&a.functions());
        let shader = if self.pairs { halves::in_pairs(whole.clone())? } else { whole.clone() };
        let tiles = self.m.div_ceil(s.tile[0]) * self.n.div_ceil(s.tile[1]) * self.batch * s.splits;
        let (entry, count) = match s.variant {
            Variant::Rows => ("rows", tiles.div_ceil(ROWS)),
            Variant::Tiled => ("tiled", tiles),
            Variant::Lanes => ("lanes", tiles),
        };
        let (name, entry, groups) = (label(a.plan, a.kernel), entry.to_string(), fold_groups(count));
        if s.splits == 1 {
            let (text, bound) = a.bindings(None, vectors)?;
            let text = format!("{text}@group(0) @binding({}) var<storage, read> parts: array<f32>;\n", bound.len());
            let code = shader.bindings(&text).finish();
            return Ok(vec![Dispatch {
                label: name,
                code,
                entry,
                groups,
                bound,
                scratch_bytes: 0,
                turns: s.turns,
                checked,
            }]);
        }
        let elements = self.batch * self.m * self.n;
        let scratch_bytes = elements * s.splits * 4;
        let (text, all) = a.bindings(Some(true), vectors)?;
        let put = "fn put(part: i32, batch: i32, m: i32, n: i32, value: f32) {
    parts[((part * BATCH + batch) * M + m) * N + n] = value;
}
";
        let is_output = |b: &Bound| b.writes && b.place != Place::Scratch;
        let first = Dispatch {
            label: name.clone(),
            code: whole.replace("put", put)?.bindings(&text).finish(),
            entry,
            groups,
            bound: all.iter().filter(|b| !is_output(b)).copied().collect(),
            scratch_bytes,
            turns: s.turns,
            checked,
        };
        let (text, all) = a.bindings(Some(false), vectors)?;
        let used =
            |b: &&Bound| is_output(b) || b.place == Place::Scratch || bias.is_some_and(|x| b.place == Place::Buffer(x));
        let second = Dispatch {
            label: format!("{name}.combine"),
            code: shader.bindings(&text).finish(),
            entry: "combine".into(),
            groups: fold_groups(elements.div_ceil(if self.pairs { 128 } else { 64 })),
            bound: all.iter().filter(used).copied().collect(),
            scratch_bytes,
            turns: (s.splits + s.splits / 1024 + 1) as u64,
            checked,
        };
        Ok(vec![first, second])
    }

    fn start(&self) -> Result<Shader, LowerError> {
        Ok(Shader::new(self.file.0, self.file.1, shaders::SHARED)?)
    }
}

/// `name(i0, ...)` reading an operand at these indices.
fn accessor(name: &str, index: Vec<Idx>, shape: &[usize], read: &Read) -> Result<String, LowerError> {
    Ok(function(name, &load(0, index), shape, std::slice::from_ref(read))?.text)
}

pub(super) fn matmul(plan: &Plan, kernel: &Kernel, op: &Matmul, class: Class) -> Result<Vec<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let (out, node) = (kernel.outputs[0], plan.lowered(kernel));
    let inputs = plan.graph.node(node).inputs.clone();
    let shapes = [plan.graph.shape(inputs[0]).to_vec(), plan.graph.shape(inputs[1]).to_vec()];
    let shape = plan.graph.shape(node).to_vec();
    let rank = shape.len();
    let lead = &shape[..rank - 2];
    let inner = |s: &[usize], t: bool| if t { s[s.len() - 2] } else { s[s.len() - 1] };
    let mut p = Product {
        file: ("matmul.wgsl", shaders::MATMUL),
        batch: numel(lead),
        m: shape[rank - 2],
        n: shape[rank - 1],
        k: inner(&shapes[0], op.transpose_a),
        computed: [!plan.stored(inputs[0]), !plan.stored(inputs[1])],
        turns: 0,
        pairs: node != out,
    };
    let reads = a.inputs(node)?;
    p.turns = reads.iter().map(|r| r.turns).max().unwrap_or(0);
    // (batch, row, column) of an operand as the index of its tensor.
    let index = |k: usize, row: Idx, column: Idx| {
        let own = &shapes[k][..shapes[k].len() - 2];
        let steps = strides(lead);
        let whole: Vec<Idx> = (0..lead.len()).map(|d| ax(0) / at(steps[d]) % at(lead[d])).collect();
        let mut index: Vec<Idx> = broadcast_index(own, lead)
            .into_iter()
            .map(|i| if let Idx::Axis(d) = i { whole[d].clone() } else { i })
            .collect();
        index.extend([row, column]);
        index
    };
    let swap = |t: bool, r: Idx, c: Idx| if t { (c, r) } else { (r, c) };
    let (ra, ca) = swap(op.transpose_a, ax(1), ax(2));
    let (rb, cb) = swap(op.transpose_b, ax(1), ax(2));
    let text_a = accessor("load_a", index(0, ra, ca), &[p.batch, p.m, p.k], &reads[0])?;
    let text_b = accessor("load_b", index(1, rb, cb), &[p.batch, p.k, p.n], &reads[1])?;
    let mut shader = p
        .start()?
        .set("BATCH", p.batch)?
        .set("M", p.m)?
        .set("N", p.n)?
        .set("K", p.k)?
        .replace("load_a", &text_a)?
        .replace("load_b", &text_b)?;
    let tiles = p.choose(class);
    let mut vectors = vec![];
    let made = [fours(&mut a, inputs[0], false, "")?, fours(&mut a, inputs[1], false, "")?];
    let mut whole = 0;
    for (k, (name, across)) in [("block_a", op.transpose_a), ("block_b", op.transpose_b)].into_iter().enumerate() {
        let s = &shapes[k];
        let [rows, columns] = [s[s.len() - 2], s[s.len() - 1]];
        let own = numel(&s[..s.len() - 2]);
        let Some(matrix) = &made[k] else { continue };
        // A buffer is bound as vec4 where all that read it do so.
        let alone = matrix.buffers.iter().all(|b| !reads_below(plan, inputs[1 - k], *b));
        let lanes = tiles.variant == Variant::Lanes;
        if (lanes || columns.is_multiple_of(4))
            && p.k > 0
            && columns > 0
            && (lanes || p.k.is_multiple_of(4))
            && (own == 1 || s[..s.len() - 2] == *lead)
            && alone
            && (lanes || !p.computed[k])
        {
            // The blocks are read whole, so the scalar accessor, which nothing calls any more, must
            // not mention the buffer.
            let uncalled =
                format!("fn load_{}(batch: i32, r: i32, c: i32) -> f32 {{\n    return 0.0;\n}}\n", &name[6..]);
            shader = shader
                .replace(name, &vector_block(name, matrix, [rows, columns], (own > 1).then_some(own), across, p.k))?
                .replace(&format!("load_{}", &name[6..]), &uncalled)?
                .append(&matrix.text);
            a.forget(inputs[k]);
            vectors.extend(&matrix.buffers);
            whole += 1;
        }
    }
    if (whole == 2 || tiles.variant == Variant::Lanes) && !op.bias && p.n.is_multiple_of(4) && tiles.splits == 1 {
        let exact = p.m.is_multiple_of(tiles.tile[0]) && p.n.is_multiple_of(tiles.tile[1]);
        shader = shader.replace("put_block", &vector_put(exact, p.pairs))?.replace("store_c", NO_STORE)?;
        vectors.extend(plan.storage[out.index()]);
        p.pairs = false;
    }
    let mut bias = None;
    let mut value = "value";
    if op.bias {
        value = if p.pairs { "vec2<f32>(bias(n), bias(n + 1)) + value" } else { "bias(n) + value" };
        shader = shader.append(&accessor("bias", vec![ax(0)], &[p.n], &reads[2])?);
        bias = plan.storage[inputs[2].index()];
    }
    shader = p.store(shader, value)?;
    p.finish(&a, shader, &vectors, bias, class)
}

/// The tile of `lanes` in rows and columns of C.
fn lane_tile(turned: bool, [m4, n4]: [usize; 2], lanes: usize) -> [usize; 2] {
    let (rows, columns) = (4 * m4, 4 * lanes * n4);
    if turned { [columns, rows] } else { [rows, columns] }
}

/// Whether computing a node reads this buffer.
fn reads_below(plan: &Plan, id: NodeId, buffer: BufferId) -> bool {
    if plan.stored(id) {
        return plan.storage[id.index()] == Some(buffer);
    }
    plan.graph.node(id).inputs.iter().any(|i| reads_below(plan, *i, buffer))
}

/// Whether an operand is computed in the kernel (it may then read any of the buffers).
fn any_computed(p: &Product) -> bool {
    p.computed.contains(&true)
}
