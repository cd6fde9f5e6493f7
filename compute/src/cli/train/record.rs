//! What a run writes down: metrics, TensorBoard events, checkpoints, the summary.

use serde_json::json;

use super::{Run, SCALARS_EVERY};
use crate::checkpoint::Checkpoint;
use crate::cli::device::block_on;
use crate::cli::{CliError, system};
use crate::events;
use crate::metrics::{Evaluation, Summary, Times};
use crate::train::TrainError;

impl Run {
    /// Reads the metrics of the steps since the last time into sums and logs.
    pub(super) fn drain(&mut self) -> Result<(), CliError> {
        let metrics = match block_on(self.trainer.metrics()) {
            Err(e @ TrainError::Diverged { .. }) => {
                // The state from before the bad step is worth keeping for a look inside.
                self.save(false)?;
                return Err(e.into());
            }
            other => other?,
        };
        let wall = wall();
        let mut records = vec![];
        for m in &metrics {
            let sums = &mut self.cursor.sums;
            *sums.entry("loss".into()).or_default() += m.loss * f64::from(m.images);
            *sums.entry("correct".into()).or_default() += f64::from(m.correct);
            *sums.entry("images".into()).or_default() += f64::from(m.images);
            if m.step.is_multiple_of(SCALARS_EVERY) {
                let step = m.step as u64 + 1;
                let lr = self.trainer.learning_rate(m.step);
                let accuracy = f64::from(m.correct) / f64::from(m.images.max(1));
                for (tag, v) in [("Train/Loss", m.loss), ("Train/BatchAccuracy", accuracy), ("Train/LearningRate", lr)]
                {
                    records.extend(events::scalar(step, wall, tag, v as f32));
                }
                self.dir.append_metrics(
                    &json!({"event": "step", "step": step, "loss": m.loss, "accuracy": accuracy, "lr": lr}).to_string(),
                )?;
            }
        }
        self.dir.append_events(&records)?;
        Ok(())
    }

    pub(super) fn log_epoch(
        &mut self,
        epoch: usize,
        validation: Option<&Evaluation>,
        test: Option<&Evaluation>,
    ) -> Result<(), CliError> {
        let (loss, accuracy) = self.means();
        self.cursor.sums.insert("epoch.loss".into(), loss);
        let (step, wall) = (self.trainer.step_count() as u64, wall());
        let mut records = events::scalar(step, wall, "Train/EpochLoss", loss as f32);
        records.extend(events::scalar(step, wall, "Train/Accuracy", accuracy as f32));
        for (name, part) in [("Validation", validation), ("Test", test)] {
            if let Some(e) = part {
                // Per epoch, as the classic script logs it.
                records.extend(events::scalar(epoch as u64, wall, &format!("{name}/Accuracy"), e.accuracy as f32));
                records.extend(events::scalar(
                    epoch as u64,
                    wall,
                    &format!("{name}/Loss"),
                    e.loss.unwrap_or(f64::NAN) as f32,
                ));
            }
        }
        let gradients = block_on(self.trainer.gradients())?;
        let weights = block_on(self.trainer.weights())?;
        for (group, named) in [("Gradients", &gradients), ("Weights", &weights)] {
            for (name, values) in named.iter().filter_map(|(n, t)| Some((n, t.as_f32()?))) {
                records.extend(events::histogram(step, wall, &format!("{group}/{name}"), values.iter().copied()));
            }
        }
        let mut pictured = false;
        for (name, value) in &weights {
            if !pictured && let Some((w, h, png)) = events::filters_png(value) {
                records.extend(events::image(step, wall, &format!("Filters/{name}"), w, h, &png));
                pictured = true;
            }
        }
        self.dir.append_events(&records)?;
        let value = json!({
            "event": "epoch", "epoch": epoch, "step": step, "train_loss": loss, "train_accuracy": accuracy,
            "validation_loss": validation.and_then(|v| v.loss), "validation_accuracy": validation.map(|v| v.accuracy),
            "test_loss": test.and_then(|t| t.loss), "test_accuracy": test.map(|t| t.accuracy),
            "images_per_sec": self.images_per_sec(), "train_secs": self.cursor.train_secs,
        });
        self.dir.append_metrics(&value.to_string())?;
        let mut text = format!("epoch {epoch:>3}  train loss {loss:.4}  accuracy {:.2}%", 100.0 * accuracy);
        for (name, part) in [("validation", validation), ("test", test)] {
            if let Some(e) = part {
                text += &format!("  {name} {:.2}%", 100.0 * e.accuracy);
            }
        }
        self.report.epoch(&text, &value);
        Ok(())
    }

    pub(super) fn save(&mut self, is_best: bool) -> Result<(), CliError> {
        let (weights, optimizer) = block_on(self.trainer.snapshot())?;
        let (step, per_epoch) = (self.trainer.step_count(), self.trainer.steps_per_epoch());
        let seed = u64::from(self.trainer.recipe().train.seed);
        let info = self.trainer.session().info().clone();
        let c = &mut self.cursor;
        c.step = step as u64;
        c.epoch = (step / per_epoch) as u64;
        c.position = (step % per_epoch) as u64;
        c.seed = seed;
        c.elapsed_secs = self.before + self.started.elapsed().as_secs_f64();
        (c.backend, c.adapter) = (info.backend.into(), info.name);
        let checkpoint = Checkpoint { weights, optimizer, cursor: c.clone() };
        self.dir.save(&checkpoint, is_best)?;
        Ok(())
    }

    pub(super) fn write_summary(
        &mut self,
        epochs: usize,
        validation: Option<Evaluation>,
        test: Option<Evaluation>,
    ) -> Result<(), CliError> {
        let info = self.trainer.session().info().clone();
        let memory = self.trainer.session().memory();
        let summary = Summary {
            version: env!("CARGO_PKG_VERSION").into(),
            recipe: self.trainer.recipe().name.clone(),
            backend: info.backend.into(),
            adapter: info.name,
            parameters: self.trainer.parameter_count() as u64,
            epochs: epochs as u64,
            steps: self.trainer.step_count() as u64,
            best_epoch: self.cursor.best_epoch,
            train_loss: self.cursor.sums.get("epoch.loss").copied(),
            validation,
            test,
            times: Times {
                total_secs: self.cursor.elapsed_secs,
                train_secs: self.cursor.train_secs,
                eval_secs: self.cursor.eval_secs,
                images_per_sec: self.images_per_sec(),
            },
            peak_device_bytes: memory.peak_bytes as u64,
            peak_resident_bytes: system::peak_resident_bytes(),
        };
        self.dir.write_summary(&summary)?;
        Ok(())
    }
}

/// Seconds since 1970, for TensorBoard.
fn wall() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
