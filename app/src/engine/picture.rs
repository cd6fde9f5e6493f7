//! Pictures by the browser's own decoder, as the engine's parsers take them: the page carries no
//! decoder of its own. Alpha lies over white, and the EXIF orientation is applied, as natively.

use compute::data::picture::Rgb;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, BlobPropertyBag, DedicatedWorkerGlobalScope, ImageBitmap, OffscreenCanvas, OffscreenCanvasRenderingContext2d,
};

/// The longest side that is decoded, in pixels: as natively.
const MAX_SIDE: u32 = compute::data::picture::MAX_SIDE;

/// Decodes a PNG, JPEG or WebP file, or whatever else this browser shows. Errors name the file.
pub async fn decode(name: &str, bytes: &[u8]) -> Result<Rgb, String> {
    let failed = |_: JsValue| format!("{name}: this browser cannot decode it as a picture");
    let scope: DedicatedWorkerGlobalScope =
        js_sys::global().dyn_into().map_err(|_| "pictures are decoded in the worker".to_string())?;
    let kind = BlobPropertyBag::new();
    kind.set_type(kind_of(name));
    let parts = Array::of1(&Uint8Array::from(bytes));
    let blob = Blob::new_with_u8_array_sequence_and_options(&parts, &kind).map_err(failed)?;
    let promise = scope.create_image_bitmap_with_blob(&blob).map_err(failed)?;
    let bitmap: ImageBitmap = JsFuture::from(promise).await.map_err(failed)?.unchecked_into();
    let (width, height) = (bitmap.width(), bitmap.height());
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("{name}: {width}×{height} pixels; a side may have {MAX_SIDE}"));
    }
    let canvas = OffscreenCanvas::new(width, height).map_err(failed)?;
    let context = canvas.get_context("2d").map_err(failed)?;
    let context: OffscreenCanvasRenderingContext2d =
        context.ok_or_else(|| format!("{name}: no canvas to read it from"))?.unchecked_into();
    context.set_fill_style_str("white");
    context.fill_rect(0.0, 0.0, width.into(), height.into());
    context.draw_image_with_image_bitmap(&bitmap, 0.0, 0.0).map_err(failed)?;
    bitmap.close();
    let data = context.get_image_data(0.0, 0.0, width.into(), height.into()).map_err(failed)?.data();
    let pixels = data.0.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    Ok(Rgb { width: width as usize, height: height as usize, pixels })
}

/// The media type by the name's ending; browsers look at the bytes as well.
fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).as_deref() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        _ => "image/png",
    }
}
