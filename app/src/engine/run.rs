//! A training run on the engine's side: the same `Trainer` as the native binary's, driven a slice at
//! a time, so that questions of the page are answered in between, with the same log and checkpoints.

mod archive;
mod ask;
mod store;
mod tilings;

use std::collections::BTreeMap;

use compute::checkpoint::{Checkpoint, Cursor, Named};
use compute::data::{Dataset, Images};
use compute::recipe::Recipe;
use compute::session::Session;
use compute::train::folder::{ModelCard, RunFolder};
use compute::train::log::{Epoch, Line, is_logged};
use compute::train::{Part, Parts, Trainer};

use super::kernels::now_ms;
use super::scene::values;
use super::training::{Notice, Point, Report, Scores};
use super::{FileData, data};

pub use ask::text;
pub use store::{forget, kept, label};
use tilings::Tuning;

/// How long one slice of steps may take before messages are looked at.
const SLICE_MS: f64 = 60.0;
/// Between two automatic checkpoints.
const CHECKPOINT_MS: f64 = 10_000.0;

/// See the module's introduction.
pub struct Run {
    id: u32,
    trainer: Trainer,
    recipe: Recipe,
    rate: f64,
    running: bool,
    speed: f64,
    /// The first convolution's weight, if there is one.
    filters: Option<String>,
    /// What the page has not heard of.
    points: Vec<Point>,
    held_out: Vec<Point>,
    notices: Vec<Notice>,
    /// The data are stand-ins.
    fixed: bool,
    /// The log of the whole run, as a native one keeps it.
    lines: Vec<Line>,
    cursor: Cursor,
    best: Option<Named>,
    /// The scores of the present step, once computed.
    scores: Option<Scores>,
    /// The last automatic checkpoint, with the length of the log then.
    saved: Option<(Checkpoint, usize)>,
    saved_ms: f64,
    /// How often a device failed.
    pub failures: usize,
    /// Checkpoints also go to the browser's storage.
    pub keep: bool,
    pub tuning: Tuning,
}

impl Run {
    /// Fetches the data and builds the run. Errors: the recipe's, the data's, the model's.
    pub async fn open(
        session: Session,
        id: u32,
        name: &str,
        recipe: &str,
        changes: &[String],
        pictures: &[FileData],
    ) -> Result<Run, String> {
        let recipe = Recipe::parse(name, recipe, changes).map_err(text)?;
        let set = data::fetch(&recipe.data, pictures).await?;
        let mut run = Run::build(session, id, recipe, set)?;
        run.hold();
        Ok(run)
    }

    /// Opens a run that was begun elsewhere, at its checkpoint. Where its data are not to be had it can
    /// be looked into, and a notice says why it cannot train.
    pub async fn resume(
        mut session: Session,
        id: u32,
        name: &str,
        files: Vec<FileData>,
        pictures: &[FileData],
    ) -> Result<Run, String> {
        let folder = archive::read(name, files).await?;
        let recipe = Recipe::parse(&format!("{name}/recipe.toml"), &folder.recipe, &[]).map_err(text)?;
        let why = tilings::set(&mut session, folder.kernels.as_ref());
        let (set, missing) = match data::fetch(&recipe.data, pictures).await {
            Ok(set) => (set, None),
            Err(why) => {
                let Some(card) = &folder.card else {
                    return Err(format!("{why}; and without model.json the images' size is not known"));
                };
                (stand_in(&recipe, card), Some(why))
            }
        };
        let mut run = Run::build(session, id, recipe, set)?;
        run.fixed = missing.is_some();
        run.notices.extend(missing.map(|why| Notice::NoData { why }));
        run.own(folder.kernels.clone(), why);
        run.adopt(name, folder)?;
        Ok(run)
    }

    fn build(session: Session, id: u32, recipe: Recipe, set: Dataset) -> Result<Run, String> {
        let trainer = Trainer::new(session, recipe.clone(), set).map_err(text)?;
        let in_parts = |p: &Parts| Notice::Parts { images: p.size, why: p.reason.to_string() };
        let notices = trainer.parts().map(in_parts).into_iter().collect();
        let g = &trainer.network().graph;
        let filters = g.params().into_iter().find(|p| g.shape(*p).len() == 4).map(|p| g.node(p).name.clone());
        Ok(Run {
            id,
            trainer,
            recipe,
            rate: 1.0,
            running: false,
            speed: 0.0,
            filters,
            points: vec![],
            held_out: vec![],
            notices,
            fixed: false,
            lines: vec![],
            cursor: Cursor::default(),
            best: None,
            scores: None,
            saved: None,
            saved_ms: now_ms(),
            failures: 0,
            keep: false,
            tuning: Tuning::default(),
        })
    }

