//! Kill -9 at random moments: the run must always be whole.

use super::{Random, checkpoint, is_best, weights};
use compute::checkpoint::weights_from_bytes;
use compute::cli::run_dir::{RunDir, RunView};
use compute::events;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 60;
/// About what the victim needs before its first save.
const START_MICROS: usize = 20_000;
const RUN_VARIABLE: &str = "CHAINRULE_TEST_KILLED_RUN";

/// The victim: resumes a run and saves a checkpoint a step, for ever.
#[test]
#[ignore = "not a test by itself: `a_killed_run_is_always_whole` starts and kills it"]
fn victim() {
    let path = std::env::var(RUN_VARIABLE).expect("started by its parent test");
    let mut run = RunDir::open(path).unwrap();
    let mut step = run.resume().unwrap().map_or(0, |c| c.cursor.step);
    loop {
        step += 1;
        run.append_metrics(&format!("{{\"step\":{step}}}")).unwrap();
        run.append_events(&events::scalar(step, 0.0, "Train/Loss", step as f32)).unwrap();
        run.save(&checkpoint(step), is_best(step)).unwrap();
        // Lines of a step that no checkpoint holds yet.
        run.append_metrics("{\"late\":true}").unwrap();
    }
}

/// Loads the run as another process would, and compares every part with its step.
fn step_if_whole(path: &Path) -> u64 {
    let view = RunView::open(path).unwrap();
    let Some(found) = view.load_current().unwrap() else {
        return 0;
    };
    let step = found.cursor.step;
    let wanted = checkpoint(step);
    assert_eq!(found.weights, wanted.weights);
    assert_eq!(found.optimizer, wanted.optimizer);
    let best_step = wanted.cursor.best_epoch;
    assert_eq!(found.cursor.best_accuracy, wanted.cursor.best_accuracy);
    let best = view.load_best().unwrap();
    assert_eq!(best, (best_step > 0).then(|| weights(best_step)), "best never runs ahead");
    // The files for people may be one checkpoint older or newer, never partial.
    for name in ["last.safetensors", "best.safetensors"] {
        if let Ok(bytes) = std::fs::read(view.path(name)) {
            let tensors = weights_from_bytes(name, &bytes).unwrap();
            let its_step = tensors.iter().find(|t| t.0 == "conv1.bias").unwrap().1.at(0) as u64;
            assert_eq!(tensors, weights(its_step));
            assert!(its_step.abs_diff(step) <= 3, "{name} is of step {its_step}, not {step}");
        }
    }
    step
}

#[test]
fn a_killed_run_is_always_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut run = RunDir::create(&path, "[train]\n").unwrap();
    // How long a save takes on this disk sets how long the victims live.
    let started = Instant::now();
    run.save(&checkpoint(0), false).unwrap();
    run.save(&checkpoint(0), false).unwrap();
    let save_micros = started.elapsed().as_micros() as usize / 2;
    drop(run);
    let mut random = Random(0x5eed);
    let (mut last, mut inside_a_write, mut moved) = (0, 0, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runs::kill::victim", "--ignored", "--nocapture"])
            .env(RUN_VARIABLE, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let micros = START_MICROS + random.below(3 * save_micros);
        std::thread::sleep(Duration::from_micros(micros as u64));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(ended.is_none(), "the victim failed by itself: {stderr}");

        let names = std::fs::read_dir(path.join("checkpoints")).unwrap();
        let left_over = names.filter(|n| n.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tmp-"));
        inside_a_write += usize::from(left_over.count() > 0);
        let step = step_if_whole(&path);
        assert!(step >= last, "kill {kill}: went back from step {last} to {step}");
        moved += usize::from(step > last);
        last = step;
    }
    println!("a save takes {} ms", save_micros / 1000);
    println!("{KILLS} kills, {inside_a_write} inside a write, {moved} with progress, step {last}");
    assert!(inside_a_write > 0 && moved > 5, "{inside_a_write} {moved}");

    // The next trainer finds logs of exactly the checkpoint's steps and nothing left over.
    let mut run = RunDir::open(&path).unwrap();
    assert_eq!(run.resume().unwrap().unwrap().cursor.step, last);
    let metrics = run.view().metrics().unwrap();
    assert_eq!(metrics.lines().last(), Some(format!("{{\"step\":{last}}}").as_str()));
    assert_eq!(metrics.matches("\"step\"").count() as u64, last, "each step is logged once");
    let entries = std::fs::read_dir(path.join("checkpoints")).unwrap().count();
    assert_eq!(entries, 3, "one checkpoint, its best weights, the pointer");
    let log = std::fs::read_dir(&path)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("tfevents"))
        .unwrap();
    let bytes = std::fs::read(log).unwrap();
    assert_eq!(events::read_records(&bytes).unwrap().len() as u64, last + 1);
}
