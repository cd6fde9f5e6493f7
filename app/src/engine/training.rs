//! Training on the engine's side: the same `Trainer` as the native binary's, driven a slice at a
//! time, so that questions of the page are answered in between.

use compute::data::Dataset;
use compute::recipe::Recipe;
use compute::session::Session;
use compute::train::{Part, Prediction, Trainer};
use serde::{Deserialize, Serialize};

use super::kernels::now_ms;
use super::scene::values;
use super::{Values, data};
use crate::scenes::{self, Scene};

/// How long one slice of steps may take before messages are looked at.
const SLICE_MS: f64 = 60.0;

/// What the page says to a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Builds a run from a recipe's text. `changes` are `key=value`, as `--set` takes them.
    Open {
        name: String,
        recipe: String,
        changes: Vec<String>,
    },
    Start,
    Pause,
    /// Takes this many steps at once.
    Step(usize),
    /// Multiplies the learning rate of the recipe from now on.
    Rate(f64),
    /// From fresh weights again.
    Reset,
    /// Scores the held-out images and says what the network thinks of each.
    Evaluate,
    /// The pixels of held-out images, 0 to 255.
    Images(Vec<u32>),
    /// Opens a scene on the present weights.
    Freeze(Frozen),
}

/// A scene made from the run as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frozen {
    /// The network on one held-out image, with the share of each place of the last features in
    /// each class (class activation).
    Image(u32),
    /// The next training step, with all its gradients and optimiser states.
    Step,
}

/// One finished step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub step: usize,
    pub loss: f64,
    pub accuracy: f64,
}

/// What the network says of one held-out image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub image: u32,
    pub truth: u32,
    pub predicted: u32,
    pub confidence: f64,
}

/// Scores of the held-out images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub step: usize,
    pub loss: f64,
    pub accuracy: f64,
    pub macro_f1: f64,
    /// `confusion[truth][predicted]`
    pub confusion: Vec<Vec<u64>>,
    pub said: Vec<Said>,
}

/// What the run tells the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub running: bool,
    pub step: usize,
    pub total: usize,
    pub per_epoch: usize,
    pub batch: usize,
    pub rate: f64,
    pub images_per_sec: f64,
    pub parameters: usize,
    pub classes: Vec<String>,
    /// Channels, height, width.
    pub image: [usize; 3],
    /// Steps since the last report.
    pub points: Vec<Point>,
    pub scores: Option<Scores>,
    /// The first layer's weights, and images that were asked for.
    pub tensors: Vec<Values>,
}

/// A run.
pub struct Run {
    trainer: Trainer,
    recipe: Recipe,
    rate: f64,
    running: bool,
    speed: f64,
    /// The first convolution's weight, if there is one.
    filters: Option<String>,
    /// Steps that the page has not heard of.
    points: Vec<Point>,
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl Run {
    /// Fetches the data and builds the run. Errors: the recipe's, the data's, the model's.
    pub async fn open(session: Session, name: &str, recipe: &str, changes: &[String]) -> Result<Run, String> {
        let recipe = Recipe::parse(name, recipe, changes).map_err(text)?;
        let set = data::fetch(&recipe.data.set, recipe.data.limit).await?;
        Run::build(session, recipe, set)
    }

    fn build(session: Session, recipe: Recipe, set: Dataset) -> Result<Run, String> {
        let trainer = Trainer::new(session, recipe.clone(), set).map_err(text)?;
        let g = &trainer.network().graph;
        let filters = g.params().into_iter().find(|p| g.shape(*p).len() == 4).map(|p| g.node(p).name.clone());
        Ok(Run { trainer, recipe, rate: 1.0, running: false, speed: 0.0, filters, points: vec![] })
    }

    pub fn running(&self) -> bool {
        self.running
    }

    /// Steps taken so far.
    pub fn steps(&self) -> usize {
        self.trainer.step_count()
    }

    pub fn start(&mut self) {
        self.running = self.trainer.step_count() < self.trainer.total_steps();
    }

    pub fn pause(&mut self) {
        self.running = false;
    }

    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
        self.trainer.scale_learning_rate(rate);
    }

    /// Fresh weights, the same data and device.
    pub fn reset(&mut self) -> Result<(), String> {
        self.running = false;
        self.speed = 0.0;
        self.points.clear();
        self.trainer.restart().map_err(text)
    }

    /// Takes `steps` steps, or as many as fit a slice.
    pub async fn advance(&mut self, steps: Option<usize>) -> Result<Vec<Point>, String> {
        let (start, first) = (now_ms(), self.trainer.step_count());
        let total = self.trainer.total_steps();
        let mut points = vec![];
        loop {
            let done = self.trainer.step_count() - first;
            let enough = steps.map_or(now_ms() - start >= SLICE_MS, |n| done >= n);
            if self.trainer.step_count() >= total || (done > 0 && enough) {
                break;
            }
            self.trainer.step().map_err(text)?;
            // A GPU runs ahead; reading after each step keeps its queue, and the page, short.
            for m in self.trainer.metrics().await.map_err(text)? {
                let accuracy = f64::from(m.correct) / f64::from(m.images.max(1));
                points.push(Point { step: m.step + 1, loss: m.loss, accuracy });
            }
        }
        let seconds = (now_ms() - start) / 1e3;
        let done = self.trainer.step_count() - first;
        if seconds > 0.0 && done > 0 {
            let now = (done * self.trainer.batch()) as f64 / seconds;
            self.speed = if self.speed > 0.0 { 0.8 * self.speed + 0.2 * now } else { now };
        }
        if self.trainer.step_count() >= total {
            self.running = false;
        }
        Ok(points)
    }

    /// Keeps finished steps for the next report.
    pub fn keep(&mut self, points: Vec<Point>) {
        self.points.extend(points);
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
            running: self.running,
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
            scores: None,
            tensors,
        })
    }

    /// The held-out part: the validation images, or the test images where a recipe keeps none back.
    fn part(&self) -> Part {
        if self.trainer.part_count(Part::Validation) > 0 { Part::Validation } else { Part::Test }
    }

    pub async fn scores(&mut self) -> Result<Scores, String> {
        let part = self.part();
        let all = self.trainer.predictions(part).await.map_err(text)?;
        let scores = self.trainer.score(&all).map_err(text)?;
        let said =
            |p: &Prediction| Said { image: p.image, truth: p.truth, predicted: p.predicted, confidence: p.confidence };
        Ok(Scores {
            step: self.trainer.step_count(),
            loss: scores.loss.unwrap_or(f64::NAN),
            accuracy: scores.accuracy,
            macro_f1: scores.macro_average.f1,
            confusion: scores.confusion_matrix,
            said: all.iter().map(said).collect(),
        })
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

    /// A scene on the present weights.
    pub async fn freeze(&mut self, what: &Frozen) -> Result<Scene, String> {
        let (mut leaves, state) = self.trainer.snapshot().await.map_err(text)?;
        let shape = self.trainer.shape();
        match what {
            Frozen::Image(i) => {
                let part = self.part();
                let pixels = self.trainer.image(part, *i).ok_or_else(|| format!("there is no image {i}"))?;
                scenes::look::scene(&self.recipe, shape, pixels, leaves)
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
