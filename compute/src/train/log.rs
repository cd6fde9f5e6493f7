//! What a run writes down as it goes: lines of `metrics.jsonl` and records of TensorBoard. The binary
//! and the page write the same; the clock (`wall`, seconds since 1970) and the file are theirs.

use serde::{Deserialize, Serialize};

use super::StepMetrics;
use crate::events;
use crate::metrics::Evaluation;

/// A line of `metrics.jsonl`. Accuracies are shares from 0 to 1; what is not there is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// `step` counts from 1.
    Step { step: u64, loss: f64, accuracy: f64, lr: f64 },
    /// The end of epoch `epoch` (from 1), after `step` steps.
    Epoch {
        epoch: u64,
        step: u64,
        train_loss: f64,
        train_accuracy: f64,
        validation_loss: Option<f64>,
        validation_accuracy: Option<f64>,
        test_loss: Option<f64>,
        test_accuracy: Option<f64>,
        images_per_sec: f64,
        train_secs: f64,
    },
}

impl Line {
    /// The line of one step.
    pub fn of(m: &StepMetrics, lr: f64) -> Line {
        let accuracy = f64::from(m.correct) / f64::from(m.images.max(1));
        Line::Step { step: m.step as u64 + 1, loss: m.loss, accuracy, lr }
    }

    /// As it is written, without the line end. Errors: none for finite numbers.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The records of TensorBoard that say the same; an evaluation is logged by epoch.
    pub fn events(&self, wall: f64) -> Vec<u8> {
        let at = |step: u64, all: &[(&str, Option<f64>)]| {
            all.iter()
                .filter_map(|(tag, v)| v.map(|v| events::scalar(step, wall, tag, v as f32)))
                .flatten()
                .collect::<Vec<u8>>()
        };
        match *self {
            Line::Step { step, loss, accuracy, lr } => at(
                step,
                &[
                    ("Train/Loss", Some(loss)),
                    ("Train/BatchAccuracy", Some(accuracy)),
                    ("Train/LearningRate", Some(lr)),
                ],
            ),
            Line::Epoch {
                epoch,
                step,
                train_loss,
                train_accuracy,
                validation_loss,
                validation_accuracy,
                test_loss,
                test_accuracy,
                ..
            } => {
                let mut out =
                    at(step, &[("Train/EpochLoss", Some(train_loss)), ("Train/Accuracy", Some(train_accuracy))]);
                out.extend(at(
                    epoch,
                    &[
                        ("Validation/Accuracy", validation_accuracy),
                        ("Validation/Loss", validation_loss),
                        ("Test/Accuracy", test_accuracy),
                        ("Test/Loss", test_loss),
                    ],
                ));
                out
            }
        }
    }
}

/// Steps at the start of a run that are all logged: there the loss falls fastest.
const FIRST: usize = 20;
/// Afterwards one of so many.
const EVERY: usize = 20;

/// Whether a step (from 0) has a line of its own.
pub fn is_logged(step: usize) -> bool {
    step < FIRST || step.is_multiple_of(EVERY)
}

/// Means over the training images of an epoch, and how fast they were seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    pub epoch: u64,
    pub step: u64,
    pub loss: f64,
    pub accuracy: f64,
    pub images_per_sec: f64,
    pub train_secs: f64,
}

impl Epoch {
    /// The line of an epoch with its evaluations.
    pub fn line(self, validation: Option<&Evaluation>, test: Option<&Evaluation>) -> Line {
        Line::Epoch {
            epoch: self.epoch,
            step: self.step,
            train_loss: self.loss,
            train_accuracy: self.accuracy,
            validation_loss: validation.and_then(|e| e.loss),
            validation_accuracy: validation.map(|e| e.accuracy),
            test_loss: test.and_then(|e| e.loss),
            test_accuracy: test.map(|e| e.accuracy),
            images_per_sec: self.images_per_sec,
            train_secs: self.train_secs,
        }
    }
}

/// Reads `metrics.jsonl`; a last line that is cut short (its run was killed while it wrote) is left
/// out. Errors: the first other line that is none, by its number.
pub fn parse(file: &str, text: &str) -> Result<Vec<Line>, String> {
    let mut out = vec![];
    for (k, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(parsed) => out.push(parsed),
            Err(_) if !line.ends_with('\n') => {}
            Err(e) => return Err(format!("{file}, line {}: {e}", k + 1)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_their_text_and_a_cut_end_is_left_out() {
        let step = Line::of(&StepMetrics { step: 4, loss: 0.1 + 0.2, correct: 3, images: 4 }, 1e-3);
        let epoch = Epoch { epoch: 1, step: 5, loss: 1.5, accuracy: 0.5, images_per_sec: 10.0, train_secs: 2.0 };
        let all = [step.clone(), epoch.line(None, None)];
        let mut text: String = all.iter().map(|l| l.to_json().unwrap() + "\n").collect();
        assert!(text.starts_with(r#"{"event":"step","step":5,"#), "{text}");
        assert_eq!(parse("m", &text).unwrap(), all);
        text += "{\"event\":\"ste";
        assert_eq!(parse("m", &text).unwrap(), all);
        text += "\n";
        assert!(parse("m.jsonl", &text).unwrap_err().starts_with("m.jsonl, line 3: "));
        assert_eq!(crate::events::read_records(&step.events(1.0)).unwrap().len(), 3);
    }
}
