//! Walks the outer structure of PNG, JPEG and WebP files before a decoder sees them, to say at which
//! byte a file is damaged and to bound what its lengths can claim. Decoders are lenient (a JPEG cut
//! in half decodes to a half grey picture) and do not say where they failed.
//!
//! - PNG: signature, then chunks `length type data crc` (big-endian), `IHDR` first, up to `IEND`;
//!   every CRC-32 is checked. Source: W3C PNG specification, section 5.
//! - JPEG: `FF D8`, segments `FF marker length data` (big-endian), after `FF DA` entropy-coded data in
//!   which `FF 00` and `FF D0`-`FF D7` are no markers, up to `FF D9`. Source: ITU-T T.81, annex B.
//! - WebP: `RIFF size WEBP`, then chunks `type length data` (little-endian, padded to even).
//!   Source: RFC 9649.
//!
//! Bytes after the end are allowed: cameras append previews there.

use super::DataError;
use crate::checksum::crc32;

/// The three formats read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
    WebP,
}

const AGAIN: &str = "copy the file again or save it anew with an image editor";
const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// What the walk found: the format and the byte at which the picture data starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    pub format: Format,
    pub data_at: u64,
}

/// Tells the format by the first bytes and walks the file.
pub fn outline(name: &str, bytes: &[u8]) -> Result<Outline, DataError> {
    let walk = Walk { name, bytes };
    if bytes.is_empty() {
        return Err(DataError::Empty { file: name.into(), what: "the file".into(), advice: AGAIN });
    }
    if bytes.starts_with(&PNG_SIGNATURE) {
        Ok(Outline { format: Format::Png, data_at: walk.png()? })
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        Ok(Outline { format: Format::Jpeg, data_at: walk.jpeg()? })
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12).is_none_or(|b| b == b"WEBP") {
        Ok(Outline { format: Format::WebP, data_at: walk.webp()? })
    } else {
        let advice = "only PNG, JPEG and WebP are read: convert the file or remove it from the folder";
        Err(walk.corrupt(0, "not the start of a PNG, JPEG or WebP file".into(), advice))
    }
}

