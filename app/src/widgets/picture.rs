//! Small tensors as pictures: images, filters, maps. Drawn on a canvas, one pixel an element, and
//! enlarged by the browser without smoothing.

use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, ImageData};

use crate::prelude::*;

/// How numbers become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shade {
    /// 0 to 255, one channel grey or three channels RGB.
    Pixels,
    /// Signed: blue for positive, orange for negative, paper for 0; `max` is full strength.
    Signed { max: f32 },
    /// One channel, black at `low` and white at `high`.
    Grey { low: f32, high: f32 },
}

/// The bytes RGBA of a tensor `[channels, height, width]` (channels 1 or 3) or `[height, width]`.
fn paint(data: &[f32], channels: usize, pixels: usize, shade: Shade) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 * pixels);
    for i in 0..pixels {
        let at = |c: usize| data.get(c * pixels + i).copied().unwrap_or(0.0);
        let rgb = match shade {
            Shade::Pixels if channels >= 3 => [at(0), at(1), at(2)],
            Shade::Pixels => [at(0); 3],
            Shade::Grey { low, high } => [255.0 * (at(0) - low) / (high - low).max(f32::MIN_POSITIVE); 3],
            Shade::Signed { max } => {
                let v = (at(0) / max).clamp(-1.0, 1.0);
                let full = if v >= 0.0 { [36.0, 86.0, 166.0] } else { [184.0, 92.0, 0.0] };
                full.map(|c: f32| 250.0 + (c - 250.0) * v.abs())
            }
        };
        out.extend(rgb.map(|v| v.clamp(0.0, 255.0) as u8));
        out.push(255);
    }
    out
}

/// A tensor as a picture. `label` is what a screen reader says.
#[component]
pub fn Picture(
    #[prop(into)] data: Signal<Vec<f32>>,
    #[prop(into)] shape: Signal<Vec<usize>>,
    #[prop(into)] shade: Signal<Shade>,
    #[prop(into)] label: Signal<String>,
) -> impl IntoView {
    let canvas = NodeRef::<leptos::html::Canvas>::new();
    effect(move || {
        let Some(canvas) = canvas.get() else { return };
        let (data, shape, shade) = (data.get(), shape.get(), shade.get());
        let (channels, height, width) = match shape[..] {
            [h, w] => (1, h, w),
            [c, h, w] => (c, h, w),
            _ => return,
        };
        if width * height == 0 || data.len() < width * height {
            return;
        }
        canvas.set_width(width as u32);
        canvas.set_height(height as u32);
        let context =
            canvas.get_context("2d").ok().flatten().and_then(|c| c.dyn_into::<CanvasRenderingContext2d>().ok());
        let bytes = paint(&data, channels, width * height, shade);
        let image = ImageData::new_with_u8_clamped_array_and_sh(Clamped(&bytes), width as u32, height as u32);
        if let (Some(context), Ok(image)) = (context, image) {
            // A canvas that is gone draws nothing.
            let _ = context.put_image_data(&image, 0.0, 0.0);
        }
    });
    view! { <canvas class="picture" node_ref=canvas role="img" aria-label=move || label.get()></canvas> }
}