    /// Takes over a folder's history, weights and state.
    fn adopt(&mut self, name: &str, folder: RunFolder) -> Result<(), String> {
        if let Some(c) = folder.checkpoint {
            self.trainer.restore(name, c.weights, c.optimizer, c.cursor.step as usize).map_err(text)?;
            self.cursor = c.cursor;
        }
        for line in &folder.lines {
            match *line {
                Line::Step { step, loss, accuracy, .. } => {
                    self.points.push(Point { step: step as usize, loss, accuracy });
                }
                Line::Epoch { step, validation_loss, validation_accuracy, test_loss, test_accuracy, .. } => {
                    if let (Some(loss), Some(accuracy)) =
                        (validation_loss.or(test_loss), validation_accuracy.or(test_accuracy))
                    {
                        self.held_out.push(Point { step: step as usize, loss, accuracy });
                    }
                }
            }
        }
        (self.lines, self.best) = (folder.lines, folder.best);
        Ok(())
    }

    /// Steps taken so far.
    pub fn steps(&self) -> usize {
        self.trainer.step_count()
    }

    pub fn start(&mut self) {
        self.running = !self.fixed && self.trainer.step_count() < self.trainer.total_steps();
    }

    pub fn pause(&mut self) {
        self.running = false;
    }

    /// Makes the run one epoch longer, as `--resume --set train.epochs` does natively.
    pub fn extend(&mut self) {
        let train = &mut self.recipe.train;
        train.steps = train.steps.map(|n| n + self.trainer.steps_per_epoch());
        train.epochs = train.epochs.map(|n| n + 1);
        self.trainer.set_length(train.epochs, train.steps);
    }

    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
        self.trainer.scale_learning_rate(rate);
    }

    /// Fresh weights, the same data and device.
    pub fn reset(&mut self) -> Result<(), String> {
        (self.running, self.speed) = (false, 0.0);
        self.points.clear();
        self.held_out.clear();
        self.lines.clear();
        (self.best, self.scores, self.saved) = (None, None, None);
        self.cursor = Cursor::default();
        self.trainer.restart().map_err(text)
    }

    /// Takes `steps` steps, or as many as fit a slice.
    pub async fn advance(&mut self, steps: Option<usize>) -> Result<(), String> {
        if self.fixed {
            return Err("this run's data are not here, so it cannot be trained further".into());
        }
        let (start, first) = (now_ms(), self.trainer.step_count());
        let total = self.trainer.total_steps();
        loop {
            let done = self.trainer.step_count() - first;
            let enough = steps.map_or(now_ms() - start >= SLICE_MS, |n| done >= n);
            if self.trainer.step_count() >= total || (done > 0 && enough) {
                break;
            }
            let began = now_ms();
            self.trainer.step().map_err(text)?;
            self.scores = None;
            // A GPU runs ahead; reading after each step keeps its queue, and the page, short.
            for m in self.trainer.metrics().await.map_err(text)? {
                self.cursor.count(m.loss, m.correct, m.images);
                if is_logged(m.step) {
                    self.lines.push(Line::of(&m, self.trainer.learning_rate(m.step)));
                }
                let accuracy = f64::from(m.correct) / f64::from(m.images.max(1));
                self.points.push(Point { step: m.step + 1, loss: m.loss, accuracy });
            }
            let seconds = (now_ms() - began) / 1e3;
            self.cursor.train_secs += seconds;
            let now = self.trainer.batch() as f64 / seconds.max(1e-9);
            self.speed = if self.speed > 0.0 { 0.9 * self.speed + 0.1 * now } else { now };
            let step = self.trainer.step_count();
            if step.is_multiple_of(self.trainer.steps_per_epoch()) || step == total {
                self.end_epoch().await?;
            }
        }
        self.cursor.elapsed_secs += (now_ms() - start) / 1e3;
        if self.trainer.step_count() >= total {
            self.running = false;
        }
        if !self.running || now_ms() - self.saved_ms > CHECKPOINT_MS {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// Scores the held-out images, logs the epoch, and keeps the best weights: as natively.
    async fn end_epoch(&mut self) -> Result<(), String> {
        let began = now_ms();
        let part = self.part();
        let all = self.trainer.predictions(part).await.map_err(text)?;
        let found = self.trainer.score(&all).map_err(text)?;
        self.cursor.eval_secs += (now_ms() - began) / 1e3;
        let step = self.trainer.step_count();
        let (loss, accuracy) = self.cursor.means();
        let epoch = Epoch {
            epoch: step.div_ceil(self.trainer.steps_per_epoch()) as u64,
            step: step as u64,
            loss,
            accuracy,
            images_per_sec: self.speed,
            train_secs: self.cursor.train_secs,
        };
        let validation = (part == Part::Validation).then_some(&found);
        self.lines.push(epoch.line(validation, (part == Part::Test).then_some(&found)));
        let better = validation.is_none_or(|v| self.cursor.best_accuracy.is_none_or(|b| v.accuracy > b));
        if better {
            self.cursor.best_accuracy = validation.map(|v| v.accuracy);
            self.cursor.best_epoch = epoch.epoch;
            self.best = Some(self.trainer.weights().await.map_err(text)?);
        }
        self.cursor.sums.insert("epoch.loss".into(), loss);
        if step.is_multiple_of(self.trainer.steps_per_epoch()) {
            self.cursor.end_epoch();
        }
        self.held_out.push(Point { step, loss: found.loss.unwrap_or(f64::NAN), accuracy: found.accuracy });
        self.scores = Some(ask::scores(step, &found, &all));
        Ok(())
    }

    /// Keeps the present state in memory, and on request in the browser's storage.
    pub async fn checkpoint(&mut self) -> Result<(), String> {
        let checkpoint = self.trainer.checkpoint(&self.cursor).await.map_err(text)?;
        self.saved = Some((checkpoint, self.lines.len()));
        self.saved_ms = now_ms();
        // While tilings are being measured there is nothing to hold on to yet.
        if self.keep && !self.measuring() {
            let file = self.archive().await?;
            store::put(&label(&self.recipe.name, self.steps()), &file.bytes).await?;
        }
        Ok(())
    }

    /// The device failed and nothing on it can be read any more.
    pub fn is_lost(&mut self) -> bool {
        self.trainer.session().fault().is_some()
    }

    /// Goes on with another session: from the last checkpoint where the device failed (`why`), else from
    /// here.
    pub async fn move_to(&mut self, mut session: Session, why: Option<&str>) -> Result<(), String> {
        if why.is_none() {
            self.settle()?;
            self.checkpoint().await?;
        }
        self.carry(&mut session);
        let backend = session.info().backend.to_string();
        match self.saved.clone() {
            Some((checkpoint, length)) => {
                self.trainer.move_to(session, &checkpoint).map_err(text)?;
                self.cursor = checkpoint.cursor;
                self.lines.truncate(length);
            }
            None => {
                self.trainer.renew(session).map_err(text)?;
                self.cursor = Cursor::default();
                self.lines.clear();
            }
        }
        let step = self.steps();
        self.points.retain(|p| p.step <= step);
        self.held_out.retain(|p| p.step <= step);
        self.scores = None;
        self.notices.extend(why.map(|why| Notice::Recovered { why: why.into(), step, backend }));
        Ok(())
    }

    pub fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    pub async fn report(&mut self) -> Result<Report, String> {
        let mut tensors = vec![];
        if let Some(name) = self.filters.clone() {
            let t = self.trainer.session().leaf(&name).await.map_err(text)?;
            tensors.push(values(&name, &t));
        }
        let shape = self.trainer.shape();
        let step = self.trainer.step_count();
        Ok(Report {
            id: self.id,
            name: self.recipe.name.clone(),
            recipe: self.recipe.to_toml(),
            running: self.running,
            fixed: self.fixed,
            step,
            total: self.trainer.total_steps(),
            per_epoch: self.trainer.steps_per_epoch(),
            batch: self.trainer.batch(),
            rate: self.trainer.learning_rate(step),
            images_per_sec: self.speed,
            parameters: self.trainer.parameter_count(),
            classes: self.trainer.classes().to_vec(),
            image: [shape.channels, shape.height, shape.width],
            points: std::mem::take(&mut self.points),
            held_out: std::mem::take(&mut self.held_out),
            notices: std::mem::take(&mut self.notices),
            checkpoint_age: self.saved.as_ref().map(|_| (now_ms() - self.saved_ms) / 1e3),
            scores: self.scores.clone().filter(|_| step > 0),
            tilings: self.tilings(),
            tensors,
        })
    }

    /// The held-out part: the validation images, or the test images where a recipe keeps none back.
    fn part(&self) -> Part {
        if self.trainer.part_count(Part::Validation) > 0 { Part::Validation } else { Part::Test }
    }
}

/// A black image of each class, in place of data that are not here.
fn stand_in(recipe: &Recipe, card: &ModelCard) -> Dataset {
    let labels: Vec<u32> = (0..card.classes.len() as u32).collect();
    let size = card.channels * card.height * card.width;
    let empty =
        Images { channels: card.channels, height: card.height, width: card.width, pixels: vec![], labels: vec![] };
    let train = Images { pixels: vec![0; size * labels.len()], labels, ..empty.clone() };
    Dataset { name: recipe.data.set.clone(), classes: card.classes.clone(), train, test: empty }
}

/// Files by path, of which the last of one path counts.
type Files = BTreeMap<String, Vec<u8>>;
