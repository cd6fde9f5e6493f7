//! Where downloaded data sets live: `$CHAINRULE_CACHE`, else `chainrule` in the user's cache folder
//! (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows).
//!
//! Also the private work folders inside it. A work folder is marked as in use by an OS lock on a file
//! beside it, which ends with the process however that ends: so leftovers of a killed process are
//! recognised and removed by the next one, and nobody ever waits for a lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The environment variable that overrides the cache folder.
pub const VARIABLE: &str = "CHAINRULE_CACHE";

/// The cache folder (which need not exist yet); `None` when the system names no home folder.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("chainrule")),
    }
}

/// A private folder for half-done work, removed on drop.
pub struct Work {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held as long as this value lives.
    _lock: File,
}

impl Work {
    /// Removes leftovers of dead processes and makes a fresh folder under `cache`/work.
    pub fn new(cache: &Path) -> io::Result<Work> {
        let parent = cache.join("work");
        fs::create_dir_all(&parent)?;
        remove_leftovers(&parent)?;
        loop {
            let lock_file = tempfile::Builder::new().prefix("").suffix(".lock").tempfile_in(&parent)?;
            let (lock, lock_path) = lock_file.keep().map_err(|e| e.error)?;
            // A sweep of another process may have taken or removed the fresh file: try another name.
            // Where the file system has no locks nobody sweeps either, so go on without.
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) || !lock_path.exists() {
                continue;
            }
            let path = lock_path.with_extension("dir");
            fs::create_dir(&path)?;
            return Ok(Work { path, lock_path, _lock: lock });
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn remove_leftovers(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "lock") {
            let Ok(lock) = File::options().write(true).open(&path) else {
                continue;
            };
            if lock.try_lock().is_ok() {
                let _ = fs::remove_dir_all(path.with_extension("dir"));
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// Forces a folder's entries to disk. Windows cannot open folders and orders renames itself.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(windows) { Ok(()) } else { File::open(path)?.sync_all() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_folders_vanish_and_leftovers_are_swept() {
        let cache = tempfile::tempdir().unwrap();
        let work = Work::new(cache.path()).unwrap();
        fs::write(work.path().join("half"), "x").unwrap();
        // A dead process: its files, and no lock held.
        let parent = cache.path().join("work");
        fs::create_dir(parent.join("dead.dir")).unwrap();
        fs::write(parent.join("dead.dir/half"), "x").unwrap();
        fs::write(parent.join("dead.lock"), "").unwrap();
        let second = Work::new(cache.path()).unwrap();
        assert!(!parent.join("dead.dir").exists() && !parent.join("dead.lock").exists());
        // The living are left alone.
        assert!(work.path().join("half").exists());
        assert_ne!(work.path(), second.path());
        drop((work, second));
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }
}
