// y[b,o,h,w] = sum(c,i,j) x[b, c, h s + i d - p, w s + j d - p] w[o,c,i,j] (+ bias[o])
//
// A product per group: A is w as it lies in memory ([CO, CI KH KW]), B[k, n] is the pixel of x
// that tap k = (c, i, j) of position n = (b, h, w) sees, 0 in the padding. Nothing is unfolded in
// memory: see shared/gemm.wgsl for what one invocation computes. A bias replaces store_c.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read> in1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;

#import "shared/conv2d.wgsl"

const BATCH: i32 = GROUPS;
const M: i32 = CO;
const N: i32 = IMAGES * OH * OW;
const K: i32 = CI * KH * KW;

fn load_x(b: i32, c: i32, h: i32, w: i32) -> f32 {
    return in0[((b * (GROUPS * CI) + c) * H + h) * W + w];
}

fn load_w(o: i32, c: i32, i: i32, j: i32) -> f32 {
    return in1[((o * CI + c) * KH + i) * KW + j];
}

fn load_a(group: i32, m: i32, k: i32) -> f32 {
    return load_w(group * CO + m, k / (KH * KW), k / KW % KH, k % KW);
}

fn load_b(group: i32, k: i32, n: i32) -> f32 {
    let h = n / OW % OH * STRIDE_H + k / KW % KH * DILATION_H - PADDING_H;
    let w = n % OW * STRIDE_W + k % KW * DILATION_W - PADDING_W;
    // Without branches: 16 inlined copies of them stop some software compilers.
    let inside = (h >= 0) & (h < H) & (w >= 0) & (w < W);
    return select(0.0, load_x(n / (OH * OW), group * CI + k / (KH * KW), clamp(h, 0, H - 1), clamp(w, 0, W - 1)), inside);
}

// B[k .. k + 4, n .. n + 4], each tap and each position taken apart once: divisions are slow.
fn patch_b(group: i32, k: i32, n: i32) -> mat4x4<f32> {
    let at = min(vec4<i32>(n) + vec4<i32>(0, 1, 2, 3), vec4<i32>(N - 1));
    let row = at / OW;
    let image = row / OH;
    let h = (row - image * OH) * STRIDE_H - PADDING_H;
    let w = (at - row * OW) * STRIDE_W - PADDING_W;
    return mat4x4<f32>(pixels(group, k, image, h, w), pixels(group, k + 1, image, h, w),
                       pixels(group, k + 2, image, h, w), pixels(group, k + 3, image, h, w));
}

// The pixels that tap k sees from four positions.
fn pixels(group: i32, k: i32, image: vec4<i32>, h0: vec4<i32>, w0: vec4<i32>) -> vec4<f32> {
    let tap = min(k, K - 1);
    let row = tap / KW;
    let channel = row / KH;
    let h = h0 + (row - channel * KH) * DILATION_H;
    let w = w0 + (tap - row * KW) * DILATION_W;
    let zero = vec4<i32>();
    let y = clamp(h, zero, vec4<i32>(H - 1));
    let x = clamp(w, zero, vec4<i32>(W - 1));
    let c = group * CI + channel;
    let seen = vec4<f32>(load_x(image.x, c, y.x, x.x), load_x(image.y, c, y.y, x.y),
                         load_x(image.z, c, y.z, x.z), load_x(image.w, c, y.w, x.w));
    return select(vec4<f32>(), seen, (h == y) & (w == x) & vec4<bool>(k < K));
}

fn store_c(group: i32, m: i32, n: i32, value: f32) {
    out[(n / (OH * OW) * (GROUPS * CO) + group * CO + m) * (OH * OW) + n % (OH * OW)] = value;
}

#import "shared/gemm.wgsl"
