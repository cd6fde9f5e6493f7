//! The cursor of a checkpoint: where the run stood, and what else belongs to that moment.
//!
//! JSON, with unknown keys refused: a cursor of a later version must not be half understood.
//! Random numbers are drawn from a counter keyed by (seed, step, node, element), so there is no
//! generator state to save.

use super::CheckpointError;
use crate::checksum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of this format.
pub const FORMAT: u32 = 1;
/// A cursor is a page of text; anything longer is not one.
const LIMIT_BYTES: usize = 1 << 20;

/// Position of a run, with the state of everything that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    pub format: u32,
    /// Epoch in progress, from 0.
    pub epoch: u64,
    /// Optimiser steps taken.
    pub step: u64,
    /// Batches of this epoch already used.
    pub position: u64,
    pub seed: u64,
    /// Accuracy that chose the best weights so far.
    pub best_accuracy: Option<f64>,
    pub best_epoch: u64,
    /// Time spent so far, over all resumptions.
    pub elapsed_secs: f64,
    pub train_secs: f64,
    pub eval_secs: f64,
    /// Running sums of the trainer (such as the epoch's loss), by name.
    pub sums: BTreeMap<String, f64>,
    pub backend: String,
    pub adapter: String,
    /// Kernel variant in use, by label: another choice would give other bits.
    pub kernel_variants: BTreeMap<String, String>,
    /// Set when it is written: lengths to truncate the logs to.
    pub logs: LogLengths,
    /// Set when it is written: the best weights of that moment.
    pub best: Option<BestFile>,
    /// Set when it is written: length and checksum of the files beside it, by name.
    pub files: BTreeMap<String, FileDigest>,
}

/// Bytes of each log that belong to a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLengths {
    pub metrics_bytes: u64,
    pub events_bytes: u64,
}

/// Length and CRC-32C: enough to notice damage, and free beside the write itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    pub bytes: u64,
    pub crc32c: u32,
}

impl FileDigest {
    /// The digest of a whole file.
    pub fn of(bytes: &[u8]) -> FileDigest {
        FileDigest { bytes: bytes.len() as u64, crc32c: checksum::crc32c(bytes) }
    }
}

/// The file of the best weights: `best-<step>.safetensors` beside the checkpoint directories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestFile {
    pub name: String,
    pub digest: FileDigest,
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor {
            format: FORMAT,
            epoch: 0,
            step: 0,
            position: 0,
            seed: 0,
            best_accuracy: None,
            best_epoch: 0,
            elapsed_secs: 0.0,
            train_secs: 0.0,
            eval_secs: 0.0,
            sums: BTreeMap::new(),
            backend: String::new(),
            adapter: String::new(),
            kernel_variants: BTreeMap::new(),
            logs: LogLengths::default(),
            best: None,
            files: BTreeMap::new(),
        }
    }
}

/// Whether a name is one that `save` gives to best weights: nothing else may be read or deleted.
pub fn is_best_name(name: &str) -> bool {
    name.strip_prefix("best-")
        .and_then(|n| n.strip_suffix(".safetensors"))
        .is_some_and(|n| (1..=48).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

impl Cursor {
    /// The text of `cursor.json`. Times and sums that are not finite numbers are refused.
    pub fn to_json(&self) -> Result<String, CheckpointError> {
        let bad = |problem: String| CheckpointError::Write(format!("cursor: {problem}"));
        let times = [self.elapsed_secs, self.train_secs, self.eval_secs];
        let numbers = times.iter().chain(self.best_accuracy.iter()).chain(self.sums.values());
        if let Some(x) = numbers.into_iter().find(|x| !x.is_finite()) {
            return Err(bad(format!("{x} is not a finite number")));
        }
        let mut text = serde_json::to_string_pretty(self).map_err(|e| bad(e.to_string()))?;
        text.push('\n');
        Ok(text)
    }

    /// Counts a step into the sums of the epoch in progress; `loss` is the mean over its images.
    pub fn count(&mut self, loss: f64, correct: u32, images: u32) {
        let images = f64::from(images);
        for (name, value) in [("loss", loss * images), ("correct", f64::from(correct)), ("images", images)] {
            *self.sums.entry(name.into()).or_default() += value;
        }
    }

    /// Mean loss and accuracy of the epoch in progress.
    pub fn means(&self) -> (f64, f64) {
        let sum = |name: &str| self.sums.get(name).copied().unwrap_or(0.0);
        let images = sum("images").max(1.0);
        (sum("loss") / images, sum("correct") / images)
    }

    /// Forgets the sums of the epoch that ended; its mean loss stays as `epoch.loss`.
    pub fn end_epoch(&mut self) {
        self.sums.retain(|name, _| name == "epoch.loss");
    }

    /// Reads `cursor.json`; `file` names it in messages.
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Cursor, CheckpointError> {
        let bad = |problem: String| CheckpointError::Cursor { file: file.into(), problem };
        if bytes.len() > LIMIT_BYTES {
            return Err(bad(format!("it has {} bytes, more than {LIMIT_BYTES}", bytes.len())));
        }
        let cursor: Cursor = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if cursor.format != FORMAT {
            let found = cursor.format;
            return Err(bad(format!("its format is {found}, this version reads {FORMAT}")));
        }
        if let Some(best) = cursor.best.as_ref().filter(|b| !is_best_name(&b.name)) {
            return Err(bad(format!("`{}` is not a name of best weights", best.name)));
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_to_the_last_bit() {
        let cursor = Cursor {
            step: u64::MAX,
            best_accuracy: Some(0.1 + 0.2),
            elapsed_secs: 1.0 / 3.0,
            sums: BTreeMap::from([("loss".into(), 1e-308)]),
            kernel_variants: BTreeMap::from([("matmul".into(), "tiled".into())]),
            best: Some(BestFile { name: "best-12-0.safetensors".into(), digest: FileDigest::of(b"x") }),
            ..Cursor::default()
        };
        let text = cursor.to_json().unwrap();
        assert_eq!(Cursor::from_json("c", text.as_bytes()).unwrap(), cursor);
    }

    #[test]
    fn every_f64_survives_its_json() {
        let mut x = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let v = f64::from_bits(x);
            if v.is_finite() {
                let text = serde_json::to_string(&v).unwrap();
                assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), x, "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let good = Cursor::default().to_json().unwrap();
        let best = |name: &str| {
            good.replace(
                "\"best\": null",
                &format!("\"best\": {{\"name\": \"{name}\", \"digest\": {{\"bytes\": 0, \"crc32c\": 0}}}}"),
            )
        };
        assert!(Cursor::from_json("c", best("best-1.safetensors").as_bytes()).is_ok());
        for text in [
            best("../best-1.safetensors"),
            best("best-/etc/passwd.safetensors"),
            best("best-.safetensors"),
            good.replace("\"format\": 1", "\"format\": 2"),
            good.replace("\"epoch\": 0", "\"epoch\": -1"),
            good.replace("\"epoch\"", "\"era\""),
            good[..good.len() / 2].into(),
            " ".repeat(LIMIT_BYTES + 1),
        ] {
            let e = Cursor::from_json("runs/a/cursor.json", text.as_bytes()).unwrap_err();
            assert!(e.to_string().starts_with("runs/a/cursor.json: "), "{e}");
        }
        let nan = Cursor { elapsed_secs: f64::NAN, ..Cursor::default() };
        assert!(nan.to_json().is_err());
    }
}
