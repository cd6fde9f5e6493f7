//! Steps whose batch does not fit the device as a whole, taken in parts ([`crate::network::parts`]).

use std::collections::BTreeMap;

use super::{TrainError, Trainer};
use crate::backend::{BackendError, ProgramId};
use crate::checkpoint::Named;
use crate::network::parts::{SHARE, indivisible, part_step, update_step};
use crate::network::{TrainStep, train_step_from};
use crate::tensor::Tensor;

/// What tells the random numbers of one part from those of another: added to the seed.
const OTHER: u32 = 0x9e37_79b9;

/// The programs of a batch in parts.
pub struct Parts {
    /// Images of a part.
    pub size: usize,
    /// Why: the tensor that did not fit.
    pub reason: BackendError,
    /// By images: of a part, and of what batches leave over.
    steps: BTreeMap<usize, ProgramId>,
    update: ProgramId,
}

/// A program with what it reads.
pub(super) struct Phase {
    pub program: ProgramId,
    pub feeds: Named,
}

impl Trainer {
    /// The parts that a batch is taken in, if it does not fit the device.
    pub fn parts(&self) -> Option<&Parts> {
        self.parts.as_ref()
    }

    /// Images that one program sees at a time.
    pub fn at_once(&self) -> usize {
        self.parts.as_ref().map_or(self.batch(), |p| p.size)
    }

    /// Loads the programs of the largest parts, of a half, a quarter ... of the batch, that the device can hold.
    /// Errors: a recipe whose batch is indivisible; a single image that does not fit.
    pub(super) fn load_parts(&mut self, reason: BackendError) -> Result<(), TrainError> {
        if let Some(why) = indivisible(&self.recipe) {
            return Err(TrainError::Indivisible { reason, why });
        }
        let batch = self.batch();
        let mut size = batch;
        let network = loop {
            if size == 1 {
                return Err(reason.into());
            }
            size = size.div_ceil(2);
            let network = part_step(&self.source, &self.recipe, self.shape, size)?;
            match self.session.plan(&network.graph) {
                Ok(_) => break network,
                Err(BackendError::Plan(_)) => {}
                Err(e) => return Err(e.into()),
            }
        };
        // The update first: it decides how the weights lie.
        let update = self.session.load(&update_step(&self.recipe, &network)?)?;
        let mut steps = BTreeMap::from([(size, self.session.load(&network.graph)?)]);
        for left in [batch % size, self.train_images.len() % batch % size] {
            if left > 0 && !steps.contains_key(&left) {
                let step = part_step(&self.source, &self.recipe, self.shape, left)?;
                steps.insert(left, self.session.load(&step.graph)?);
            }
        }
        self.parts = Some(Parts { size, reason, steps, update });
        Ok(())
    }

    /// The programs of a step in order, with what they read.
    pub(super) fn phases(&mut self, step: usize) -> Result<Vec<Phase>, TrainError> {
        let missing = |n: usize| TrainError::Data(format!("no program for {n} images"));
        let which = self.images_of(step);
        let Some(parts) = &self.parts else {
            let program = self.steps.get(&which.len()).copied().ok_or_else(|| missing(which.len()))?;
            let mut feeds = self.batch_feeds(&which);
            feeds.extend(self.step_feeds(step));
            return Ok(vec![Phase { program, feeds }]);
        };
        let mut phases = vec![];
        for (k, images) in which.chunks(parts.size).enumerate() {
            let program = parts.steps.get(&images.len()).copied().ok_or_else(|| missing(images.len()))?;
            let seed = self.recipe.train.seed.wrapping_add((k as u32).wrapping_mul(OTHER));
            let mut feeds = self.part_feeds(images);
            feeds.push(("rng".into(), Tensor::u32([2], vec![seed, step as u32])));
            feeds.push((SHARE.into(), Tensor::scalar(images.len() as f32 / which.len() as f32)));
            phases.push(Phase { program, feeds });
        }
        phases.push(Phase { program: parts.update, feeds: self.step_feeds(step) });
        Ok(phases)
    }

    /// The network that sees so many images at a time.
    pub(super) fn network_of(&self, images: usize) -> Result<TrainStep, TrainError> {
        let make = if self.parts.is_some() { part_step } else { train_step_from };
        Ok(make(&self.source, &self.recipe, self.shape, images)?)
    }
}
