//! Files against goldens of scikit-learn and PyTorch, and mutants against every reader.

use super::{Random, checkpoint, golden};
use compute::checkpoint::{Cursor, Named, Pointer, match_weights, weights_from_bytes, weights_to_bytes};
use compute::events;
use compute::metrics::{Confusion, Evaluation};
use compute::tensor::{Data, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;

const MUTANTS: usize = 100_000;

#[test]
fn metrics_equal_scikit_learns() {
    let text = std::fs::read_to_string(golden("metrics.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let list = |key: &str| -> Vec<usize> {
            let numbers = case[key].as_array().unwrap();
            numbers.iter().map(|v| v.as_u64().unwrap() as usize).collect()
        };
        let classes = case["classes"].as_array().unwrap().len();
        let mut c = Confusion::new((0..classes).map(|i| format!("class {i}")).collect());
        for (truth, predicted) in list("truth").into_iter().zip(list("predicted")) {
            c.add(truth, predicted).unwrap();
        }
        let ours = serde_json::to_value(Evaluation::new(&c, 0.5)).unwrap();
        let mut compared = 0;
        compare(name, &case["accuracy"], &ours["accuracy"], &mut compared);
        for key in ["classes", "macro", "micro", "weighted", "confusion_matrix"] {
            compare(&format!("{name}: {key}"), &case[key], &ours[key], &mut compared);
        }
        assert_eq!(compared, 1 + 4 * classes + 9 + classes * classes, "{name}");
    }
}

/// Every number of `wanted` is in `found`, to 1e-12.
fn compare(place: &str, wanted: &Value, found: &Value, compared: &mut usize) {
    match wanted {
        Value::Array(items) => {
            assert_eq!(items.len(), found.as_array().unwrap().len(), "{place}");
            for (i, item) in items.iter().enumerate() {
                compare(&format!("{place}[{i}]"), item, &found[i], compared);
            }
        }
        Value::Object(items) => {
            for (key, item) in items {
                compare(&format!("{place}.{key}"), item, &found[key], compared);
            }
        }
        _ => {
            let (a, b) = (wanted.as_f64().unwrap(), found.as_f64().unwrap());
            assert!((a - b).abs() <= 1e-12, "{place}: scikit-learn {a}, ours {b}");
            *compared += 1;
        }
    }
}

#[test]
fn a_pytorch_state_dict_is_read_to_the_bit() {
    let bytes = std::fs::read(golden("pytorch.safetensors")).unwrap();
    let text = std::fs::read_to_string(golden("pytorch_tensors.json")).unwrap();
    let wanted: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    let found = weights_from_bytes("pytorch.safetensors", &bytes).unwrap();
    assert_eq!(found.len(), wanted.len());
    for (name, tensor) in &found {
        let row = &wanted[name];
        let bits: Vec<u64> = match tensor.data() {
            Data::F32(v) => v.iter().map(|x| x.to_bits().into()).collect(),
            Data::F16(v) => v.iter().map(|x| u64::from(*x)).collect(),
            Data::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::U8(v) => v.iter().map(|&x| x.into()).collect(),
        };
        assert_eq!(row["kind"], tensor.dtype().to_string(), "{name}");
        assert_eq!(serde_json::to_value(tensor.shape()).unwrap(), row["shape"], "{name}");
        assert_eq!(serde_json::to_value(bits).unwrap(), row["bits"], "{name}");
    }
    let expected = vec![("fc1.weight".to_string(), vec![10, 100])];
    let net: Named = found.into_iter().filter(|t| t.0 == "fc1.weight").collect();
    match_weights("pytorch.safetensors", &expected, net).unwrap();
}

/// Changes a few bytes, and now and then the length or a number written in the text.
fn mutate(random: &mut Random, good: &[u8], text_end: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend([random.next() as u8; 3]),
            2 => bytes.iter_mut().take(8).for_each(|b| *b = random.next() as u8),
            3 => bytes.insert(at, random.next() as u8),
            4 | 5 => replace_number(random, &mut bytes, text_end),
            6 => {
                let from = random.below(text_end.min(bytes.len()));
                let piece: Vec<u8> = bytes[from..].iter().take(24).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                if let Some(b) = bytes.get_mut(at) {
                    *b ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

/// Puts a hostile number where the text has digits; keeps a safetensors header's length true
/// half of the time, so that the mutant gets past the first check.
fn replace_number(random: &mut Random, bytes: &mut Vec<u8>, text_end: usize) {
    const NUMBERS: [&str; 10] = [
        "0",
        "-1",
        "1e999",
        "18446744073709551615",
        "18446744073709551608",
        "9223372036854775808",
        "4611686018427387904",
        "4294967296",
        "99999999999999999999",
        "1.5",
    ];
    let end = text_end.min(bytes.len());
    let from = random.below(end);
    let Some(start) = (from..end).find(|&i| bytes[i].is_ascii_digit()) else {
        return;
    };
    let stop = (start..end).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(end);
    let number = NUMBERS[random.below(NUMBERS.len())];
    let grown = (number.len() as u64).wrapping_sub((stop - start) as u64);
    bytes.splice(start..stop, number.bytes());
    if random.below(2) == 0
        && let Some(length) = bytes.first_chunk_mut::<8>()
    {
        *length = u64::from_le_bytes(*length).wrapping_add(grown).to_le_bytes();
    }
}

#[test]
fn mutants_of_safetensors() {
    let golden = std::fs::read(golden("pytorch.safetensors")).unwrap();
    let small: Named = vec![
        ("conv1.weight".into(), Tensor::f32(vec![2, 1, 1, 1], vec![1.0, 2.0])),
        ("steps".into(), Tensor::u32(vec![1], vec![4])),
        ("mask".into(), Tensor::u8(vec![2, 2], vec![0, 1, 2, 3])),
    ];
    let small = weights_to_bytes(&small, &BTreeMap::new()).unwrap();
    let mut random = Random(0xface);
    let mut accepted = 0;
    for k in 0..MUTANTS {
        let good = if k % 50 == 0 { &golden } else { &small };
        let header = u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
        let bytes = mutate(&mut random, good, 8 + header);
        match weights_from_bytes("mutant", &bytes) {
            Ok(tensors) => {
                accepted += 1;
                // No more numbers than the file has bytes for: f16 at most doubles.
                let total: usize = tensors.iter().map(|(_, t)| t.bytes().len()).sum();
                assert!(total <= 2 * bytes.len(), "{total} bytes out of {}", bytes.len());
                // What was accepted can be written and read again.
                let again = weights_to_bytes(&tensors, &BTreeMap::new()).unwrap();
                assert_eq!(weights_from_bytes("again", &again).unwrap().len(), tensors.len());
            }
            Err(e) => assert!(e.to_string().starts_with("mutant: "), "{e}"),
        }
    }
    println!("{MUTANTS} mutants, {accepted} accepted");
    assert!(accepted < MUTANTS / 2);
}

/// Offsets near 2^64 made a sum overflow in the reader underneath.
#[test]
fn offsets_that_overflow_are_errors() {
    // Each size in bits still fits 64 bits; together they end at byte 2^64 - 1.
    let sizes = [[(1u64 << 61) - 1; 8].as_slice(), &[7]].concat();
    let (mut header, mut offset) = (String::from("{"), 0u64);
    for (k, size) in sizes.into_iter().enumerate() {
        let end = offset + size;
        let comma = if k > 0 { "," } else { "" };
        header += &format!("{comma}\"t{k}\":{{\"dtype\":\"U8\",\"shape\":[{size}],\"data_offsets\":[{offset},{end}]}}");
        offset = end;
    }
    header.push('}');
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    let e = weights_from_bytes("f", &bytes).unwrap_err().to_string();
    assert!(e.contains("describes 18446744073709551615 bytes"), "{e}");
}

#[test]
fn mutants_of_cursor_and_pointer() {
    let mut cursor = checkpoint(12).cursor;
    cursor.sums.insert("loss".into(), 0.25);
    cursor.kernel_variants.insert("matmul".into(), "tiled".into());
    let json = cursor.to_json().unwrap().into_bytes();
    let line = Pointer::new(12, 0, &json).to_line().into_bytes();
    let mut random = Random(0xbeef);
    let (mut cursors, mut pointers) = (0, 0);
    for _ in 0..MUTANTS {
        let bytes = mutate(&mut random, &json, json.len());
        match Cursor::from_json("mutant", &bytes) {
            Ok(c) => {
                cursors += 1;
                let again = c.to_json().unwrap();
                assert_eq!(Cursor::from_json("again", again.as_bytes()).unwrap(), c);
            }
            Err(e) => assert!(e.to_string().starts_with("mutant: "), "{e}"),
        }
        let bytes = mutate(&mut random, &line, line.len());
        match Pointer::parse("mutant", &bytes) {
            Ok(p) => {
                pointers += 1;
                assert_eq!(p.to_line().as_bytes(), bytes, "one spelling of every pointer");
            }
            Err(e) => assert!(e.to_string().starts_with("mutant: "), "{e}"),
        }
    }
    println!("{MUTANTS} mutants each; accepted {cursors} cursors, {pointers} pointers");
    assert!(cursors < MUTANTS / 2 && pointers < MUTANTS / 2);
}

#[test]
fn mutants_of_event_files() {
    let good = [
        events::file_version(1.0),
        events::scalar(1, 1.0, "Train/Loss", 0.5),
        events::histogram(1, 1.0, "conv1.weight", [0.1, -0.2].into_iter()),
    ]
    .concat();
    let records = events::read_records(&good).unwrap();
    assert_eq!(records.len(), 3);
    let mut random = Random(0xcafe);
    for _ in 0..MUTANTS {
        let bytes = mutate(&mut random, &good, good.len());
        if let Ok(found) = events::read_records(&bytes) {
            // Checksums let through whole records of the original only (or an empty file).
            assert!(found.iter().all(|f| records.iter().any(|r| r.1 == f.1)), "{bytes:?}");
        }
        events::proto::read_fields(&bytes);
    }
}
