//! Classification metrics from a confusion matrix, and the summary of a finished run.
//!
//! For class `i` with `tp = counts[i][i]`, row sum `support`, column sum `predicted`:
//! `precision = tp / predicted`, `recall = tp / support`, `f1 = 2 tp / (support + predicted)`.
//! A zero denominator gives 0 (scikit-learn's `zero_division=0`). Averages over all classes:
//! macro = plain mean, weighted = mean by support, micro = from the summed counts; with one
//! label per sample all three micro scores equal the accuracy.
//! Checked against scikit-learn in `tests/golden/metrics.json`.

use serde::{Deserialize, Serialize};

/// A class index that the confusion matrix has no row for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "class {index} is outside the {classes} classes of the confusion matrix: \
     the labels and the class names do not belong together"
)]
pub struct ClassOutOfRange {
    pub index: usize,
    pub classes: usize,
}

/// Counts of (truth, prediction) pairs: `counts[truth * classes + predicted]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    classes: Vec<String>,
    counts: Vec<u64>,
}

/// Precision, recall and F1 of one class, and how many samples truly belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    pub class: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub support: u64,
}

/// One average of the three scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// `a / b`, and 0 where `b` is 0.
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

impl Confusion {
    /// An empty matrix over these classes.
    pub fn new(classes: Vec<String>) -> Confusion {
        let counts = vec![0; classes.len() * classes.len()];
        Confusion { classes, counts }
    }

    /// Counts one sample.
    pub fn add(&mut self, truth: usize, predicted: usize) -> Result<(), ClassOutOfRange> {
        let classes = self.classes.len();
        if let Some(&index) = [truth, predicted].iter().find(|&&i| i >= classes) {
            return Err(ClassOutOfRange { index, classes });
        }
        self.counts[truth * classes + predicted] += 1;
        Ok(())
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Samples of class `truth` that were predicted as `predicted`; 0 outside the matrix.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        let n = self.classes.len();
        if truth < n && predicted < n { self.counts[truth * n + predicted] } else { 0 }
    }

    /// One row per true class, one column per predicted class.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        let n = self.classes.len();
        self.counts.chunks(n.max(1)).map(<[u64]>::to_vec).collect()
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Samples on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.classes.len()).map(|i| self.count(i, i)).sum()
    }

    /// Fraction of samples predicted right; 0 when nothing was counted.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct(), self.total())
    }

    /// Scores of every class, in class order.
    pub fn per_class(&self) -> Vec<ClassScores> {
        let n = self.classes.len();
        (0..n)
            .map(|i| {
                let hits = self.count(i, i);
                let support: u64 = (0..n).map(|j| self.count(i, j)).sum();
                let predicted: u64 = (0..n).map(|j| self.count(j, i)).sum();
                ClassScores {
                    class: self.classes[i].clone(),
                    precision: ratio(hits, predicted),
                    recall: ratio(hits, support),
                    f1: ratio(2 * hits, support + predicted),
                    support,
                }
            })
            .collect()
    }

    /// Plain mean over all classes, those without samples included.
    pub fn macro_average(&self) -> Scores {
        self.average(|_| 1)
    }

    /// Mean over classes, each weighted by its support.
    pub fn weighted_average(&self) -> Scores {
        self.average(|c| c.support)
    }

    /// From the summed counts. Every miss is one false positive and one false negative, so
    /// precision, recall and F1 are all the accuracy.
    pub fn micro_average(&self) -> Scores {
        let a = self.accuracy();
        Scores { precision: a, recall: a, f1: a }
    }

    fn average(&self, weight: impl Fn(&ClassScores) -> u64) -> Scores {
        let mut sum = Scores::default();
        let mut total = 0.0;
        for c in self.per_class() {
            let w = weight(&c) as f64;
            sum.precision += w * c.precision;
            sum.recall += w * c.recall;
            sum.f1 += w * c.f1;
            total += w;
        }
        if total == 0.0 {
            return Scores::default();
        }
        Scores { precision: sum.precision / total, recall: sum.recall / total, f1: sum.f1 / total }
    }
}

