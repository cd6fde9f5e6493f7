//! What a step reads: which images, in which order, and how they come to the device.
//!
//! Two ways lead to the same bits. A batch is gathered here and written; or all training images lie on the
//! device, uploaded once as u8, and a batch is a few numbers of rows, gathered there by a node of the graph.
//! The second is for a GPU, where the host is what a small network waits for: measured with mlp-fashion, a batch
//! of 100 KB takes 29 us to gather and stage, its numbers 9, and the encoding of the step 67. In main memory the first
//! is a copy, 2 to 3 % of that step and of others less, and the second would only keep the images twice.

use super::{TrainError, Trainer};
use crate::checkpoint::Named;
use crate::data::{Images, permutation};
use crate::network::{Source, images_feed, labels_feed, optimizer, part_feed, rows_feed};
use crate::ops::gather::MOST_PARTS;
use crate::optim;
use crate::session::Session;
use crate::tensor::Tensor;

/// More than this stays in main memory: the device is for the network.
const MOST_BYTES: usize = 1 << 30;
/// The least bytes of a part: on its way to the device each write lies in memory once more.
const PART_BYTES: usize = 16 << 20;

/// All images on the device, in parts that it can bind; fed batch by batch if there are too many.
pub fn resident(images: &Images, max_buffer_bytes: Option<usize>) -> Source {
    let (n, stride) = (images.len(), images.stride().max(1));
    // Parts are whole images.
    let each = (PART_BYTES / stride).max(n.div_ceil(MOST_PARTS)).max(1);
    if images.pixels.len() > MOST_BYTES || max_buffer_bytes.is_some_and(|most| each.min(n) * stride > most) {
        return Source::Fed;
    }
    let rest = n % each;
    Source::Resident(std::iter::repeat_n(each, n / each).chain((rest > 0).then_some(rest)).collect())
}

/// Gathers batches of the training images beside the step that runs: in the binary on a thread of its own.
pub trait Gather {
    /// Begins to gather the pixels of these images.
    fn begin(&mut self, which: &[u32]);
    /// The pixels, if these are the images that were begun.
    fn take(&mut self, which: &[u32]) -> Option<Vec<u8>>;
}

impl Trainer {
    /// Lets batches be gathered ahead: the same bits, ready when the device is.
    pub fn gather_ahead(&mut self, by: Box<dyn Gather>) {
        self.ahead = Some(by);
    }

    /// Where the images of training steps come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Uploads the images that are to lie on the device.
    pub(super) fn write_images(&mut self) -> Result<(), TrainError> {
        let Source::Resident(parts) = &self.source else { return Ok(()) };
        let images = &self.data.train;
        let mut first = 0;
        for (k, &count) in parts.iter().enumerate() {
            let bytes = &images.pixels[first * images.stride()..(first + count) * images.stride()];
            let part = Tensor::u8([count, images.channels, images.height, images.width], bytes.to_vec());
            self.session.write(&part_feed(k), &part)?;
            first += count;
        }
        Ok(())
    }

    /// The images of a step, as positions in the training set.
    pub(super) fn images_of(&mut self, step: usize) -> Vec<u32> {
        let (epoch, at) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.order.0 != epoch {
            let n = self.train_images.len();
            let order = if self.recipe.data.shuffle {
                permutation(n, u64::from(self.recipe.train.seed), epoch as u64)
                    .into_iter()
                    .filter_map(|k| self.train_images.get(k as usize).copied())
                    .collect()
            } else {
                self.train_images.clone()
            };
            self.order = (epoch, order);
        }
        let batch = self.batch();
        let from = (at * batch).min(self.order.1.len());
        let to = (from + batch).min(self.order.1.len());
        self.order.1[from..to].to_vec()
    }

    /// What a step reads, and how many images: images, labels, the random key, the optimiser's
    /// scalars.
    pub(super) fn feeds(&mut self, step: usize) -> (usize, Named) {
        let which = self.images_of(step);
        let mut all = self.part_feeds(&which);
        all.extend(self.step_feeds(step));
        (which.len(), all)
    }

