// The product behind matmul and the three convolutions: C[m, n] = sum(k) A[m, k] B[k, n], batched.
//
// A file that imports this one defines the sizes BATCH, M, N, K and the accessors load_a, load_b
// and store_c; how an element is found (transposed, in an image patch, recomputed from another
// definition) is their business alone. Everything here works on 4x4 blocks: a mat4x4 holds four
// rows as its columns, so that `block_b * block_a` is the product of the blocks.
//
// SPLITS > 1 divides k into parts of SPAN (a multiple of 4, for `tiled` of 32) for long, narrow products; each part
// writes its own C into `parts`, and `combine` adds them. A chain of additions is at most SPAN / 4.

const SPLITS: i32 = 1;
const SPAN: i32 = 4096;

// Register tile of `rows` in blocks.
const TM4: i32 = 2;
const TN4: i32 = 2;
// Invocations of a workgroup of `rows`.
const ROWS: i32 = 16;

// The number of this workgroup in a grid folded to stay below 65,535 along a side.
fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> i32 {
    return i32((group.z * groups.y + group.y) * groups.x + group.x);
}

// A at (m, k), 0 past the end of k; rows past the end of m repeat the last and are never stored.
fn a_at(batch: i32, m: i32, k: i32) -> f32 {
    return select(0.0, load_a(batch, min(m, M - 1), min(k, K - 1)), k < K);
}

fn b_at(batch: i32, k: i32, n: i32) -> f32 {
    return select(0.0, load_b(batch, min(k, K - 1), min(n, N - 1)), k < K);
}

fn row_a(batch: i32, m: i32, k: i32) -> vec4<f32> {
    return vec4<f32>(a_at(batch, m, k), a_at(batch, m, k + 1), a_at(batch, m, k + 2), a_at(batch, m, k + 3));
}

fn row_b(batch: i32, k: i32, n: i32) -> vec4<f32> {
    return vec4<f32>(b_at(batch, k, n), b_at(batch, k, n + 1), b_at(batch, k, n + 2), b_at(batch, k, n + 3));
}

// A[m .. m + 4, k .. k + 4]
fn block_a(batch: i32, m: i32, k: i32) -> mat4x4<f32> {
    return mat4x4<f32>(row_a(batch, m, k), row_a(batch, m + 1, k), row_a(batch, m + 2, k), row_a(batch, m + 3, k));
}

// B[k .. k + 4, n .. n + 4]
fn block_b(batch: i32, k: i32, n: i32) -> mat4x4<f32> {
    return mat4x4<f32>(row_b(batch, k, n), row_b(batch, k + 1, n), row_b(batch, k + 2, n), row_b(batch, k + 3, n));
}

// Where an element of a part goes. Replaced when SPLITS > 1 by a write into `parts`.
fn put(part: i32, batch: i32, m: i32, n: i32, value: f32) {
    store_c(batch, m, n, value);
}

fn put_block(part: i32, batch: i32, m: i32, n: i32, block: mat4x4<f32>) {
    var rows = block;
    for (var r = 0; r < 4; r++) {
        for (var s = 0; s < 4; s++) {
            if (m + r < M && n + s < N) {
                put(part, batch, m + r, n + s, rows[r][s]);
            }
        }
    }
}

// A tile of C over a part of k. Written out for its sizes before it runs: where a compiler leaves
// these loops as they are, their counters put the blocks into memory.
fn rows_tile(part: i32, batch: i32, m0: i32, n0: i32, k_begin: i32, k_end: i32) {
    var c: array<array<mat4x4<f32>, TN4>, TM4>;
    for (var k = k_begin; k < k_end; k += 4) {
        var a: array<mat4x4<f32>, TM4>;
        for (var i = 0; i < TM4; i++) {
            a[i] = block_a(batch, m0 + 4 * i, k);
        }
        for (var j = 0; j < TN4; j++) {
            let b = block_b(batch, k, n0 + 4 * j);
            for (var i = 0; i < TM4; i++) {
                c[i][j] += b * a[i];
            }
        }
    }
    for (var i = 0; i < TM4; i++) {
        for (var j = 0; j < TN4; j++) {
            put_block(part, batch, m0 + 4 * i, n0 + 4 * j, c[i][j]);
        }
    }
}

// One invocation computes TM4 x TN4 blocks of C in registers and reads A and B straight from
// memory: (TM4 + TN4) blocks for TM4 * TN4 block products. No workgroup memory and no barriers,
// which software devices emulate slowly.
@compute @workgroup_size(ROWS)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let invocation = flat_group(group, groups) * ROWS + i32(lane);
    let tiles_n = (N + 4 * TN4 - 1) / (4 * TN4);
    let tiles = (M + 4 * TM4 - 1) / (4 * TM4) * tiles_n;
    if (invocation >= tiles * SPLITS * BATCH) {
        return;
    }
    let part = invocation / tiles % SPLITS;
    let batch = invocation / (tiles * SPLITS);
    let m0 = invocation % tiles / tiles_n * (4 * TM4);
    let n0 = invocation % tiles % tiles_n * (4 * TN4);
    rows_tile(part, batch, m0, n0, part * SPAN, min(K, (part + 1) * SPAN));
}

