//! The training loop without files, clocks or screens: a [`Trainer`] owns a session, the data and
//! a position, and is driven step by step by the binary or the page.
//!
//! The position is one number, the step: which images it sees, in which order, with which random
//! numbers and learning rate, all follow from it and the recipe. So a run continues from a
//! checkpoint with the same bits, and any step can be replayed for inspection.

mod evaluate;
pub mod folder;
mod input;
pub mod log;
mod parts;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::{BackendError, ProgramId};
use crate::checkpoint::CheckpointError;
use crate::data::{Dataset, stratified_split};
use crate::graph::NodeId;
use crate::network::{ImageShape, ModelError, RING, Source, TrainStep, train_step_from};
use crate::nn::init;
use crate::optim::scale;
use crate::recipe::{Precision, Recipe};
use crate::session::Session;
use crate::tensor::DType;

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
    #[error("{reason}. It cannot be taken in parts: {why}")]
    Indivisible { reason: BackendError, why: &'static str },
    #[error(
        "at step {step} the gradients overflow f16 even with the loss scaled by {scale}: nothing is learned any more. Try train.precision=f32, or a smaller optimizer.lr"
    )]
    Overflow { step: usize, scale: f64 },
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
pub use input::{Gather, feed};
pub use parts::Parts;

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
    data: Arc<Dataset>,
    /// Gathers the next batch while this one is computed.
    ahead: Option<Box<dyn Gather>>,
    train_images: Vec<u32>,
    validation_images: Vec<u32>,
    shape: ImageShape,
    source: Source,
    network: TrainStep,
    /// Training programs by batch size: the full batch and the rest of an epoch.
    steps: BTreeMap<usize, ProgramId>,
    parts: Option<Parts>,
    evals: BTreeMap<usize, ProgramId>,
    gradients: Option<ProgramId>,
    order: (usize, Vec<u32>),
    step: usize,
    read: usize,
    /// What the recipe's learning rate is multiplied by.
    rate_scale: f64,
    /// The scale of the loss when metrics were last read, in mixed precision.
    loss_scale: Option<f64>,
}

impl Trainer {
    /// Builds and loads everything, with fresh weights; each batch is written to the device. Errors: a
    /// model that does not fit the data, an empty data set, or a device that cannot hold it.
    pub fn new(session: Session, recipe: Recipe, data: impl Into<Arc<Dataset>>) -> Result<Trainer, TrainError> {
        Trainer::with(session, recipe, data.into(), Source::Fed)
    }

    /// The same, with the training images on the device if they fit ([`input::resident`]).
    pub fn with_images_on_device(
        session: Session,
        recipe: Recipe,
        data: impl Into<Arc<Dataset>>,
    ) -> Result<Trainer, TrainError> {
        let data = data.into();
        let source = input::resident(&data.train, session.info().max_buffer_bytes);
        Trainer::with(session, recipe, data, source)
    }

    fn with(session: Session, recipe: Recipe, data: Arc<Dataset>, source: Source) -> Result<Trainer, TrainError> {
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
        let network = train_step_from(&source, &recipe, shape, batch)?;
        let mut trainer = Trainer {
            session,
            recipe,
            data,
            ahead: None,
            train_images,
            validation_images,
            shape,
            source,
            network,
            steps: BTreeMap::new(),
            parts: None,
            evals: BTreeMap::new(),
            gradients: None,
            order: (usize::MAX, vec![]),
            step: 0,
            read: 0,
            rate_scale: 1.0,
            loss_scale: None,
        };
        trainer.load()?;
        trainer.initialise()?;
        Ok(trainer)
    }

    /// Makes the training programs ready: of a whole batch, and of what an epoch leaves over; of parts, where a
    /// whole batch does not fit.
    fn load(&mut self) -> Result<(), TrainError> {
        let batch = self.batch();
        (self.steps, self.parts) = (BTreeMap::new(), None);
        match self.session.load(&self.network.graph) {
            Ok(id) => self.steps.insert(batch, id),
            Err(reason @ BackendError::Plan(_)) => {
                self.load_parts(reason)?;
                return self.write_images();
            }
            Err(e) => return Err(e.into()),
        };
        let rest = self.train_images.len() % batch;
        if rest > 0 {
            let tail = train_step_from(&self.source, &self.recipe, self.shape, rest)?;
            self.steps.insert(rest, self.session.load(&tail.graph)?);
        }
        self.write_images()
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

    /// What the loss was multiplied by when metrics were last read; `None` but in mixed precision.
    pub fn loss_scale(&self) -> Option<f64> {
        self.loss_scale
    }

    /// Starts one step on the device and moves on.
    pub fn step(&mut self) -> Result<(), TrainError> {
        self.step_telling(|| {})
    }

    /// The same; `fed` is told when all that the step reads is written, so that a caller with a clock knows
    /// what the input costs.
    pub fn step_telling(&mut self, fed: impl FnOnce()) -> Result<(), TrainError> {
        let mut fed = Some(fed);
        for phase in self.phases(self.step)? {
            self.write_all(&phase.feeds)?;
            fed.take().into_iter().for_each(|tell| tell());
            self.session.run(phase.program)?;
        }
        self.begin_next();
        self.step += 1;
        Ok(())
    }

    /// The same step kernel by kernel: see [`crate::backend::Backend::run_each`].
    pub async fn step_each(
        &mut self,
        fed: impl FnOnce(),
        after: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), TrainError> {
        let mut fed = Some(fed);
        for phase in self.phases(self.step)? {
            self.write_all(&phase.feeds)?;
            fed.take().into_iter().for_each(|tell| tell());
            self.session.run_each(phase.program, after).await?;
        }
        self.begin_next();
        self.step += 1;
        Ok(())
    }

    /// Whether the ring of metrics is about to overflow: read it before the next step.
    pub fn must_read(&self) -> bool {
        self.step - self.read >= RING
    }

    /// Losses and hits of the steps since the last call. Errors: [`TrainError::Diverged`] when a
    /// loss is not finite, naming the first tensor of that step that is not; [`TrainError::Overflow`] when
    /// the scale of the loss has fallen as low as it may.
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
        if self.recipe.train.precision == Precision::Mixed {
            let scale = self.session.leaf(scale::SCALE).await?.at(0);
            if scale <= scale::BOUNDS[0] {
                return Err(TrainError::Overflow { step: self.step, scale });
            }
            self.loss_scale = Some(scale);
        }
        Ok(out)
    }

    /// Replays a step from the present state (which a step with a loss that is not finite leaves
    /// as it was) and names its first tensor with a number that is not finite.
    async fn first_not_finite(&mut self, step: usize) -> Result<String, TrainError> {
        let counts = self.counts(step);
        for (n, phase) in counts.into_iter().zip(self.phases(step)?) {
            self.write_all(&phase.feeds)?;
            let network = self.network_of(n)?;
            let g = &network.graph;
            let live = g.live();
            let asked: Vec<NodeId> =
                g.ids().filter(|id| live[id.index()] && *id <= network.loss && g.ty(*id).dtype.is_float()).collect();
            // One at a time: together they need not fit the device.
            for id in asked {
                let values = self.session.inspect(g, &[id]).await?;
                if values.iter().flatten().any(|v| !v.is_finite()) {
                    let room = match g.ty(id).dtype {
                        DType::F16 => " (f16 ends at 65,504; train.precision=f32 has more room)",
                        _ => "",
                    };
                    return Ok(format!("{} {:?}{room}", g.node(id).name, g.shape(id)));
                }
            }
        }
        Ok("none when the step is replayed".into())
    }
}
