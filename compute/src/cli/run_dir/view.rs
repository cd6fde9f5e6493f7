//! Reading a run folder, also while a trainer is writing to it.

use super::RunError;
use super::disk::at;
use crate::checkpoint::{Checkpoint, Cursor, Named, Pointer};
use crate::metrics::Summary;
use crate::train::folder::{self, CHECKPOINTS, CURRENT, METRICS, RECIPE, SUMMARY};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A reader that lost the race against a trainer's clean-up looks again this often.
const READ_ATTEMPTS: usize = 5;

/// Read access to a run folder. Takes no lock.
#[derive(Clone, Debug)]
pub struct RunView {
    root: PathBuf,
}

/// Reads a file; `None` where it does not exist.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, RunError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(path, "read")(e)),
    }
}

impl RunView {
    /// A folder is a run when it holds `recipe.toml`, which is written last at creation.
    pub fn open(root: impl Into<PathBuf>) -> Result<RunView, RunError> {
        let root = root.into();
        if !root.join(RECIPE).is_file() {
            return Err(RunError::NotARun { path: root });
        }
        Ok(RunView { root })
    }

    pub(super) fn unchecked(root: PathBuf) -> RunView {
        RunView { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn checkpoint_path(&self, name: &str) -> PathBuf {
        self.root.join(CHECKPOINTS).join(name)
    }

    /// The resolved recipe, as TOML.
    pub fn recipe(&self) -> Result<String, RunError> {
        let path = self.path(RECIPE);
        fs::read_to_string(&path).map_err(at(&path, "read"))
    }

    /// Lines of `metrics.jsonl` as far as they are written.
    pub fn metrics(&self) -> Result<String, RunError> {
        let bytes = read_if_there(&self.path(METRICS))?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `summary.json`; `None` before the run has finished once.
    pub fn summary(&self) -> Result<Option<Summary>, RunError> {
        let path = self.path(SUMMARY);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        let summary = serde_json::from_slice(&bytes).map_err(|e| RunError::Damaged { path, problem: e.to_string() })?;
        Ok(Some(summary))
    }

    /// Which checkpoint is current; `None` before the first.
    pub fn pointer(&self) -> Result<Option<Pointer>, RunError> {
        let path = self.checkpoint_path(CURRENT);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        Ok(Some(Pointer::parse(&path.display().to_string(), &bytes)?))
    }

    /// The cursor of the current checkpoint.
    pub fn cursor(&self) -> Result<Option<Cursor>, RunError> {
        self.current(|p| self.cursor_at(p))
    }

    /// The current checkpoint, every file checked against its recorded length and checksum.
    pub fn load_current(&self) -> Result<Option<Checkpoint>, RunError> {
        self.current(|pointer| folder::checkpoint_at(&self.source(), &self.name(), pointer))
    }

    /// The best weights as of the current checkpoint; `None` where none were chosen.
    pub fn load_best(&self) -> Result<Option<Named>, RunError> {
        let best = self.current(|pointer| folder::best_at(&self.source(), &self.name(), &self.cursor_at(pointer)?))?;
        Ok(best.flatten())
    }

    fn cursor_at(&self, pointer: &Pointer) -> Result<Cursor, RunError> {
        folder::cursor_at(&self.source(), &self.name(), pointer)
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }

    /// The files of the folder, by their path in it.
    fn source(&self) -> impl Fn(&str) -> Result<Option<Vec<u8>>, RunError> {
        |path| read_if_there(&self.root.join(path))
    }

    /// Runs `read` on the current pointer; again where the pointer moved meanwhile, because then
    /// the trainer may have removed the older checkpoint under the reader.
    fn current<T>(&self, read: impl Fn(&Pointer) -> Result<T, RunError>) -> Result<Option<T>, RunError> {
        let mut attempts = 0;
        loop {
            let Some(pointer) = self.pointer()? else {
                return Ok(None);
            };
            attempts += 1;
            match read(&pointer) {
                Ok(value) => return Ok(Some(value)),
                Err(_) if attempts < READ_ATTEMPTS && self.pointer()? != Some(pointer.clone()) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// One line of `chainrule runs`.
#[derive(Debug)]
pub struct RunInfo {
    pub name: String,
    pub path: PathBuf,
    /// Finished: a summary exists and no step was taken after it.
    pub finished: bool,
    pub summary: Option<Summary>,
    pub cursor: Option<Cursor>,
    /// What is wrong with the folder, if anything.
    pub problem: Option<String>,
}

/// The runs directly inside a folder, by name; a missing folder has none.
pub fn list_runs(root: &Path) -> Result<Vec<RunInfo>, RunError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(at(root, "list")(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(root, "list"))?.path();
        let Ok(view) = RunView::open(&path) else {
            continue;
        };
        let (summary, cursor) = (view.summary(), view.cursor());
        let problem = [summary.as_ref().err(), cursor.as_ref().err()];
        let problem = problem.into_iter().flatten().next().map(ToString::to_string);
        let (summary, cursor) = (summary.ok().flatten(), cursor.ok().flatten());
        let finished = summary.as_ref().is_some_and(|s| cursor.as_ref().is_none_or(|c| c.step <= s.steps));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        out.push(RunInfo { name, path, finished, summary, cursor, problem });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}