    /// How many images each program of a step sees.
    pub(super) fn counts(&mut self, step: usize) -> Vec<usize> {
        let size = self.at_once();
        self.images_of(step).chunks(size).map(<[u32]>::len).collect()
    }

    /// The images and labels of a batch, gathered ahead if they were.
    pub(super) fn batch_feeds(&mut self, which: &[u32]) -> Named {
        let ready = self.ahead.as_mut().and_then(|a| a.take(which));
        match (&self.source, ready) {
            (Source::Fed, Some(pixels)) => batch(&self.data.train, which, which.len(), Some(pixels)),
            _ => self.part_feeds(which),
        }
    }

    /// Images and labels.
    pub(super) fn part_feeds(&self, which: &[u32]) -> Named {
        let n = which.len();
        match self.source {
            Source::Fed => batch(&self.data.train, which, n, None),
            Source::Resident(_) => {
                vec![(rows_feed(n), Tensor::u32([n], which.to_vec())), labels(&self.data.train, which, n)]
            }
        }
    }

    /// The random key and the optimiser's scalars.
    pub(super) fn step_feeds(&self, step: usize) -> Named {
        let rng = ("rng".to_string(), Tensor::u32([2], vec![self.recipe.train.seed, step as u32]));
        let scalars = optim::scalars(&optimizer(&self.recipe), step as u64 + 1, self.learning_rate(step));
        std::iter::once(rng).chain(scalars.into_iter().map(|(name, v)| (name.to_string(), Tensor::scalar(v)))).collect()
    }

    /// Begins to gather the next step's batch.
    pub(super) fn begin_next(&mut self) {
        if self.ahead.is_some() && self.parts.is_none() && self.step + 1 < self.total_steps() {
            let next = self.images_of(self.step + 1);
            self.ahead.iter_mut().for_each(|a| a.begin(&next));
        }
    }
}

/// The feeds of a batch, padded to `n` with zeros; `ready` are its pixels, if they were gathered before.
fn batch(images: &Images, which: &[u32], n: usize, ready: Option<Vec<u8>>) -> Named {
    let mut pixels = ready.unwrap_or_else(|| {
        let mut pixels = Vec::with_capacity(n * images.stride());
        images.gather(which, &mut pixels);
        pixels
    });
    pixels.resize(n * images.stride(), 0);
    let shape = [n, images.channels, images.height, images.width];
    vec![(images_feed(n), Tensor::u8(shape, pixels)), labels(images, which, n)]
}

fn labels(images: &Images, which: &[u32], n: usize) -> (String, Tensor) {
    let mut labels: Vec<u32> = which.iter().filter_map(|&i| images.labels.get(i as usize).copied()).collect();
    labels.resize(n, 0);
    (labels_feed(n), Tensor::u32([n], labels))
}

/// Writes the images and labels of a batch, padded to `n` with zeros.
pub fn feed(session: &mut Session, images: &Images, which: &[u32], n: usize) -> Result<(), TrainError> {
    for (name, value) in batch(images, which, n, None) {
        session.write(&name, &value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_lie_on_the_device_in_parts_that_it_binds() {
        let images = |n: usize, side: usize| {
            let pixels = vec![0; n * 3 * side * side];
            Images::new([3, side, side], pixels, vec![0; n]).unwrap()
        };
        assert_eq!(resident(&images(10, 2), None), Source::Resident(vec![10]));
        // As large as CIFAR-10, within the limits of every browser.
        let Source::Resident(parts) = resident(&images(50_000, 32), Some(128 << 20)) else { panic!("it fits") };
        assert_eq!(parts.iter().sum::<usize>(), 50_000);
        assert!(parts.len() <= MOST_PARTS && parts.iter().all(|n| n * 3072 <= 128 << 20), "{parts:?}");
        assert_eq!(resident(&images(50_000, 32), Some(1 << 20)), Source::Fed);
        assert_eq!(resident(&images(400, 1000), None), Source::Fed);
    }
}
