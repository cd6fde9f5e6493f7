//! A run folder on disk.
//!
//! ```text
//! RUN/recipe.toml  metrics.jsonl  events.out.tfevents.SECS.HOST  summary.json  lock
//! RUN/model.json kernels.json                  classes and image size; a GPU's tilings, if they were tuned
//! RUN/last.safetensors, best.safetensors       for people: links into checkpoints/
//! RUN/checkpoints/<step>-<n>/{last.safetensors, optimizer.safetensors, cursor.json}
//! RUN/checkpoints/best-<step>-<n>.safetensors  the best weights as of that checkpoint
//! RUN/checkpoints/current                      the pointer: the truth for resuming
//! ```
//!
//! A checkpoint is written into a temporary folder, forced to the device, renamed, and only then
//! pointed to; the pointer is replaced by one rename. So at any moment of a kill the pointer names
//! a complete checkpoint, the cursor in it names the best weights and the log lengths of the same
//! moment, and everything else is left-over that the next start removes. A full disk stops before
//! the pointer moves. One trainer at a time: the lock is held while a `RunDir` lives and is freed
//! by the system when its process dies.

pub mod disk;
mod save;
pub mod view;

pub use view::{RunInfo, RunView, list_runs};

use crate::checkpoint::{BestFile, Checkpoint, CheckpointError, Cursor, LogLengths, Pointer};
use crate::events;
use crate::metrics::Summary;
use crate::train::folder::{CHECKPOINTS, EVENTS_PREFIX, METRICS, RECIPE, SUMMARY};
use disk::{Disk, Log, TEMPORARY, at, remove_file, sync_dir};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const LOCK: &str = "lock";

/// Why a run folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{}: cannot {action}: {source}{}", .path.display(), advice(.source))]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{} holds no run (there is no recipe.toml in it): give the folder of a run", .path.display())]
    NotARun { path: PathBuf },
    #[error(
        "{} already holds a run: continue it with `chainrule train --resume`, or choose \
         another folder", .path.display()
    )]
    AlreadyARun { path: PathBuf },
    #[error(
        "{} is not empty and holds `{entry}`, which no run writes: choose a new or empty folder",
        .path.display()
    )]
    NotEmpty { path: PathBuf, entry: String },
    #[error("{} is in use by another trainer: wait until it ends, or stop it first", .path.display())]
    InUse { path: PathBuf },
    #[error(
        "{} is damaged: {problem}. Restore it from a copy, or start anew with `--init` and weights \
         that are whole", .path.display()
    )]
    Damaged { path: PathBuf, problem: String },
    #[error(
        "{} has {have} bytes, the checkpoint recorded {want}: lines are lost. Restore the file, or \
         start a new run from this one's weights with `--init`", .path.display()
    )]
    LogShort { path: PathBuf, have: u64, want: u64 },
    #[error("a line of metrics must be one line of text, got {0:?}")]
    NotALine(String),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Nothing is lost: the last checkpoint is whole. Free some space, then \
             `chainrule train --resume` the run"
        }
        _ => "",
    }
}

/// A run folder, locked for writing.
#[derive(Debug)]
pub struct RunDir {
    view: RunView,
    disk: Disk,
    metrics: Log,
    events: Log,
    current: Option<Pointer>,
    best: Option<BestFile>,
    // Dropped last: whoever gets the lock next finds the logs closed.
    _lock: File,
}

