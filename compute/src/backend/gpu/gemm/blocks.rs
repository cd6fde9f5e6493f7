//! WGSL for the 4x4 blocks of shared/gemm.wgsl where the general accessors are not the best way.

/// `block_a` or `block_b` of a stored matrix [rows, columns] whose rows are whole vec4s: four
/// loads a block instead of sixteen. `across`: the block lies transposed in memory.
pub(super) fn vector_block(
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
    // `tiled` walks k in steps of 32.
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
/// every tile is whole.
pub(super) fn vector_put(exact: bool) -> String {
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
