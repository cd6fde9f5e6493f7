//! Unpacking by the browser's own decompressor, which costs the download nothing.

use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, ReadableStream, ReadableStreamDefaultReader, ReadableStreamReadResult, ReadableWritablePair, WritableStream,
};

/// Formats that the browser knows. Source: WHATWG, Compression.
pub const GZIP: &str = "gzip";
pub const DEFLATE: &str = "deflate-raw";

#[wasm_bindgen]
extern "C" {
    type DecompressionStream;
    #[wasm_bindgen(constructor, catch)]
    fn new(format: &str) -> Result<DecompressionStream, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn readable(this: &DecompressionStream) -> ReadableStream;
    #[wasm_bindgen(method, getter)]
    fn writable(this: &DecompressionStream) -> WritableStream;
}

/// The bytes that `bytes` unpacks to, of which there may be at most `most`. `name`: for the message.
pub async fn inflate(name: &str, format: &str, bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let bad = |e: JsValue| format!("{name} cannot be unpacked: {}", js_sys::Object::from(e).to_string());
    let blob =
        Blob::new_with_u8_array_sequence(&[Uint8Array::from(bytes)].iter().collect::<js_sys::Array>()).map_err(bad)?;
    let through = DecompressionStream::new(format).map_err(bad)?;
    let pair = ReadableWritablePair::new(&through.readable(), &through.writable());
    let stream = blob.stream().pipe_through(&pair);
    let reader: ReadableStreamDefaultReader = stream.get_reader().dyn_into().map_err(|e| bad(e.into()))?;
    let mut out = vec![];
    loop {
        let part: ReadableStreamReadResult = JsFuture::from(reader.read()).await.map_err(bad)?.unchecked_into();
        if part.get_done().unwrap_or(false) {
            return Ok(out);
        }
        let part: Uint8Array = part.get_value().dyn_into().map_err(bad)?;
        if out.len() as u64 + u64::from(part.length()) > most {
            return Err(format!("{name} unpacks to more than {most} bytes"));
        }
        let at = out.len();
        out.resize(at + part.length() as usize, 0);
        part.copy_to(&mut out[at..]);
    }
}
