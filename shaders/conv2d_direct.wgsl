// The forward convolution of few channels, an entry point more for conv2d_forward.wgsl, whose sizes and accessors it
// takes: y[b,o,h,w] = sum(c,i,j) x[b, c, h s + i d - p, w s + j d - p] w[o,c,i,j]
//
// One invocation computes a run of RUN positions of a row, for CHANNELS output channels one after another. What the
// run sees of x is read once, into registers: at a stride of 1, CI KH (RUN + KW - 1) pixels, where a product of unfolded
// patches reads CI KH KW for each position. The weights of a channel are the same for all invocations of a workgroup,
// so they are read once for it where its invocations can tell each other: a software device with subgroups hands round
// what each lane read, a GPU keeps them in workgroup memory. A chain of additions is CI KH KW long.

const RUN: i32 = 8;
const CHANNELS: i32 = 32;
// Invocations of a workgroup; all of them compute the same channels.
const DIRECT: i32 = 8;
const RUNS: i32 = (OW + RUN - 1) / RUN;
const BLOCKS: i32 = (M + CHANNELS - 1) / CHANNELS;
// Weights of a channel in vec4s, and how many vec4s are held in workgroup memory.
const FOURS: i32 = (K + 3) / 4;
const HELD: i32 = 1;

var<workgroup> held: array<vec4<f32>, HELD>;

// Without branches, as in conv2d_forward.wgsl.
fn pixel(group: i32, image: i32, c: i32, h: i32, w: i32) -> f32 {
    let y = clamp(h, 0, H - 1);
    let x = clamp(w, 0, W - 1);
    return select(0.0, load_x(image, group * CI + c, y, x), (h == y) & (w == x));
}

// Four neighbours in a row of the result; w past its end for those that are none.
fn put_run(group: i32, m: i32, image: i32, h: i32, w: i32, four: vec4<f32>) {
    let n = (image * OH + h) * OW + w;
    if (w < OW) {
        store_c(group, m, n, four.x);
    }
    if (w + 1 < OW) {
        store_c(group, m, n + 1, four.y);
    }
    if (w + 2 < OW) {
        store_c(group, m, n + 2, four.z);
    }
    if (w + 3 < OW) {
        store_c(group, m, n + 3, four.w);
    }
}

// The run at (image, h, w) of the channels from m0 on. Written out for its sizes before it runs: pixels that are
// indexed at run time leave the registers.
fn direct_tile(group: i32, m0: i32, lane: i32, image: i32, h: i32, w: i32) {
    for (var m = m0; m < min(M, m0 + CHANNELS); m++) {
        for (var q = w; q < w + RUN; q += 4) {
            var four = vec4<f32>();
            for (var k = 0; k < K; k++) {
                let y = h * STRIDE_H - PADDING_H + k / KW % KH * DILATION_H;
                let x = q * STRIDE_W - PADDING_W + k % KW * DILATION_W;
                let c = k / (KH * KW);
                let seen = vec4<f32>(pixel(group, image, c, y, x), pixel(group, image, c, y, x + STRIDE_W),
                                     pixel(group, image, c, y, x + 2 * STRIDE_W), pixel(group, image, c, y, x + 3 * STRIDE_W));
                four += load_a(group, m, k) * seen;
            }
            put_run(group, m, image, h, q, four);
        }
    }
}

@compute @workgroup_size(DIRECT)
fn direct(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane_id: u32) {
    let number = flat_group(group_id, groups);
    let lane = i32(lane_id);
    // Channels of the same runs one after another: their pixels stay in a cache.
    let run = number / (BLOCKS * GROUPS) * DIRECT + lane;
    if (number / (BLOCKS * GROUPS) * DIRECT >= IMAGES * OH * RUNS) {
        return;
    }
    // Invocations past the last run take part in reading weights, and store nothing.
    let at = min(run, IMAGES * OH * RUNS - 1);
    let w = select(OW, at % RUNS * RUN, at == run);
    let line = at / RUNS;
    direct_tile(number / BLOCKS % GROUPS, number % BLOCKS * CHANNELS, lane, line / OH, line % OH, w);
}
