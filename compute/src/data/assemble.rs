//! Decoded pictures into one planar set `[n, 3, height, width]`. Pictures of one size keep it;
//! otherwise all are scaled to `resize` x `resize`, and without a `resize` the first picture that
//! differs is an error.

use super::folder::LAYOUTS;
use super::picture::Rgb;
use super::{DataError, Images};

/// Collects decoded pictures into one planar set, scaling when sizes differ.
pub struct Assembler {
    resize: Option<usize>,
    first: Option<(String, usize, usize)>,
    scaled: bool,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Assembler {
    /// `resize` is used only when sizes differ: pictures of one size keep it.
    pub fn new(resize: Option<usize>) -> Assembler {
        Assembler { resize, first: None, scaled: false, pixels: Vec::new(), labels: Vec::new() }
    }

    /// Adds a picture.
    pub fn push(&mut self, name: &str, label: u32, picture: &Rgb) -> Result<(), DataError> {
        let (_, width, height) = self.first.get_or_insert_with(|| (name.into(), picture.width, picture.height)).clone();
        if !self.scaled && (picture.width, picture.height) != (width, height) {
            self.rescale(name, picture)?;
        }
        match self.resize {
            Some(side) if self.scaled => self.store(&scale(name, picture, side)?, label),
            _ => self.store(picture, label),
        }
    }

    /// Number of pictures so far.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first `train` pictures and the rest.
    pub fn finish(mut self, root: &str, train: usize) -> Result<(Images, Images), DataError> {
        let Some((_, width, height)) = self.first else {
            return Err(DataError::Layout { root: root.into(), problem: "no pictures".into(), advice: LAYOUTS });
        };
        let (height, width) = match self.resize {
            Some(side) if self.scaled => (side, side),
            _ => (height, width),
        };
        let train = train.min(self.labels.len());
        let test_pixels = self.pixels.split_off(train * 3 * height * width);
        let test_labels = self.labels.split_off(train);
        let part = |pixels, labels| Images { channels: 3, height, width, pixels, labels };
        Ok((part(self.pixels, self.labels), part(test_pixels, test_labels)))
    }

    /// Turns what was stored at its own size into the common size.
    fn rescale(&mut self, name: &str, picture: &Rgb) -> Result<(), DataError> {
        let Some((first_file, width, height)) = self.first.clone() else {
            return Ok(());
        };
        let Some(side) = self.resize else {
            return Err(DataError::NeedsResize {
                file: name.into(),
                width: picture.width,
                height: picture.height,
                first_file,
                first_width: width,
                first_height: height,
            });
        };
        let stored = std::mem::take(&mut self.pixels);
        let plane = width * height;
        self.scaled = true;
        for image in stored.chunks_exact(3 * plane) {
            let pixels = (0..3 * plane).map(|k| image[(k % 3) * plane + k / 3]).collect();
            let small = scale(&first_file, &Rgb { width, height, pixels }, side)?;
            small.extend_planar(&mut self.pixels);
        }
        Ok(())
    }

    fn store(&mut self, picture: &Rgb, label: u32) -> Result<(), DataError> {
        if self.pixels.try_reserve(picture.pixels.len()).is_err() {
            return Err(DataError::Option {
                option: "resize",
                problem: format!(
                    "{} pictures of {}x{} do not fit into memory",
                    self.labels.len() + 1,
                    picture.width,
                    picture.height
                ),
                advice: "set a smaller data.resize or data.limit",
            });
        }
        picture.extend_planar(&mut self.pixels);
        self.labels.push(label);
        Ok(())
    }
}

fn scale(name: &str, picture: &Rgb, side: usize) -> Result<Rgb, DataError> {
    picture.resize(side, side).ok_or_else(|| DataError::Option {
        option: "resize",
        problem: format!("{name} ({}x{}) cannot be scaled to {side}x{side}", picture.width, picture.height),
        advice: "give a side from 1 to 16384 pixels",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(width: usize, height: usize, value: u8) -> Rgb {
        Rgb { width, height, pixels: vec![value; 3 * width * height] }
    }

    #[test]
    fn one_size_is_kept_even_when_a_resize_is_given() {
        let mut set = Assembler::new(Some(5));
        set.push("a", 1, &flat(2, 3, 10)).unwrap();
        set.push("b", 0, &flat(2, 3, 20)).unwrap();
        let (train, test) = set.finish("r", 1).unwrap();
        assert_eq!((train.height, train.width, train.labels, test.labels), (3, 2, vec![1], vec![0]));
        assert_eq!(test.pixels, [20; 18]);
    }

    #[test]
    fn different_sizes_are_scaled_to_the_resize() {
        let mut set = Assembler::new(Some(2));
        let gradient = Rgb { width: 4, height: 4, pixels: (0..48).map(|k| (k % 3 * 40) as u8).collect() };
        set.push("a", 0, &gradient).unwrap();
        set.push("b", 1, &flat(3, 2, 9)).unwrap();
        set.push("c", 1, &flat(4, 4, 7)).unwrap();
        let (all, none) = set.finish("r", 3).unwrap();
        assert_eq!(all.pixels[..12], [0, 0, 0, 0, 40, 40, 40, 40, 80, 80, 80, 80]);
        assert_eq!(all.pixels[12..], [[9; 12], [7; 12]].concat());
        assert!(none.is_empty() && all.len() == 3);
    }

    #[test]
    fn different_sizes_without_a_resize_are_an_error() {
        let mut set = Assembler::new(None);
        set.push("a.png", 0, &flat(4, 4, 1)).unwrap();
        let error = set.push("b.png", 0, &flat(5, 4, 1)).unwrap_err().to_string();
        assert!(error.contains("b.png is 5x4 but a.png is 4x4") && error.contains("data.resize"), "{error}");
    }
}
