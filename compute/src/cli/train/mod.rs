//! `chainrule train`: the loop around a [`Trainer`], with its run folder, logs and report.
//!
//! Everything that decides the bits of a run is in the recipe, the checkpoint and the trainer;
//! this file adds time, files and words. A checkpoint is written after every epoch, every
//! `train.checkpoint_every` steps, on Ctrl-C, and at the end.

mod record;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::json;

use crate::checkpoint::{Checkpoint, Cursor, weights_from_bytes};
use crate::cli::args::{TrainArgs, TuneChoice};
use crate::cli::device::{self, block_on};
use crate::cli::error::io;
use crate::cli::plan::thousands;
use crate::cli::report::{Report, Standing, duration};
use crate::cli::run_dir::RunDir;
use crate::cli::runs::write_whole;
use crate::cli::{CliError, data, recipes, system, tune};
use crate::metrics::Evaluation;
use crate::recipe::{Precision, Recipe};
use crate::train::folder::{KERNELS, MODEL_CARD, ModelCard};
use crate::train::{Part, Trainer};

/// See the module's introduction.
pub fn train(args: &TrainArgs) -> Result<(), CliError> {
    let interrupted = system::interrupted();
    let start = open(args)?;
    let mut trainer = trainer_for(args, &start)?;
    if let Some(file) = &args.init {
        let bytes = std::fs::read(file).map_err(io(file, "read the weights"))?;
        let name = file.display().to_string();
        trainer.set_weights(&name, weights_from_bytes(&name, &bytes)?)?;
    }
    let Start { recipe, dir, from } = start;
    if let Some(c) = &from {
        check_same_machine(&mut trainer, &c.cursor);
        trainer.restore("the checkpoint", c.weights.clone(), c.optimizer.clone(), c.cursor.step as usize)?;
    }
    // Only now: what cannot start leaves no folder.
    let dir = match dir {
        Some(dir) => dir,
        None => {
            let root = args.out.clone().unwrap_or_else(|| default_root(&recipe.name));
            RunDir::create(root, &recipe.to_toml())?
        }
    };
    write_card(&dir, &trainer)?;
    tune::keep(trainer.session(), &dir.view().path(KERNELS))?;
    let report = Report::new(args.json, trainer.step_count(), trainer.total_steps());
    let mut run = Run {
        cursor: from.map(|c| c.cursor).unwrap_or_default(),
        dir,
        trainer,
        report,
        started: Instant::now(),
        before: 0.0,
    };
    run.before = run.cursor.elapsed_secs;
    run.announce(&recipe);
    let result = run.train(&interrupted);
    run.report.finish();
    result
}

/// What a run starts from.
struct Start {
    recipe: Recipe,
    /// The folder of a run that is continued.
    dir: Option<RunDir>,
    from: Option<Checkpoint>,
}

fn open(args: &TrainArgs) -> Result<Start, CliError> {
    match (&args.resume, &args.recipe) {
        (Some(_), _) if args.kernels.tune != TuneChoice::Auto => Err(CliError::Usage(
            "a resumed run keeps the tilings that it began with; leave out --tune, or start a new run".into(),
        )),
        (Some(root), _) => {
            let mut dir = RunDir::open(root)?;
            let text = dir.view().recipe()?;
            let name = root.join("recipe.toml").display().to_string();
            let old = Recipe::parse(&name, &text, &[])?;
            let recipe = Recipe::parse(&name, &text, &args.sets)?;
            only_length_differs(&old, &recipe)?;
            // Also cuts the logs back to where the checkpoint was made.
            let from = dir.resume()?;
            if recipe != old {
                dir.replace_recipe(&recipe.to_toml())?;
            }
            Ok(Start { recipe, dir: Some(dir), from })
        }
        (None, Some(word)) => Ok(Start { recipe: recipes::find(word, &args.sets)?, dir: None, from: None }),
        (None, None) => Err(CliError::Usage("name a recipe, or give --resume RUN".into())),
    }
}

fn write_card(dir: &RunDir, trainer: &Trainer) -> Result<(), CliError> {
    let text = ModelCard::new(trainer.classes(), trainer.shape()).to_json()?;
    write_whole(&dir.view().path(MODEL_CARD), text.as_bytes())
}

