// dx[b,c,h,w] = sum(o,i,j) dy[b, o, (h + p - i d)/s, (w + p - j d)/s] w[o,c,i,j]
//
// Only whole quotients count. A product per group: A[m, k] is w with m the channel of x and
// k = (o, i, j), B[k, n] the element of dy that tap k sends to position n = (b, h, w). A gather,
// not a scatter: no atomics, the same order of additions every time. See shared/gemm.wgsl.

@group(0) @binding(0) var<storage, read> in0: array<f32>;
@group(0) @binding(1) var<storage, read> in1: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;

#import "shared/conv2d.wgsl"

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
    // Without branches, as in conv2d_forward.wgsl.
    let y = h / STRIDE_H;
    let z = w / STRIDE_W;
    let inside = (h >= 0) & (h % STRIDE_H == 0) & (y < OH) & (w >= 0) & (w % STRIDE_W == 0) & (z < OW);
    let value = load_dy(n / (H * W), group * CO + k / (KH * KW), clamp(y, 0, OH - 1), clamp(z, 0, OW - 1));
    return select(0.0, value, inside);
}

fn store_c(group: i32, m: i32, n: i32, value: f32) {
    out[(n / (H * W) * (GROUPS * CI) + group * CI + m) * (H * W) + n % (H * W)] = value;
}

#import "shared/gemm.wgsl"
