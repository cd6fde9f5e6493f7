//! Products and convolutions: sizes, tiles, splits and accessors for the shaders built on
//! `shared/gemm.wgsl`.
//!
//! Which variant runs: on a software device (one SIMD lane an invocation, memory reads slow, no
//! real workgroup memory) the register-tiled `gemm_rows` with tiles up to 16 x 16; on a GPU the
//! workgroup-tiled `gemm_tiled`, or small register tiles when a side is narrow. Sums longer than
//! [`SPAN`], and products with too few tiles to fill a device, are split along k.

pub(super) mod conv2d;

use super::kernel::{Accessors, Bound, Class, Dispatch, LowerError, Place, SOFTWARE_TURNS, label};
use super::shaders;
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{Access, Read, fold_groups, function};
use crate::cell::{Idx, at, ax, load};
use crate::ops::elementwise::broadcast_index;
use crate::ops::matmul::Matmul;
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::{numel, strides};

/// The longest part of a split sum: blocks of 4 are added first, so the chain is 1,024 long.
const SPAN: usize = 4096;
/// Invocations of a workgroup of `gemm_rows` (its `ROWS`).
const ROWS: usize = 16;

/// The sizes of one batched product and what is known of its operands.
struct Product {
    file: (&'static str, &'static str),
    entry: &'static str,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// Whether A and B are computed where they are read.
    computed: [bool; 2],
    /// Loop turns of one read of A or B.
    turns: u64,
    /// Whether both are read in whole vec4s.
    vectors: bool,
}

/// Tiles and split of a product.
#[derive(Debug, PartialEq)]
struct Shape {
    tiled: bool,
    /// Register tile in blocks of 4.
    blocks: [usize; 2],
    splits: usize,
    span: usize,
    /// Loop turns of an invocation.
    turns: u64,
}

