//! Fetching CIFAR-10 the official way, against a server on this machine: broken connections, wrong
//! sums, two at once, stopping.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compute::cli::fetch::{ARCHIVE, FetchError, FetchOptions, Pins, Progress, Source, fetch_cifar10};
use compute::data::cifar;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::file_server::{Answer, serve};

/// Records of one small batch file.
pub const RECORDS: usize = 40;

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The six files, small, of bytes that do not compress.
pub fn files() -> Vec<Vec<u8>> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut record = |k: usize| {
        std::iter::once((k % 10) as u8).chain((1..cifar::RECORD_BYTES).map(|_| noise())).collect::<Vec<u8>>()
    };
    (0..6).map(|f| (0..RECORDS).flat_map(|k| record(k + f)).collect()).collect()
}

pub fn tgz(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// An archive like the official one, less `skip` files.
fn archive(skip: usize) -> Vec<u8> {
    let mut members = vec![("cifar-10-batches-bin/batches.meta.txt".to_string(), b"airplane\n".to_vec())];
    for (name, bytes) in cifar::FILES.iter().zip(files()).skip(skip) {
        members.push((format!("cifar-10-batches-bin/{name}"), bytes));
    }
    tgz(&members)
}

pub fn pins(archive: &[u8]) -> Pins {
    let sums: Vec<String> = files().iter().map(|f| hex(Sha256::digest(f))).collect();
    Pins {
        archive_bytes: archive.len() as u64,
        archive_md5: hex(Md5::digest(archive)),
        archive_sha256: hex(Sha256::digest(archive)),
        npm_sha256: String::new(),
        records: RECORDS,
        files: sums.try_into().unwrap(),
    }
}

pub fn options(cache: &Path, base_url: &str, pins: Pins) -> FetchOptions {
    FetchOptions {
        source: Source::Official,
        base_url: base_url.into(),
        pins,
        progress: Progress::Quiet,
        read_timeout: Duration::from_secs(10),
        ..FetchOptions::new(cache.into())
    }
}

/// All files under `root`, relative, sorted.
pub fn tree(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                out.push(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    out.sort();
    out
}

/// The cache holds the six files, right, and nothing else.
pub fn assert_complete(cache: &Path) {
    for (name, bytes) in cifar::FILES.iter().zip(files()) {
        assert!(fs::read(cache.join("cifar-10-batches-bin").join(name)).unwrap() == bytes, "{name}");
    }
    assert_eq!(tree(cache).len(), 6, "{:?}", tree(cache));
}

fn part_length(cache: &Path) -> u64 {
    fs::metadata(cache.join("downloads").join(format!("{ARCHIVE}.part"))).unwrap().len()
}

#[test]
fn a_broken_transfer_goes_on_within_one_run() {
    let (cache, body) = (tempfile::tempdir().unwrap(), archive(0));
    let half = body.len() / 2;
    let server = serve(body.clone(), vec![Answer::Cut(half), Answer::Whole]);
    let options = options(cache.path(), &server.url, pins(&body));
    let target = fetch_cifar10(&options).unwrap();
    assert_eq!(target, cache.path().join("cifar-10-batches-bin"));
    assert_complete(cache.path());
    assert_eq!(*server.seen.lock().unwrap(), ["".to_string(), format!("bytes={half}-")]);
    // Again: checked, found intact, the server not asked.
    fetch_cifar10(&options).unwrap();
    assert_eq!(server.seen.lock().unwrap().len(), 2);
    // Damaged: fetched again.
    let file = target.join("data_batch_3.bin");
    let mut bytes = fs::read(&file).unwrap();
    bytes[777] ^= 1;
    fs::write(&file, bytes).unwrap();
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
    // A file missing.
    fs::remove_file(&file).unwrap();
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
}

#[test]
fn a_broken_transfer_goes_on_in_the_next_run() {
    let (cache, body) = (tempfile::tempdir().unwrap(), archive(0));
    let server = serve(body.clone(), vec![Answer::Cut(100_000), Answer::Hang, Answer::Cut(50_000), Answer::Whole]);
    let options = options(cache.path(), &server.url, pins(&body));
    let error = fetch_cifar10(&options).unwrap_err();
    assert!(error.to_string().contains(ARCHIVE), "{error}");
    assert_eq!(part_length(cache.path()), 100_000);
    assert_eq!(tree(cache.path()).len(), 1, "only the part is kept");
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
    let seen = server.seen.lock().unwrap();
    assert_eq!(*seen, ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]);
}

#[test]
fn a_wrong_archive_is_refused_and_leaves_nothing() {
    let (cache, body) = (tempfile::tempdir().unwrap(), archive(0));
    let mut wrong = body.clone();
    wrong[70_000] ^= 1;
    let server = serve(wrong, vec![Answer::Whole]);
    let error = fetch_cifar10(&options(cache.path(), &server.url, pins(&body))).unwrap_err();
    assert!(matches!(&error, FetchError::Checksum { kind: "MD5", .. }), "{error}");
    assert_eq!(tree(cache.path()), [""; 0]);
    // The published MD5 alone is not trusted.
    let server = serve(body.clone(), vec![Answer::Whole]);
    let mut strict = pins(&body);
    strict.archive_sha256 = "0".repeat(64);
    let error = fetch_cifar10(&options(cache.path(), &server.url, strict)).unwrap_err();
    assert!(matches!(&error, FetchError::Checksum { kind: "SHA-256", .. }), "{error}");
    // The files have their own sums.
    let mut strict = pins(&body);
    strict.files[4] = "0".repeat(64);
    let error = fetch_cifar10(&options(cache.path(), &server.url, strict)).unwrap_err().to_string();
    assert!(error.contains("data_batch_5.bin") && error.contains("SHA-256"), "{error}");
    assert!(!cache.path().join("cifar-10-batches-bin").exists());
}

#[test]
fn an_archive_with_missing_or_wrong_files_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let body = archive(1);
    let server = serve(body.clone(), vec![Answer::Whole]);
    let error = fetch_cifar10(&options(cache.path(), &server.url, pins(&body))).unwrap_err().to_string();
    assert!(error.contains("data_batch_1.bin is not in the archive"), "{error}");
    let body = tgz(&[("x/test_batch.bin".into(), vec![1; 100])]);
    let server = serve(body.clone(), vec![Answer::Whole]);
    let error = fetch_cifar10(&options(cache.path(), &server.url, pins(&body))).unwrap_err().to_string();
    assert!(error.contains("test_batch.bin has 100 bytes"), "{error}");
    assert!(!cache.path().join("cifar-10-batches-bin").exists());
}

