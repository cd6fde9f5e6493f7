//! A run folder as bytes: names, what stands in which file, and the chain of checks from the pointer
//! to the tensors. The binary keeps such folders on disk (`cli/run_dir`), the page saves and opens them
//! as archives; either continues what the other began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::Line;
use crate::backend::gpu::tune::Record;
use crate::checkpoint::{
    BestFile, Checkpoint, CheckpointError, Cursor, FileDigest, Named, Pointer, weights_from_bytes, weights_to_bytes,
};
use crate::events;
use crate::network::ImageShape;

pub const RECIPE: &str = "recipe.toml";
pub const METRICS: &str = "metrics.jsonl";
pub const SUMMARY: &str = "summary.json";
/// The file of a [`ModelCard`].
pub const MODEL_CARD: &str = "model.json";
/// The tilings of a run's products, where a tuner chose them ([`Record`]).
pub const KERNELS: &str = "kernels.json";
pub const LAST: &str = "last.safetensors";
pub const BEST: &str = "best.safetensors";
pub const CHECKPOINTS: &str = "checkpoints";
pub const CURRENT: &str = "current";
pub const OPTIMIZER: &str = "optimizer.safetensors";
pub const CURSOR: &str = "cursor.json";
pub const EVENTS_PREFIX: &str = "events.out.tfevents.";

/// What a model was trained on: kept in the run as `model.json`, so that prediction does not need
/// the data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    pub classes: Vec<String>,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl ModelCard {
    pub fn new(classes: &[String], shape: ImageShape) -> ModelCard {
        let ImageShape { channels, height, width, .. } = shape;
        ModelCard { classes: classes.to_vec(), channels, height, width }
    }

    /// Reads the file; `file` names it in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<ModelCard, CheckpointError> {
        let bad = |problem: String| CheckpointError::Damaged { file: file.into(), problem };
        let card: ModelCard = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if card.classes.is_empty() || ![1, 3].contains(&card.channels) || card.height == 0 || card.width == 0 {
            return Err(bad("it is not the card of an image model".into()));
        }
        Ok(card)
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String, CheckpointError> {
        serde_json::to_string(self).map_err(|e| CheckpointError::Write(e.to_string()))
    }

    pub fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width, classes: self.classes.len() }
    }
}

/// Where the files of a checkpoint lie in the folder.
pub fn in_checkpoint(pointer: &Pointer, name: &str) -> String {
    format!("{CHECKPOINTS}/{}/{name}", pointer.directory())
}

/// Reads a file of the folder by its path in it; `None` where there is none.
pub trait Source<E>: Fn(&str) -> Result<Option<Vec<u8>>, E> {}

impl<E, F: Fn(&str) -> Result<Option<Vec<u8>>, E>> Source<E> for F {}

fn need<E: From<CheckpointError>>(read: &impl Source<E>, root: &str, path: &str) -> Result<Vec<u8>, E> {
    let missing = || CheckpointError::Damaged { file: format!("{root}/{path}"), problem: "it is missing".into() };
    Ok(read(path)?.ok_or_else(missing)?)
}

/// The cursor that a pointer vouches for. `root` is what errors call the folder.
pub fn cursor_at<E: From<CheckpointError>>(read: &impl Source<E>, root: &str, pointer: &Pointer) -> Result<Cursor, E> {
    let path = in_checkpoint(pointer, CURSOR);
    let bytes = need(read, root, &path)?;
    let file = format!("{root}/{path}");
    if !pointer.vouches_for(&bytes) {
        let problem = format!("its SHA-256 is not the one in `{CHECKPOINTS}/{CURRENT}`");
        return Err(CheckpointError::Damaged { file, problem }.into());
    }
    Ok(Cursor::from_json(&file, &bytes)?)
}

/// The checkpoint that a pointer vouches for, every file checked against its length and checksum.
pub fn checkpoint_at<E: From<CheckpointError>>(
    read: &impl Source<E>,
    root: &str,
    pointer: &Pointer,
) -> Result<Checkpoint, E> {
    let cursor = cursor_at(read, root, pointer)?;
    let tensors = |name: &str| {
        let digest = cursor.files.get(name).copied().ok_or_else(|| CheckpointError::Damaged {
            file: format!("{root}/{}", in_checkpoint(pointer, CURSOR)),
            problem: format!("it does not list {name}"),
        })?;
        tensors_at(read, root, &in_checkpoint(pointer, name), digest)
    };
    let (weights, optimizer) = (tensors(LAST)?, tensors(OPTIMIZER)?);
    Ok(Checkpoint { weights, optimizer, cursor })
}

/// The best weights as of a checkpoint; `None` where none were chosen.
pub fn best_at<E: From<CheckpointError>>(
    read: &impl Source<E>,
    root: &str,
    cursor: &Cursor,
) -> Result<Option<Named>, E> {
    let Some(best) = &cursor.best else { return Ok(None) };
    tensors_at(read, root, &format!("{CHECKPOINTS}/{}", best.name), best.digest).map(Some)
}

