// dw[o,c,i,j] = sum(b,h,w) dy[b,o,h,w] x[b, c, h s + i d - p, w s + j d - p]
//
// A product per group, long and narrow: A[m, k] is dy with m the output channel and k = (b, h, w),
// B[k, n] the pixel of x that tap n = (c, i, j) of position k saw. k has millions of values where
// dw has hundreds of elements, so it is split; `combine` adds the parts. See shared/gemm.wgsl.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read> in1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;

#import "shared/conv2d.wgsl"

// 1 when the gradient of the bias, db[o] = sum(b,h,w) dy[b,o,h,w], is formed in the same pass: one
// more column of B that is 1 everywhere.
const BIAS: i32 = 0;
const TAPS: i32 = CI * KH * KW;
const BATCH: i32 = GROUPS;
const M: i32 = CO;
const N: i32 = TAPS + BIAS;
const K: i32 = IMAGES * OH * OW;

fn load_x(b: i32, c: i32, h: i32, w: i32) -> f32 {
    return in0[((b * (GROUPS * CI) + c) * H + h) * W + w];
}

fn load_dy(b: i32, o: i32, h: i32, w: i32) -> f32 {
    return in1[((b * (GROUPS * CO) + o) * OH + h) * OW + w];
}

fn load_a(group: i32, m: i32, k: i32) -> f32 {
    return load_dy(k / (OH * OW), group * CO + m, k / OW % OH, k % OW);
}

fn load_b(group: i32, k: i32, n: i32) -> f32 {
    let tap = min(n, TAPS - 1);
    let h = k / OW % OH * STRIDE_H + tap / KW % KH * DILATION_H - PADDING_H;
    let w = k % OW * STRIDE_W + tap % KW * DILATION_W - PADDING_W;
    // Without branches, as in conv2d_forward.wgsl.
    let inside = (h >= 0) & (h < H) & (w >= 0) & (w < W);
    let pixel = load_x(k / (OH * OW), group * CI + tap / (KH * KW), clamp(h, 0, H - 1), clamp(w, 0, W - 1));
    return select(select(0.0, pixel, inside), 1.0, n >= TAPS);
}

// B[k .. k + 4, n .. n + 4], each tap and each position taken apart once: divisions are slow.
fn patch_b(group: i32, k: i32, n: i32) -> mat4x4<f32> {
    let at = vec4<i32>(n) + vec4<i32>(0, 1, 2, 3);
    let tap = min(at, vec4<i32>(TAPS - 1));
    let row = tap / KW;
    let c = row / KH;
    let i = (row - c * KH) * DILATION_H - PADDING_H;
    let j = (tap - row * KW) * DILATION_W - PADDING_W;
    let bias = at >= vec4<i32>(TAPS);
    return mat4x4<f32>(taps(group, k, c, i, j, bias), taps(group, k + 1, c, i, j, bias),
                       taps(group, k + 2, c, i, j, bias), taps(group, k + 3, c, i, j, bias));
}

// What four taps see from position k.
fn taps(group: i32, k: i32, c0: vec4<i32>, i: vec4<i32>, j: vec4<i32>, bias: vec4<bool>) -> vec4<f32> {
    let at = min(k, K - 1);
    let row = at / OW;
    let image = row / OH;
    let h = (row - image * OH) * STRIDE_H + i;
    let w = (at - row * OW) * STRIDE_W + j;
    let zero = vec4<i32>();
    let y = clamp(h, zero, vec4<i32>(H - 1));
    let x = clamp(w, zero, vec4<i32>(W - 1));
    let c = group * CI + c0;
    let seen = vec4<f32>(load_x(image, c.x, y.x, x.x), load_x(image, c.y, y.y, x.y),
                         load_x(image, c.z, y.z, x.z), load_x(image, c.w, y.w, x.w));
    let value = select(select(vec4<f32>(), seen, (h == y) & (w == x)), vec4<f32>(1.0), bias);
    return select(vec4<f32>(), value, k < K);
}

fn store_c(group: i32, m: i32, n: i32, value: f32) {
    if (n < TAPS) {
        out[(group * M + m) * TAPS + n] = value;
    }
}

#import "shared/gemm.wgsl"
