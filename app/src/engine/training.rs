//! What page and engine say to each other about a training run.

use serde::{Deserialize, Serialize};

use super::{FileData, Values};

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
    /// Makes the run one epoch longer.
    Extend,
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
    /// Counts weights and gradients. Answer: `Reply::Histograms`.
    Histograms,
    /// The run's folder as an archive, which `chainrule train --resume` continues once it is unpacked.
    /// Answer: `Reply::File`.
    SaveRun,
    /// The weights as safetensors. Answer: `Reply::File`.
    SaveWeights,
    /// Opens a run's folder, or one archive of it; `name` is for messages.
    OpenRun {
        name: String,
        files: Vec<FileData>,
    },
    /// Replaces the weights by those of a safetensors file.
    LoadWeights(FileData),
    /// The pictures that the data set `folder` consists of. Answer: `Reply::Folder`.
    Pictures(Vec<FileData>),
    /// Whether automatic checkpoints also go to the browser's storage.
    Keep(bool),
    /// What is in the browser's storage: its label, or an empty one. Answer: `Reply::File`.
    Kept,
    /// Opens the run that is in the browser's storage.
    OpenKept,
    /// Empties the browser's storage.
    Forget,
    /// Measures how the run's products are best cut, or stops that and takes what was found.
    Measure(bool),
}

impl Command {
    /// The files that travel beside the message.
    pub fn files(&mut self) -> &mut [FileData] {
        match self {
            Command::OpenRun { files, .. } | Command::Pictures(files) => files,
            Command::LoadWeights(file) | Command::Freeze(Frozen::Own { file, .. }) => std::slice::from_mut(file),
            _ => &mut [],
        }
    }
}

/// A scene made from the run as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frozen {
    /// The network on one held-out image, with the share of each place of the last features in
    /// each class (class activation).
    Image(u32),
    /// The same on a picture of the reader's. `invert`: light and dark change places, for models that
    /// learnt light things on a dark ground.
    Own { file: FileData, invert: bool },
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

/// The values of a tensor counted in equal steps from `low` to `high`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    pub low: f64,
    pub high: f64,
    pub counts: Vec<u64>,
}

/// A parameter's weights and their gradients on the first batch of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub name: String,
    pub weights: Bins,
    pub gradients: Bins,
}

/// A folder of pictures by class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pictures {
    pub classes: Vec<String>,
    pub train: usize,
    pub test: usize,
    /// Files that are hidden or no pictures.
    pub skipped: usize,
}

/// What the reader should know of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// A device failed; the run went on from `step` on `backend`.
    Recovered { why: String, step: usize, backend: String },
    /// The GPU could not hold the run, so the CPU computes.
    Fallback { why: String },
    /// A batch does not fit the device and is taken in parts of so many images.
    Parts { images: usize, why: String },
    /// The data of an opened run are not here: it can be looked into and not trained.
    NoData { why: String },
    /// An opened run was cut by choices that are not used here.
    OtherTilings { why: String },
}

/// How the products of a run on WebGPU are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tilings {
    /// Classes of products whose tiling was measured; the others are cut by the table.
    pub measured: usize,
    /// Classes that are cut otherwise than the table says.
    pub unlike: usize,
    /// While they are being measured on request: how many are done, of how many.
    pub under_way: Option<(usize, usize)>,
}

/// What the run tells the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// A number for each run that was opened: another run has another history.
    pub id: u32,
    pub name: String,
    /// The resolved recipe.
    pub recipe: String,
    pub running: bool,
    /// Without its data it cannot train.
    pub fixed: bool,
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
    /// The held-out images at ends of epochs since the last report.
    pub held_out: Vec<Point>,
    pub notices: Vec<Notice>,
    /// Seconds since the last automatic checkpoint.
    pub checkpoint_age: Option<f64>,
    pub scores: Option<Scores>,
    /// `None` on the CPU.
    pub tilings: Option<Tilings>,
    /// The first layer's weights, and images that were asked for.
    pub tensors: Vec<Values>,
}
