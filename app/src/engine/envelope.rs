//! Messages as the browser carries them: `[number, json, [Float32Array ...]]`, arrays transferred.

use js_sys::{Array, Float32Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};

/// The message and what to transfer.
pub fn pack<T: Serialize>(id: u32, message: &T, arrays: Vec<Vec<f32>>) -> Result<(Array, Array), String> {
    let json = serde_json::to_string(message).map_err(|e| e.to_string())?;
    let (data, transfer) = (Array::new(), Array::new());
    for a in arrays {
        let array = Float32Array::from(a.as_slice());
        transfer.push(&array.buffer());
        data.push(&array);
    }
    Ok((Array::of3(&JsValue::from(id), &JsValue::from(json), &data), transfer))
}

pub fn unpack<T: DeserializeOwned>(message: &JsValue) -> Result<(u32, T, Vec<Vec<f32>>), String> {
    let parts: &Array = message.dyn_ref().ok_or("a message that is no envelope")?;
    let id = parts.get(0).as_f64().ok_or("a message without a number")? as u32;
    let json = parts.get(1).as_string().ok_or("a message without a text")?;
    let arrays = Array::from(&parts.get(2)).iter().map(|a| Float32Array::new(&a).to_vec()).collect();
    Ok((id, serde_json::from_str(&json).map_err(|e| e.to_string())?, arrays))
}