fn default_root(name: &str) -> PathBuf {
    let stem = Path::new(name).file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
    let name = format!("{stem}-{}", system::stamp());
    // Two runs begun in one second get two folders.
    let free = (1..).map(|k| if k == 1 { name.clone() } else { format!("{name}-{k}") });
    let mut paths = free.map(|n| Path::new("runs").join(n));
    paths.find(|p| !p.exists()).unwrap_or_else(|| Path::new("runs").join(&name))
}

/// A resumed run may be longer or save more often; anything else would make it another run.
fn only_length_differs(old: &Recipe, new: &Recipe) -> Result<(), CliError> {
    let mut same = old.clone();
    same.train.epochs = new.train.epochs;
    same.train.steps = new.train.steps;
    same.train.checkpoint_every = new.train.checkpoint_every;
    if same == *new {
        return Ok(());
    }
    Err(CliError::Usage(
        "a resumed run can change train.epochs, train.steps and train.checkpoint_every only; \
         for anything else start a new run with --init RUN/last.safetensors"
            .into(),
    ))
}

/// Data, device and trainer of a recipe. The data come first: their absence should not wait for
/// a device.
fn trainer_for(args: &TrainArgs, start: &Start) -> Result<Trainer, CliError> {
    let data = data::load_for(&start.recipe)?;
    let mut session = device::session(&args.device)?;
    let was = start.from.as_ref().map(|c| c.cursor.adapter.as_str());
    let kernels = |dir: &RunDir| dir.view().path(KERNELS);
    // A run keeps the tilings that it began with: others would give other bits.
    let kept = start.dir.as_ref().is_some_and(|dir| tune::resume(&mut session, &kernels(dir), was));
    if !kept {
        tune::prepare(&mut session, args.kernels.tune);
    }
    let mut trainer = device::trainer(session, start.recipe.clone(), data)?;
    tune::search(trainer.session(), if kept { TuneChoice::Off } else { args.kernels.tune })?;
    Ok(trainer)
}

/// Another device or build gives other bits: said, not refused.
fn check_same_machine(trainer: &mut Trainer, cursor: &Cursor) {
    let info = trainer.session().info();
    let (backend, adapter) = (info.backend.to_string(), info.name.clone());
    if cursor.backend != backend || cursor.adapter != adapter {
        eprintln!(
            "note: this run was trained on {} ({}), now on {backend} ({adapter}): it continues, but not to the same bits",
            cursor.backend, cursor.adapter
        );
    }
}

struct Run {
    dir: RunDir,
    trainer: Trainer,
    report: Report,
    cursor: Cursor,
    started: Instant,
    /// Seconds of earlier sittings.
    before: f64,
}

impl Run {
    fn announce(&mut self, recipe: &Recipe) {
        let info = self.trainer.session().info().clone();
        let root = self.dir.view().root().display().to_string();
        let (train, held) = (self.trainer.train_count(), self.trainer.part_count(Part::Validation));
        let parameters = self.trainer.parameter_count();
        self.report.note(&format!(
            "{}: {} parameters; {} training, {} validation and {} test images of {}\n{}: {} ({})\nrun: {root}",
            recipe.name,
            thousands(parameters),
            thousands(train),
            thousands(held),
            thousands(self.trainer.part_count(Part::Test)),
            recipe.data.set,
            info.backend,
            info.name,
            info.detail,
        ));
        if recipe.train.precision == Precision::Mixed && info.half_bytes == 4 {
            self.report.note(&format!("mixed precision: {} rounds to f16 and stores f32", info.backend));
        }
        if let Some(parts) = self.trainer.parts() {
            self.report.note(&format!(
                "a batch is taken in parts of {} images, whose gradients are added: as a whole it does not fit ({})",
                parts.size, parts.reason
            ));
        }
        self.report.json(&json!({
            "event": "start", "run": root, "recipe": recipe.name, "backend": info.backend, "adapter": info.name,
            "parameters": parameters, "train_images": train, "step": self.trainer.step_count(),
            "total_steps": self.trainer.total_steps(),
        }));
    }

