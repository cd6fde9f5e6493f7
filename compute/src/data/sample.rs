//! The two data sets that come with the program: real images under the MIT licence, so that the
//! first run needs no download. Inside the binary (feature `sample`); the page fetches the same
//! files. Sources, licences and how they were made: `compute/assets/*/README.md`.

use super::picture::Rgb;
use super::{DataError, Dataset, Images, idx};

/// The classes of Fashion-MNIST, by label.
pub const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
/// The classes of the blood cells, by label.
pub const BLOOD_CLASSES: [&str; 3] = ["Platelets", "RBC", "WBC"];
const CELL: usize = 64;

/// A file: its name for messages, and its bytes.
pub type File<'a> = (&'a str, &'a [u8]);

/// The parts that the training images of Fashion-MNIST's sample are in, 1,000 each.
pub const FASHION_PARTS: usize = 5;

/// The sample of Fashion-MNIST, 28x28 grey, 10 classes, from its files: parts of the training images
/// and the test images, each with its labels.
pub fn fashion(train: &[[File; 2]], test: [File; 2]) -> Result<Dataset, DataError> {
    let part = |[images, labels]: [File; 2]| idx::images(images, labels, FASHION_CLASSES.len());
    let mut all = Images { channels: 1, height: 28, width: 28, pixels: vec![], labels: vec![] };
    for files in train {
        let images = part(*files)?;
        if !all.append(&images) {
            return Err(DataError::Corrupt {
                file: files[0].0.into(),
                offset: 0,
                problem: format!("images of {}x{}, not 28x28", images.width, images.height),
                advice: "use the files that come with the program",
            });
        }
    }
    let classes = FASHION_CLASSES.map(String::from).to_vec();
    Ok(Dataset { name: "fashion-sample".into(), classes, train: all, test: part(test)? })
}

/// A mosaic that was decoded: its file's name for messages, and its pixels.
pub type Sheet<'a> = (&'a str, &'a Rgb);

/// The blood-cell crops, 64x64 RGB, 3 classes, from their mosaics and labels.
pub fn blood(train: (Sheet, File), test: (Sheet, File)) -> Result<Dataset, DataError> {
    let classes = BLOOD_CLASSES.map(String::from).to_vec();
    let part = |(sheet, labels): (Sheet, File)| mosaic(sheet, labels);
    Ok(Dataset { name: "blood-cells".into(), classes, train: part(train)?, test: part(test)? })
}

#[cfg(feature = "sample")]
mod embedded {
    use super::{DataError, Dataset, blood, fashion};
    use crate::data::picture::decode;

    macro_rules! asset {
        ($path:expr) => {
            ($path, include_bytes!(concat!("../../assets/", $path)).as_slice())
        };
    }

    macro_rules! fashion_part {
        ($part:literal) => {
            [
                asset!(concat!("fashion-sample/", $part, "-images-idx3-ubyte.gz")),
                asset!(concat!("fashion-sample/", $part, "-labels-idx1-ubyte.gz")),
            ]
        };
    }

    /// 5,000 + 1,000 images of Fashion-MNIST.
    pub fn fashion_sample() -> Result<Dataset, DataError> {
        let train = [
            fashion_part!("train-0"),
            fashion_part!("train-1"),
            fashion_part!("train-2"),
            fashion_part!("train-3"),
            fashion_part!("train-4"),
        ];
        fashion(&train, fashion_part!("t10k"))
    }

    /// 803 + 193 blood-cell crops.
    pub fn blood_cells() -> Result<Dataset, DataError> {
        let (train, test) = (asset!("blood-cells/train-images.webp"), asset!("blood-cells/test-images.webp"));
        let sheets = [decode(train.0, train.1)?, decode(test.0, test.1)?];
        blood(
            ((train.0, &sheets[0]), asset!("blood-cells/train-labels-idx1-ubyte.gz")),
            ((test.0, &sheets[1]), asset!("blood-cells/test-labels-idx1-ubyte.gz")),
        )
    }
}

#[cfg(feature = "sample")]
pub use embedded::{blood_cells, fashion_sample};

/// Cuts a mosaic into its cells, row by row.
fn mosaic((file, sheet): Sheet, labels: File) -> Result<Images, DataError> {
    let labels = idx::labels(labels.0, labels.1, BLOOD_CLASSES.len())?;
    let columns = sheet.width / CELL;
    let cells = columns * (sheet.height / CELL);
    if cells < labels.len() || labels.is_empty() {
        return Err(DataError::Corrupt {
            file: file.into(),
            offset: 0,
            problem: format!("a mosaic of {cells} cells for {} labels", labels.len()),
            advice: "build the binary again",
        });
    }
    let mut pixels = Vec::with_capacity(labels.len() * 3 * CELL * CELL);
    for cell in 0..labels.len() {
        let (top, left) = (cell / columns * CELL, cell % columns * CELL);
        for channel in 0..3 {
            for y in top..top + CELL {
                let row = (y * sheet.width + left) * 3;
                pixels.extend(sheet.pixels[row..row + 3 * CELL].iter().skip(channel).step_by(3));
            }
        }
    }
    Ok(Images { channels: 3, height: CELL, width: CELL, pixels, labels })
}

#[cfg(all(test, feature = "sample"))]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn hex(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
    }

    fn check(part: &Images, counts: &[usize], pixels: &str, labels: &str) {
        assert_eq!(part.class_counts(counts.len()), counts);
        assert_eq!(part.pixels.len(), part.len() * part.stride());
        assert_eq!(hex(&part.pixels), pixels);
        assert_eq!(hex(&part.labels.iter().map(|&l| l as u8).collect::<Vec<_>>()), labels);
    }

    // The sums are those that `assets/make_samples.py` printed: computed by numpy, Pillow and
    // libwebp, so they check the parsers here too.

    #[test]
    fn fashion_is_what_the_script_made() {
        let set = fashion_sample().unwrap();
        check(
            &set.train,
            &[500; 10],
            "219e0834d6dbbfcccb72e61d67310bfef387e43aba6c40b2bc63758d7ad925c9",
            "4e5c0e8f28b58a4a5a035b2c3ca5c4e9b9dcd1ae36ad28d9ac24bdc36dc09cf1",
        );
        check(
            &set.test,
            &[100; 10],
            "3d7f6d64869a3f2d1afe64ae33ffb9b20670a91b31e3bbf0657e3999ec7b35cf",
            "6b25654537ff83dd6c40fe0a122c7778d8219b2a88ff02c36dbdd21152fdb075",
        );
        assert_eq!((set.train.channels, set.train.height, set.train.width), (1, 28, 28));
    }

    #[test]
    fn blood_cells_are_what_the_script_made() {
        let set = blood_cells().unwrap();
        check(
            &set.train,
            &[292, 300, 211],
            "5fd15d168fb309b75a826242176a4e68020ada1448429b4ae235cdf56c082f44",
            "8a83352f0be53af6e6b9ea458bafda1d71bee43adbfd4b4234d2440a4b841133",
        );
        check(
            &set.test,
            &[69, 75, 49],
            "fe3b3fbb278798f11800aeb3de772693eb5ca7667012fb054a9aaf5cedb4e638",
            "a98042488d6e33255a145965b457d8e79b9e7bdbeba696c01b53d069f4331eb2",
        );
        assert_eq!((set.train.channels, set.train.height, set.train.width), (3, 64, 64));
    }
}
