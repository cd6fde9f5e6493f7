//! TensorBoard event files, as bytes: scalars, histograms and images.
//!
//! A file is a sequence of records (TFRecord framing, TensorFlow `core/lib/io/record_writer.cc`):
//!
//! ```text
//! u64 length | u32 masked_crc32c(length bytes) | payload | u32 masked_crc32c(payload)
//! masked_crc32c(x) = rotate_right(crc32c(x), 15) + 0xa282ead8      all little endian
//! ```
//!
//! Each payload is an `Event` message (`tensorboard/compat/proto/event.proto`); the first record
//! of a file carries `file_version = "brain.Event:2"`. Functions here return whole records to
//! append; the caller owns the file and the clock (`wall`: seconds since 1970).
//! `read_records` checks framing and both checksums and names the offset of the first bad byte.

pub mod filters;
pub mod histogram;
pub mod proto;

use crate::checksum::crc32c;
pub use filters::filters_png;
use histogram::Histogram;
use proto::Message;

/// Bytes of framing around a payload: length, its checksum, and the payload's checksum.
const FRAME_BYTES: usize = 8 + 4 + 4;

/// Why bytes are not an event file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EventsError {
    #[error("event file ends inside the record at byte {offset}: truncate it to {offset} bytes")]
    Truncated { offset: usize },
    #[error(
        "wrong checksum of the {part} of the record at byte {offset}: the file is damaged there; \
         its first {offset} bytes are good"
    )]
    Checksum { offset: usize, part: &'static str },
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Frames a payload as one record.
pub fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(payload.len() + FRAME_BYTES);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(payload);
    out.extend(masked_crc(payload).to_le_bytes());
    out
}

/// Splits a file into `(offset, payload)` of each record.
pub fn read_records(bytes: &[u8]) -> Result<Vec<(usize, &[u8])>, EventsError> {
    let mut out = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let truncated = EventsError::Truncated { offset };
        let bad = |part| EventsError::Checksum { offset, part };
        let (length, rest) = rest.split_first_chunk::<8>().ok_or(truncated.clone())?;
        let (crc, rest) = rest.split_first_chunk::<4>().ok_or(truncated.clone())?;
        if u32::from_le_bytes(*crc) != masked_crc(length) {
            return Err(bad("length"));
        }
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| truncated.clone())?;
        let (payload, rest) = rest.split_at_checked(length).ok_or(truncated.clone())?;
        let (crc, _) = rest.split_first_chunk::<4>().ok_or(truncated)?;
        if u32::from_le_bytes(*crc) != masked_crc(payload) {
            return Err(bad("payload"));
        }
        out.push((offset, payload));
        offset += FRAME_BYTES + length;
    }
    Ok(out)
}

/// `Event { wall_time = 1, step = 2, .. }`.
fn event(wall: f64, step: u64) -> Message {
    Message::new().double(1, wall).uint(2, step)
}

/// `Event.summary (5) = Summary { value (1) = Value { tag = 1, .. } }`.
fn value(step: u64, wall: f64, tag: &str, body: impl FnOnce(Message) -> Message) -> Vec<u8> {
    let value = body(Message::new().string(1, tag));
    record(event(wall, step).message(5, Message::new().message(1, value)).as_bytes())
}

/// The first record of every file.
pub fn file_version(wall: f64) -> Vec<u8> {
    record(event(wall, 0).string(3, "brain.Event:2").as_bytes())
}

/// A number under a tag such as `Test/Accuracy`.
pub fn scalar(step: u64, wall: f64, tag: &str, v: f32) -> Vec<u8> {
    value(step, wall, tag, |m| m.float(2, v))
}

/// The distribution of some values, such as a layer's weights. Values that are not finite are
/// left out (TensorBoard cannot draw them; a diverged run is reported elsewhere).
pub fn histogram(step: u64, wall: f64, tag: &str, values: impl Iterator<Item = f32>) -> Vec<u8> {
    let h = Histogram::of(values);
    value(step, wall, tag, |m| m.message(5, h.to_message()))
}