#[test]
fn servers_without_ranges_and_leftovers_of_other_files_are_survived() {
    let body = archive(0);
    for first in [Answer::IgnoreRange, Answer::Status(416)] {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("downloads")).unwrap();
        fs::write(cache.path().join("downloads").join(format!("{ARCHIVE}.part")), vec![7; 5000]).unwrap();
        let server = serve(body.clone(), vec![first, Answer::Whole]);
        fetch_cifar10(&options(cache.path(), &server.url, pins(&body))).unwrap();
        assert_complete(cache.path());
    }
    // A leftover that is longer than the archive; then an HTTP error.
    let cache = tempfile::tempdir().unwrap();
    fs::create_dir_all(cache.path().join("downloads")).unwrap();
    fs::write(cache.path().join("downloads").join(format!("{ARCHIVE}.part")), vec![7; body.len() + 1]).unwrap();
    let server = serve(body.clone(), vec![Answer::Status(503), Answer::Whole]);
    let options = options(cache.path(), &server.url, pins(&body));
    let error = fetch_cifar10(&options).unwrap_err();
    assert!(matches!(&error, FetchError::Unreachable { .. }) && error.to_string().contains("503"), "{error}");
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
}

#[test]
fn two_fetches_at_once_do_not_disturb_each_other() {
    let (cache, body) = (tempfile::tempdir().unwrap(), archive(0));
    let server = serve(body.clone(), vec![Answer::HalfThen(Arc::default())]);
    let options = options(cache.path(), &server.url, pins(&body));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| fetch_cifar10(&options))).collect();
        for run in runs {
            run.join().unwrap().unwrap();
        }
    });
    assert_complete(cache.path());
}

#[test]
fn stopping_leaves_only_what_can_be_resumed() {
    let (cache, body) = (tempfile::tempdir().unwrap(), archive(0));
    let mut options = options(cache.path(), "", pins(&body));
    let server = serve(body.clone(), vec![Answer::HalfThen(options.cancel.clone()), Answer::Whole]);
    options.base_url = server.url.clone();
    assert!(matches!(fetch_cifar10(&options), Err(FetchError::Cancelled)));
    let kept = part_length(cache.path());
    assert!(kept >= body.len() as u64 / 2 && kept < body.len() as u64, "{kept}");
    assert_eq!(tree(cache.path()).len(), 1);
    options.cancel.store(false, Ordering::Relaxed);
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
    assert_eq!(server.seen.lock().unwrap()[1], format!("bytes={kept}-"));
}
