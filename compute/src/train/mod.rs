//! The training loop without files, clocks or screens: a [`Trainer`] owns a session, the data and
//! a position, and is driven step by step by the binary or the page.
//!
//! The position is one number, the step: which images it sees, in which order, with which random
//! numbers and learning rate, all follow from it and the recipe. So a run continues from a
//! checkpoint with the same bits, and any step can be replayed for inspection.

mod evaluate;
pub mod folder;
pub mod log;
mod state;

use std::collections::BTreeMap;

use crate::backend::{BackendError, ProgramId};
use crate::checkpoint::{CheckpointError, Named};
use crate::data::{Dataset, Images, permutation, stratified_split};
use crate::graph::NodeId;
use crate::network::{ImageShape, ModelError, RING, TrainStep, images_feed, labels_feed, optimizer, train_step};
use crate::nn::init;
use crate::optim;
use crate::recipe::Recipe;
use crate::session::Session;
use crate::tensor::Tensor;

/// What can stop training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    #[error("{0}")]
    Data(String),
    #[error(
        "training diverged at step {step}: the loss is {loss}; the first tensor that is not finite is {tensor}. Try a smaller optimizer.lr, or train.clip_norm"
    )]
    Diverged { step: usize, loss: f64, tensor: String },
}

/// Loss and hits of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepMetrics {
    pub step: usize,
    pub loss: f64,
    pub correct: u32,
    pub images: u32,
}

pub use evaluate::Prediction;

/// Which held-out images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Validation,
    Test,
}

/// See the module's introduction.
pub struct Trainer {
    session: Session,
    recipe: Recipe,
    data: Dataset,
    train_images: Vec<u32>,
    validation_images: Vec<u32>,
    shape: ImageShape,
    network: TrainStep,
    /// Training programs by batch size: the full batch and the rest of an epoch.
    steps: BTreeMap<usize, ProgramId>,
    evals: BTreeMap<usize, ProgramId>,
    gradients: Option<ProgramId>,
    order: (usize, Vec<u32>),
    step: usize,
    read: usize,
    /// What the recipe's learning rate is multiplied by.
    rate_scale: f64,
}

impl Trainer {
    /// Builds and loads everything, with fresh weights. Errors: a model that does not fit the
    /// data, an empty data set, or a device that cannot hold it.
    pub fn new(session: Session, recipe: Recipe, data: Dataset) -> Result<Trainer, TrainError> {
        let train = &data.train;
        if train.is_empty() || data.classes.is_empty() {
            return Err(TrainError::Data(format!("{} has no training images", data.name)));
        }
        let shape = ImageShape {
            channels: train.channels,
            height: train.height,
            width: train.width,
            classes: data.classes.len(),
        };
        let seed = u64::from(recipe.train.seed);
        let (train_images, validation_images) = stratified_split(&train.labels, recipe.data.validation, seed);
        let batch = recipe.train.batch.min(train_images.len());
        let network = train_step(&recipe, shape, batch)?;
        let mut trainer = Trainer {
            session,
            recipe,
            data,
            train_images,
            validation_images,
            shape,
            network,
            steps: BTreeMap::new(),
            evals: BTreeMap::new(),
            gradients: None,
            order: (usize::MAX, vec![]),
            step: 0,
            read: 0,
            rate_scale: 1.0,
        };
        trainer.load()?;
        trainer.initialise()?;
        Ok(trainer)
    }

    /// Makes the training programs ready: of a whole batch, and of what an epoch leaves over.
    fn load(&mut self) -> Result<(), TrainError> {
        let batch = self.batch();
        self.steps = BTreeMap::from([(batch, self.session.load(&self.network.graph)?)]);
        let rest = self.train_images.len() % batch;
        if rest > 0 {
            let tail = train_step(&self.recipe, self.shape, rest)?;
            self.steps.insert(rest, self.session.load(&tail.graph)?);
        }
        Ok(())
    }

    fn initialise(&mut self) -> Result<(), TrainError> {
        for (name, value) in init::all(&self.network.graph, self.recipe.train.seed) {
            self.session.write(&name, &value)?;
        }
        Ok(())
    }

    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Extends or shortens the run; only epochs and steps may differ.
    pub fn set_length(&mut self, epochs: Option<usize>, steps: Option<usize>) {
        self.recipe.train.epochs = epochs;
        self.recipe.train.steps = steps;
    }

    pub fn network(&self) -> &TrainStep {
        &self.network
    }

    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    pub fn classes(&self) -> &[String] {
        &self.data.classes
    }

    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Steps taken.
    pub fn step_count(&self) -> usize {
        self.step
    }

    pub fn batch(&self) -> usize {
        self.recipe.train.batch.min(self.train_images.len())
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.train_images.len().div_ceil(self.batch())
    }

    pub fn total_steps(&self) -> usize {
        match (self.recipe.train.steps, self.recipe.train.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => epochs.unwrap_or(1).saturating_mul(self.steps_per_epoch()),
        }
    }

    pub fn train_count(&self) -> usize {
        self.train_images.len()
    }

    pub fn part_count(&self, part: Part) -> usize {
        match part {
            Part::Validation => self.validation_images.len(),
            Part::Test => self.data.test.len(),
        }
    }

