//! WGSL for the blocks of convolutions where four neighbours in memory are read or written as one
//! vec4: of the weights, of a row of pixels, of a plane of the result.

use super::blocks::{block_rows, past_end, stored, unaligned};
use crate::backend::gpu::pointwise::Fours;

/// `block_a` of the weights [GROUPS CO, K] as they lie in memory; rows need not be whole vec4s.
pub(super) fn weights(w: &Fours, k: usize, numel: usize) -> String {
    let row = |r: usize| {
        let m = format!("group * CO + min(m + {r}, M - 1)");
        if k.is_multiple_of(4) {
            w.at(&format!("({m}) * {} + (k >> 2u)", k / 4))
        } else {
            format!(
                "select(vec4<f32>(), four_weights(({m}) * K + k), vec4<i32>(k) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(K))"
            )
        }
    };
    let head = if k.is_multiple_of(4) { String::new() } else { unaligned("four_weights", w, numel) };
    let past = if k.is_multiple_of(4) { past_end(k) } else { "" };
    format!(
        "{head}
fn block_a(group: i32, m: i32, k: i32) -> mat4x4<f32> {{
{past}    return mat4x4<f32>({}, {}, {}, {});
}}
",
        row(0),
        row(1),
        row(2),
        row(3)
    )
}

/// `block_a` of dy [IMAGES, GROUPS CO, OH, OW], four positions of a plane at a time.
pub(super) fn gradients(dy: &Fours, k: usize) -> String {
    let row = |r: usize| dy.at(&format!("first + min(m + {r}, M - 1) * (OH * OW / 4)"));
    format!(
        "fn block_a(group: i32, m: i32, k: i32) -> mat4x4<f32> {{
{}    let first = (k / (OH * OW) * (GROUPS * CO) + group * CO) * (OH * OW / 4) + k % (OH * OW) / 4;
    return mat4x4<f32>({}, {}, {}, {});
}}
",
        past_end(k),
        row(0),
        row(1),
        row(2),
        row(3)
    )
}

/// `four_pixels`: what a tap sees from four positions in a row, for rows of whole fours and a stride
/// of 1: of x in the forward direction, else of dy in its gradient with respect to x.
fn four_pixels(of: &Fours, numel: usize, forward: bool) -> String {
    // Channels, height and width of what is read, the grid of the positions, and where a tap looks.
    let ([c, h, w], [rows, columns], from, tap) = match forward {
        true => (["CI", "H", "W"], ["OH", "OW"], ["* STRIDE_H - PADDING_H", "- PADDING_W"], "+"),
        false => (["CO", "OH", "OW"], ["H", "W"], ["+ PADDING_H", "+ PADDING_W"], "-"),
    };
    format!(
        "{}
fn four_pixels(group: i32, tap: i32, at: i32) -> vec4<f32> {{
    let line = at / {columns};
    let image = line / {rows};
    let row = tap / KW;
    let channel = row / KH;
    let h = (line - image * {rows}) {} {tap} (row - channel * KH) * DILATION_H;
    let w = at - line * {columns} {} {tap} (tap - row * KW) * DILATION_W;
    let y = clamp(h, 0, {h} - 1);
    let seen = four_from(((image * (GROUPS * {c}) + group * {c} + channel) * {h} + y) * {w} + w);
    let column = vec4<i32>(w) + vec4<i32>(0, 1, 2, 3);
    return select(vec4<f32>(), seen, (column >= vec4<i32>()) & (column < vec4<i32>({w})) & vec4<bool>(h == y));
}}
",
        unaligned("four_from", of, numel),
        from[0],
        from[1],
    )
}

/// `block_b` of the forward convolution, or of its gradient with respect to x: four taps by four
/// positions.
pub(super) fn taps_by_positions(of: &Fours, numel: usize, forward: bool) -> String {
    let row =
        |q: usize| format!("select(vec4<f32>(), four_pixels(group, min(k + {q}, K - 1), at), vec4<bool>(k + {q} < K))");
    format!(
        "{}
fn block_b(group: i32, k: i32, n: i32) -> mat4x4<f32> {{
    let at = min(n, N - 4);
    return mat4x4<f32>({}, {}, {}, {});
}}
",
        four_pixels(of, numel, forward),
        row(0),
        row(1),
        row(2),
        row(3)
    )
}

/// `block_b` of the gradient of the weights: four positions by four taps.
pub(super) fn positions_by_taps(x: &Fours, numel: usize) -> String {
    let row = |s: usize| {
        let seen = format!("four_pixels(group, min(n + {s}, TAPS - 1), at)");
        format!("select(vec4<f32>(), select({seen}, vec4<f32>(1.0), n + {s} >= TAPS), vec4<bool>(k < K))")
    };
    format!(
        "{}
fn block_b(group: i32, k: i32, n: i32) -> mat4x4<f32> {{
    let at = min(k, K - 4);
    return transpose(mat4x4<f32>({}, {}, {}, {}));
}}
",
        four_pixels(x, numel, true),
        row(0),
        row(1),
        row(2),
        row(3)
    )
}

/// `put_block` of the forward convolution, or of its gradient with respect to x: four positions of
/// a plane at a time, guarded unless every tile is whole. `bias`: whether there is one; `halves`: they are stored as
/// f16.
pub(super) fn planes(exact: bool, bias: bool, forward: bool, halves: bool) -> String {
    let (channels, plane) = if forward { ("CO", "(OH * OW)") } else { ("CI", "(H * W)") };
    let rows = block_rows(exact, &format!("({plane} / 4)"), |r| {
        let value = if bias {
            format!("vec4<f32>(bias(group * {channels} + min(m + {r}, M - 1))) + block[{r}]")
        } else {
            format!("block[{r}]")
        };
        stored(&value, halves)
    });
    format!(
        "fn put_block(part: i32, group: i32, m: i32, n: i32, block: mat4x4<f32>) {{
    let at = (n / {plane} * (GROUPS * {channels}) + group * {channels} + m) * ({plane} / 4) + n % {plane} / 4;
{rows}}}
"
    )
}
