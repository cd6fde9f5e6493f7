//! The three convolutions as products: sizes, accessors, bias.

use super::super::kernel::{Accessors, Class, Dispatch, LowerError};
use super::super::pointwise::{self, Fours};
use super::super::shaders;
use super::blocks::NO_STORE;
use super::direct::{self, Window};
use super::{Product, Variant, accessor, any_halves, fours, reads_below};
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{Access, Read, element};
use crate::cell::{Idx, ax};
use crate::graph::NodeId;
use crate::ops::conv2d::{Conv2d, Conv2dBackwardW, Conv2dBackwardX, Geometry};
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::numel;

/// The sizes of a convolution in the shaders' names.
fn sizes(shader: Shader, g: Geometry, x: &[usize], w: &[usize], y: &[usize]) -> Result<Shader, LowerError> {
    let values: [(&str, usize); 15] = [
        ("GROUPS", g.groups),
        ("IMAGES", x[0]),
        ("CI", w[1]),
        ("CO", w[0] / g.groups),
        ("H", x[2]),
        ("W", x[3]),
        ("KH", w[2]),
        ("KW", w[3]),
        ("OH", y[2]),
        ("OW", y[3]),
        ("STRIDE_H", g.stride[0]),
        ("STRIDE_W", g.stride[1]),
        ("PADDING_H", g.padding[0]),
        ("PADDING_W", g.padding[1]),
        ("DILATION_H", g.dilation[0]),
    ];
    let mut shader = shader.set("DILATION_W", g.dilation[1])?;
    for (name, value) in values {
        shader = shader.set(name, value)?;
    }
    Ok(shader)
}

/// Replaces a four-axis accessor by one of this operand.
fn operand(shader: Shader, name: &str, read: &Read) -> Result<Shader, LowerError> {
    let index = (0..4).map(Idx::Axis).collect();
    Ok(shader.replace(name, &accessor(name, index, &read.shape, read)?)?)
}

/// Blocks of patches, where no operand's code would be written out for each of their elements.
const PATCH_B: &str = "fn block_b(batch: i32, k: i32, n: i32) -> mat4x4<f32> {
    return patch_b(batch, k, n);
}
";

/// Blocks of a stored w as it lies in memory, without taking taps apart.
fn flat_weights(shader: Shader, w: &Read) -> Result<Shader, LowerError> {
    let Access::Buffer(name) = &w.access else { return Ok(shader) };
    let value = element(w.dtype, name, "at");
    let flat = format!(
        "fn load_a(group: i32, m: i32, k: i32) -> f32 {{\n    let at = (group * CO + m) * K + k;\n    return {value};\n}}\n"
    );
    Ok(shader.replace("load_a", &flat)?)
}

/// What is left of an accessor of weights by rows that nothing calls any more.
const NO_READ_A: &str = "fn load_a(group: i32, m: i32, k: i32) -> f32 {
    return 0.0;
}
";

/// An operand in fours, if no other one reads its buffers.
fn alone(a: &mut Accessors, inputs: &[NodeId], [which, other]: [usize; 2]) -> Result<Option<Fours>, LowerError> {
    let made = pointwise::fours(a, inputs[which], false, "")?;
    Ok(made.filter(|m| m.buffers.iter().all(|b| !reads_below(a.plan, inputs[other], *b))))
}

/// Puts an operand in fours into a shader whose accessor `name` nothing calls any more.
fn read_in_fours(
    a: &mut Accessors,
    shader: Shader,
    name: &str,
    id: NodeId,
    made: Fours,
    vectors: &mut Vec<BufferId>,
) -> Result<Shader, LowerError> {
    a.forget(id);
    vectors.extend(made.buffers);
    let uncalled = format!("fn {name}(i0: i32, i1: i32, i2: i32, i3: i32) -> f32 {{\n    return 0.0;\n}}\n");
    Ok(shader.replace(name, &uncalled)?.append(&made.text))
}

fn computed(plan: &Plan, inputs: &[NodeId], [a, b]: [usize; 2]) -> [bool; 2] {
    [!plan.stored(inputs[a]), !plan.stored(inputs[b])]
}

