//! Safetensors: `u64 header length | JSON header | tensor bytes`, little endian, row-major.
//!
//! Written: f32, f16, u32 and u8 tensors in the given order (wider types first, as the format wants for
//! alignment), the same input always to the same bytes. The header is printed here, not by the
//! `safetensors` crate, whose metadata is a hash map and comes out in a random order; the crate's
//! types check it on the way back. Read: F32, F16, BF16 and F64 become f32; U32, I32 and I64
//! become u32 where every number fits; U8 and BOOL become u8; other types are errors.
//! Source: the format description in the `safetensors` repository.

use super::{CheckpointError, Named};
use crate::sorting::{map_of, sorted};
use crate::tensor::{DType, Data, Tensor};
use lanes::half;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Bytes of the header length field.
const LENGTH_BYTES: usize = 8;
/// The format's own limit on the header.
const HEADER_LIMIT_BYTES: usize = 100_000_000;

/// The file of these tensors. `metadata` holds free texts (`format` is `pt` unless given).
pub fn weights_to_bytes(
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let data: usize = tensors.iter().map(|(_, t)| t.bytes().len()).sum();
    let mut out = Vec::with_capacity(data + 1024);
    write_weights(&mut out, tensors, metadata)?;
    Ok(out)
}

/// Writes the file piece by piece, without a second copy of the weights in memory.
pub fn write_weights(
    out: &mut impl Write,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let write = |e: std::io::Error| CheckpointError::Write(e.to_string());
    let order: Vec<&(String, Tensor)> = tensors.iter().collect();
    let order = sorted(order, |(_, a), (_, b)| b.dtype().size_bytes().cmp(&a.dtype().size_bytes()));
    let header = header(&order, metadata)?;
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(write)?;
    out.write_all(header.as_bytes()).map_err(write)?;
    for (_, tensor) in order {
        out.write_all(tensor.bytes()).map_err(write)?;
    }
    Ok(())
}

fn header(order: &[&(String, Tensor)], metadata: &BTreeMap<String, String>) -> Result<String, CheckpointError> {
    let json = |e: serde_json::Error| CheckpointError::Write(e.to_string());
    let mut seen = BTreeSet::from(["__metadata__"]);
    let mut metadata = metadata.clone();
    // PyTorch's loaders (transformers) insist on this entry.
    metadata.entry("format".into()).or_insert_with(|| "pt".into());
    let mut text = format!("{{\"__metadata__\":{}", serde_json::to_string(&metadata).map_err(json)?);
    let mut offset = 0;
    for (name, tensor) in order {
        if !seen.insert(name.as_str()) {
            return Err(CheckpointError::Write(format!(
                "the tensor name `{name}` is used twice or reserved: give it another name"
            )));
        }
        let end = offset + tensor.bytes().len();
        let info = TensorInfo {
            dtype: match tensor.dtype() {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::U32 => Dtype::U32,
                DType::U8 => Dtype::U8,
            },
            shape: tensor.shape().to_vec(),
            data_offsets: (offset, end),
        };
        let (name, info) = (serde_json::to_string(name), serde_json::to_string(&info));
        text += &format!(",{}:{}", name.map_err(json)?, info.map_err(json)?);
        offset = end;
    }
    text.push('}');
    // Spaces up to a multiple of 8 keep the data aligned.
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    Ok(text)
}

