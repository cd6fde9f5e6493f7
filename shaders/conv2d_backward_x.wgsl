// dx[b,c,h,w] = sum(o,i,j) dy[b, o, (h + p - i d)/s, (w + p - j d)/s] w[o,c,i,j]
//
// Only whole quotients count. A product per group: A[m, k] is w with m the channel of x and
// k = (o, i, j), B[k, n] the element of dy that tap k sends to position n = (b, h, w). A gather,
// not a scatter: no atomics, the same order of additions every time. See shared/gemm.wgsl.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read> in1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;

// x: [IMAGES, GROUPS * CI, H, W], w: [GROUPS * CO, CI, KH, KW], y: [IMAGES, GROUPS * CO, OH, OW]
const GROUPS: i32 = 1;
const IMAGES: i32 = 1;
const CI: i32 = 3;
const CO: i32 = 8;
const H: i32 = 8;
const W: i32 = 8;
const KH: i32 = 3;
const KW: i32 = 3;
const OH: i32 = 8;
const OW: i32 = 8;
const STRIDE_H: i32 = 1;
const STRIDE_W: i32 = 1;
const PADDING_H: i32 = 1;
const PADDING_W: i32 = 1;
const DILATION_H: i32 = 1;
const DILATION_W: i32 = 1;

const BATCH: i32 = GROUPS;
const M: i32 = CI;
const N: i32 = IMAGES * H * W;
const K: i32 = CO * KH * KW;

fn load_dy(b: i32, o: i32, h: i32, w: i32) -> f32 {
    return in0[((b * (GROUPS * CO) + o) * OH + h) * OW + w];
}

fn load_w(o: i32, c: i32, i: i32, j: i32) -> f32 {
    return in1[((o * CI + c) * KH + i) * KW + j];
}

fn load_a(group: i32, m: i32, k: i32) -> f32 {
    return load_w(group * CO + k / (KH * KW), m, k / KW % KH, k % KW);
}

fn load_b(group: i32, k: i32, n: i32) -> f32 {
    let h = n / W % H + PADDING_H - k / KW % KH * DILATION_H;
    let w = n % W + PADDING_W - k % KW * DILATION_W;
    if (h < 0 || w < 0 || h % STRIDE_H != 0 || w % STRIDE_W != 0 || h / STRIDE_H >= OH || w / STRIDE_W >= OW) {
        return 0.0;
    }
    return load_dy(n / (H * W), group * CO + k / (KH * KW), h / STRIDE_H, w / STRIDE_W);
}

fn store_c(group: i32, m: i32, n: i32, value: f32) {
    out[(n / (H * W) * (GROUPS * CI) + group * CI + m) * (H * W) + n % (H * W)] = value;
}

@compute @workgroup_size(ROWS)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    gemm_rows(flat_group(group, groups) * ROWS + i32(lane));
}

@compute @workgroup_size(256)
fn backward_x_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    gemm_tiled(flat_group(group, groups), i32(lane));
}

// The second stage of a split product.
@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    add_parts(flat_group(group, groups) * 64 + i32(lane));
}

#import "shared/gemm.wgsl"
