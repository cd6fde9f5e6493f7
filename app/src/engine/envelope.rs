//! Messages as the browser carries them: `[number, message, [Float32Array or Uint8Array ...]]`, arrays
//! transferred. The message is in Postcard's binary form: its reader is less to download than
//! JSON's (24 KB less, compressed), and it carries numbers that are not finite.

use js_sys::{Array, Float32Array, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};

/// What travels beside the message: the elements of a tensor, or the bytes of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
}

/// A part of a message that keeps its elements out of the text.
pub trait Heavy {
    fn take(&mut self) -> Load;
    /// Puts back what [`Heavy::take`] gave; the other kind is a message of another version, and ignored.
    fn put(&mut self, load: Load);
}

/// The message and what to transfer.
pub fn pack<T: Serialize>(id: u32, message: &T, loads: Vec<Load>) -> Result<(Array, Array), String> {
    let bytes = postcard::to_allocvec(message).map_err(|e| e.to_string())?;
    let text = Uint8Array::from(bytes.as_slice());
    let (data, transfer) = (Array::new(), Array::of1(&text.buffer()));
    for load in loads {
        match load {
            Load::Floats(v) => {
                let array = Float32Array::from(v.as_slice());
                transfer.push(&array.buffer());
                data.push(&array);
            }
            Load::Bytes(v) => {
                let array = Uint8Array::from(v.as_slice());
                transfer.push(&array.buffer());
                data.push(&array);
            }
        }
    }
    Ok((Array::of3(&JsValue::from(id), &text, &data), transfer))
}

pub fn unpack<T: DeserializeOwned>(message: &JsValue) -> Result<(u32, T, Vec<Load>), String> {
    let parts: &Array = message.dyn_ref().ok_or("a message that is no envelope")?;
    let id = parts.get(0).as_f64().ok_or("a message without a number")? as u32;
    let text: Uint8Array = parts.get(1).dyn_into().map_err(|_| "a message without a text")?;
    let load = |value: JsValue| match value.dyn_ref::<Uint8Array>() {
        Some(bytes) => Load::Bytes(bytes.to_vec()),
        None => Load::Floats(Float32Array::new(&value).to_vec()),
    };
    let loads = Array::from(&parts.get(2)).iter().map(load).collect();
    Ok((id, postcard::from_bytes(&text.to_vec()).map_err(|e| e.to_string())?, loads))
}