/// A PNG image. Colour space 3 is RGB; viewers decode the PNG and do not look at it.
pub fn image(step: u64, wall: f64, tag: &str, width: u32, height: u32, png: &[u8]) -> Vec<u8> {
    let image = Message::new().uint(1, height.into()).uint(2, width.into()).uint(3, 3).bytes(4, png);
    value(step, wall, tag, |m| m.message(4, image))
}

#[cfg(test)]
mod tests {
    use super::proto::{Field, read_fields};
    use super::*;

    /// Follows field numbers down nested messages to one field.
    fn dig<'a>(payload: &'a [u8], path: &[u32]) -> Option<Field<'a>> {
        let (last, parents) = path.split_last()?;
        let mut bytes = payload;
        for number in parents {
            match read_fields(bytes)?.into_iter().find(|f| f.0 == *number)?.1 {
                Field::Bytes(b) => bytes = b,
                _ => return None,
            }
        }
        read_fields(bytes)?.into_iter().find(|f| f.0 == *last).map(|f| f.1)
    }

    #[test]
    fn the_same_bytes_as_tensorboards_own_writer() {
        // RecordWriter of the tensorboard package 2.21, for Event(wall_time=1.5, step=300,
        // summary=Summary(value=[Summary.Value(tag="a/b", simple_value=0.1)])).
        let theirs = "1a00000000000000129bd82d09000000000000f83f10ac022a0c0a0a0a03612f6215cdcccc3d\
                      1a06af04";
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&scalar(300, 1.5, "a/b", 0.1)), theirs);
        let theirs = "0f000000000000006d532b091a0d627261696e2e4576656e743a32fc985129";
        assert_eq!(hex(&record(b"\x1a\x0dbrain.Event:2")), theirs);
    }

    #[test]
    fn a_scalar_decodes_to_what_was_written() {
        let bytes = [file_version(1.5), scalar(7, 2.5, "Test/Accuracy", 0.25)].concat();
        let records = read_records(&bytes).unwrap();
        assert_eq!(dig(records[0].1, &[3]), Some(Field::Bytes(b"brain.Event:2")));
        let payload = records[1].1;
        assert_eq!(dig(payload, &[1]), Some(Field::Fixed64(2.5f64.to_bits())));
        assert_eq!(dig(payload, &[2]), Some(Field::Varint(7)));
        assert_eq!(dig(payload, &[5, 1, 1]), Some(Field::Bytes(b"Test/Accuracy")));
        assert_eq!(dig(payload, &[5, 1, 2]), Some(Field::Fixed32(0.25f32.to_bits())));
    }

    #[test]
    fn an_image_decodes_to_what_was_written() {
        let bytes = image(300, 0.0, "conv1/filters", 640, 32, b"png");
        let payload = read_records(&bytes).unwrap()[0].1;
        assert_eq!(dig(payload, &[2]), Some(Field::Varint(300)));
        assert_eq!(dig(payload, &[5, 1, 4, 1]), Some(Field::Varint(32)));
        assert_eq!(dig(payload, &[5, 1, 4, 2]), Some(Field::Varint(640)));
        assert_eq!(dig(payload, &[5, 1, 4, 4]), Some(Field::Bytes(b"png")));
    }

    #[test]
    fn damage_names_the_offset_of_the_record() {
        let first = scalar(1, 0.0, "a", 1.0);
        let good = [first.clone(), scalar(2, 0.0, "a", 2.0)].concat();
        for cut in first.len() + 1..good.len() {
            let e = read_records(&good[..cut]).unwrap_err();
            assert_eq!(e, EventsError::Truncated { offset: first.len() });
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let offset = if at < first.len() { 0 } else { first.len() };
            match read_records(&bad).unwrap_err() {
                EventsError::Checksum { offset: o, .. } => assert_eq!(o, offset),
                other => panic!("byte {at}: {other}"),
            }
        }
    }

    #[test]
    fn a_hostile_length_with_a_right_checksum_is_truncated_not_allocated() {
        let length = u64::MAX.to_le_bytes();
        let bytes = [&length[..], &masked_crc(&length).to_le_bytes(), b"abc"].concat();
        assert_eq!(read_records(&bytes), Err(EventsError::Truncated { offset: 0 }));
    }
}
