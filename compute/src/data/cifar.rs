//! CIFAR-10 in its binary layout: `data_batch_1.bin` ... `data_batch_5.bin` and `test_batch.bin`,
//! each 10,000 records of 3,073 bytes: one label byte (0 to 9), then 32x32 pixels as three planes
//! (red, green, blue), row-major. Source: A. Krizhevsky, "Learning Multiple Layers of Features from
//! Tiny Images", 2009, and its page.
//!
//! Errors: wrong size (truncated or too long), a label over 9 with the offset of its record.

use super::{DataError, Images};

/// Channels, height, width.
pub const SIZE: [usize; 3] = [3, 32, 32];
/// Bytes of one record.
pub const RECORD_BYTES: usize = 1 + 3 * 32 * 32;
/// Records of one batch file.
pub const BATCH_RECORDS: usize = 10_000;
/// The files, training first.
pub const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// The class names, by label.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Parses one whole batch file of 10,000 records.
pub fn parse_batch(name: &str, bytes: &[u8]) -> Result<Images, DataError> {
    let (found, expected) = (bytes.len() as u64, (BATCH_RECORDS * RECORD_BYTES) as u64);
    let what = "a CIFAR-10 batch of 10,000 records";
    match found.cmp(&expected) {
        std::cmp::Ordering::Less if found > 0 => Err(DataError::Truncated { file: name.into(), found, expected, what }),
        std::cmp::Ordering::Greater => Err(DataError::TooLong { file: name.into(), found, expected, what }),
        _ => parse_records(name, bytes),
    }
}

/// Parses any whole number of records, at least one.
pub fn parse_records(name: &str, bytes: &[u8]) -> Result<Images, DataError> {
    if bytes.is_empty() {
        let advice = "run `chainrule data fetch cifar10`";
        return Err(DataError::Empty { file: name.into(), what: "the batch".into(), advice });
    }
    let count = bytes.len().div_ceil(RECORD_BYTES);
    if !bytes.len().is_multiple_of(RECORD_BYTES) {
        return Err(DataError::Truncated {
            file: name.into(),
            found: bytes.len() as u64,
            expected: (count * RECORD_BYTES) as u64,
            what: "its last record",
        });
    }
    let mut pixels = Vec::with_capacity(count * (RECORD_BYTES - 1));
    let mut labels = Vec::with_capacity(count);
    for (index, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
        let label = u32::from(record[0]);
        if label as usize >= CLASSES.len() {
            let offset = (index * RECORD_BYTES) as u64;
            return Err(DataError::Label { file: name.into(), offset, index, label, last: 9 });
        }
        labels.push(label);
        pixels.extend_from_slice(&record[1..]);
    }
    let [channels, height, width] = SIZE;
    Ok(Images { channels, height, width, pixels, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(labels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, &label) in labels.iter().enumerate() {
            out.push(label);
            out.extend((0..RECORD_BYTES - 1).map(|k| (k + i) as u8));
        }
        out
    }

    #[test]
    fn records_become_planar_images() {
        let set = parse_records("t.bin", &records(&[3, 9])).unwrap();
        assert_eq!((set.len(), set.labels.as_slice(), set.stride()), (2, &[3, 9][..], 3072));
        assert_eq!(set.image(1)[..3], [1, 2, 3]);
    }

    #[test]
    fn a_bad_label_names_its_record() {
        let error = parse_records("t.bin", &records(&[0, 1, 10])).unwrap_err().to_string();
        assert!(error.contains("t.bin: byte 6146: label 10 of image 2"), "{error}");
    }

    #[test]
    fn sizes_are_checked() {
        let good = records(&[0, 1]);
        let cut = parse_records("t.bin", &good[..4000]).unwrap_err().to_string();
        assert!(cut.contains("t.bin: ends at byte 4000, but its last record needs 6146"), "{cut}");
        // Cut at a record's end: only the whole batch can tell.
        let cut = parse_batch("t.bin", &good).unwrap_err().to_string();
        assert!(cut.contains("ends at byte 6146") && cut.contains("30730000"), "{cut}");
        let long = parse_batch("t.bin", &vec![0; 30_730_001]).unwrap_err().to_string();
        assert!(long.contains("30730001 bytes, expected 30730000"), "{long}");
        for parse in [parse_batch, parse_records] {
            let empty = parse("t.bin", &[]).unwrap_err().to_string();
            assert!(empty.contains("t.bin") && empty.contains("data fetch cifar10"), "{empty}");
        }
    }
}
