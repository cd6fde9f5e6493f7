//! What a trainer holds between steps: weights, optimiser state, and the gradients for a look.

use super::{TrainError, Trainer};
use crate::checkpoint::{Checkpoint, Cursor, Named, match_weights};
use crate::graph::Leaf;
use crate::network::parts::SHARE;
use crate::session::Session;
use crate::tensor::Tensor;

impl Trainer {
    /// Names of the weights (PyTorch's state_dict: parameters and running statistics) and of the
    /// optimiser's state.
    fn stored_names(&self) -> (Vec<(String, Vec<usize>)>, Vec<(String, Vec<usize>)>) {
        let g = &self.network.graph;
        let (mut weights, mut rest) = (vec![], vec![]);
        for id in g.leaves(|l| matches!(l, Leaf::Param | Leaf::State)) {
            let node = g.node(id);
            if node.name.starts_with("metrics.") {
                continue;
            }
            let entry = (node.name.clone(), node.ty.shape.clone());
            if node.name.starts_with("optimizer.") { rest.push(entry) } else { weights.push(entry) }
        }
        (weights, rest)
    }

    /// Weights and optimiser state as they are now.
    pub async fn snapshot(&mut self) -> Result<(Named, Named), TrainError> {
        let (weights, rest) = self.stored_names();
        Ok((self.read_all(weights).await?, self.read_all(rest).await?))
    }

    /// A checkpoint of this moment; what is no tensor and no position comes from `cursor`.
    pub async fn checkpoint(&mut self, cursor: &Cursor) -> Result<Checkpoint, TrainError> {
        let (weights, optimizer) = self.snapshot().await?;
        let (step, per_epoch) = (self.step, self.steps_per_epoch());
        let info = self.session.info();
        let cursor = Cursor {
            step: step as u64,
            epoch: (step / per_epoch) as u64,
            position: (step % per_epoch) as u64,
            seed: u64::from(self.recipe.train.seed),
            backend: info.backend.into(),
            adapter: info.name.clone(),
            ..cursor.clone()
        };
        Ok(Checkpoint { weights, optimizer, cursor })
    }

    /// Goes on with another device from a checkpoint. The old one is not asked for anything: it may be
    /// lost. After an error the run can be moved again.
    pub fn move_to(&mut self, session: Session, from: &Checkpoint) -> Result<(), TrainError> {
        self.renew(session)?;
        self.restore("the checkpoint", from.weights.clone(), from.optimizer.clone(), from.cursor.step as usize)
    }

    /// Begins anew on another device.
    pub fn renew(&mut self, session: Session) -> Result<(), TrainError> {
        self.session = session;
        self.evals.clear();
        self.gradients = None;
        self.load()?;
        self.restart()
    }

    /// The weights alone.
    pub async fn weights(&mut self) -> Result<Named, TrainError> {
        let (weights, _) = self.stored_names();
        self.read_all(weights).await
    }

    async fn read_all(&mut self, names: Vec<(String, Vec<usize>)>) -> Result<Named, TrainError> {
        let mut out = Vec::with_capacity(names.len());
        for (name, _) in names {
            let value = self.session.leaf(&name).await?;
            out.push((name, value));
        }
        Ok(out)
    }

    /// Starts from given weights; `file` is what errors call their source. Errors: names or shapes
    /// that do not match, all listed.
    pub fn set_weights(&mut self, file: &str, given: Named) -> Result<(), TrainError> {
        let (weights, _) = self.stored_names();
        self.write_all(&match_weights(file, &weights, given)?)
    }

    /// Continues from a checkpoint at `step`. Nothing is written unless all of it matches.
    pub fn restore(&mut self, file: &str, weights: Named, state: Named, step: usize) -> Result<(), TrainError> {
        let (expected, rest) = self.stored_names();
        let state = match_weights(file, &rest, state)?;
        let weights = match_weights(file, &expected, weights)?;
        self.write_all(&weights)?;
        self.write_all(&state)?;
        (self.step, self.read) = (step, step);
        Ok(())
    }

    pub(super) fn write_all(&mut self, values: &[(String, Tensor)]) -> Result<(), TrainError> {
        for (name, value) in values {
            self.session.write(name, value)?;
        }
        Ok(())
    }

    /// Fresh weights and states, and the first step again.
    pub fn restart(&mut self) -> Result<(), TrainError> {
        let g = self.network.graph.clone();
        for id in g.leaves(|l| *l == Leaf::State) {
            let zero = Tensor::f32(g.shape(id), vec![0.0; g.ty(id).numel()]);
            self.session.write(&g.node(id).name, &zero)?;
        }
        (self.step, self.read) = (0, 0);
        self.initialise()
    }

    /// How many images the next step reads, and all that it is fed.
    pub fn next_feeds(&mut self) -> (usize, Named) {
        self.feeds(self.step)
    }

    /// The gradients of the parameters at the present weights on the first batch of the present
    /// epoch (of its first part, where it is taken in parts): for histograms and for the reader. The program is
    /// built once.
    pub async fn gradients(&mut self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let names: Vec<String> = self.network.params.iter().map(|p| self.network.graph.node(*p).name.clone()).collect();
        let program = match self.gradients {
            Some(id) => id,
            None => {
                let network = self.network_of(self.at_once())?;
                let mut g = network.graph;
                g.updates.clear();
                g.outputs = names.iter().cloned().zip(network.grads.iter().copied()).collect();
                let id = self.session.load(&g)?;
                *self.gradients.insert(id)
            }
        };
        let per_epoch = self.steps_per_epoch();
        let first = self.phases(self.step / per_epoch * per_epoch)?.into_iter().next();
        self.write_all(&first.map(|p| p.feeds).unwrap_or_default())?;
        if self.parts.is_some() {
            // Of the part's own loss, not of its share in the batch's.
            self.session.write(SHARE, &Tensor::scalar(1.0))?;
        }
        self.session.run(program)?;
        let mut out = vec![];
        for name in names {
            let d = self.session.output(program, &name).await?;
            out.push((name, d));
        }
        Ok(out)
    }
}