fn tensors_at<E: From<CheckpointError>>(
    read: &impl Source<E>,
    root: &str,
    path: &str,
    digest: FileDigest,
) -> Result<Named, E> {
    let bytes = need(read, root, path)?;
    let (file, found) = (format!("{root}/{path}"), FileDigest::of(&bytes));
    if found != digest {
        let problem = format!(
            "{} bytes with checksum {:08x}, recorded were {} bytes with {:08x}",
            found.bytes, found.crc32c, digest.bytes, digest.crc32c
        );
        return Err(CheckpointError::Damaged { file, problem }.into());
    }
    Ok(weights_from_bytes(&file, &bytes)?)
}

/// A whole run in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFolder {
    /// The resolved recipe, as TOML.
    pub recipe: String,
    pub card: Option<ModelCard>,
    pub lines: Vec<Line>,
    pub checkpoint: Option<Checkpoint>,
    pub best: Option<Named>,
    /// What was chosen for its products, or what is wrong with the file: the weights are whole without it.
    pub kernels: Option<Result<Record, String>>,
}

impl RunFolder {
    /// The folder's files by path. `wall` dates the events. A run opened from them stands at the
    /// checkpoint, with logs of the same moment.
    pub fn to_files(&self, wall: f64) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
        let write = |e: serde_json::Error| CheckpointError::Write(e.to_string());
        let lines = self.lines.iter().map(Line::to_json).collect::<Result<Vec<_>, _>>().map_err(write)?;
        let metrics: Vec<u8> = lines.into_iter().flat_map(|l| (l + "\n").into_bytes()).collect();
        let mut log = events::file_version(wall);
        log.extend(self.lines.iter().flat_map(|l| l.events(wall)));
        let mut out = vec![];
        if let Some(c) = &self.checkpoint {
            let none = BTreeMap::new();
            let (last, state) = (weights_to_bytes(&c.weights, &none)?, weights_to_bytes(&c.optimizer, &none)?);
            let mut cursor = c.cursor.clone();
            (cursor.logs.metrics_bytes, cursor.logs.events_bytes) = (metrics.len() as u64, log.len() as u64);
            cursor.files.clear();
            for (name, bytes) in [(LAST, &last), (OPTIMIZER, &state)] {
                cursor.files.insert(name.into(), FileDigest::of(bytes));
            }
            let name = format!("best-{}.safetensors", crate::checkpoint::pointer::directory(cursor.step, 0));
            let best = match &self.best {
                Some(b) => Some(weights_to_bytes(b, &none)?),
                None => None,
            };
            cursor.best = best.as_ref().map(|b| BestFile { name: name.clone(), digest: FileDigest::of(b) });
            let json = cursor.to_json()?;
            let pointer = Pointer::new(cursor.step, 0, json.as_bytes());
            let at = |name: &str| in_checkpoint(&pointer, name);
            if let Some(b) = best {
                out.push((BEST.into(), b.clone()));
                out.push((format!("{CHECKPOINTS}/{name}"), b));
            }
            out.push((LAST.into(), last.clone()));
            out.extend([(at(LAST), last), (at(OPTIMIZER), state), (at(CURSOR), json.into_bytes())]);
            out.push((format!("{CHECKPOINTS}/{CURRENT}"), pointer.to_line().into_bytes()));
        }
        if let Some(card) = &self.card {
            out.push((MODEL_CARD.into(), card.to_json()?.into_bytes()));
        }
        if let Some(Ok(record)) = &self.kernels {
            out.push((KERNELS.into(), record.to_json().map_err(CheckpointError::Write)?.into_bytes()));
        }
        out.push((METRICS.into(), metrics));
        out.push((format!("{EVENTS_PREFIX}{}.page", wall as u64), log));
        // Last, as on disk: it makes the folder a run.
        out.push((RECIPE.into(), self.recipe.clone().into_bytes()));
        Ok(out)
    }

    /// Reads a folder's files; `root` names it in errors. Lines of the log after the checkpoint are left out.
    pub fn from_files(root: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<RunFolder, CheckpointError> {
        let read = |path: &str| Ok::<_, CheckpointError>(files.get(path).cloned());
        let damaged =
            |path: &str, problem: String| CheckpointError::Damaged { file: format!("{root}/{path}"), problem };
        let text =
            |path: &str, bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| damaged(path, "it is not text".into()));
        let recipe = text(RECIPE, need(&read, root, RECIPE)?)?;
        let card = match files.get(MODEL_CARD) {
            Some(bytes) => Some(ModelCard::parse(&format!("{root}/{MODEL_CARD}"), bytes)?),
            None => None,
        };
        let current = format!("{CHECKPOINTS}/{CURRENT}");
        let (mut checkpoint, mut best) = (None, None);
        if let Some(bytes) = files.get(&current) {
            let pointer = Pointer::parse(&format!("{root}/{current}"), bytes)?;
            let c = checkpoint_at(&read, root, &pointer)?;
            best = best_at(&read, root, &c.cursor)?;
            checkpoint = Some(c);
        }
        let mut metrics = files.get(METRICS).cloned().unwrap_or_default();
        // Before its first checkpoint a run stands at step 0, whatever it logged: as when it is resumed.
        let length = checkpoint.as_ref().map_or(0, |c| c.cursor.logs.metrics_bytes);
        metrics.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        let lines = super::log::parse(METRICS, &text(METRICS, metrics)?).map_err(|e| damaged(METRICS, e))?;
        let kernels = files.get(KERNELS).map(|bytes| Record::parse(bytes));
        Ok(RunFolder { recipe, card, lines, checkpoint, best, kernels })
    }
}