struct Walk<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    fn png(&self) -> Result<u64, DataError> {
        let (mut at, mut data_at) = (8, None);
        loop {
            let length = u32::from_be_bytes(self.take(at, "a PNG chunk")?) as usize;
            let kind: [u8; 4] = self.take(at + 4, "a PNG chunk")?;
            if at == 8 && &kind != b"IHDR" {
                return Err(self.corrupt(12, "the first PNG chunk is not IHDR".into(), AGAIN));
            }
            let body = self.slice(at + 4, length.saturating_add(4), "a PNG chunk")?;
            let stored = u32::from_be_bytes(self.take(at + 8 + length, "a PNG chunk")?);
            if crc32(body) != stored {
                let problem = format!("checksum of PNG chunk {} is wrong", kind.escape_ascii());
                return Err(self.corrupt(at, problem, AGAIN));
            }
            match &kind {
                b"IDAT" => data_at = data_at.or(Some(at as u64)),
                b"IEND" => {
                    return data_at.ok_or_else(|| self.corrupt(at, "no picture data (IDAT)".into(), AGAIN));
                }
                _ => {}
            }
            at += 12 + length;
        }
    }

    fn jpeg(&self) -> Result<u64, DataError> {
        let (mut at, mut data_at) = (2, None);
        loop {
            let [prefix, marker]: [u8; 2] = self.take(at, "JPEG data up to its end marker")?;
            if prefix != 0xff {
                return Err(self.corrupt(at, format!("{prefix:#04x} where a JPEG marker (0xff) belongs"), AGAIN));
            }
            match marker {
                // Fill bytes may precede a marker.
                0xff => at += 1,
                0x01 | 0xd0..=0xd7 => at += 2,
                0xd8 => return Err(self.corrupt(at, "a second start of JPEG image".into(), AGAIN)),
                0xd9 => {
                    return data_at.ok_or_else(|| self.corrupt(at, "a JPEG without picture data".into(), AGAIN));
                }
                _ => {
                    let length = usize::from(u16::from_be_bytes(self.take(at + 2, "a JPEG segment")?));
                    if length < 2 {
                        return Err(self.corrupt(at + 2, format!("JPEG segment of length {length}"), AGAIN));
                    }
                    self.slice(at + 2, length, "a JPEG segment")?;
                    at += 2 + length;
                    if marker == 0xda {
                        data_at = data_at.or(Some(at as u64));
                        at = self.after_entropy(at)?;
                    }
                }
            }
        }
    }

    /// The position of the first real marker after entropy-coded data.
    fn after_entropy(&self, from: usize) -> Result<usize, DataError> {
        let data = self.bytes.get(from..).unwrap_or_default();
        data.windows(2)
            .position(|w| w[0] == 0xff && !matches!(w[1], 0x00 | 0xd0..=0xd7))
            .map(|k| from + k)
            .ok_or_else(|| self.truncated(self.bytes.len() + 2, "JPEG data up to its end marker"))
    }

    fn webp(&self) -> Result<u64, DataError> {
        let size = u32::from_le_bytes(self.take(4, "the RIFF header")?) as usize;
        let _: [u8; 4] = self.take(8, "the RIFF header")?;
        let end = size.saturating_add(8);
        self.slice(8, size, "the RIFF data")?;
        let (mut at, mut data_at) = (12, None);
        while at < end {
            let kind: [u8; 4] = self.take(at, "a WebP chunk")?;
            let length = u32::from_le_bytes(self.take(at + 4, "a WebP chunk")?) as usize;
            self.slice(at + 8, length, "a WebP chunk")?;
            if matches!(&kind, b"VP8 " | b"VP8L" | b"ANMF") {
                data_at = data_at.or(Some(at as u64));
            }
            at += 8 + length + (length & 1);
        }
        data_at.ok_or_else(|| self.corrupt(12, "a WebP file without picture data".into(), AGAIN))
    }

    fn take<const N: usize>(&self, at: usize, what: &'static str) -> Result<[u8; N], DataError> {
        let found = self.slice(at, N, what)?;
        found.try_into().map_err(|_| self.truncated(at + N, what))
    }

    fn slice(&self, at: usize, length: usize, what: &'static str) -> Result<&'a [u8], DataError> {
        let end = at.saturating_add(length);
        self.bytes.get(at..end).ok_or_else(|| self.truncated(end, what))
    }

    fn truncated(&self, expected: usize, what: &'static str) -> DataError {
        let found = self.bytes.len() as u64;
        DataError::Truncated { file: self.name.into(), found, expected: expected as u64, what }
    }

    fn corrupt(&self, offset: usize, problem: String, advice: &'static str) -> DataError {
        DataError::Corrupt { file: self.name.into(), offset: offset as u64, problem, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str) {
        let error = outline("f", bytes).unwrap_err().to_string();
        assert!(error.starts_with("f: ") && error.contains(expect), "{error}");
    }

    #[test]
    fn jpeg_segments() {
        let jpeg = [0xff, 0xd8, 0xff, 0xfe, 0, 3, 7, 0xff, 0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd0, 0xff, 0xd9];
        assert_eq!(outline("f", &jpeg), Ok(Outline { format: Format::Jpeg, data_at: 12 }));
        check(&jpeg[..17], "ends at byte 17, but JPEG data up to its end marker needs 19");
        check(&jpeg[..6], "ends at byte 6, but a JPEG segment needs 7");
        check(&[0xff, 0xd8, 0xff, 0xfe, 0, 1, 0], "byte 4: JPEG segment of length 1");
        check(&[0xff, 0xd8, 7, 7], "byte 2: 0x07 where a JPEG marker");
        check(&[0xff, 0xd8, 0xff, 0xd9], "byte 2: a JPEG without picture data");
    }

    #[test]
    fn webp_chunks() {
        let webp = b"RIFF\x10\0\0\0WEBPVP8L\x03\0\0\0abc\0".as_slice();
        assert_eq!(outline("f", webp), Ok(Outline { format: Format::WebP, data_at: 12 }));
        check(&webp[..21], "ends at byte 21, but the RIFF data needs 24");
        let mut long = webp.to_vec();
        long[16..20].fill(0xff);
        check(&long, "but a WebP chunk needs");
        check(b"RIFF\x04\0\0\0WEBP", "byte 12: a WebP file without picture data");
    }

    #[test]
    fn other_files() {
        check(b"", "byte 0: the file is empty");
        check(b"GIF89a", "byte 0: not the start");
        check(b"RIFF\x04\0\0\0WAVE", "byte 0: not the start");
        check(&PNG_SIGNATURE, "ends at byte 8, but a PNG chunk needs 12");
        check(&[&PNG_SIGNATURE[..], b"\0\0\0\0IEND\xaeB\x60\x82"].concat(), "byte 12: the first PNG chunk is not IHDR");
        check(
            &[&PNG_SIGNATURE[..], b"\xff\xff\xff\xffIHDR"].concat(),
            "ends at byte 16, but a PNG chunk needs 4294967311",
        );
    }
}