impl Product {
    fn choose(&self, class: Class) -> Shape {
        let tiled = !class.software && self.m > 16 && self.n > 16;
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
        let [a, b] = self.computed;
        let blocks = [side(self.m, a, b), side(self.n, b, a)];
        let tiles = if tiled {
            self.m.div_ceil(64) * self.n.div_ceil(64)
        } else {
            self.m.div_ceil(4 * blocks[0]) * self.n.div_ceil(4 * blocks[1])
        };
        // Enough tiles to fill the device: 64 lanes in software, 256 workgroups or 16 K lanes else.
        let enough = match (class.software, tiled) {
            (true, _) => 64,
            (_, true) => 256,
            _ => 16_384,
        };
        let wanted = (enough / (tiles * self.batch).max(1)).clamp(1, self.k.div_ceil(256).max(1));
        let bytes = (self.batch * self.m * self.n * 4).max(1);
        let room = (class.max_buffer_bytes / bytes).max(1);
        // A block of a computed operand is a loop of 16 with the operand's own loops inside.
        let each = 1 + self.computed.iter().filter(|c| **c).count() as u64 * 17 * (1 + self.turns);
        // gemm_tiled takes k in steps of 32.
        let grain = if class.software { 4 } else { 32 };
        let most = if class.software { (4 * SOFTWARE_TURNS / each).clamp(4, SPAN as u64) as usize } else { SPAN };
        let splits = wanted.max(self.k.div_ceil(most / grain * grain)).min(room).max(1);
        let span = self.k.div_ceil(splits).next_multiple_of(grain);
        let turns = (span as u64 / 4).saturating_mul(each);
        Shape { tiled, blocks, splits: self.k.div_ceil(span).max(1), span, turns }
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
            if computed {
                shader = shader.replace(name, &computed_block(name))?;
            }
        }
        let shader = shader
            .set("SPLITS", s.splits)?
            .set("SPAN", s.span)?
            .set("TM4", s.blocks[0])?
            .set("TN4", s.blocks[1])?
            .append(&a.functions());
        let tiles = |m: usize, n: usize| self.m.div_ceil(m) * self.n.div_ceil(n) * self.batch * s.splits;
        let (entry, count) = if s.tiled {
            (format!("{}_tiled", self.entry), tiles(64, 64))
        } else {
            (self.entry.to_string(), tiles(4 * s.blocks[0], 4 * s.blocks[1]).div_ceil(ROWS))
        };
        let (name, groups) = (label(a.plan, a.kernel), fold_groups(count));
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
            code: shader.clone().replace("put", put)?.bindings(&text).finish(),
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
            groups: fold_groups(elements.div_ceil(64)),
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

/// `block_a` or `block_b` of a stored matrix [rows, columns] whose rows are whole vec4s: four
/// loads a block instead of sixteen. `across`: the block lies transposed in memory.
fn vector_block(
    name: &str,
    buffer: &str,
    [rows, columns]: [usize; 2],
    batched: bool,
    across: bool,
    k: usize,
) -> String {
    let (p, q) = match (name, across) {
        ("block_a", false) => ("m", "k"),
        ("block_a", _) => ("k", "m"),
        (_, false) => ("k", "n"),
        _ => ("n", "k"),
    };
    let arguments = if name == "block_a" { "m: i32, k: i32" } else { "k: i32, n: i32" };
    let base = if batched { format!("batch * {} + ", rows * columns / 4) } else { String::new() };
    let row = |r: usize| {
        let at = format!("min({p} + {r}, {})", rows - 1);
        format!("{buffer}[{base}{at} * {} + column]", columns / 4)
    };
    let block = format!("mat4x4<f32>({}, {}, {}, {})", row(0), row(1), row(2), row(3));
    let value = if across { format!("transpose({block})") } else { block };
    // gemm_tiled walks k in steps of 32.
    let past = if k.is_multiple_of(32) {
        String::new()
    } else {
        "    if (k >= K) {\n        return mat4x4<f32>();\n    }\n".into()
    };
    format!(
        "fn {name}(batch: i32, {arguments}) -> mat4x4<f32> {{\n{past}    let column = min({q} >> 2u, {});\n    return {value};\n}}\n",
        columns / 4 - 1
    )
}

/// `block_a` or `block_b` of a computed operand: a loop that holds the element's code once, where
/// sixteen calls would hold it sixteen times (compilers inline them all). Elements are put in
/// place by comparison, not by an index, which would move the block to memory.
fn computed_block(name: &str) -> String {
    let (arguments, element) = if name == "block_a" {
        ("m: i32, k: i32", "a_at(batch, m + (e >> 2u), k + (e & 3))")
    } else {
        ("k: i32, n: i32", "b_at(batch, k + (e >> 2u), n + (e & 3))")
    };
    let rows: String =
        (0..4).map(|r| format!("        r{r} = select(r{r}, value, lanes == vec4<i32>(e - {}));\n", 4 * r)).collect();
    format!(
        "fn {name}(batch: i32, {arguments}) -> mat4x4<f32> {{
    let lanes = vec4<i32>(0, 1, 2, 3);
    var r0 = vec4<f32>();
    var r1 = vec4<f32>();
    var r2 = vec4<f32>();
    var r3 = vec4<f32>();
    for (var e = 0; e < 16; e++) {{
        let value = vec4<f32>({element});
{rows}    }}
    return mat4x4<f32>(r0, r1, r2, r3);
}}
"
    )
}

