//! A run as bytes, as the page saves and opens it, against the folder that the binary keeps.

use super::{checkpoint, weights};
use compute::backend::DeviceInfo;
use compute::backend::gpu::tune::{Choices, Record};
use compute::checkpoint::CheckpointError;
use compute::cli::run_dir::{RunDir, RunView};
use compute::train::folder::{ModelCard, RunFolder};
use compute::train::log::Line;
use std::collections::BTreeMap;
use std::fs;

type Files = BTreeMap<String, Vec<u8>>;

/// Choices of a browser's adapter.
fn record() -> Record {
    let (name, detail) = ("acme fast".into(), "BrowserWebGpu".into());
    let info = DeviceInfo { backend: "gpu", name, detail, max_buffer_bytes: None, cache_bytes: 0, half_bytes: 2 };
    let mut choices = Choices::default();
    choices.insert("matmul 1x64x16x1024 stored f32", "rows 1x4 by 64".parse().unwrap());
    Record::of(&info, &choices)
}

fn run() -> RunFolder {
    let line = |step: u64| Line::Step { step, loss: 1.0 / step as f64, accuracy: 0.5, lr: 1e-3 };
    RunFolder {
        recipe: "[train]\nepochs = 1\n".into(),
        card: Some(ModelCard { classes: vec!["a".into(), "b".into()], channels: 1, height: 2, width: 3 }),
        lines: (1..=4).map(line).collect(),
        checkpoint: Some(checkpoint(4)),
        best: Some(weights(3)),
        kernels: Some(Ok(record())),
    }
}

fn files() -> Files {
    run().to_files(1.7e9).unwrap().into_iter().collect()
}

#[test]
fn the_binary_continues_what_the_page_saved_and_the_page_opens_what_the_binary_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    for (path, bytes) in files() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut dir = RunDir::open(&root).unwrap();
    let found = dir.resume().unwrap().unwrap();
    assert_eq!((found.weights, found.optimizer, found.cursor.step), (weights(4), checkpoint(4).optimizer, 4));
    assert_eq!(RunView::open(&root).unwrap().load_best().unwrap(), Some(weights(3)));
    dir.append_metrics(&Line::Step { step: 5, loss: 0.2, accuracy: 0.5, lr: 1e-3 }.to_json().unwrap()).unwrap();
    dir.save(&checkpoint(5), true).unwrap();
    // Logged after the checkpoint: not of its moment.
    dir.append_metrics("{\"event\":\"step\",\"step\":6,\"loss\":0.1,\"accuracy\":1.0,\"lr\":0.1}").unwrap();
    drop(dir);

    let mut kept = Files::new();
    let mut open = vec![root.clone()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                kept.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let back = RunFolder::from_files("run", &kept).unwrap();
    assert_eq!(back.lines.len(), 5);
    assert_eq!((back.best, back.card, back.recipe), (Some(weights(5)), run().card, run().recipe));
    assert_eq!(back.kernels, Some(Ok(record())));
    assert_eq!(back.checkpoint.unwrap().weights, weights(5));
}

#[test]
fn a_run_survives_its_bytes() {
    let back = RunFolder::from_files("run", &files()).unwrap();
    let want = run();
    assert_eq!(
        (&back.recipe, &back.card, &back.lines, &back.best),
        (&want.recipe, &want.card, &want.lines, &want.best)
    );
    assert_eq!(back.checkpoint.unwrap().optimizer, checkpoint(4).optimizer);
    assert_eq!(back.kernels, want.kernels);
}

/// Without its tilings a run goes on, only perhaps not to the same bits.
#[test]
fn damaged_tilings_are_told_and_take_nothing_with_them() {
    let mut all = files();
    all.insert("kernels.json".into(), b"{\"adapter\":".to_vec());
    let back = RunFolder::from_files("run", &all).unwrap();
    assert!(back.kernels.unwrap().is_err_and(|e| e.starts_with("it is damaged")));
    assert_eq!(back.checkpoint.unwrap().weights, weights(4));
    all.remove("kernels.json");
    assert_eq!(RunFolder::from_files("run", &all).unwrap().kernels, None);
}

#[test]
fn without_a_checkpoint_it_stands_at_the_start() {
    let mut all = files();
    all.retain(|path, _| !path.starts_with("checkpoints/"));
    let back = RunFolder::from_files("run", &all).unwrap();
    assert_eq!((back.checkpoint, back.lines), (None, vec![]));
}

#[test]
fn every_damage_is_an_error_that_names_the_file() {
    let all = files();
    for path in all.keys().filter(|p| p.starts_with("checkpoints/") || p.as_str() == "recipe.toml") {
        let mut short = all.clone();
        short.remove(path);
        let pointer = path == "checkpoints/current";
        // Without a pointer there is no checkpoint: that is a run before its first.
        assert_eq!(RunFolder::from_files("run", &short).is_ok(), pointer, "{path} is missing");
        if path == "recipe.toml" {
            continue;
        }
        for at in [0, all[path].len() / 2, all[path].len() - 1] {
            let mut bad = all.clone();
            bad.get_mut(path).unwrap()[at] ^= 0x20;
            let error = RunFolder::from_files("run", &bad).unwrap_err();
            assert!(error.to_string().starts_with("run/checkpoints/"), "{path} at {at}: {error}");
        }
    }
    let mut bad = all.clone();
    bad.insert("model.json".into(), b"{\"classes\":[],\"channels\":1,\"height\":1,\"width\":1}".to_vec());
    assert!(matches!(RunFolder::from_files("run", &bad), Err(CheckpointError::Damaged { .. })));
}
