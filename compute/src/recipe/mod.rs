//! A recipe: one TOML file that says data, model, loss, optimiser, schedule and length of a run.
//!
//! `Recipe::parse` reads the text with its overrides, fills in every default and checks every
//! range; `to_toml` prints the resolved recipe, which parses to the same one. `keys` is the table
//! of keys, `layers` the language of `model.layers`. Pure: callers read files. Errors name file,
//! line and column, or the override, and the nearest right word; see `error`. Knows nothing of
//! the engine: `Layer` is a description, other modules build it.

mod build;
pub mod edit;
mod error;
pub mod keys;
mod layer_kind;
mod layer_table;
mod layers;
mod print;
mod read;
mod reference;
mod schedule;
mod shipped;
mod value;

pub use error::{Place, Problem, RecipeError, nearest};
pub use layer_kind::{LayerKind, Out};
pub use layers::{Layer, MOST_LAYERS};
pub use read::MOST_BYTES;
pub use reference::reference;
pub use schedule::{Schedule, ScheduleKind};
pub use shipped::{find_shipped, nearest_shipped, shipped};

use serde::Serialize;

/// A complete, checked recipe: nothing is left to a default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recipe {
    pub name: String,
    pub data: DataPart,
    pub augment: Augment,
    pub model: ModelPart,
    pub train: Train,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
}

/// Which images, and what is done to each before training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataPart {
    /// One of `keys::SETS`.
    pub set: String,
    pub root: Option<String>,
    pub limit: Option<usize>,
    pub resize: Option<usize>,
    pub normalize: Option<Normalize>,
    pub shuffle: bool,
    pub validation: f64,
}

/// `(x - mean) / std` per channel; both have one number a channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Normalize {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Random changes to each training image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Augment {
    /// Pixels of padding before a random crop; 0 is off.
    pub crop_padding: usize,
    pub flip: bool,
}

/// The layers, and the catalogue's name for them if the recipe gave one.
///
/// `to_toml` writes the layers, so a recipe read back has no name here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelPart {
    pub name: Option<String>,
    pub layers: Vec<Layer>,
}

/// Loss, length and bookkeeping of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Train {
    pub loss: Loss,
    pub batch: usize,
    /// Exactly one of `epochs` and `steps` is given.
    pub epochs: Option<usize>,
    pub steps: Option<usize>,
    pub seed: u32,
    pub precision: Precision,
    pub clip_norm: Option<f64>,
    /// In steps.
    pub checkpoint_every: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    CrossEntropy { label_smoothing: f64, class_weights: Option<Vec<f64>> },
    Mse,
    Bce,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    F32,
    /// f16 for what products and convolutions read, f32 for all else.
    Mixed,
}

/// The update rule with all its parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Optimizer {
    pub lr: f64,
    pub weight_decay: f64,
    pub kind: OptimizerKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    Sgd { momentum: f64, nesterov: bool },
    RmsProp { alpha: f64, eps: f64, momentum: f64 },
    Adam { betas: [f64; 2], eps: f64 },
    AdamW { betas: [f64; 2], eps: f64 },
}

impl Recipe {
    /// Reads a recipe and applies overrides (`a.b=c`) in order.
    ///
    /// `name` is what errors call the file: its path, or a shipped recipe's name.
    pub fn parse(name: &str, text: &str, sets: &[String]) -> Result<Recipe, RecipeError> {
        build::build(read::read(name, text, sets)?)
    }

    /// Every key that is used, with its value as TOML: what two recipes differ in is seen row by row.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        print::rows(self)
    }

    /// The whole recipe as TOML, every key explicit, in the order of the key table.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }
}
