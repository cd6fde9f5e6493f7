//! One image under a 3 by 3 kernel, three times over: as a convolution, as the product of the patch
//! matrix with the kernel, and as the nine products of one window; and the gradient of a loss.
//!
//! ```text
//! x = image / 255                                      [1, 1, 28, 28]
//! y = conv2d(x, w)                                     [1, 1, H', W']
//! patches[u W' + v, 3 i + j] = x[u S + i - P, v S + j - P]    [H' W', 9], a convolution with nine unit kernels
//! products = patches[at] w                             [3, 3]
//! t = conv2d(x, want),  L = 1/(2N) sum (y - t)^2,  w next = w - rate dw
//! ```
//!
//! Feeds: `image` u8, `w` and `want` `[1, 1, 3, 3]`, `at` u32 `[1]`, the number of the window.

use compute::autodiff;
use compute::graph::{Graph, NodeId, TensorType};
use compute::ops::OpResult;
use compute::ops::conv2d::Geometry;
use compute::ops::elementwise::{Binary, Unary};
use compute::tensor::{DType, Tensor};

use super::Scene;

/// Side of the image and of the kernel.
pub const IMAGE: usize = 28;
pub const KERNEL: usize = 3;
const TAPS: usize = KERNEL * KERNEL;
/// Learning rate of the step on offer: small enough to be stable for a bright image.
const RATE: f64 = 0.2;

fn geometry(stride: usize, padding: usize) -> Geometry {
    Geometry { stride: [stride; 2], padding: [padding; 2], ..Geometry::default() }
}

/// Windows along a side; 0 where none fits.
pub fn side(stride: usize, padding: usize) -> usize {
    geometry(stride, padding).output([IMAGE; 2], [KERNEL; 2]).map_or(0, |s| s[0])
}

pub fn scene(stride: usize, padding: usize) -> OpResult<Scene> {
    let mut g = Graph::new();
    let geometry = geometry(stride, padding);
    let image = g.feed("image", TensorType { shape: vec![1, 1, IMAGE, IMAGE], dtype: DType::U8 });
    let w = g.feed("w", TensorType::f32([1, 1, KERNEL, KERNEL]));
    let want = g.feed("want", TensorType::f32([1, 1, KERNEL, KERNEL]));
    let at = g.feed("at", TensorType { shape: vec![1], dtype: DType::U32 });

    let float = g.unary(Unary::ToF32, image)?;
    let x = g.affine(float, 1.0 / 255.0, 0.0)?;
    let padded = g.pad(x, &[0, 0, padding, padding], &[0, 0, padding, padding], 0.0)?;
    let y = g.conv2d(x, w, None, geometry)?;
    let t = g.conv2d(x, want, None, geometry)?;
    let side = g.shape(y)[2];

    let unit = |k: usize| (0..TAPS).map(move |j| if j == k { 1.0 } else { 0.0 });
    let units = Tensor::f32([TAPS, 1, KERNEL, KERNEL], (0..TAPS).flat_map(unit).collect());
    let units = g.constant("unit kernels", units);
    let planes = g.conv2d(x, units, None, geometry)?;
    let flat = g.reshape(planes, &[TAPS, side * side])?;
    let patches = g.permute(flat, &[1, 0])?;
    let column = g.reshape(w, &[TAPS, 1])?;
    let product = g.matmul(patches, column)?;

    let row = g.gather(patches, at)?;
    let window = g.reshape(row, &[KERNEL, KERNEL])?;
    let square = g.reshape(w, &[KERNEL, KERNEL])?;
    let products = g.mul(window, square)?;
    let total = g.sum_all(products)?;

    let weights = g.sum_all(w)?;
    let highest = relu_sum(&mut g, w)?;
    let negative = g.neg(w)?;
    let depth = relu_sum(&mut g, negative)?;
    let lowest = g.neg(depth)?;

    let d = g.binary(Binary::Sub, y, t)?;
    let dd = g.mul(d, d)?;
    let mean = g.mean_all(dd)?;
    let loss = g.affine(mean, 0.5, 0.0)?;
    for (id, name) in [
        (float, "image as numbers"),
        (planes, "patches by tap"),
        (flat, "patches, flat"),
        (d, "y − t"),
        (dd, "(y − t)²"),
    ] {
        g.rename(id, name);
    }
    let [dy, dw] = autodiff::grad(&mut g, loss, &[y, w])?[..] else { return Ok(Scene::default()) };
    let step = g.affine(dw, -RATE, 0.0)?;
    let next = g.binary(Binary::Add, w, step)?;
    let named = [
        (x, "x"),
        (padded, "padded"),
        (y, "y"),
        (t, "t"),
        (patches, "patches"),
        (product, "product"),
        (window, "window"),
        (products, "products"),
        (total, "Σ products"),
        (weights, "Σ w"),
        (highest, "highest"),
        (lowest, "lowest"),
        (loss, "L"),
        (dy, "d y"),
        (dw, "d w"),
        (next, "w next"),
    ];
    for (id, name) in named {
        g.rename(id, name);
        g.output(name, id);
    }
    Ok(Scene { graph: g, forward: Some(loss), loss: Some(loss), gradients: vec![(y, dy), (w, dw)], initial: vec![] })
}

/// The sum of the positive elements.
fn relu_sum(g: &mut Graph, x: NodeId) -> OpResult<NodeId> {
    let positive = g.unary(Unary::Relu, x)?;
    g.sum_all(positive)
}