pub(in super::super) fn forward(
    plan: &Plan,
    kernel: &Kernel,
    op: &Conv2d,
    class: Class,
) -> Result<Vec<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let (out, node) = (kernel.outputs[0], plan.lowered(kernel));
    let inputs = plan.graph.node(node).inputs.clone();
    let [x, w, y] = [inputs[0], inputs[1], node].map(|n| plan.graph.shape(n).to_vec());
    let mut p = Product {
        file: ("conv2d_forward.wgsl", shaders::CONV2D_FORWARD),
        batch: op.geometry.groups,
        m: w[0] / op.geometry.groups,
        n: x[0] * y[2] * y[3],
        k: w[1] * w[2] * w[3],
        computed: computed(plan, &inputs, [1, 0]),
        turns: 0,
        halves: any_halves(plan, &inputs),
        pairs: node != out,
        window: Window::new(op.geometry, &w, &y),
    };
    let reads = a.inputs(node)?;
    p.turns = reads.iter().map(|r| r.turns).max().unwrap_or(0);
    let mut shader = sizes(p.start()?, op.geometry, &x, &w, &y)?;
    shader = operand(operand(shader, "load_x", &reads[0])?, "load_w", &reads[1])?;
    shader = flat_weights(shader.replace("block_b", PATCH_B)?, &reads[1])?;
    let tiles = p.choose(class);
    let lanes = tiles.variant.is_lanes();
    let mut vectors = vec![];
    let rows = y[3].is_multiple_of(4) && op.geometry.stride[1] == 1;
    if let (Some(made), true) = (alone(&mut a, &inputs, [0, 1])?, lanes && rows) {
        shader = shader.replace("block_b", &fours::taps_by_positions(&made, numel(&x), true))?;
        shader = read_in_fours(&mut a, shader, "load_x", inputs[0], made, &mut vectors)?;
    }
    if let (Some(made), true) = (alone(&mut a, &inputs, [1, 0])?, lanes) {
        shader = shader.replace("block_a", &fours::weights(&made, p.k, numel(&w)))?.replace("load_a", NO_READ_A)?;
        shader = read_in_fours(&mut a, shader, "load_w", inputs[1], made, &mut vectors)?;
    }
    let mut bias = None;
    if op.bias {
        let text = accessor("bias", vec![ax(0)], &[w[0]], &reads[2])?;
        shader = shader.append(&text);
        bias = plan.storage[inputs[2].index()];
    }
    let value = if op.bias { "bias(group * CO + m) + value" } else { "value" };
    if tiles.variant == Variant::Direct {
        shader = shader.append(shaders::CONV2D_DIRECT);
        if y[3].is_multiple_of(4) {
            shader = shader.replace("put_run", &direct::put_fours(op.bias, p.pairs))?.replace("store_c", NO_STORE)?;
            vectors.extend(plan.storage[out.index()]);
            p.pairs = false;
        } else {
            shader = if p.pairs { shader.replace("put_run", direct::PUT_PAIRS)? } else { shader };
            shader = p.store(shader, value)?;
        }
    } else if lanes && tiles.splits == 1 && (y[2] * y[3]).is_multiple_of(4) {
        let exact = p.m.is_multiple_of(tiles.tile[0]) && p.n.is_multiple_of(tiles.tile[1]);
        shader =
            shader.replace("put_block", &fours::planes(exact, op.bias, true, p.pairs))?.replace("store_c", NO_STORE)?;
        vectors.extend(plan.storage[out.index()]);
        p.pairs = false;
    } else {
        shader = p.store(shader, value)?;
    }
    p.finish(&a, shader, &vectors, bias, class)
}

