//! The official archive over HTTP, resumed with a Range request, checked and unpacked.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use md5::Md5;
use sha2::{Digest, Sha256};
use ureq::http::{Response, header};

use super::{ARCHIVE, FetchError, FetchOptions, install, io};
use crate::cli::cache::Work;
use crate::data::cifar;

/// Connections tried in one run while each still brings bytes.
const ATTEMPTS: usize = 5;

/// Downloads, checks and unpacks into `stage`.
pub(super) fn fetch(options: &FetchOptions, work: &Work, stage: &Path) -> Result<(), FetchError> {
    let mut part = Part::open(options, work)?;
    if let Err(error) = part.fill(options) {
        if part.len()? == 0 {
            part.discard();
        }
        return Err(error);
    }
    if let Err(error) = part.check(options) {
        if !matches!(error, FetchError::Cancelled) {
            part.discard();
        }
        return Err(error);
    }
    part.unpack(options, stage)
}

/// The archive so far. In `downloads/`, so that a later run goes on; when another fetch is writing
/// there, in the private work folder instead.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn open(options: &FetchOptions, work: &Work) -> Result<Part, FetchError> {
        let shared = options.cache.join("downloads").join(format!("{ARCHIVE}.part"));
        let open = |path: PathBuf| {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            file.map_err(io(&path, "open")).map(|file| Part { path, file })
        };
        let part = open(shared)?;
        // The lock ends with the file handle, so also with a killed process.
        if part.file.try_lock().is_ok() { Ok(part) } else { open(work.path().join(ARCHIVE)) }
    }

    fn len(&self) -> Result<u64, FetchError> {
        Ok(self.file.metadata().map_err(io(&self.path, "read"))?.len())
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(io(&self.path, "write"))
    }

    fn discard(&self) {
        // Emptied too: where an open file cannot be removed, nothing wrong is left to resume.
        let _ = self.file.set_len(0);
        let _ = fs::remove_file(&self.path);
    }

    /// Brings the file to its full length.
    fn fill(&mut self, options: &FetchOptions) -> Result<(), FetchError> {
        for attempt in 1.. {
            let before = self.len()?;
            match self.transfer(options) {
                Ok(true) => break,
                // The server refused the range: once more, from the start.
                Ok(false) if attempt < ATTEMPTS => self.restart()?,
                Err(error @ FetchError::Transfer { .. }) if attempt < ATTEMPTS && self.len()? > before => {
                    options.progress.say(&format!("{error}; going on"));
                }
                Err(error) => return Err(error),
                Ok(false) => {
                    let reason = "the server does not answer range requests properly".into();
                    return Err(FetchError::Unreachable { url: url(options), reason });
                }
            }
        }
        self.file.sync_all().map_err(io(&self.path, "write"))
    }

    /// One connection; `false` when the server did not accept the position to go on from.
    fn transfer(&mut self, options: &FetchOptions) -> Result<bool, FetchError> {
        let (url, total) = (url(options), options.pins.archive_bytes);
        let mut have = self.len()?;
        if have > total {
            self.restart()?;
            have = 0;
        }
        if have == total {
            return Ok(true);
        }
        options.checkpoint()?;
        let mut response = request(options, &url, have)?;
        match response.status().as_u16() {
            200 => {
                self.restart()?;
                have = 0;
            }
            206 if starts_at(&response, have) => {}
            206 | 416 => return Ok(false),
            status => {
                return Err(FetchError::Unreachable { url, reason: format!("HTTP status {status}") });
            }
        }
        self.file.seek(SeekFrom::Start(have)).map_err(io(&self.path, "write"))?;
        let mut meter = options.progress.start("downloading CIFAR-10", total);
        meter.advance(have);
        // One byte more than wanted shows a file that is too long.
        let mut body = response.body_mut().as_reader().take(total - have + 1);
        let mut buffer = vec![0; 1 << 16];
        loop {
            options.checkpoint()?;
            let broken = |at, reason: String| FetchError::Transfer { url: url.clone(), at, total, reason };
            match body.read(&mut buffer) {
                Ok(0) if have < total => return Err(broken(have, "the server ended early".into())),
                Ok(0) => return Ok(true),
                Ok(n) => {
                    self.file.write_all(buffer.get(..n).unwrap_or_default()).map_err(io(&self.path, "write"))?;
                    have += n as u64;
                    meter.advance(n as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(have, error.to_string())),
            }
        }
    }

    /// Compares the sums of the whole archive.
    fn check(&mut self, options: &FetchOptions) -> Result<(), FetchError> {
        let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
        self.file.rewind().map_err(io(&self.path, "read"))?;
        install::each_piece(options, &self.path, &mut self.file, |piece| {
            md5.update(piece);
            sha256.update(piece);
            Ok(())
        })?;
        let sums = [
            ("MD5", install::hex(&md5.finalize()), &options.pins.archive_md5),
            ("SHA-256", install::hex(&sha256.finalize()), &options.pins.archive_sha256),
        ];
        for (kind, found, expected) in sums {
            if found != *expected {
                return Err(FetchError::Checksum { file: ARCHIVE.into(), kind, found, expected: expected.clone() });
            }
        }
        Ok(())
    }

    /// Takes the six files out of the archive, by their names only: no path of the archive is used.
    fn unpack(&mut self, options: &FetchOptions, stage: &Path) -> Result<(), FetchError> {
        let bad = |offset, problem: String| FetchError::Archive { file: ARCHIVE.into(), offset, problem };
        let unreadable = |error: std::io::Error| bad(0, format!("cannot unpack: {error}"));
        fs::create_dir_all(stage).map_err(io(stage, "create"))?;
        self.file.rewind().map_err(io(&self.path, "read"))?;
        let mut meter = options.progress.start("unpacking", options.pins.file_bytes() * 6);
        let mut archive = tar::Archive::new(flate2::bufread::GzDecoder::new(BufReader::new(&self.file)));
        let mut found = Vec::new();
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let path = entry.path().map_err(unreadable)?.into_owned();
            let name = cifar::FILES.iter().find(|f| path.file_name().is_some_and(|n| n == **f));
            let (Some(name), true) = (name, entry.header().entry_type().is_file()) else {
                continue;
            };
            if entry.size() != options.pins.file_bytes() || found.contains(&name) {
                let expected = options.pins.file_bytes();
                let problem = format!("{name} has {} bytes, expected {expected} and once", entry.size());
                return Err(bad(entry.raw_header_position(), problem));
            }
            install::write_file(options, &stage.join(name), &mut entry, |n| meter.advance(n))?;
            found.push(name);
        }
        match cifar::FILES.iter().find(|f| !found.contains(f)) {
            Some(missing) => Err(bad(0, format!("{missing} is not in the archive"))),
            None => Ok(()),
        }
    }
}

fn url(options: &FetchOptions) -> String {
    format!("{}/{ARCHIVE}", options.base_url.trim_end_matches('/'))
}

fn request(options: &FetchOptions, url: &str, from: u64) -> Result<Response<ureq::Body>, FetchError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.read_timeout))
        .timeout_per_read(Some(options.read_timeout))
        .http_status_as_error(false)
        .build()
        .into();
    // "identity": the archive's own gzip must arrive as it is.
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    request.call().map_err(|error| FetchError::Unreachable { url: url.into(), reason: error.to_string() })
}

/// Whether `Content-Range: bytes FROM-...` answers what was asked.
fn starts_at(response: &Response<ureq::Body>, from: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok());
    range.is_some_and(|v| v.trim().starts_with(&format!("bytes {from}-")))
}
