// y[batch, m, n] = sum(k) a[batch, m, k] b[batch, k, n]
//
// Tiles, splits and entry points: see shared/gemm.wgsl. Transposed, broadcast or recomputed operands
// replace load_a and load_b; a bias replaces store_c.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read> in1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;

const BATCH: i32 = 1;
const M: i32 = 64;
const N: i32 = 64;
const K: i32 = 64;

fn load_a(batch: i32, m: i32, k: i32) -> f32 {
    return in0[(batch * M + m) * K + k];
}

fn load_b(batch: i32, k: i32, n: i32) -> f32 {
    return in1[(batch * K + k) * N + n];
}

fn store_c(batch: i32, m: i32, n: i32, value: f32) {
    out[(batch * M + m) * N + n] = value;
}

#import "shared/gemm.wgsl"
