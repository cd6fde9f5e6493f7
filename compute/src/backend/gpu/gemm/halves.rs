//! Results of products stored as halves: two neighbours of a row are a word, so they are written together.
//! Only where rows are whole words ([`crate::rewrite`] sees to it).

use super::super::kernel::LowerError;
use super::Product;
use crate::cell::wgsl::import::{ImportError, Shader};

impl Product {
    /// Lets `store_c` store this of its `value`.
    pub(super) fn store(&self, shader: Shader, value: &str) -> Result<Shader, LowerError> {
        Ok(match (self.pairs, value) {
            (true, _) => store(shader, value)?,
            (false, "value") => shader,
            _ => shader.edit("= value;", &format!("= {value};"))?,
        })
    }
}

/// `store_c` of two neighbours, and `combine`, which calls it; `value` is what is stored of the argument of that name.
fn store(shader: Shader, value: &str) -> Result<Shader, ImportError> {
    shader
        .edit("value: f32) {\n    out[", "value: vec2<f32>) {\n    out[(")?
        .edit("] = value;", &format!(") / 2] = two_halves({value});"))?
        .replace("combine", COMBINE)
}

/// Blocks in pairs, where they are results and no parts of some.
pub(super) fn in_pairs(shader: Shader) -> Result<Shader, ImportError> {
    shader.replace("put", "")?.replace("put_block", PUT_BLOCK)
}

const PUT_BLOCK: &str = "fn put_block(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>) {
    var rows = block;
    for (var r = 0; r < 4; r++) {
        for (var s = 0; s < 4; s += 2) {
            if (m + r < M && n + s < N) {
                store_c(batch, m + r, n + s, vec2<f32>(rows[r][s], rows[r][s + 1]));
            }
        }
    }
}
";

const COMBINE: &str = "fn combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let first_of_two = 2 * (flat_group(group, groups) * 64 + i32(lane));
    if (first_of_two >= BATCH * M * N) {
        return;
    }
    var total = vec2<f32>();
    for (var first = 0; first < SPLITS; first += 1024) {
        var some = vec2<f32>();
        for (var part = first; part < min(first + 1024, SPLITS); part++) {
            let at = part * (BATCH * M * N) + first_of_two;
            some += vec2<f32>(parts[at], parts[at + 1]);
        }
        total += some;
    }
    store_c(first_of_two / (M * N), first_of_two / N % M, first_of_two % N, total);
}
";