pub(in super::super) fn backward_x(
    plan: &Plan,
    kernel: &Kernel,
    op: &Conv2dBackwardX,
    class: Class,
) -> Result<Vec<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let (out, node) = (kernel.outputs[0], plan.lowered(kernel));
    let inputs = plan.graph.node(node).inputs.clone();
    let [dy, w, dx] = [inputs[0], inputs[1], node].map(|n| plan.graph.shape(n).to_vec());
    let mut p = Product {
        file: ("conv2d_backward_x.wgsl", shaders::CONV2D_BACKWARD_X),
        batch: op.geometry.groups,
        m: w[1],
        n: dx[0] * dx[2] * dx[3],
        k: w[0] / op.geometry.groups * w[2] * w[3],
        computed: computed(plan, &inputs, [1, 0]),
        turns: 0,
        halves: any_halves(plan, &inputs),
        pairs: node != out,
        window: None,
    };
    let reads = a.inputs(node)?;
    p.turns = reads.iter().map(|r| r.turns).max().unwrap_or(0);
    let shader = sizes(p.start()?, op.geometry, &dx, &w, &dy)?;
    let mut shader = operand(operand(shader, "load_dy", &reads[0])?, "load_w", &reads[1])?;
    let tiles = p.choose(class);
    let lanes = tiles.variant.is_lanes();
    let mut vectors = vec![];
    let rows = dx[3].is_multiple_of(4) && op.geometry.stride == [1, 1];
    if let (Some(made), true) = (alone(&mut a, &inputs, [0, 1])?, lanes && rows) {
        shader = shader.replace("block_b", &fours::taps_by_positions(&made, numel(&dy), false))?;
        shader = read_in_fours(&mut a, shader, "load_dy", inputs[0], made, &mut vectors)?;
    }
    if lanes && tiles.splits == 1 && (dx[2] * dx[3]).is_multiple_of(4) {
        let exact = p.m.is_multiple_of(tiles.tile[0]) && p.n.is_multiple_of(tiles.tile[1]);
        shader =
            shader.replace("put_block", &fours::planes(exact, false, false, p.pairs))?.replace("store_c", NO_STORE)?;
        vectors.extend(plan.storage[out.index()]);
        p.pairs = false;
    } else {
        shader = p.store(shader, "value")?;
    }
    p.finish(&a, shader, &vectors, None, class)
}

pub(in super::super) fn backward_w(
    plan: &Plan,
    kernel: &Kernel,
    op: &Conv2dBackwardW,
    class: Class,
) -> Result<Vec<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let out = kernel.outputs[0];
    let inputs = plan.graph.node(out).inputs.clone();
    let [x, dy, dw] = [inputs[0], inputs[1], out].map(|n| plan.graph.shape(n).to_vec());
    let with_bias = kernel.outputs.len() > 1;
    let mut p = Product {
        file: ("conv2d_backward_w.wgsl", shaders::CONV2D_BACKWARD_W),
        batch: op.geometry.groups,
        m: dw[0] / op.geometry.groups,
        n: dw[1] * dw[2] * dw[3] + usize::from(with_bias),
        k: dy[0] * dy[2] * dy[3],
        computed: computed(plan, &inputs, [1, 0]),
        turns: 0,
        halves: any_halves(plan, &inputs),
        pairs: false,
        window: None,
    };
    let reads = a.inputs(out)?;
    p.turns = reads.iter().map(|r| r.turns).max().unwrap_or(0);
    let shader = sizes(p.start()?, op.geometry, &x, &dw, &dy)?;
    let mut shader = operand(operand(shader, "load_x", &reads[0])?, "load_dy", &reads[1])?;
    shader = shader.replace("block_b", PATCH_B)?;
    if with_bias {
        shader = shader.set("BIAS", 1)?.edit(
            "TAPS + n] = value;\n    }",
            "TAPS + n] = value;\n    } else {\n        out2[group * CO + m] = value;\n    }",
        )?;
    }
    let lanes = p.choose(class).variant.is_lanes();
    let mut vectors = vec![];
    if let (Some(made), true) =
        (alone(&mut a, &inputs, [0, 1])?, lanes && dy[3].is_multiple_of(4) && op.geometry.stride[1] == 1)
    {
        shader = shader.replace("block_b", &fours::positions_by_taps(&made, numel(&x)))?;
        shader = read_in_fours(&mut a, shader, "load_x", inputs[0], made, &mut vectors)?;
    }
    if let (Some(made), true) = (alone(&mut a, &inputs, [1, 0])?, lanes && (dy[2] * dy[3]).is_multiple_of(4)) {
        shader = shader.replace("block_a", &fours::gradients(&made, p.k))?;
        shader = read_in_fours(&mut a, shader, "load_dy", inputs[1], made, &mut vectors)?;
    }
    p.finish(&a, shader, &vectors, None, class)
}
