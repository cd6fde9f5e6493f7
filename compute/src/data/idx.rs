//! The IDX files of MNIST and Fashion-MNIST, plain or gzip (told apart by their first bytes).
//!
//! Layout, all numbers big-endian: `00 00 08 rank`, then `rank` dimensions of 4 bytes, then the
//! bytes, row-major. Images have rank 3 `[n, height, width]`, labels rank 1 `[n]`. Only element type
//! 08 (unsigned byte) is used by these data sets; others are refused.
//! Source: Y. LeCun, "THE IDX FILE FORMAT", on the MNIST page.
//!
//! Offsets in errors count the decompressed bytes, except for damage of the gzip stream itself.
//! The header never sizes an allocation: elements are collected as they arrive, up to what the
//! header promises and never over `MAX_ELEMENTS`.

use std::io::Read;

#[cfg(feature = "gzip")]
use flate2::bufread::MultiGzDecoder;

use super::{DataError, Images};

/// The most elements a file may hold: 1 GiB, far over MNIST (47 MB) and EMNIST (638 MB).
pub const MAX_ELEMENTS: u64 = 1 << 30;
const MAX_RANK: usize = 4;
const AGAIN: &str = "copy or fetch the file again";
const NOT_IDX: &str = "give the IDX file of MNIST or Fashion-MNIST, plain or .gz";

/// A parsed file: `data` is row-major over `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// Parses one file.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Idx, DataError> {
    if bytes.is_empty() {
        return Err(DataError::Empty { file: name.into(), what: "the file".into(), advice: AGAIN });
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        gzip(name, bytes)
    } else {
        let mut source = Source { name, read: 0, inner: bytes, at: |_: &&[u8]| None };
        source.idx()
    }
}

#[cfg(not(feature = "gzip"))]
fn gzip(name: &str, _: &[u8]) -> Result<Idx, DataError> {
    let problem = "a gzip file, which this build does not read".into();
    Err(DataError::Corrupt { file: name.into(), offset: 0, problem, advice: "unpack it first" })
}

#[cfg(feature = "gzip")]
fn gzip(name: &str, bytes: &[u8]) -> Result<Idx, DataError> {
    Source { name, read: 0, inner: MultiGzDecoder::new(bytes), at: gzip_position(bytes.len()) }.idx()
}

/// Where in the compressed file a gzip decoder stands.
#[cfg(feature = "gzip")]
fn gzip_position(total: usize) -> impl Fn(&MultiGzDecoder<&[u8]>) -> Option<u64> {
    move |decoder| Some((total - decoder.get_ref().len()) as u64)
}

struct Source<'a, R, P> {
    name: &'a str,
    /// Decompressed bytes taken so far.
    read: u64,
    inner: R,
    at: P,
}

impl<R: Read, P: Fn(&R) -> Option<u64>> Source<'_, R, P> {
    fn idx(&mut self) -> Result<Idx, DataError> {
        let magic = self.take(4, "the header")?;
        if magic[0] != 0 || magic[1] != 0 {
            return Err(self.corrupt(
                0,
                format!("{:02x} {:02x} where an IDX file has 00 00", magic[0], magic[1]),
                NOT_IDX,
            ));
        }
        if magic[2] != 8 {
            return Err(self.corrupt(2, format!("element type {:#04x}, only 0x08 (bytes) is read", magic[2]), NOT_IDX));
        }
        let rank = usize::from(magic[3]);
        if rank == 0 || rank > MAX_RANK {
            return Err(self.corrupt(3, format!("{rank} dimensions, expected 1 to {MAX_RANK}"), NOT_IDX));
        }
        let header = self.take(4 * rank as u64, "the header")?;
        let dims: Vec<u64> =
            header.chunks_exact(4).map(|d| u64::from(u32::from_be_bytes([d[0], d[1], d[2], d[3]]))).collect();
        // At most 4 factors of 32 bits: no overflow in 128.
        let elements: u128 = dims.iter().map(|&d| u128::from(d)).product();
        if elements > u128::from(MAX_ELEMENTS) {
            return Err(DataError::TooLarge {
                file: self.name.into(),
                offset: 4,
                what: "the number of elements in the header",
                found: u64::try_from(elements).unwrap_or(u64::MAX),
                limit: MAX_ELEMENTS,
                advice: AGAIN,
            });
        }
        let data = self.take(elements as u64, "the data that its header promises")?;
        self.end()?;
        Ok(Idx { shape: dims.into_iter().map(|d| d as usize).collect(), data })
    }

    /// Exactly `n` bytes; the buffer grows with what arrives.
    fn take(&mut self, n: u64, what: &'static str) -> Result<Vec<u8>, DataError> {
        let mut out = Vec::new();
        let result = (&mut self.inner).take(n).read_to_end(&mut out);
        self.read += out.len() as u64;
        match result {
            Err(error) => Err(self.unreadable(&error)),
            Ok(_) if (out.len() as u64) < n => Err(DataError::Truncated {
                file: self.name.into(),
                found: self.read,
                expected: self.read - out.len() as u64 + n,
                what,
            }),
            Ok(_) => Ok(out),
        }
    }

    /// Nothing may follow; reading to the end also checks gzip's own checksum.
    fn end(&mut self) -> Result<(), DataError> {
        let mut extra = [0; 1];
        match self.inner.read(&mut extra) {
            Err(error) => Err(self.unreadable(&error)),
            Ok(0) => Ok(()),
            Ok(_) => Err(self.corrupt(self.read, "data after the last element".into(), AGAIN)),
        }
    }

    fn unreadable(&self, error: &std::io::Error) -> DataError {
        let offset = (self.at)(&self.inner).unwrap_or(self.read);
        self.corrupt(offset, format!("damaged gzip data ({error})"), AGAIN)
    }

    fn corrupt(&self, offset: u64, problem: String, advice: &'static str) -> DataError {
        DataError::Corrupt { file: self.name.into(), offset, problem, advice }
    }
}