/// Everything known about one pass over labelled images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub samples: u64,
    pub accuracy: f64,
    /// Mean loss; `None` (JSON null) where it was not a finite number.
    pub loss: Option<f64>,
    pub classes: Vec<ClassScores>,
    #[serde(rename = "macro")]
    pub macro_average: Scores,
    #[serde(rename = "micro")]
    pub micro_average: Scores,
    #[serde(rename = "weighted")]
    pub weighted_average: Scores,
    /// Rows are true classes, columns predictions.
    pub confusion_matrix: Vec<Vec<u64>>,
}

impl Evaluation {
    pub fn new(confusion: &Confusion, loss: f64) -> Evaluation {
        Evaluation {
            samples: confusion.total(),
            accuracy: confusion.accuracy(),
            loss: loss.is_finite().then_some(loss),
            classes: confusion.per_class(),
            macro_average: confusion.macro_average(),
            micro_average: confusion.micro_average(),
            weighted_average: confusion.weighted_average(),
            confusion_matrix: confusion.rows(),
        }
    }
}

/// `summary.json` of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of Chainrule that wrote it.
    pub version: String,
    /// Name of the recipe.
    pub recipe: String,
    pub backend: String,
    pub adapter: String,
    /// Number of trained numbers.
    pub parameters: u64,
    pub epochs: u64,
    pub steps: u64,
    /// The epoch whose weights are in `best.safetensors`; 0 = none was chosen.
    pub best_epoch: u64,
    pub train_loss: Option<f64>,
    pub validation: Option<Evaluation>,
    pub test: Option<Evaluation>,
    pub times: Times,
    /// Most bytes held on the device at one time.
    pub peak_device_bytes: u64,
    /// Most bytes of the process in memory, where the system tells it.
    pub peak_resident_bytes: Option<u64>,
}

/// Wall times of a run, over all its resumptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub total_secs: f64,
    pub train_secs: f64,
    pub eval_secs: f64,
    /// Training images per second of training time.
    pub images_per_sec: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(counts: [u64; 4]) -> Confusion {
        Confusion { classes: vec!["a".into(), "b".into()], counts: counts.to_vec() }
    }

    #[test]
    fn hand_computed_two_classes() {
        // truth a: 3 right, 1 as b; truth b: 2 as a, 4 right.
        let c = two([3, 1, 2, 4]);
        assert_eq!(c.accuracy(), 0.7);
        let s = c.per_class();
        assert_eq!((s[0].precision, s[0].recall, s[0].support), (0.6, 0.75, 4));
        assert!((s[0].f1 - 2.0 / 3.0).abs() < 1e-15);
        assert!((c.weighted_average().recall - 0.7).abs() < 1e-15);
        assert_eq!(c.rows(), vec![vec![3, 1], vec![2, 4]]);
    }

    #[test]
    fn an_empty_matrix_scores_zero() {
        for c in [two([0; 4]), Confusion::new(vec![])] {
            assert_eq!(c.accuracy(), 0.0);
            assert_eq!(c.weighted_average(), Scores::default());
            assert_eq!(c.macro_average(), Scores::default());
        }
    }

    #[test]
    fn a_class_outside_is_an_error_and_counts_nothing() {
        let mut c = two([0; 4]);
        let e = c.add(0, 2).unwrap_err();
        assert_eq!(e, ClassOutOfRange { index: 2, classes: 2 });
        assert_eq!(c.total(), 0);
        c.add(1, 0).unwrap();
        assert_eq!(c.count(1, 0), 1);
    }

    #[test]
    fn a_summary_survives_json_and_a_diverged_loss_is_null() {
        let summary = Summary { test: Some(Evaluation::new(&two([3, 1, 2, 4]), f64::NAN)), ..Summary::default() };
        let text = serde_json::to_string(&summary).unwrap();
        assert!(text.contains("\"loss\":null"), "{text}");
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }
}