pub(super) fn matmul(plan: &Plan, kernel: &Kernel, op: &Matmul, class: Class) -> Result<Vec<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let out = kernel.outputs[0];
    let inputs = plan.graph.node(out).inputs.clone();
    let shapes = [plan.graph.shape(inputs[0]).to_vec(), plan.graph.shape(inputs[1]).to_vec()];
    let shape = plan.graph.shape(out).to_vec();
    let rank = shape.len();
    let lead = &shape[..rank - 2];
    let inner = |s: &[usize], t: bool| if t { s[s.len() - 2] } else { s[s.len() - 1] };
    let mut p = Product {
        file: ("matmul.wgsl", shaders::MATMUL),
        entry: "forward",
        batch: numel(lead),
        m: shape[rank - 2],
        n: shape[rank - 1],
        k: inner(&shapes[0], op.transpose_a),
        computed: [!plan.stored(inputs[0]), !plan.stored(inputs[1])],
        turns: 0,
        vectors: false,
    };
    let reads = a.inputs(out)?;
    p.turns = reads.iter().map(|r| r.turns).max().unwrap_or(0);
    // (batch, row, column) of an operand as the index of its tensor.
    let index = |k: usize, row: Idx, column: Idx| {
        let own = &shapes[k][..shapes[k].len() - 2];
        let steps = strides(lead);
        let whole: Vec<Idx> = (0..lead.len()).map(|d| ax(0) / at(steps[d]) % at(lead[d])).collect();
        let mut index: Vec<Idx> = broadcast_index(own, lead.len())
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
    let mut vectors = vec![];
    let buffers: Vec<Option<BufferId>> = inputs.iter().map(|i| plan.storage[i.index()]).collect();
    for (k, (name, across)) in [("block_a", op.transpose_a), ("block_b", op.transpose_b)].into_iter().enumerate() {
        let s = &shapes[k];
        let [rows, columns] = [s[s.len() - 2], s[s.len() - 1]];
        let own = numel(&s[..s.len() - 2]);
        let whole = own == 1 || s[..s.len() - 2] == *lead;
        let alone = kernel.reads.iter().filter(|r| plan.storage[r.index()] == buffers[k]).count() == 1
            && buffers.iter().filter(|b| **b == buffers[k]).count() == 1;
        let (Access::Buffer(buffer), Some(id)) = (&reads[k].access, buffers[k]) else { continue };
        if columns.is_multiple_of(4)
            && p.k.is_multiple_of(4)
            && p.k > 0
            && columns > 0
            && whole
            && alone
            && !any_computed(&p)
        {
            // The blocks are read whole; the buffer is bound as vec4, so the scalar accessor, which
            // nothing calls any more, must not mention it.
            let uncalled =
                format!("fn load_{}(batch: i32, r: i32, c: i32) -> f32 {{\n    return 0.0;\n}}\n", &name[6..]);
            shader = shader
                .replace(name, &vector_block(name, buffer, [rows, columns], own > 1, across, p.k))?
                .replace(&format!("load_{}", &name[6..]), &uncalled)?;
            vectors.push(id);
        }
    }
    p.vectors = vectors.len() == 2;
    let tiles = p.choose(class);
    if p.vectors && !op.bias && p.n.is_multiple_of(4) && tiles.splits == 1 {
        let tile = if tiles.tiled { [64, 64] } else { tiles.blocks.map(|b| 4 * b) };
        let exact = p.m.is_multiple_of(tile[0]) && p.n.is_multiple_of(tile[1]);
        shader = shader.replace("put_block", &vector_put(exact))?.replace("store_c", NO_STORE)?;
        vectors.extend(plan.storage[out.index()]);
    }
    let mut bias = None;
    if op.bias {
        let text = accessor("bias", vec![ax(0)], &[p.n], &reads[2])?;
        shader = shader.edit("= value;", "= bias(n) + value;")?.append(&text);
        bias = buffers[2];
    }
    p.finish(&a, shader, &vectors, bias, class)
}

/// `put_block` where the rows of C are whole vec4s: four stores instead of sixteen, guarded unless
/// every tile is whole.
fn vector_put(exact: bool) -> String {
    let rows: String = (0..4)
        .map(|r| {
            let store = format!("out[at + {r} * (N / 4)] = block[{r}];");
            if exact {
                format!("    {store}\n")
            } else {
                format!("    if (n < N && m + {r} < M) {{\n        {store}\n    }}\n")
            }
        })
        .collect();
    let head = "fn put_block(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>)";
    format!("{head} {{\n    let at = ((batch * M + m) * N + n) / 4;\n{rows}}}\n")
}

const NO_STORE: &str = "fn store_c(batch: i32, m: i32, n: i32, value: f32) {
}
";

/// Whether an operand is computed in the kernel (it may then read any of the buffers).
fn any_computed(p: &Product) -> bool {
    p.computed.contains(&true)
}