    fn train(&mut self, interrupted: &std::sync::atomic::AtomicBool) -> Result<(), CliError> {
        let per_epoch = self.trainer.steps_per_epoch();
        let total = self.trainer.total_steps();
        let every = self.trainer.recipe().train.checkpoint_every;
        let mut since = Instant::now();
        while self.trainer.step_count() < total {
            self.trainer.step()?;
            let step = self.trainer.step_count();
            let (ends_epoch, last) = (step.is_multiple_of(per_epoch), step == total);
            let stop = interrupted.load(Ordering::SeqCst);
            let save = every.is_some_and(|n| n > 0 && step.is_multiple_of(n));
            if self.report.due() || self.trainer.must_read() || ends_epoch || last || stop || save {
                self.drain()?;
                self.cursor.train_secs += since.elapsed().as_secs_f64();
                since = Instant::now();
                self.stand();
            }
            if ends_epoch || last {
                self.end_epoch()?;
                since = Instant::now();
            } else if save || stop {
                self.save(false)?;
                since = Instant::now();
            }
            if stop && !last {
                let run = self.dir.view().root().to_path_buf();
                return Err(CliError::Interrupted { step, run });
            }
        }
        self.finish()
    }

    fn images_per_sec(&self) -> f64 {
        let seen = self.trainer.step_count() as f64 / self.trainer.steps_per_epoch() as f64;
        seen * self.trainer.train_count() as f64 / self.cursor.train_secs.max(1e-9)
    }

    fn stand(&mut self) {
        let step = self.trainer.step_count();
        let (loss, accuracy) = self.cursor.means();
        self.report.standing(&Standing {
            epoch: step.saturating_sub(1) / self.trainer.steps_per_epoch(),
            step,
            loss,
            accuracy,
            images_per_sec: self.images_per_sec(),
            lr: self.trainer.learning_rate(step.saturating_sub(1)),
        });
    }

    /// Evaluates, logs, chooses the best weights and saves.
    fn end_epoch(&mut self) -> Result<(), CliError> {
        let started = Instant::now();
        let epoch = self.trainer.step_count().div_ceil(self.trainer.steps_per_epoch());
        let (validation, test) = self.evaluate()?;
        let secs = started.elapsed().as_secs_f64();
        self.cursor.eval_secs += secs;
        self.log_epoch(epoch, validation.as_ref(), test.as_ref())?;
        // Without a validation part nothing is chosen: the latest weights are the best known.
        let better = match &validation {
            None => true,
            Some(v) => self.cursor.best_accuracy.is_none_or(|b| v.accuracy > b),
        };
        if better {
            self.cursor.best_accuracy = validation.as_ref().map(|v| v.accuracy);
            self.cursor.best_epoch = epoch as u64;
        }
        if self.trainer.step_count().is_multiple_of(self.trainer.steps_per_epoch()) {
            self.cursor.end_epoch();
        }
        self.save(better)?;
        self.write_summary(epoch, validation, test)
    }

    /// Validation and test scores; `None` for an empty part.
    fn evaluate(&mut self) -> Result<(Option<Evaluation>, Option<Evaluation>), CliError> {
        let mut scores = [None, None];
        for (slot, part) in scores.iter_mut().zip([Part::Validation, Part::Test]) {
            if self.trainer.part_count(part) > 0 {
                *slot = Some(block_on(self.trainer.evaluate(part))?);
            }
        }
        let [validation, test] = scores;
        Ok((validation, test))
    }

    fn finish(&mut self) -> Result<(), CliError> {
        let step = self.trainer.step_count();
        if self.dir.view().summary()?.is_none_or(|s| s.steps != step as u64) && step > 0 {
            // The last sitting ended between its checkpoint and its summary.
            let epoch = step.div_ceil(self.trainer.steps_per_epoch());
            let (validation, test) = self.evaluate()?;
            self.write_summary(epoch, validation, test)?;
        }
        let summary = self.dir.view().summary()?;
        let root = self.dir.view().root().display().to_string();
        if let Some(s) = &summary {
            self.report.json(&json!({
                "event": "end", "run": root, "steps": s.steps,
                "test_accuracy": s.test.as_ref().map(|t| t.accuracy), "total_secs": s.times.total_secs,
            }));
            let accuracy =
                s.test.as_ref().map(|t| format!("test accuracy {:.2}%, ", 100.0 * t.accuracy)).unwrap_or_default();
            self.report.note(&format!("done: {accuracy}{} ({root}/summary.json)", duration(s.times.total_secs)));
        }
        Ok(())
    }
}
