//! Data sets of labelled images, parsed from bytes.
//!
//! - `cifar`: CIFAR-10 in its binary layout
//! - `idx`: the IDX files of MNIST and Fashion-MNIST, plain or gzip
//! - `container`, `picture`, `folder`, `assemble`: a folder of PNG, JPEG and WebP files by class
//! - `sample`: the two data sets that come with the program
//! - `order`: who is in the validation part, and the order of an epoch
//!
//! Pixels stay `u8` and planar, `[n, channels, height, width]` row-major, as they go to the device.
//! Nothing here opens a file: callers pass bytes and a name for messages. Hostile lengths never
//! size an allocation: memory is bounded by the bytes that are really there.

pub mod assemble;
pub mod cifar;
pub mod container;
mod error;
pub mod folder;
pub mod idx;
pub mod order;
pub mod picture;
pub mod sample;

pub use error::DataError;
pub use order::{permutation, stratified_split};

/// Labelled images of one size. `pixels` is `[n, channels, height, width]` row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
    pub labels: Vec<u32>,
}

/// A named data set with its two parts; labels index `classes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub name: String,
    pub classes: Vec<String>,
    pub train: Images,
    pub test: Images,
}

impl Images {
    /// Builds a set; `None` when pixels, labels and size disagree.
    pub fn new(size: [usize; 3], pixels: Vec<u8>, labels: Vec<u32>) -> Option<Images> {
        let [channels, height, width] = size;
        let stride = channels.checked_mul(height)?.checked_mul(width)?;
        let fits = stride > 0 && stride.checked_mul(labels.len())? == pixels.len();
        fits.then_some(Images { channels, height, width, pixels, labels })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: channels * height * width.
    pub fn stride(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The pixels of image `i`, `[channels, height, width]`. Panics when `i >= len`, as a slice does.
    pub fn image(&self, i: usize) -> &[u8] {
        let stride = self.stride();
        &self.pixels[i * stride..(i + 1) * stride]
    }

    /// Replaces `out` by the pixels of the images at `indices`, in that order. Panics on an index
    /// that is not below `len`; the indices come from `permutation` or `stratified_split`.
    pub fn gather(&self, indices: &[u32], out: &mut Vec<u8>) {
        out.clear();
        out.reserve(indices.len() * self.stride());
        for &i in indices {
            out.extend_from_slice(self.image(i as usize));
        }
    }

    /// A copy of the images at `indices`, in that order, with their labels.
    pub fn subset(&self, indices: &[u32]) -> Images {
        let mut pixels = Vec::new();
        self.gather(indices, &mut pixels);
        let labels = indices.iter().map(|&i| self.labels[i as usize]).collect();
        Images { channels: self.channels, height: self.height, width: self.width, pixels, labels }
    }

    /// Keeps the first `n` images; no effect when there are fewer.
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            self.pixels.truncate(n * self.stride());
            self.labels.truncate(n);
        }
    }

    /// Appends the images of `other`; `false` (and nothing changed) when the sizes differ.
    pub fn append(&mut self, other: &Images) -> bool {
        let same = (self.channels, self.height, self.width) == (other.channels, other.height, other.width);
        if same {
            self.pixels.extend_from_slice(&other.pixels);
            self.labels.extend_from_slice(&other.labels);
        }
        same
    }

    /// Images of each class; the length is `classes`.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(n) = counts.get_mut(label as usize) {
                *n += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Images {
        Images::new([1, 1, 2], vec![1, 2, 3, 4, 5, 6], vec![0, 1, 0]).unwrap()
    }

    #[test]
    fn images_are_picked_in_the_order_asked() {
        let set = three();
        assert_eq!(set.image(1), [3, 4]);
        let mut out = vec![9; 100];
        set.gather(&[2, 0, 2], &mut out);
        assert_eq!(out, [5, 6, 1, 2, 5, 6]);
        let part = set.subset(&[1, 0]);
        assert_eq!((part.pixels, part.labels), (vec![3, 4, 1, 2], vec![1, 0]));
        assert_eq!(set.class_counts(3), [2, 1, 0]);
    }

    #[test]
    fn truncate_keeps_pixels_and_labels_together() {
        let mut set = three();
        set.truncate(5);
        assert_eq!(set.len(), 3);
        set.truncate(1);
        assert_eq!((set.pixels.as_slice(), set.labels.as_slice()), (&[1u8, 2][..], &[0u32][..]));
    }

    #[test]
    fn sizes_must_agree() {
        assert!(Images::new([1, 2, 2], vec![0; 7], vec![0, 0]).is_none());
        assert!(Images::new([0, 2, 2], vec![], vec![0]).is_none());
        assert!(Images::new([usize::MAX, 2, 2], vec![], vec![]).is_none());
        let mut set = three();
        let other = Images::new([1, 2, 1], vec![7, 8], vec![1]).unwrap();
        assert!(!set.append(&other));
        assert_eq!(set, three());
    }
}
