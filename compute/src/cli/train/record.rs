//! What a run writes down: metrics, TensorBoard events, checkpoints, the summary.

use serde_json::json;

use super::Run;
use crate::cli::device::block_on;
use crate::cli::{CliError, system};
use crate::events;
use crate::metrics::{Evaluation, Summary, Times};
use crate::train::TrainError;
use crate::train::log::{Epoch, Line, is_logged};

impl Run {
    /// Reads the metrics of the steps since the last time into sums and logs.
    pub(super) fn drain(&mut self) -> Result<(), CliError> {
        let metrics = match block_on(self.trainer.metrics()) {
            Err(e @ (TrainError::Diverged { .. } | TrainError::Overflow { .. })) => {
                // The state from before the bad step is worth keeping for a look inside.
                self.save(false)?;
                return Err(e.into());
            }
            other => other?,
        };
        let wall = wall();
        let mut records = vec![];
        for m in &metrics {
            self.cursor.count(m.loss, m.correct, m.images);
            if is_logged(m.step) {
                let line = Line::of(m, self.trainer.learning_rate(m.step));
                records.extend(line.events(wall));
                self.dir.append_metrics(&text(&line)?)?;
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
        let (loss, accuracy) = self.cursor.means();
        self.cursor.sums.insert("epoch.loss".into(), loss);
        let (step, wall) = (self.trainer.step_count() as u64, wall());
        let (images_per_sec, train_secs) = (self.images_per_sec(), self.cursor.train_secs);
        let means = Epoch { epoch: epoch as u64, step, loss, accuracy, images_per_sec, train_secs };
        let line = means.line(validation, test);
        let mut records = line.events(wall);
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
        self.dir.append_metrics(&text(&line)?)?;
        let mut said = format!("epoch {epoch:>3}  train loss {loss:.4}  accuracy {:.2}%", 100.0 * accuracy);
        for (name, part) in [("validation", validation), ("test", test)] {
            if let Some(e) = part {
                said += &format!("  {name} {:.2}%", 100.0 * e.accuracy);
            }
        }
        if let Some(scale) = self.trainer.loss_scale() {
            said += &format!("  loss scale {scale}");
        }
        self.report.epoch(&said, &json!(line));
        Ok(())
    }

    pub(super) fn save(&mut self, is_best: bool) -> Result<(), CliError> {
        self.cursor.elapsed_secs = self.before + self.started.elapsed().as_secs_f64();
        let checkpoint = block_on(self.trainer.checkpoint(&self.cursor))?;
        self.cursor = checkpoint.cursor.clone();
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

fn text(line: &Line) -> Result<String, CliError> {
    line.to_json().map_err(|e| CliError::Other(e.to_string()))
}

/// Seconds since 1970, for TensorBoard.
fn wall() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
