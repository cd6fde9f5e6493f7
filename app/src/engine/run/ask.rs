//! What a run is asked: scores, images, scenes on its weights, counts of its numbers.

use compute::checkpoint::weights_from_bytes;
use compute::events::histogram::even;
use compute::metrics::Evaluation;
use compute::tensor::Tensor;
use compute::train::Prediction;

use super::Run;
use crate::engine::training::{Bins, Frozen, Histogram, Said, Scores};
use crate::engine::{FileData, Values, picture};
use crate::scenes::{self, Scene};

/// Bars of a histogram.
const BINS: usize = 40;

pub fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// Scores as the page has them.
pub fn scores(step: usize, found: &Evaluation, all: &[Prediction]) -> Scores {
    let said =
        |p: &Prediction| Said { image: p.image, truth: p.truth, predicted: p.predicted, confidence: p.confidence };
    Scores {
        step,
        loss: found.loss.unwrap_or(f64::NAN),
        accuracy: found.accuracy,
        macro_f1: found.macro_average.f1,
        confusion: found.confusion_matrix.clone(),
        said: all.iter().map(said).collect(),
    }
}

fn bins(t: &Tensor) -> Bins {
    let ((low, high), counts) = even(t.as_f32().unwrap_or_default(), BINS);
    Bins { low, high, counts }
}

impl Run {
    /// The scores of the held-out images at the present weights.
    pub async fn scores(&mut self) -> Result<Scores, String> {
        if let Some(known) = &self.scores {
            return Ok(known.clone());
        }
        if self.fixed {
            return Err("this run's data are not here, so nothing can be scored".into());
        }
        let part = self.part();
        let all = self.trainer.predictions(part).await.map_err(text)?;
        let found = self.trainer.score(&all).map_err(text)?;
        let made = scores(self.trainer.step_count(), &found, &all);
        self.scores = Some(made.clone());
        Ok(made)
    }

    /// Pixels of held-out images.
    pub fn images(&self, which: &[u32]) -> Result<Vec<Values>, String> {
        let part = self.part();
        let shape = self.trainer.shape();
        which
            .iter()
            .map(|&i| {
                let pixels = self.trainer.image(part, i).ok_or_else(|| format!("there is no image {i}"))?;
                let shape = vec![shape.channels, shape.height, shape.width];
                Ok(Values { name: i.to_string(), shape, data: pixels.iter().map(|p| f32::from(*p)).collect() })
            })
            .collect()
    }

    /// Each parameter's weights and gradients, counted.
    pub async fn histograms(&mut self) -> Result<Vec<Histogram>, String> {
        let gradients = self.trainer.gradients().await.map_err(text)?;
        let weights = self.trainer.weights().await.map_err(text)?;
        let of = |name: &str| weights.iter().find(|(n, _)| n == name).map(|(_, t)| bins(t)).unwrap_or_default();
        Ok(gradients
            .iter()
            .map(|(name, d)| Histogram { name: name.clone(), weights: of(name), gradients: bins(d) })
            .collect())
    }

    /// Starts from the weights of a file. Errors: names or shapes that do not match, all listed.
    pub fn set_weights(&mut self, file: &FileData) -> Result<(), String> {
        let given = weights_from_bytes(&file.name, &file.bytes).map_err(text)?;
        self.trainer.set_weights(&file.name, given).map_err(text)?;
        (self.scores, self.best) = (None, None);
        Ok(())
    }

    /// A scene on the present weights.
    pub async fn freeze(&mut self, what: &Frozen) -> Result<Scene, String> {
        let (mut leaves, state) = self.trainer.snapshot().await.map_err(text)?;
        let shape = self.trainer.shape();
        match what {
            Frozen::Image(i) => {
                let part = self.part();
                let pixels = self.trainer.image(part, *i).ok_or_else(|| format!("there is no image {i}"))?;
                let truth = self.trainer.label(part, *i).unwrap_or(0);
                scenes::look::scene(&self.recipe, shape, pixels, truth, leaves)
            }
            Frozen::Own { file, invert } => {
                let picture = picture::decode(&file.name, &file.bytes).await?;
                let planes = picture.planes([shape.channels, shape.height, shape.width]);
                let mut pixels = planes.ok_or_else(|| format!("{}: it cannot be scaled", file.name))?;
                if *invert {
                    pixels.iter_mut().for_each(|p| *p = 255 - *p);
                }
                scenes::look::scene(&self.recipe, shape, &pixels, 0, leaves)
            }
            Frozen::Step => {
                let (images, feeds) = self.trainer.next_feeds();
                leaves.extend(state);
                leaves.extend(feeds);
                scenes::look::step(&self.recipe, shape, images, leaves)
            }
        }
    }
}
