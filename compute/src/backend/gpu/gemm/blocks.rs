//! WGSL for the 4x4 blocks of shared/gemm.wgsl where the general accessors are not the best way.

use crate::backend::gpu::pointwise::Fours;

/// `block_a` or `block_b` of a matrix [rows, columns] read in whole vec4s: four loads a block
/// instead of sixteen, or eight where rows are no whole vec4s. `across`: the block lies transposed
/// in memory.
pub(super) fn vector_block(
    name: &str,
    matrix: &Fours,
    [rows, columns]: [usize; 2],
    batch: Option<usize>,
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
    let aligned = columns.is_multiple_of(4);
    let per = if aligned { 4 } else { 1 };
    let base = if batch.is_some() { format!("batch * {} + ", rows * columns / per) } else { String::new() };
    let helper = format!("four_{}", &name[6..]);
    let row = |r: usize| {
        let at = format!("{base}min({p} + {r}, {}) * {} + column", rows - 1, columns / per);
        let four = if aligned { matrix.at(&at) } else { format!("{helper}({at})") };
        // A block may end inside k.
        match p {
            _ if k.is_multiple_of(4) => four,
            "k" => format!("select(vec4<f32>(), {four}, vec4<bool>(k + {r} < K))"),
            _ => format!("select(vec4<f32>(), {four}, vec4<i32>(k) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(K))"),
        }
    };
    let block = format!("mat4x4<f32>({}, {}, {}, {})", row(0), row(1), row(2), row(3));
    let value = if across { format!("transpose({block})") } else { block };
    let past = if k.is_multiple_of(4) { past_end(k) } else { "" };
    let (head, column) = if aligned {
        (String::new(), format!("min({q} >> 2u, {})", columns / 4 - 1))
    } else {
        (unaligned(&helper, matrix, batch.unwrap_or(1) * rows * columns), q.to_string())
    };
    format!(
        "{head}fn {name}(batch: i32, {arguments}) -> mat4x4<f32> {{\n{past}    let column = {column};\n    return {value};\n}}\n"
    )
}

/// Four elements from any place, of a tensor of `numel` elements that is read in whole vec4s: two
/// reads, shifted. What lies outside comes out as something.
pub(super) fn unaligned(name: &str, of: &Fours, numel: usize) -> String {
    let last = numel / 4 - 1;
    let read = |index: &str| of.at(&format!("clamp({index}, 0, {last})"));
    format!(
        "fn {name}(at: i32) -> vec4<f32> {{
    let first = at >> 2u;
    let a = {};
    let b = {};
    let by = vec4<i32>(at & 3);
    let low = select(a, vec4<f32>(a.y, a.z, a.w, b.x), by == vec4<i32>(1));
    let high = select(vec4<f32>(a.z, a.w, b.x, b.y), vec4<f32>(a.w, b.x, b.y, b.z), by == vec4<i32>(3));
    return select(low, high, by >= vec4<i32>(2));
}}
",
        read("first"),
        read("first + 1")
    )
}

/// What a block past the end of k is; `tiled` walks k in steps of 32 or of a divisor.
pub(super) fn past_end(k: usize) -> &'static str {
    if k.is_multiple_of(32) { "" } else { "    if (k >= K) {\n        return mat4x4<f32>();\n    }\n" }
}

/// `block_a` or `block_b` of a computed operand: a loop that holds the element's code once, where
/// sixteen calls would hold it sixteen times (compilers inline them all). Elements are put in
/// place by comparison, not by an index, which would move the block to memory.
pub(super) fn computed_block(name: &str) -> String {
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

/// `put_block` where the rows of C are whole vec4s: four stores instead of sixteen, guarded unless
/// every tile is whole. `halves`: they are stored as f16.
pub(super) fn vector_put(exact: bool, halves: bool) -> String {
    let rows = block_rows(exact, "(N / 4)", |r| stored(&format!("block[{r}]"), halves));
    let head = "fn put_block(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>)";
    format!("{head} {{\n    let at = ((batch * M + m) * N + n) / 4;\n{rows}}}\n")
}

/// Stores of four rows of C, `step` vec4s apart, guarded unless every tile is whole.
pub(super) fn block_rows(exact: bool, step: &str, value: impl Fn(usize) -> String) -> String {
    let row = |r: usize| {
        let store = format!("out[at + {r} * {step}] = {};", value(r));
        if exact {
            format!("    {store}\n")
        } else {
            format!("    if (n < N && m + {r} < M) {{\n        {store}\n    }}\n")
        }
    };
    (0..4).map(row).collect()
}

/// Four numbers as they are stored.
pub(super) fn stored(value: &str, halves: bool) -> String {
    if halves { format!("nearest_halves({value})") } else { value.into() }
}

/// What is left of `store_c`, which whole blocks no longer call.
pub(super) const NO_STORE: &str = "fn store_c(batch: i32, m: i32, n: i32, value: f32) {
}
";

/// `rows_tile` written out for a tile of `tm` by `tn` blocks.
pub(super) fn written_out([tm, tn]: [usize; 2]) -> String {
    let each = |f: &dyn Fn(usize, usize) -> String| -> String {
        (0..tn).flat_map(|j| (0..tm).map(move |i| (i, j))).map(|(i, j)| f(i, j)).collect()
    };
    let sums = each(&|i, j| format!("    var c{i}_{j} = mat4x4<f32>();\n"));
    let rows: String = (0..tm).map(|i| format!("        let a{i} = block_a(batch, m0 + {}, k);\n", 4 * i)).collect();
    let columns: String = (0..tn)
        .map(|j| {
            let products: String = (0..tm).map(|i| format!("        c{i}_{j} += b{j} * a{i};\n")).collect();
            format!("        let b{j} = block_b(batch, k, n0 + {});\n{products}", 4 * j)
        })
        .collect();
    let puts = each(&|i, j| format!("    put_block(part, batch, m0 + {}, n0 + {}, c{i}_{j});\n", 4 * i, 4 * j));
    format!(
        "fn rows_tile(part: i32, batch: i32, m0: i32, n0: i32, k_begin: i32, k_end: i32) {{
{sums}    for (var k = k_begin; k < k_end; k += 4) {{
{rows}{columns}    }}
{puts}}}
"
    )
}