/// Joins an image file and its label file; labels must be below `classes`.
pub fn images(image_file: (&str, &[u8]), label_file: (&str, &[u8]), classes: usize) -> Result<Images, DataError> {
    let (image_name, label_name) = (image_file.0, label_file.0);
    let pictures = parse(image_name, image_file.1)?;
    let &[n, height, width] = pictures.shape.as_slice() else {
        return Err(wrong_rank(image_name, pictures.shape.len(), "images have 3 dimensions"));
    };
    let labels = labels(label_name, label_file.1, classes)?;
    if n != labels.len() {
        return Err(DataError::CountMismatch {
            images: image_name.into(),
            image_count: n,
            labels: label_name.into(),
            label_count: labels.len(),
        });
    }
    if pictures.data.is_empty() {
        return Err(DataError::Empty {
            file: image_name.into(),
            what: format!("a set of {n} images of {width}x{height}"),
            advice: AGAIN,
        });
    }
    Ok(Images { channels: 1, height, width, pixels: pictures.data, labels })
}

/// Parses a label file.
pub fn labels(name: &str, bytes: &[u8], classes: usize) -> Result<Vec<u32>, DataError> {
    let idx = parse(name, bytes)?;
    if idx.shape.len() != 1 {
        return Err(wrong_rank(name, idx.shape.len(), "labels have 1 dimension"));
    }
    if let Some(index) = idx.data.iter().position(|&l| usize::from(l) >= classes) {
        let label = idx.data[index].into();
        let offset = 8 + index as u64;
        return Err(DataError::Label { file: name.into(), offset, index, label, last: classes.saturating_sub(1) });
    }
    Ok(idx.data.into_iter().map(u32::from).collect())
}

fn wrong_rank(name: &str, rank: usize, expected: &str) -> DataError {
    let problem = format!("{rank} dimensions, but {expected}");
    DataError::Corrupt {
        file: name.into(),
        offset: 3,
        problem,
        advice: "check that image and label files are not swapped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
        out.extend_from_slice(data);
        out
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn check(bytes: &[u8], expect: &str) {
        let error = parse("f.idx", bytes).unwrap_err().to_string();
        assert!(error.starts_with("f.idx") && error.contains(expect), "{error}");
    }

    #[test]
    fn plain_and_gzip_give_the_same() {
        let plain = idx(&[2, 1, 2], &[1, 2, 3, 4]);
        let expected = Idx { shape: vec![2, 1, 2], data: vec![1, 2, 3, 4] };
        assert_eq!(parse("p", &plain), Ok(expected.clone()));
        assert_eq!(parse("z", &gz(&plain)), Ok(expected));
        let set = images(("i", &gz(&plain)), ("l", &idx(&[2], &[9, 0])), 10).unwrap();
        assert_eq!((set.channels, set.height, set.width, set.labels), (1, 1, 2, vec![9, 0]));
    }

    #[test]
    fn damage_is_named_with_its_byte() {
        let plain = idx(&[2, 1, 2], &[1, 2, 3, 4]);
        check(&[], "byte 0: the file is empty");
        check(&plain[..2], "ends at byte 2, but the header needs 4");
        check(&plain[..9], "ends at byte 9, but the header needs 16");
        check(&plain[..18], "ends at byte 18, but the data that its header promises needs 20");
        check(&[&plain[..], &[0]].concat(), "byte 20: data after the last element");
        check(&[1, 0, 8, 1], "byte 0: 01 00");
        check(&[0, 0, 0x0d, 1], "byte 2: element type 0x0d");
        check(&[0, 0, 8, 0], "byte 3: 0 dimensions");
        check(&[0, 0, 8, 200], "byte 3: 200 dimensions");
        check(&gz(&plain[..18]), "ends at byte 18");
        let mut zipped = gz(&plain);
        zipped.truncate(zipped.len() - 3);
        check(&zipped, "damaged gzip data");
        let mut zipped = gz(&plain);
        let crc = zipped.len() - 8;
        zipped[crc] ^= 1;
        check(&zipped, "damaged gzip data");
    }

    #[test]
    fn hostile_lengths_are_refused_before_any_allocation() {
        check(&idx(&[u32::MAX; 4], &[]), "over the limit of 1073741824");
        // Within the limit, yet not there: only what arrived was stored.
        check(&idx(&[1 << 15, 1 << 15], &[7; 10]), "ends at byte 22");
        // A bomb: 64 MB of zeros behind a header that promises 4 bytes.
        check(&gz(&[idx(&[4], &[0; 4]), vec![0; 1 << 26]].concat()), "byte 12: data after");
    }

    #[test]
    fn images_and_labels_must_belong_together() {
        let pictures = idx(&[2, 1, 1], &[5, 6]);
        let error = |i: &[u8], l: &[u8]| images(("i", i), ("l", l), 10).unwrap_err().to_string();
        assert!(error(&pictures, &idx(&[3], &[0, 1, 2])).contains("i has 2 images"));
        assert!(error(&pictures, &idx(&[2], &[0, 10])).contains("l: byte 9: label 10 of image 1"));
        assert!(error(&idx(&[2], &[0, 1]), &pictures).contains("i: byte 3: 1 dimensions"));
        assert!(error(&pictures, &pictures).contains("l: byte 3: 3 dimensions"));
        assert!(error(&idx(&[0, 1, 1], &[]), &idx(&[0], &[])).contains("i: byte 0"));
    }
}