impl RunDir {
    /// Makes a new run. The folder may exist if it is empty, or left by a creation that was
    /// interrupted; `recipe.toml` is written last and makes it a run.
    pub fn create(root: impl Into<PathBuf>, recipe_toml: &str) -> Result<RunDir, RunError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(at(&root, "create the folder"))?;
        let ours = |name: &str| {
            [LOCK, METRICS, CHECKPOINTS].contains(&name)
                || name.starts_with(EVENTS_PREFIX)
                || name.starts_with(TEMPORARY)
        };
        if root.join(RECIPE).exists() {
            return Err(RunError::AlreadyARun { path: root });
        }
        if let Some(entry) = names(&root)?.into_iter().find(|n| !ours(n)) {
            return Err(RunError::NotEmpty { path: root, entry });
        }
        let lock = lock(&root)?;
        // Another trainer may have finished its creation while this one waited for the lock.
        if root.join(RECIPE).exists() {
            return Err(RunError::AlreadyARun { path: root });
        }
        for name in names(&root)?.iter().filter(|n| n.starts_with(EVENTS_PREFIX)) {
            remove_file(&root.join(name))?;
        }
        let folder = root.join(CHECKPOINTS);
        fs::create_dir_all(&folder).map_err(at(&folder, "create the folder"))?;
        let (secs, host) = (wall_secs(), host_name());
        let events = root.join(format!("{EVENTS_PREFIX}{}.{host}", secs as u64));
        let mut run = RunDir {
            metrics: Log::open(root.join(METRICS))?,
            events: Log::open(events)?,
            view: RunView::unchecked(root),
            disk: Disk::default(),
            current: None,
            best: None,
            _lock: lock,
        };
        run.truncate_logs(&Cursor::default())?;
        let recipe = run.view.path(RECIPE);
        run.disk.replace(&recipe, recipe_toml.as_bytes())?;
        // The folder's own name is kept by its parent.
        if let Some(parent) = run.view.root().parent().filter(|p| !p.as_os_str().is_empty()) {
            sync_dir(parent)?;
        }
        Ok(run)
    }

    /// Opens a run for training. Changes nothing yet: see `resume`.
    pub fn open(root: impl Into<PathBuf>) -> Result<RunDir, RunError> {
        let view = RunView::open(root)?;
        let lock = lock(view.root())?;
        let events = names(view.root())?
            .into_iter()
            .rfind(|n| n.starts_with(EVENTS_PREFIX))
            .unwrap_or_else(|| format!("{EVENTS_PREFIX}{}.{}", wall_secs() as u64, host_name()));
        Ok(RunDir {
            metrics: Log::open(view.path(METRICS))?,
            events: Log::open(view.path(&events))?,
            current: view.pointer()?,
            best: view.cursor()?.and_then(|c| c.best),
            view,
            disk: Disk::default(),
            _lock: lock,
        })
    }

    /// Goes back to the current checkpoint: loads it, cuts the logs to its lengths, points
    /// `last` and `best` to it and sweeps what an interrupted write left. `None`: start at step 0.
    pub fn resume(&mut self) -> Result<Option<Checkpoint>, RunError> {
        let checkpoint = self.load_current()?;
        let start = Cursor::default();
        self.truncate_logs(checkpoint.as_ref().map_or(&start, |c| &c.cursor))?;
        self.publish()?;
        self.sweep()?;
        Ok(checkpoint)
    }

    /// Reading side of the same folder.
    pub fn view(&self) -> &RunView {
        &self.view
    }

    /// See `RunView::load_current`.
    pub fn load_current(&self) -> Result<Option<Checkpoint>, RunError> {
        self.view.load_current()
    }

    /// From here on behave like a disk with `bytes` free (`None`: the real one); gives back what
    /// was left of the last such number. For tests.
    pub fn pretend_free_bytes(&mut self, bytes: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.disk.left, bytes)
    }

    /// Appends one JSON object to `metrics.jsonl`; the line end is added.
    pub fn append_metrics(&mut self, json: &str) -> Result<(), RunError> {
        if json.contains('\n') {
            return Err(RunError::NotALine(json.into()));
        }
        self.disk.append(&mut self.metrics, format!("{json}\n").as_bytes())
    }

    /// Appends whole records (see `events`) to the TensorBoard file.
    pub fn append_events(&mut self, records: &[u8]) -> Result<(), RunError> {
        self.disk.append(&mut self.events, records)
    }

    /// Forces the logs to the device and tells their lengths. `save` does it by itself.
    pub fn sync_logs(&mut self) -> Result<LogLengths, RunError> {
        self.metrics.sync()?;
        self.events.sync()?;
        let (metrics_bytes, events_bytes) = (self.metrics.bytes, self.events.bytes);
        Ok(LogLengths { metrics_bytes, events_bytes })
    }

    /// Cuts both logs to the lengths that a cursor recorded.
    pub fn truncate_logs(&mut self, cursor: &Cursor) -> Result<(), RunError> {
        self.metrics.truncate(cursor.logs.metrics_bytes)?;
        self.events.truncate(cursor.logs.events_bytes)?;
        if self.events.bytes == 0 {
            self.append_events(&events::file_version(wall_secs()))?;
        }
        Ok(())
    }

    /// Writes `summary.json`.
    pub fn write_summary(&mut self, summary: &Summary) -> Result<(), RunError> {
        let path = self.view.path(SUMMARY);
        let mut text = serde_json::to_string_pretty(summary).map_err(|e| at(&path, "print")(io::Error::other(e)))?;
        text.push('\n');
        self.disk.replace(&path, text.as_bytes())
    }

    /// Replaces `recipe.toml`: a resumed run may be made longer.
    pub fn replace_recipe(&mut self, recipe_toml: &str) -> Result<(), RunError> {
        self.disk.replace(&self.view.path(RECIPE), recipe_toml.as_bytes())
    }
}

fn lock(root: &Path) -> Result<File, RunError> {
    let path = root.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse { path: root.into() }),
        Err(TryLockError::Error(e)) => Err(at(&path, "lock")(e)),
    }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, RunError> {
    let entries = fs::read_dir(folder).map_err(at(folder, "list"))?;
    let mut out = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(folder, "list"))?.file_name();
        out.push(name.to_string_lossy().into_owned());
    }
    out.sort();
    Ok(out)
}

fn wall_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The machine's name, as TensorBoard's own files carry it, in letters that suit a file name.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let safe = |c: &char| c.is_ascii_alphanumeric() || ['-', '.'].contains(c);
    let name: String = name.trim().chars().filter(safe).take(64).collect();
    if name.is_empty() { "localhost".into() } else { name }
}
