//! Held-out images: what the network says of each, and the scores of all.

use super::{Part, TrainError, Trainer, feed};
use crate::backend::ProgramId;
use crate::data::Images;
use crate::metrics::{Confusion, Evaluation};
use crate::network::eval_step;

/// What the network says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Its position among the images of its part's set ([`Trainer::image`]).
    pub image: u32,
    pub truth: u32,
    pub predicted: u32,
    /// The probability of the predicted class.
    pub confidence: f64,
    pub loss: f64,
}

impl Trainer {
    /// What the network says of each held-out image, in their order. Weights do not change.
    pub async fn predictions(&mut self, part: Part) -> Result<Vec<Prediction>, TrainError> {
        let which: Vec<u32> = match part {
            Part::Validation => self.validation_images.clone(),
            Part::Test => (0..self.data.test.len() as u32).collect(),
        };
        let classes = self.data.classes.len();
        let mut out = Vec::with_capacity(which.len());
        for chunk in which.chunks(self.at_once()) {
            let program = self.eval_program(chunk.len())?;
            let images = if part == Part::Test { &self.data.test } else { &self.data.train };
            feed(&mut self.session, images, chunk, chunk.len())?;
            self.session.run(program)?;
            let predicted = self.session.output(program, "predicted").await?;
            let losses = self.session.output(program, "losses").await?;
            let probabilities = self.session.output(program, "probabilities").await?;
            for (k, &image) in chunk.iter().enumerate() {
                let truth = self.images(part).labels.get(image as usize).copied().unwrap_or(0);
                let said = predicted.at(k) as u32;
                let confidence = probabilities.at(k * classes + said as usize);
                out.push(Prediction { image, truth, predicted: said, confidence, loss: losses.at(k) });
            }
        }
        Ok(out)
    }

    /// Accuracy, scores and mean loss on held-out images.
    pub async fn evaluate(&mut self, part: Part) -> Result<Evaluation, TrainError> {
        let all = self.predictions(part).await?;
        self.score(&all)
    }

    /// The scores of predictions.
    pub fn score(&self, all: &[Prediction]) -> Result<Evaluation, TrainError> {
        let mut confusion = Confusion::new(self.data.classes.clone());
        let mut total = 0.0;
        for p in all {
            let added = confusion.add(p.truth as usize, p.predicted as usize);
            added.map_err(|e| TrainError::Data(e.to_string()))?;
            total += p.loss;
        }
        Ok(Evaluation::new(&confusion, total / all.len().max(1) as f64))
    }

    /// The images that a part's positions count.
    fn images(&self, part: Part) -> &Images {
        if part == Part::Test { &self.data.test } else { &self.data.train }
    }

    /// The pixels of a held-out image, `[channels, height, width]`.
    pub fn image(&self, part: Part, image: u32) -> Option<&[u8]> {
        let images = self.images(part);
        ((image as usize) < images.len()).then(|| images.image(image as usize))
    }

    /// The class of a held-out image.
    pub fn label(&self, part: Part, image: u32) -> Option<u32> {
        self.images(part).labels.get(image as usize).copied()
    }

    fn eval_program(&mut self, n: usize) -> Result<ProgramId, TrainError> {
        if let Some(id) = self.evals.get(&n) {
            return Ok(*id);
        }
        let step = eval_step(&self.recipe, self.shape, n)?;
        let id = self.session.load(&step.graph)?;
        self.evals.insert(n, id);
        Ok(id)
    }
}
