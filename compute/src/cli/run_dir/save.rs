//! Writing a checkpoint as a set.
//!
//! Order: logs to the device; the three files into a temporary folder, each to the device; the
//! folder's name; the best weights' name; the pointer; then the links for people, and the older
//! checkpoints go. Up to the pointer's rename an error takes everything back; after it the new
//! checkpoint is the truth and the rest is repeated by the next save or start.

use super::disk::{TEMPORARY, at, remove_file, sync_dir};
use super::{RunDir, RunError, names};
use crate::checkpoint::cursor::is_best_name;
use crate::checkpoint::pointer::{self, Pointer};
use crate::checkpoint::{BestFile, Checkpoint, Cursor, LogLengths, write_weights};
use crate::train::folder::{BEST, CHECKPOINTS, CURRENT, CURSOR, LAST, OPTIMIZER};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

impl RunDir {
    /// Writes a checkpoint and makes it the current one. `logs`, `best` and `files` of the cursor
    /// are filled in here. On an error before the pointer moved the previous checkpoint stays
    /// current and the new one is removed.
    pub fn save(&mut self, checkpoint: &Checkpoint, is_best: bool) -> Result<(), RunError> {
        let logs = self.sync_logs()?;
        let step = checkpoint.cursor.step;
        let number = self.free_number(step)?;
        let name = pointer::directory(step, number);
        let best_name = format!("best-{name}.safetensors");
        let temporary = self.view.checkpoint_path(&format!("{TEMPORARY}{name}"));
        let folder = self.view.checkpoint_path(&name);

        let written = self.write_set(checkpoint, logs, is_best.then_some(&best_name), &temporary);
        let committed = written.and_then(|(json, best)| {
            self.disk.rename(&temporary, &folder)?;
            if is_best {
                let path = self.view.checkpoint_path(&best_name);
                self.disk.publish(&folder.join(LAST), &path)?;
            }
            sync_dir(&self.view.path(CHECKPOINTS))?;
            let new = Pointer::new(step, number, json.as_bytes());
            let path = self.view.checkpoint_path(CURRENT);
            self.disk.replace(&path, new.to_line().as_bytes())?;
            Ok((new, best))
        });
        match committed {
            Ok((new, best)) => {
                self.current = Some(new);
                self.best = best;
            }
            Err(e) => {
                self.discard(&name, &best_name);
                return Err(e);
            }
        }
        self.publish()?;
        self.sweep()
    }

    /// Removes a failed checkpoint, unless the pointer did move. Best effort: the error that led
    /// here is the one to report, and `sweep` tries again at the next save or start.
    fn discard(&mut self, name: &str, best_name: &str) {
        let points_to_it = match self.view.pointer() {
            Ok(p) => p.is_some_and(|p| p.directory() == name),
            Err(_) => true,
        };
        if !points_to_it {
            for folder in [format!("{TEMPORARY}{name}"), name.to_string()] {
                let _ = fs::remove_dir_all(self.view.checkpoint_path(&folder));
            }
            let _ = fs::remove_file(self.view.checkpoint_path(best_name));
        }
    }

    /// Writes the three files; gives back the cursor's text and the best weights it names.
    fn write_set(
        &mut self,
        checkpoint: &Checkpoint,
        logs: LogLengths,
        best_name: Option<&String>,
        folder: &Path,
    ) -> Result<(String, Option<BestFile>), RunError> {
        self.disk.create_dir(folder)?;
        let mut cursor = Cursor { logs, ..checkpoint.cursor.clone() };
        cursor.files.clear();
        for (name, tensors) in [(LAST, &checkpoint.weights), (OPTIMIZER, &checkpoint.optimizer)] {
            let digest =
                self.disk.create(&folder.join(name), |out| Ok(write_weights(out, tensors, &BTreeMap::new())?))?;
            cursor.files.insert(name.into(), digest);
        }
        cursor.best = match best_name {
            Some(name) => {
                let digest = cursor.files.get(LAST).copied().unwrap_or_default();
                Some(BestFile { name: name.clone(), digest })
            }
            None => self.best.clone(),
        };
        let json = cursor.to_json()?;
        let path = folder.join(CURSOR);
        self.disk.create(&path, |out| out.write_all(json.as_bytes()).map_err(at(&path, "write")))?;
        sync_dir(folder)?;
        Ok((json, cursor.best))
    }

    /// A number that no checkpoint or best file of this step uses.
    fn free_number(&self, step: u64) -> Result<u64, RunError> {
        let used = names(&self.view.path(CHECKPOINTS))?.into_iter().filter_map(|n| {
            let n = n.strip_prefix(TEMPORARY).unwrap_or(&n);
            let n = n.strip_prefix("best-").unwrap_or(n);
            pointer::parse_directory(n.strip_suffix(".safetensors").unwrap_or(n))
        });
        let last = used.filter(|u| u.0 == step).map(|u| u.1).max();
        Ok(last.map_or(0, |n| n.saturating_add(1)))
    }

    /// Points `RUN/last.safetensors` and `RUN/best.safetensors` to the current checkpoint.
    pub(super) fn publish(&mut self) -> Result<(), RunError> {
        if let Some(current) = &self.current {
            let from = self.view.checkpoint_path(&current.directory()).join(LAST);
            self.disk.publish(&from, &self.view.path(LAST))?;
        }
        if let Some(best) = &self.best {
            let from = self.view.checkpoint_path(&best.name);
            self.disk.publish(&from, &self.view.path(BEST))?;
        }
        Ok(())
    }

    /// Removes older checkpoints, older best weights and temporary files; nothing else.
    pub(super) fn sweep(&self) -> Result<(), RunError> {
        let current = self.current.as_ref().map(Pointer::directory);
        let best = self.best.as_ref().map(|b| &b.name);
        for name in names(&self.view.path(CHECKPOINTS))? {
            let path = self.view.checkpoint_path(&name);
            let old_folder = pointer::parse_directory(&name).is_some() && current.as_ref() != Some(&name);
            let temporary = name.starts_with(TEMPORARY);
            if (old_folder || temporary) && path.is_dir() {
                fs::remove_dir_all(&path).map_err(at(&path, "remove"))?;
            } else if temporary || is_best_name(&name) && best != Some(&name) {
                remove_file(&path)?;
            }
        }
        for name in names(self.view.root())?.iter().filter(|n| n.starts_with(TEMPORARY)) {
            remove_file(&self.view.path(name))?;
        }
        Ok(())
    }
}