/// `tiled_tile` written out for `tm` by `tn` blocks an invocation.
pub(super) fn tiled_written_out([tm, tn]: [usize; 2]) -> String {
    let each = |f: &dyn Fn(usize, usize) -> String| -> String {
        (0..tn).flat_map(|j| (0..tm).map(move |i| (i, j))).map(|(i, j)| f(i, j)).collect()
    };
    let sums = each(&|i, j| format!("    var c{i}_{j} = mat4x4<f32>();\n"));
    let rows: String =
        (0..tm).map(|i| format!("            let a{i} = tile_a[q * A_BLOCKS + row + {i} * THREADS_M];\n")).collect();
    let columns: String = (0..tn)
        .map(|j| {
            let products: String = (0..tm).map(|i| format!("            c{i}_{j} += b{j} * a{i};\n")).collect();
            format!("            let b{j} = tile_block_b(q, column + {j} * THREADS_N);\n{products}")
        })
        .collect();
    let puts = each(&|i, j| {
        let at = format!("m0 + 4 * (row + {i} * THREADS_M), n0 + 4 * (column + {j} * THREADS_N)");
        format!("    put_block(part, batch, {at}, c{i}_{j});\n")
    });
    format!(
        "fn tiled_tile(part: i32, batch: i32, lane: i32, m0: i32, n0: i32, k_begin: i32, k_end: i32) {{
    let row = lane / THREADS_N;
    let column = lane % THREADS_N;
{sums}    for (var k = k_begin; k < k_end; k += 4 * STEP) {{
        fetch(batch, lane, m0, n0, k);
        workgroupBarrier();
        for (var q = 0; q < STEP; q++) {{
{rows}{columns}        }}
        workgroupBarrier();
    }}
    if (batch >= BATCH) {{
        return;
    }}
{puts}}}
"
    )
}

/// The functions of `shared/gemm_lanes.wgsl` that read and write blocks, for C transposed.
pub(super) const LANES_TURNED: [(&str, &str); 3] = [
    (
        "lane_rows",
        "fn lane_rows(batch: i32, m: i32, k: i32) -> mat4x4<f32> {
    return transpose(block_b(batch, k, m));
}
",
    ),
    (
        "lane_columns",
        "fn lane_columns(batch: i32, k: i32, n: i32) -> mat4x4<f32> {
    return transpose(block_a(batch, n, k));
}
",
    ),
    (
        "lane_put",
        "fn lane_put(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>) {
    put_block(part, batch, n, m, transpose(block));
}
",
    ),
];

/// `lanes_tile` written out for `m4` blocks of 4 rows and `n4` of 4 columns a lane. `alone`: a workgroup is one team.
pub(super) fn lanes_written_out(lanes: usize, [m4, n4]: [usize; 2], alone: bool) -> String {
    let across = lanes / 4;
    let each = |f: &dyn Fn(usize) -> String| -> String { (0..n4).map(f).collect() };
    let sums: String = (0..4 * m4).map(|r| each(&|j| format!("    var c{r}_{j} = vec4<f32>();\n"))).collect();
    let column = |j: usize| format!("n + {}", 4 * lanes * j);
    let columns: String = (0..across)
        .map(|h| each(&|j| format!("        let b{h}_{j} = lane_columns(batch, k + {}, {});\n", 4 * h, column(j))))
        .collect();
    let mut rows = String::new();
    for r in 0..4 * m4 {
        let (group, block) = (r / 16, r / 4 % 4);
        if r % 16 == 0 {
            rows += &format!("        let a{group} = lane_rows(batch, own_m + {r}, k + own_k);\n");
        }
        for q in 0..lanes {
            let from = format!("{}{}u", if alone { "" } else { "first + " }, block * across + q / 4);
            rows += &format!("        let x{r}_{q} = subgroupShuffle(a{group}[{}][{}], {from});\n", r % 4, q % 4);
            let (new, sign) = if q == 0 { ("var ", "=") } else { ("", "+=") };
            rows += &each(&|j| format!("        {new}s{r}_{j} {sign} x{r}_{q} * b{}_{j}[{}];\n", q / 4, q % 4));
        }
        rows += &each(&|j| format!("        c{r}_{j} += s{r}_{j};\n"));
    }
    let put = |i: usize, j: usize| {
        let block: Vec<String> = (0..4).map(|r| format!("c{}_{j}", 4 * i + r)).collect();
        let at = format!("m0 + {}, {}", 4 * i, column(j));
        format!("    lane_put(part, batch, {at}, mat4x4<f32>({}));\n", block.join(", "))
    };
    let puts: String = (0..m4).map(|i| each(&|j| put(i, j))).collect();
    let end = if alone { "" } else { "    if (!keep) {\n        return;\n    }\n" };
    format!(
        "fn lanes_tile(part: i32, batch: i32, lane: i32, first: u32, m0: i32, n: i32, k_begin: i32, k_end: i32, keep: bool) {{
    let own_m = m0 + lane / {across} * 4;
    let own_k = lane % {across} * 4;
{sums}    for (var k = k_begin; k < k_end; k += {lanes}) {{
{columns}{rows}    }}
{end}{puts}}}
"
    )
}