/// Reads a file; tensors come in the order of their bytes. `file` names it in messages.
pub fn weights_from_bytes(file: &str, bytes: &[u8]) -> Result<Named, CheckpointError> {
    let bad = |offset: usize, problem: String| CheckpointError::Safetensors { file: file.into(), offset, problem };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(bad(0, format!("the file has only {} bytes", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    let (header, data) = usize::try_from(length)
        .ok()
        .filter(|&n| n <= HEADER_LIMIT_BYTES)
        .and_then(|n| rest.split_at_checked(n))
        .ok_or_else(|| {
            let have = rest.len();
            bad(0, format!("a header of {length} bytes is announced, {have} bytes follow"))
        })?;
    let header = std::str::from_utf8(header)
        .map_err(|e| bad(LENGTH_BYTES + e.valid_up_to(), "the header is not UTF-8".into()))?;
    // The crate checks that the tensors lie end to end and that sizes agree with shapes.
    let header: Metadata = serde_json::from_str(header)
        .map_err(|e| bad(LENGTH_BYTES + e.column().saturating_sub(1), format!("the header is wrong: {e}")))?;
    let start = bytes.len() - data.len();
    if header.data_len() != data.len() {
        let (want, have) = (header.data_len(), data.len());
        return Err(bad(start, format!("the header describes {want} bytes of data, {have} follow")));
    }
    let mut out = Vec::new();
    // By place in the file; empty tensors share their place and then go by name, since the
    // crate hands out names in the order of a hash map.
    let tensors: Vec<(&TensorInfo, String)> =
        header.offset_keys().into_iter().filter_map(|name| Some((header.info(&name)?, name))).collect();
    let tensors = sorted(tensors, |(a, x), (b, y)| (a.data_offsets, x).cmp(&(b.data_offsets, y)));
    for (info, name) in tensors {
        let raw = data
            .get(info.data_offsets.0..info.data_offsets.1)
            .ok_or_else(|| bad(start, format!("tensor `{name}` lies outside the file")))?;
        let tensor = convert(info, raw).map_err(|problem| CheckpointError::Tensor {
            file: file.into(),
            tensor: name.clone(),
            problem,
        })?;
        out.push((name, tensor));
    }
    Ok(out)
}

/// bfloat16 is the upper half of an f32.
fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn each<const N: usize, T>(raw: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
}

fn convert(info: &TensorInfo, raw: &[u8]) -> Result<Tensor, String> {
    // With a zero among them the element count is fine whatever the other extents are, but
    // strides would overflow.
    let extents = info.shape.iter().filter(|&&d| d != 0);
    if extents.copied().try_fold(1usize, usize::checked_mul).is_none() {
        return Err(format!("the shape {:?} is too large", info.shape));
    }
    let whole = |v: Vec<i64>| -> Result<Data, String> {
        let numbers =
            v.into_iter().map(|x| u32::try_from(x).map_err(|_| format!("{x} does not fit an unsigned 32-bit number")));
        Ok(Data::U32(numbers.collect::<Result<_, _>>()?))
    };
    let data = match info.dtype {
        Dtype::F32 => Data::F32(each(raw, f32::from_le_bytes)),
        Dtype::F16 => Data::F32(each(raw, |b| half::from_bits(u16::from_le_bytes(b)))),
        Dtype::BF16 => Data::F32(each(raw, |b| from_bf16(u16::from_le_bytes(b)))),
        Dtype::F64 => Data::F32(each(raw, |b| f64::from_le_bytes(b) as f32)),
        Dtype::U32 => Data::U32(each(raw, u32::from_le_bytes)),
        Dtype::I32 => whole(each(raw, |b| i32::from_le_bytes(b).into()))?,
        Dtype::I64 => whole(each(raw, i64::from_le_bytes))?,
        Dtype::U8 | Dtype::BOOL => Data::U8(raw.to_vec()),
        other => {
            return Err(format!("numbers of type {other} are not supported: save it as F32"));
        }
    };
    Tensor::new(info.shape.clone(), data).ok_or_else(|| format!("its bytes do not fill the shape {:?}", info.shape))
}

/// Orders `given` like `expected`, or lists every missing, unexpected and misshapen tensor.
pub fn match_weights(file: &str, expected: &[(String, Vec<usize>)], given: Named) -> Result<Named, CheckpointError> {
    let mut given = map_of(given);
    let mut out = Vec::with_capacity(expected.len());
    let mut list = String::new();
    for (name, shape) in expected {
        match given.remove(name) {
            None => list += &format!("\n  missing: {name} {shape:?}"),
            Some(t) if t.shape() != shape => {
                list += &format!("\n  wrong shape: {name} is {:?}, needs {shape:?}", t.shape());
            }
            Some(t) => out.push((name.clone(), t)),
        }
    }
    for (name, tensor) in &given {
        list += &format!("\n  unexpected: {name} {:?}", tensor.shape());
    }
    if list.is_empty() { Ok(out) } else { Err(CheckpointError::Mismatch { file: file.into(), list }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_widens() {
        assert_eq!((from_bf16(0x3f80), from_bf16(0xc000)), (1.0, -2.0));
    }

    fn sample() -> Named {
        vec![
            ("mask".into(), Tensor::u8(vec![3], vec![1, 0, 255])),
            ("z.weight".into(), Tensor::f32(vec![2, 1], vec![1.5, -0.0])),
            ("a \"quoted\"".into(), Tensor::f32(vec![], vec![f32::MIN_POSITIVE])),
            ("steps".into(), Tensor::u32(vec![1], vec![7])),
            ("empty".into(), Tensor::f32(vec![0, 4], vec![])),
        ]
    }

    #[test]
    fn a_file_round_trips_in_order_and_is_deterministic() {
        let metadata = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1".into())]);
        let bytes = weights_to_bytes(&sample(), &metadata).unwrap();
        assert_eq!(bytes, weights_to_bytes(&sample(), &metadata).unwrap());
        let back = weights_from_bytes("f", &bytes).unwrap();
        let mut wanted = sample();
        wanted.rotate_left(1);
        let find = |list: &Named, n: &str| list.iter().find(|t| t.0 == n).cloned();
        for (name, _) in &wanted {
            assert_eq!(find(&back, name), find(&wanted, name), "{name}");
        }
        let names: Vec<_> = back.iter().map(|t| t.0.as_str()).filter(|n| *n != "empty").collect();
        assert_eq!(names, ["z.weight", "a \"quoted\"", "steps", "mask"]);
        // The crate's own reader agrees that it is a whole file.
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("z.weight").unwrap().shape(), [2, 1]);
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let t = Tensor::scalar(1.0);
        let twice = vec![("a".to_string(), t.clone()), ("a".to_string(), t.clone())];
        assert!(weights_to_bytes(&twice, &BTreeMap::new()).is_err());
        let reserved = vec![("__metadata__".to_string(), t)];
        assert!(weights_to_bytes(&reserved, &BTreeMap::new()).is_err());
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn other_number_types_are_widened_or_named() {
        let one = |dtype: &str, data: &[u8], n: usize| {
            let end = data.len();
            let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[{n}],"data_offsets":[0,{end}]}}}}"#);
            weights_from_bytes("f", &file(&header, data)).map(|v| v[0].1.data().clone())
        };
        assert_eq!(one("F64", &0.1f64.to_le_bytes(), 1), Ok(Data::F32(vec![0.1])));
        assert_eq!(one("F16", &[0, 0x3c, 0, 0xc0], 2), Ok(Data::F32(vec![1.0, -2.0])));
        assert_eq!(one("BF16", &[0x80, 0x3f], 1), Ok(Data::F32(vec![1.0])));
        assert_eq!(one("I64", &5i64.to_le_bytes(), 1), Ok(Data::U32(vec![5])));
        assert_eq!(one("BOOL", &[1], 1), Ok(Data::U8(vec![1])));
        let e = one("I64", &(-1i64).to_le_bytes(), 1).unwrap_err().to_string();
        assert!(e.contains("f: tensor `x`: -1 does not fit"), "{e}");
        let e = one("C64", &[0; 8], 1).unwrap_err().to_string();
        assert!(e.contains("C64 are not supported"), "{e}");
    }

    #[test]
    fn hostile_headers_are_errors_with_an_offset() {
        let max = usize::MAX;
        let cases = [
            (vec![], "only 0 bytes"),
            (u64::MAX.to_le_bytes().to_vec(), "announced"),
            (file("{", &[]), "header is wrong"),
            (file("[]", &[]), "header is wrong"),
            (file("{}", &[0]), "describes 0 bytes"),
            (file(r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 7]), "7 follow"),
            (
                file(&format!(r#"{{"x":{{"dtype":"U8","shape":[{max}],"data_offsets":[0,{max}]}}}}"#), &[]),
                "header is wrong",
            ),
            (file(r#"{"x":{"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]}}"#, &[]), "too large"),
        ];
        for (bytes, part) in cases {
            let e = weights_from_bytes("w.safetensors", &bytes).unwrap_err().to_string();
            assert!(e.contains(part) && e.starts_with("w.safetensors: "), "{e}");
        }
    }

    #[test]
    fn matching_orders_tensors_or_lists_every_difference() {
        let expected = vec![("a".to_string(), vec![2]), ("b".to_string(), vec![1, 2])];
        let a = ("a".to_string(), Tensor::f32(vec![2], vec![0.0; 2]));
        let b = ("b".to_string(), Tensor::f32(vec![1, 2], vec![0.0; 2]));
        let good = match_weights("f", &expected, vec![b.clone(), a.clone()]).unwrap();
        assert_eq!(good, vec![a, b]);
        let c = ("c".to_string(), Tensor::scalar(0.0));
        let b = ("b".to_string(), Tensor::f32(vec![2, 1], vec![0.0; 2]));
        let e = match_weights("f", &expected, vec![b, c]).unwrap_err().to_string();
        for part in ["missing: a [2]", "wrong shape: b is [2, 1], needs [1, 2]", "unexpected: c []"] {
            assert!(e.contains(part), "{e}");
        }
    }
}