    /// Trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.network.params.iter().map(|p| self.network.graph.ty(*p).numel()).sum()
    }

    pub fn learning_rate(&self, step: usize) -> f64 {
        self.rate_scale
            * self.recipe.schedule.lr(self.recipe.optimizer.lr, step, self.steps_per_epoch(), self.total_steps())
    }

    /// Multiplies the learning rate of the recipe from now on. A run that a reader steers like this is
    /// no longer the recipe's: it is for looking.
    pub fn scale_learning_rate(&mut self, scale: f64) {
        self.rate_scale = scale;
    }

    /// The images of a step, as positions in the training set.
    fn images_of(&mut self, step: usize) -> Vec<u32> {
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
    fn feeds(&mut self, step: usize) -> (usize, Named) {
        let which = self.images_of(step);
        let mut all = batch(&self.data.train, &which, which.len());
        all.push(("rng".into(), Tensor::u32([2], vec![self.recipe.train.seed, step as u32])));
        let scalars = optim::scalars(&optimizer(&self.recipe), step as u64 + 1, self.learning_rate(step));
        all.extend(scalars.into_iter().map(|(name, value)| (name.to_string(), Tensor::scalar(value))));
        (which.len(), all)
    }

    fn prepare(&mut self, step: usize) -> Result<usize, TrainError> {
        let (n, feeds) = self.feeds(step);
        for (name, value) in &feeds {
            self.session.write(name, value)?;
        }
        Ok(n)
    }

    /// Starts one step on the device and moves on.
    pub fn step(&mut self) -> Result<(), TrainError> {
        let program = self.next_program()?;
        self.session.run(program)?;
        self.step += 1;
        Ok(())
    }

    /// The same step kernel by kernel: see [`crate::backend::Backend::run_each`].
    pub async fn step_each(&mut self, after: &mut (dyn FnMut(&str) + Send)) -> Result<(), TrainError> {
        let program = self.next_program()?;
        self.session.run_each(program, after).await?;
        self.step += 1;
        Ok(())
    }

    /// The program of the next step, with its batch written.
    fn next_program(&mut self) -> Result<ProgramId, TrainError> {
        let n = self.prepare(self.step)?;
        self.steps.get(&n).copied().ok_or_else(|| TrainError::Data(format!("no program for {n} images")))
    }

    /// Whether the ring of metrics is about to overflow: read it before the next step.
    pub fn must_read(&self) -> bool {
        self.step - self.read >= RING
    }

    /// Losses and hits of the steps since the last call. Errors: [`TrainError::Diverged`] when a
    /// loss is not finite, naming the first tensor of that step that is not.
    pub async fn metrics(&mut self) -> Result<Vec<StepMetrics>, TrainError> {
        if self.read == self.step {
            return Ok(vec![]);
        }
        let losses = self.session.leaf("metrics.loss").await?;
        let hits = self.session.leaf("metrics.hits").await?;
        let mut out = vec![];
        for step in self.read..self.step {
            let (loss, correct) = (losses.at(step % RING), hits.at(step % RING) as u32);
            if !loss.is_finite() {
                let tensor = self.first_not_finite(step).await?;
                return Err(TrainError::Diverged { step, loss, tensor });
            }
            let at = (step % self.steps_per_epoch()) * self.batch();
            let images = (self.train_images.len() - at).min(self.batch()) as u32;
            out.push(StepMetrics { step, loss, correct, images });
        }
        self.read = self.step;
        Ok(out)
    }

    /// Replays a step from the present state (which a step with a loss that is not finite leaves
    /// as it was) and names its first tensor with a number that is not finite.
    async fn first_not_finite(&mut self, step: usize) -> Result<String, TrainError> {
        let n = self.prepare(step)?;
        let network = train_step(&self.recipe, self.shape, n)?;
        let g = &network.graph;
        let live = g.live();
        let last = network.loss;
        let asked: Vec<NodeId> = g
            .ids()
            .filter(|id| live[id.index()] && *id <= last && g.ty(*id).dtype == crate::tensor::DType::F32)
            .collect();
        // One at a time: together they need not fit the device.
        for id in asked {
            let values = self.session.inspect(g, &[id]).await?;
            if values.iter().flatten().any(|v| !v.is_finite()) {
                return Ok(format!("{} {:?}", g.node(id).name, g.shape(id)));
            }
        }
        Ok("none when the step is replayed".into())
    }
}

/// The feeds of a batch, padded to `n` with zeros.
fn batch(images: &Images, which: &[u32], n: usize) -> Named {
    let mut pixels = Vec::with_capacity(n * images.stride());
    images.gather(which, &mut pixels);
    pixels.resize(n * images.stride(), 0);
    let mut labels: Vec<u32> = which.iter().filter_map(|&i| images.labels.get(i as usize).copied()).collect();
    labels.resize(n, 0);
    let shape = [n, images.channels, images.height, images.width];
    vec![(images_feed(n), Tensor::u8(shape, pixels)), (labels_feed(n), Tensor::u32([n], labels))]
}

/// Writes the images and labels of a batch, padded to `n` with zeros.
pub fn feed(session: &mut Session, images: &Images, which: &[u32], n: usize) -> Result<(), TrainError> {
    for (name, value) in batch(images, which, n) {
        session.write(&name, &value)?;
    }
    Ok(())
}
