//! Writing that survives a kill or a power cut: every byte goes to a new file, is forced to the
//! device, and only then takes its name.

use super::RunError;
use crate::checkpoint::FileDigest;
use crate::checksum::{Digest, crc32c_digest};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Names that begin so are unfinished work and may be deleted.
pub const TEMPORARY: &str = ".tmp-";

/// Adds the path and the action to an I/O error.
pub fn at<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> RunError + 'a {
    move |source| RunError::Io { path: path.into(), action, source }
}

/// Forces a directory's names to the device. Windows has no such call and needs none.
pub fn sync_dir(path: &Path) -> Result<(), RunError> {
    if cfg!(unix) {
        File::open(path).and_then(|d| d.sync_all()).map_err(at(path, "flush the folder"))?;
    }
    Ok(())
}

/// The way to the disk; with `left` set it behaves like a disk with that many bytes free, which
/// is how tests fill it at every point of a write. Each change of names counts as one byte.
#[derive(Debug, Default)]
pub struct Disk {
    pub left: Option<u64>,
}

impl Disk {
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = &mut self.left else {
            return file.write_all(bytes);
        };
        let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        file.write_all(&bytes[..fits])?;
        *left -= fits as u64;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn change(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn create_dir(&mut self, path: &Path) -> Result<(), RunError> {
        self.change().and_then(|()| fs::create_dir(path)).map_err(at(path, "create the folder"))
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<(), RunError> {
        self.change().and_then(|()| fs::rename(from, to)).map_err(at(to, "put in place"))
    }

    /// Creates a file, lets `fill` write it, forces it to the device; tells its digest.
    pub fn create(
        &mut self,
        path: &Path,
        fill: impl FnOnce(&mut Sink<'_>) -> Result<(), RunError>,
    ) -> Result<FileDigest, RunError> {
        let mut file = self
            .change()
            .and_then(|()| OpenOptions::new().write(true).create_new(true).open(path))
            .map_err(at(path, "create"))?;
        let mut sink = Sink { disk: self, file: &mut file, bytes: 0, sum: crc32c_digest(), failure: None };
        let filled = fill(&mut sink);
        let digest = FileDigest { bytes: sink.bytes, crc32c: sink.sum.finalize() };
        let failure = sink.failure;
        // The cause, rather than what the code in between made of it.
        if let Some(source) = failure {
            return Err(at(path, "write")(source));
        }
        filled?;
        file.sync_all().map_err(at(path, "flush"))?;
        Ok(digest)
    }

    /// Replaces a file as a whole: readers see the old bytes or the new, never a part.
    pub fn replace(&mut self, path: &Path, bytes: &[u8]) -> Result<(), RunError> {
        let (folder, temporary) = beside(path)?;
        remove_file(&temporary)?;
        let written = self
            .create(&temporary, |out| out.write_all(bytes).map_err(at(path, "write")))
            .and_then(|_| self.rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to tell; the rest is swept at the next start.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_dir(folder)
    }

    /// Makes `to` the same file as `from` (a hard link; a copy where links do not exist).
    pub fn publish(&mut self, from: &Path, to: &Path) -> Result<(), RunError> {
        let (folder, temporary) = beside(to)?;
        remove_file(&temporary)?;
        self.change().map_err(at(to, "create"))?;
        let done = match fs::hard_link(from, &temporary) {
            Ok(()) => self.rename(&temporary, to),
            Err(_) => fs::read(from).map_err(at(from, "read")).and_then(|bytes| {
                self.create(&temporary, |out| out.write_all(&bytes).map_err(at(to, "write")))?;
                self.rename(&temporary, to)
            }),
        };
        // Renaming one link over another of the same file does nothing, by POSIX.
        let swept = remove_file(&temporary);
        done.and(swept)?;
        sync_dir(folder)
    }

    /// Appends to a log of known length; a failed append leaves the log as it was.
    pub fn append(&mut self, log: &mut Log, bytes: &[u8]) -> Result<(), RunError> {
        match self.write(&mut log.file, bytes) {
            Ok(()) => {
                log.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(source) => {
                log.cut(log.bytes)?;
                Err(at(&log.path, "append to")(source))
            }
        }
    }
}

/// Where `Disk::create` lets its caller write.
pub struct Sink<'a> {
    disk: &'a mut Disk,
    file: &'a mut File,
    bytes: u64,
    sum: Digest,
    failure: Option<io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.disk.write(self.file, bytes) {
            let kind = e.kind();
            self.failure = Some(e);
            return Err(kind.into());
        }
        self.bytes += bytes.len() as u64;
        self.sum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that only grows, and is cut back to a checkpoint's length on resume.
#[derive(Debug)]
pub struct Log {
    pub path: PathBuf,
    pub file: File,
    pub bytes: u64,
}

impl Log {
    /// Opens a log at its end, creating it where it is missing. Not in append mode: Windows
    /// cannot cut such a file, and the run's lock already makes this the only writer.
    pub fn open(path: PathBuf) -> Result<Log, RunError> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at(&path, "open"))?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(at(&path, "examine"))?;
        Ok(Log { path, file, bytes })
    }

    fn cut(&mut self, bytes: u64) -> Result<(), RunError> {
        self.file
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)))
            .map_err(at(&self.path, "cut back"))?;
        self.bytes = bytes;
        Ok(())
    }

    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(at(&self.path, "flush"))
    }

    /// Cuts the log to a length; a log that is already shorter has lost lines and is an error.
    pub fn truncate(&mut self, bytes: u64) -> Result<(), RunError> {
        if self.bytes < bytes {
            let (have, want) = (self.bytes, bytes);
            return Err(RunError::LogShort { path: self.path.clone(), have, want });
        }
        self.cut(bytes)?;
        self.sync()
    }
}

fn beside(path: &Path) -> Result<(&Path, PathBuf), RunError> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            let temporary = format!("{TEMPORARY}{}", name.to_string_lossy());
            Ok((folder, folder.join(temporary)))
        }
        _ => Err(at(path, "name")(io::ErrorKind::InvalidInput.into())),
    }
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), RunError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path, "remove")(e)),
        _ => Ok(()),
    }
}
