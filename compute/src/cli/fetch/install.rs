//! Writing, checking and putting in place: the steps that both sources share.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{FetchError, FetchOptions, io};
use crate::cli::cache::{self, Work};
use crate::data::cifar;

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads `source` to its end in pieces, stopping when asked to.
pub(super) fn each_piece(
    options: &FetchOptions,
    path: &Path,
    source: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        options.checkpoint()?;
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => take(buffer.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(path, "read")(error)),
        }
    }
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(options: &FetchOptions, path: &Path) -> Result<String, FetchError> {
    let mut file = File::open(path).map_err(io(path, "open"))?;
    let mut digest = Sha256::new();
    each_piece(options, path, &mut file, |piece| {
        digest.update(piece);
        Ok(())
    })?;
    Ok(hex(&digest.finalize()))
}

/// Writes a file of the staged folder and forces it to disk.
pub(super) fn write_file(
    options: &FetchOptions,
    path: &Path,
    source: &mut dyn Read,
    mut done: impl FnMut(u64),
) -> Result<(), FetchError> {
    let mut file = File::create(path).map_err(io(path, "create"))?;
    each_piece(options, path, source, |piece| {
        done(piece.len() as u64);
        file.write_all(piece).map_err(io(path, "write"))
    })?;
    file.sync_all().map_err(io(path, "write"))
}

/// Checks size and SHA-256 of the six files in `folder`.
pub(super) fn verify(options: &FetchOptions, folder: &Path) -> Result<(), FetchError> {
    let mut meter = options.progress.start("verifying", options.pins.file_bytes() * 6);
    for (name, expected) in cifar::FILES.iter().zip(&options.pins.files) {
        let path = folder.join(name);
        let length = fs::metadata(&path).map_err(io(&path, "read"))?.len();
        // A wrong size needs no hashing of who knows how much.
        let found = match length == options.pins.file_bytes() {
            true => sha256(options, &path)?,
            false => format!("that of a file of {length} bytes"),
        };
        if found != *expected {
            let file = path.display().to_string();
            return Err(FetchError::Checksum { file, kind: "SHA-256", found, expected: expected.clone() });
        }
        meter.advance(length);
    }
    Ok(())
}

/// Moves the verified `stage` to `target` in one rename. A damaged folder that stands there is
/// moved out of the way; an intact one (of a fetch that ran at the same time) is kept.
pub(super) fn put_in_place(options: &FetchOptions, work: &Work, stage: &Path, target: &Path) -> Result<(), FetchError> {
    cache::sync_folder(stage).map_err(io(stage, "write"))?;
    for attempt in 0..8 {
        if target.exists() {
            match verify(options, target) {
                Ok(()) => return Ok(()),
                Err(FetchError::Cancelled) => return Err(FetchError::Cancelled),
                // Goes away with the work folder. Another fetch may be quicker: then there is
                // nothing to move any more.
                Err(_) => drop(fs::rename(target, work.path().join(format!("damaged-{attempt}")))),
            }
        }
        match fs::rename(stage, target) {
            Ok(()) => {
                return cache::sync_folder(&options.cache).map_err(io(&options.cache, "write"));
            }
            Err(_) if target.exists() => {}
            Err(error) => return Err(io(target, "put in place")(error)),
        }
    }
    Err(io(target, "replace")(std::io::Error::other("other programs keep writing there")))
}
