//! Products and convolutions: sizes, tiles, splits and accessors for the shaders built on
//! `shared/gemm.wgsl`.
//!
//! Which variant runs: a forward convolution of few channels is `direct`, without unfolded patches ([`direct`]);
//! everything else is a product of matrices: on a software device (one SIMD lane an invocation, memory reads slow, no
//! real workgroup memory) the register-tiled `rows` with tiles up to 16 x 16, or, with subgroups
//! and operands that are stored or cheap to compute, `lanes` with tiles up to 32 x 64; on a GPU the
//! workgroup-tiled `tiled`, or small register tiles when a side is narrow, or `lanes` with several teams in a
//! subgroup where a tuner measures it to be faster. Sums that would be long chains, and products with too few
//! tiles to fill a device, are split along k ([`shape`]; what else may be worth a try is in [`candidates`]).
//! Operands are read in whole vec4s where memory allows
//! ([`blocks`], [`fours`]), and results may be stored as f16 ([`halves`]).

mod blocks;
mod candidates;
pub(super) mod conv2d;
mod direct;
mod fours;
mod halves;
mod shape;

use blocks::{
    LANES_TURNED, NO_STORE, computed_block, lanes_written_out, tiled_written_out, vector_block, vector_put, written_out,
};
pub use candidates::CANDIDATES;
use shape::Variant;
pub use shape::{NoTiling, Product, Tiling};

use super::kernel::{Accessors, Bound, Class, Dispatch, LowerError, Place, label};
use super::pointwise::fours;
use super::shaders;
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{Read, fold_groups, function};
use crate::cell::{Idx, at, ax, load};
use crate::graph::NodeId;
use crate::ops::elementwise::broadcast_index;
use crate::ops::matmul::Matmul;
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::{DType, numel, strides};

impl Product {
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
        let checked = self.any_computed();
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
        let Tiling { blocks, threads, turned, .. } = s.tiling;
        let shader = match s.variant {
            Variant::Rows => shader
                .set("TM4", blocks[0])?
                .set("TN4", blocks[1])?
                .set("ROWS", threads)?
                .replace("rows_tile", &written_out(blocks))?,
            Variant::Tiled => {
                let [rows, columns] = s.tiling.threads_by_side();
                shader
                    .set("THREADS_M", rows)?
                    .set("THREADS_N", columns)?
                    .set("TB_M", blocks[0])?
                    .set("TB_N", blocks[1])?
                    .set("STEP", s.tiling.step())?
                    .replace("tiled_tile", &tiled_written_out(blocks))?
            }
            Variant::Lanes if !shaders::SUBGROUPS => shader,
            Variant::Lanes => {
                let mut shader = shader
                    .append(shaders::GEMM_LANES)
                    .set("LANES", threads)?
                    .set("TEAMS", s.tiling.teams(class))?
                    .set("LANE_M4", blocks[0])?
                    .set("LANE_N4", blocks[1])?
                    .replace("lanes_tile", &lanes_written_out(threads, blocks, s.tiling.teams(class) == 1))?;
                if turned {
                    shader = shader.set("LANE_ROWS", "N")?.set("LANE_COLUMNS", "M")?;
                    for (name, text) in LANES_TURNED {
                        shader = shader.replace(name, text)?;
                    }
                }
                shader
            }
            Variant::Direct => self.write_direct(shader, &s.tiling, class)?,
        };
        let whole = shader.append(&a.functions());
        let shader = if self.pairs { halves::in_pairs(whole.clone())? } else { whole.clone() };
        let (tiles, parts) = (self.m.div_ceil(s.tile[0]) * self.n.div_ceil(s.tile[1]), self.batch * s.splits);
        let (entry, count) = match s.variant {
            Variant::Rows => ("rows", (tiles * parts).div_ceil(threads)),
            Variant::Tiled => ("tiled", tiles * parts),
            Variant::Lanes => ("lanes", tiles.div_ceil(s.tiling.teams(class)) * parts),
            Variant::Direct => ("direct", self.direct_groups(&s.tiling)),
        };
        let product = Some((self.clone(), s.tiling));
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
                product,
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
            product,
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
            product: None,
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

/// Whether one of the operands of a product is f16.
fn any_halves(plan: &Plan, inputs: &[NodeId]) -> bool {
    inputs.iter().take(2).any(|i| plan.graph.ty(*i).dtype == DType::F16)
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
        halves: any_halves(plan, &inputs),
        pairs: node != out,
        window: None,
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
        let lanes = tiles.variant.is_lanes();
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
    if (whole == 2 || tiles.variant.is_lanes()) && !op.bias && p.n.is_multiple_of(4) && tiles.splits == 1 {
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

/// Whether computing a node reads this buffer.
fn reads_below(plan: &Plan, id: NodeId, buffer: BufferId) -> bool {
    if plan.stored(id) {
        return plan.storage[id.index()] == Some(buffer);
    }
    plan.graph.node(id).inputs.iter().any(|i| reads_below(plan, *i, buffer))
}
