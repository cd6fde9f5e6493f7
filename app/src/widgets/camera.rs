//! The reader's camera: shown, and one picture taken. Nothing is sent.

use js_sys::Uint8Array;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, CanvasRenderingContext2d, HtmlCanvasElement, HtmlVideoElement, MediaStream, MediaStreamConstraints,
    MediaStreamTrack, window,
};

use crate::engine::FileData;

/// A camera that is on.
#[derive(Clone)]
pub struct Camera {
    stream: MediaStream,
}

fn refused(e: JsValue) -> String {
    format!("the camera cannot be used: {}", js_sys::Object::from(e).to_string())
}

impl Camera {
    /// Asks for the camera and shows it. Errors: none there, or the reader said no.
    pub async fn start(video: &HtmlVideoElement) -> Result<Camera, String> {
        let devices = window().ok_or("no window")?.navigator().media_devices().map_err(refused)?;
        let wanted = MediaStreamConstraints::new();
        wanted.set_video(&JsValue::TRUE);
        let promise = devices.get_user_media_with_constraints(&wanted).map_err(refused)?;
        let stream: MediaStream = JsFuture::from(promise).await.map_err(refused)?.unchecked_into();
        video.set_src_object(Some(&stream));
        Ok(Camera { stream })
    }

    pub fn stop(&self) {
        for track in self.stream.get_tracks() {
            track.unchecked_into::<MediaStreamTrack>().stop();
        }
    }
}

/// The middle square of what a video shows, as a PNG file; `canvas` is drawn on.
pub async fn shot(video: &HtmlVideoElement, canvas: &HtmlCanvasElement) -> Result<FileData, String> {
    let (w, h) = (video.video_width(), video.video_height());
    let side = w.min(h);
    if side == 0 {
        return Err("the camera shows nothing yet".into());
    }
    canvas.set_width(side);
    canvas.set_height(side);
    let context = canvas.get_context("2d").map_err(refused)?.ok_or("no canvas")?;
    let context: CanvasRenderingContext2d = context.unchecked_into();
    let (x, y, s) = (f64::from(w - side) / 2.0, f64::from(h - side) / 2.0, f64::from(side));
    context
        .draw_image_with_html_video_element_and_sw_and_sh_and_dx_and_dy_and_dw_and_dh(video, x, y, s, s, 0.0, 0.0, s, s)
        .map_err(refused)?;
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        let done = Closure::once_into_js(move |blob: JsValue| resolve.call1(&JsValue::NULL, &blob));
        // A canvas that cannot be read resolves with null below.
        let _ = canvas.to_blob(done.unchecked_ref());
    });
    let blob: Blob = JsFuture::from(promise).await.map_err(refused)?.dyn_into().map_err(refused)?;
    let buffer = JsFuture::from(blob.array_buffer()).await.map_err(refused)?;
    Ok(FileData { name: "camera.png".into(), bytes: Uint8Array::new(&buffer).to_vec() })
}
