//! One run in the browser's own storage, on the reader's request: it outlives the page.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, DedicatedWorkerGlobalScope, Headers, Response, ResponseInit};

use super::super::FileData;

/// The storage's name; the page's own files are in others.
const NAME: &str = "kept run";
/// The address of the archive in it.
const FILE: &str = "kept-run.zip";
/// The header that holds the label.
const LABEL: &str = "x-label";

/// What a reader sees of a kept run: recipe, step, date.
pub fn label(recipe: &str, step: usize) -> String {
    let date = js_sys::Date::new_0();
    let two = |n: u32| format!("{n:02}");
    let day = [date.get_full_year().to_string(), two(date.get_month() + 1), two(date.get_date())].join("-");
    format!("{recipe}, {step}, {day} {}:{}", two(date.get_hours()), two(date.get_minutes()))
}

fn told(e: JsValue) -> String {
    format!("the browser's storage cannot be used: {}", js_sys::Object::from(e).to_string())
}

async fn cache() -> Result<Cache, String> {
    let scope: DedicatedWorkerGlobalScope =
        js_sys::global().dyn_into().map_err(|_| "storage is used in the worker".to_string())?;
    let storage = scope.caches().map_err(told)?;
    JsFuture::from(storage.open(NAME)).await.map_err(told)?.dyn_into().map_err(told)
}

/// Replaces what is kept.
pub async fn put(label: &str, bytes: &[u8]) -> Result<(), String> {
    let headers = Headers::new().map_err(told)?;
    // A header takes Latin letters only.
    headers.set(LABEL, &String::from(js_sys::encode_uri_component(label))).map_err(told)?;
    let init = ResponseInit::new();
    init.set_headers(&headers);
    let body = Uint8Array::from(bytes);
    let response = Response::new_with_opt_js_u8_array_and_init(Some(&body), &init).map_err(told)?;
    JsFuture::from(cache().await?.put_with_str(FILE, &response)).await.map_err(told)?;
    Ok(())
}

/// What is kept: its label and the archive; an empty label where nothing is. `whole`: with the bytes.
pub async fn kept(whole: bool) -> Result<FileData, String> {
    let found = JsFuture::from(cache().await?.match_with_str(FILE)).await.map_err(told)?;
    let Ok(response) = found.dyn_into::<Response>() else { return Ok(FileData::default()) };
    let label = response.headers().get(LABEL).map_err(told)?.unwrap_or_default();
    let label = js_sys::decode_uri_component(&label).map(String::from).map_err(told)?;
    if !whole {
        return Ok(FileData { name: label, bytes: vec![] });
    }
    let buffer = JsFuture::from(response.array_buffer().map_err(told)?).await.map_err(told)?;
    Ok(FileData { name: label, bytes: Uint8Array::new(&buffer).to_vec() })
}

/// Removes what is kept.
pub async fn forget() -> Result<(), String> {
    JsFuture::from(cache().await?.delete_with_str(FILE)).await.map_err(told)?;
    Ok(())
}