// A workgroup of `tiled`: rows and columns of invocations, blocks of C that each of them computes, and by how
// many blocks k advances at a time. The tiles take 64 * STEP * (A_BLOCKS + B_BLOCKS) bytes of workgroup
// memory, at most 16 KiB: WebGPU's default limit.
const THREADS_M: i32 = 16;
const THREADS_N: i32 = 16;
const TB_M: i32 = 1;
const TB_N: i32 = 1;
const STEP: i32 = 8;
const A_BLOCKS: i32 = THREADS_M * TB_M;
const B_BLOCKS: i32 = THREADS_N * TB_N;

var<workgroup> tile_a: array<mat4x4<f32>, STEP * A_BLOCKS>;
// Its blocks lie row by row, so that invocations beside each other read vec4s beside each other.
var<workgroup> tile_b: array<vec4<f32>, 4 * STEP * B_BLOCKS>;

// The next tiles of A and of B, a block at a time.
fn fetch(batch: i32, lane: i32, m0: i32, n0: i32, k: i32) {
    for (var e = lane; e < STEP * (A_BLOCKS + B_BLOCKS); e += THREADS_M * THREADS_N) {
        if (e < STEP * A_BLOCKS) {
            tile_a[e] = block_a(batch, m0 + e % A_BLOCKS * 4, k + e / A_BLOCKS * 4);
        } else {
            let q = (e - STEP * A_BLOCKS) / B_BLOCKS;
            let column = (e - STEP * A_BLOCKS) % B_BLOCKS;
            let block = block_b(batch, k + q * 4, n0 + column * 4);
            let at = 4 * q * B_BLOCKS + column;
            tile_b[at] = block[0];
            tile_b[at + B_BLOCKS] = block[1];
            tile_b[at + 2 * B_BLOCKS] = block[2];
            tile_b[at + 3 * B_BLOCKS] = block[3];
        }
    }
}

fn tile_block_b(q: i32, column: i32) -> mat4x4<f32> {
    let at = 4 * q * B_BLOCKS + column;
    return mat4x4<f32>(tile_b[at], tile_b[at + B_BLOCKS], tile_b[at + 2 * B_BLOCKS], tile_b[at + 3 * B_BLOCKS]);
}

// An invocation's blocks of a tile of C over a part of k. Written out for its sizes, as `rows_tile` is.
fn tiled_tile(part: i32, batch: i32, lane: i32, m0: i32, n0: i32, k_begin: i32, k_end: i32) {
    let row = lane / THREADS_N;
    let column = lane % THREADS_N;
    var c: array<array<mat4x4<f32>, TB_N>, TB_M>;
    for (var k = k_begin; k < k_end; k += 4 * STEP) {
        fetch(batch, lane, m0, n0, k);
        workgroupBarrier();
        for (var q = 0; q < STEP; q++) {
            for (var j = 0; j < TB_N; j++) {
                let b = tile_block_b(q, column + j * THREADS_N);
                for (var i = 0; i < TB_M; i++) {
                    c[i][j] += b * tile_a[q * A_BLOCKS + row + i * THREADS_M];
                }
            }
        }
        workgroupBarrier();
    }
    if (batch >= BATCH) {
        return;
    }
    for (var i = 0; i < TB_M; i++) {
        for (var j = 0; j < TB_N; j++) {
            put_block(part, batch, m0 + 4 * (row + i * THREADS_M), n0 + 4 * (column + j * THREADS_N), c[i][j]);
        }
    }
}

// One workgroup computes a tile of C, (4 THREADS_M TB_M) x (4 THREADS_N TB_N): each invocation TB_M x TB_N blocks
// of it, THREADS_M and THREADS_N blocks apart. It walks k in steps of 4 STEP, for which A and B are first
// fetched into workgroup memory: every element of A travels once for a row of the tile, of B for a column.
@compute @workgroup_size(THREADS_M * THREADS_N)
fn tiled(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let group = flat_group(group_id, groups);
    let tiles_n = (N + 4 * B_BLOCKS - 1) / (4 * B_BLOCKS);
    let tiles = (M + 4 * A_BLOCKS - 1) / (4 * A_BLOCKS) * tiles_n;
    let part = group / tiles % SPLITS;
    let batch = group / (tiles * SPLITS);
    let m0 = group % tiles / tiles_n * (4 * A_BLOCKS);
    let n0 = group % tiles % tiles_n * (4 * B_BLOCKS);
    let k_begin = part * SPAN;
    // Nothing to do past the last tile of a folded grid.
    let k_end = select(k_begin, min(K, k_begin + SPAN), batch < BATCH);
    tiled_tile(part, batch, i32(lane), m0, n0, k_begin, k_end);
}

// The second stage of a split product: one invocation adds the SPLITS parts of one element of C,
// at most 1,024 in one chain.
@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let invocation = flat_group(group, groups) * 64 + i32(lane);
    if (invocation >= BATCH * M * N) {
        return;
    }
    var total = 0.0;
    for (var first = 0; first < SPLITS; first += 1024) {
        var some = 0.0;
        for (var part = first; part < min(first + 1024, SPLITS); part++) {
            some += parts[part * (BATCH * M * N) + invocation];
        }
        total += some;
    }
    store_c(invocation / (M * N), invocation / N % M, invocation % N, total);
}
