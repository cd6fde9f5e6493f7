//! A run folder in one process: saving, going back, full disks, locks, damage.

use super::{checkpoint, is_best, weights};
use compute::cli::run_dir::{RunDir, RunError, RunView, list_runs};
use compute::metrics::Summary;
use std::fs;
use std::path::Path;
use std::process::Command;

fn new_run(folder: &Path) -> RunDir {
    RunDir::create(folder.join("run"), "[train]\nepochs = 1\n").unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut out: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    out.sort();
    out
}

#[test]
fn a_run_holds_the_files_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = new_run(folder.path());
    assert!(run.resume().unwrap().is_none());
    for step in 1..=4 {
        run.append_metrics(&format!("{{\"step\":{step}}}")).unwrap();
        run.save(&checkpoint(step), is_best(step)).unwrap();
    }
    run.write_summary(&Summary { steps: 4, recipe: "quick".into(), ..Summary::default() }).unwrap();

    let root = folder.path().join("run");
    let mut found = names(&root);
    assert!(found.iter().any(|n| n.starts_with("events.out.tfevents.")));
    found.retain(|n| !n.starts_with("events."));
    let wanted =
        ["best.safetensors", "checkpoints", "last.safetensors", "lock", "metrics.jsonl", "recipe.toml", "summary.json"];
    assert_eq!(found, wanted);
    let inside = names(&root.join("checkpoints"));
    assert_eq!(inside, ["00000004-0", "best-00000003-0.safetensors", "current"]);

    let back = RunView::open(&root).unwrap();
    assert_eq!(back.recipe().unwrap(), "[train]\nepochs = 1\n");
    assert_eq!(back.load_current().unwrap().unwrap().weights, weights(4));
    assert_eq!(back.load_best().unwrap().unwrap(), weights(3));
    let info = list_runs(folder.path()).unwrap();
    assert_eq!(info.len(), 1);
    assert!(info[0].finished && info[0].problem.is_none(), "{:?}", info[0]);
    assert!(list_runs(&folder.path().join("none")).unwrap().is_empty());
}

#[test]
fn the_same_step_can_be_saved_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = new_run(folder.path());
    run.save(&checkpoint(3), true).unwrap();
    run.save(&checkpoint(3), false).unwrap();
    run.save(&checkpoint(3), true).unwrap();
    assert_eq!(run.load_current().unwrap().unwrap().weights, weights(3));
    assert_eq!(run.view().load_best().unwrap().unwrap(), weights(3));
    assert_eq!(names(&folder.path().join("run/checkpoints")).len(), 3);
}

#[test]
fn going_back_cuts_the_logs_and_restores_best() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut run = new_run(folder.path());
    run.append_metrics("{\"step\":1}").unwrap();
    run.save(&checkpoint(3), true).unwrap();
    let logged = run.sync_logs().unwrap();
    run.append_metrics("{\"step\":2}").unwrap();
    run.append_events(b"half a record").unwrap();
    drop(run);
    // As a kill between two renames would leave it.
    fs::remove_file(root.join("last.safetensors")).unwrap();
    fs::remove_file(root.join("best.safetensors")).unwrap();
    fs::create_dir(root.join("checkpoints/.tmp-00000004-0")).unwrap();
    fs::create_dir(root.join("checkpoints/00000004-0")).unwrap();
    fs::write(root.join("checkpoints/best-00000004-0.safetensors"), b"newer").unwrap();
    fs::write(root.join("checkpoints/notes.txt"), b"not ours").unwrap();

    let mut run = RunDir::open(&root).unwrap();
    let back = run.resume().unwrap().unwrap();
    assert_eq!(back.cursor.logs, logged);
    assert_eq!(run.view().metrics().unwrap(), "{\"step\":1}\n");
    assert_eq!(run.sync_logs().unwrap(), logged);
    let same = |a: &str, b: &str| fs::read(root.join(a)).unwrap() == fs::read(root.join(b)).unwrap();
    assert!(same("last.safetensors", "checkpoints/00000003-0/last.safetensors"));
    assert!(same("best.safetensors", "checkpoints/best-00000003-0.safetensors"));
    let inside = names(&root.join("checkpoints"));
    assert_eq!(inside, ["00000003-0", "best-00000003-0.safetensors", "current", "notes.txt"]);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = new_run(folder.path());
    let empty = run.sync_logs().unwrap();
    run.append_metrics("{\"step\":1}").unwrap();
    run.append_events(&compute::events::scalar(1, 0.0, "a", 1.0)).unwrap();
    drop(run);
    let mut run = RunDir::open(folder.path().join("run")).unwrap();
    assert!(run.resume().unwrap().is_none());
    assert_eq!(run.sync_logs().unwrap(), empty);
}

/// Bytes and name changes of the second save of a run, the links for people included.
fn needed_for_a_save() -> u64 {
    const PLENTY: u64 = 1 << 30;
    let folder = tempfile::tempdir().unwrap();
    let mut run = new_run(folder.path());
    run.save(&checkpoint(3), true).unwrap();
    run.pretend_free_bytes(Some(PLENTY));
    run.save(&checkpoint(6), true).unwrap();
    PLENTY - run.pretend_free_bytes(None).unwrap()
}

/// Lets the disk be full at every change of a name, and at many bytes between them.
#[test]
fn a_full_disk_loses_nothing_wherever_it_strikes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut run = new_run(folder.path());
    run.save(&checkpoint(3), true).unwrap();
    let mut before = names(&root.join("checkpoints"));
    let needed = needed_for_a_save();
    // One by one: the beginning, the names before the pointer (a line of 76 bytes), the end.
    let mut points: Vec<u64> = (0..12).chain(needed - 100..needed - 76).collect();
    points.extend((12..needed - 100).step_by(needed as usize / 50));
    points.extend(needed - 12..needed);
    let (mut kept, mut moved) = (0, 0);
    for &free in &points {
        run.pretend_free_bytes(Some(free));
        let text = run.save(&checkpoint(6), true).unwrap_err().to_string();
        run.pretend_free_bytes(None);
        assert!(text.contains("Nothing is lost") && text.contains("run/"), "{text}");
        let found = run.load_current().unwrap().unwrap();
        let step = found.cursor.step;
        assert_eq!(found.weights, weights(step), "{free} of {needed} bytes");
        assert_eq!(run.view().load_best().unwrap().unwrap(), weights(step));
        if step == 3 {
            kept += 1;
            assert_eq!(names(&root.join("checkpoints")), before, "{free} of {needed} bytes");
        } else {
            // The pointer had moved: the new checkpoint is whole, links for people are late.
            moved += 1;
            run.save(&checkpoint(3), true).unwrap();
            before = names(&root.join("checkpoints"));
            assert_eq!(before.len(), 3, "{before:?}");
        }
    }
    assert_eq!(kept + moved, points.len());
    assert!(kept > 80 && moved == 4, "{kept} {moved}: two links of two name changes each");
    run.save(&checkpoint(6), true).unwrap();
    run.save(&checkpoint(7), false).unwrap();
    assert_eq!(run.load_current().unwrap().unwrap().weights, weights(7));
    assert_eq!(run.view().load_best().unwrap().unwrap(), weights(6));

    run.append_metrics("{\"whole\":1}").unwrap();
    run.pretend_free_bytes(Some(5));
    assert!(run.append_metrics("{\"cut\":1}").is_err());
    assert!(run.write_summary(&Summary::default()).is_err());
    run.pretend_free_bytes(None);
    run.append_metrics("{\"next\":1}").unwrap();
    assert_eq!(run.view().metrics().unwrap(), "{\"whole\":1}\n{\"next\":1}\n");
    assert!(!root.join("summary.json").exists());
    assert!(names(&root).iter().all(|n| !n.starts_with(".tmp-")));
}

/// The same on a real file system of 200 KB.
#[test]
#[ignore = "mounts a tmpfs in a user namespace: needs Linux with `unshare`"]
fn a_really_full_disk_loses_nothing() {
    const INSIDE: &str = "CHAINRULE_TEST_TMPFS";
    let Ok(mount) = std::env::var(INSIDE) else {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=200k none \"$CHAINRULE_TEST_TMPFS\" && exec \"$0\" \
                      --exact runs::folder::a_really_full_disk_loses_nothing --ignored --nocapture";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("the disk was full"), "{text}");
        return;
    };
    let mount = Path::new(&mount);
    let mut run = new_run(mount);
    run.save(&checkpoint(3), true).unwrap();
    // 60 KB stay free, less than a checkpoint and two beside each other.
    let filler = mount.join("filler");
    fs::write(&filler, vec![1u8; 120_000]).unwrap();
    let e = (4..40).find_map(|step| run.save(&checkpoint(step), step % 2 == 0).err());
    let e = e.expect("200 KB are not enough for this").to_string();
    assert!(e.contains("Nothing is lost"), "{e}");
    println!("the disk was full: {e}");
    let found = run.load_current().unwrap().unwrap();
    assert_eq!(found.weights, weights(found.cursor.step));
    run.view().load_best().unwrap().unwrap();
    fs::remove_file(filler).unwrap();
    run.save(&checkpoint(41), true).unwrap();
    assert_eq!(run.load_current().unwrap().unwrap().weights, weights(41));
}

#[test]
fn one_trainer_at_a_time_and_readers_need_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let run = new_run(folder.path());
    assert!(matches!(RunDir::open(&root), Err(RunError::InUse { .. })));
    assert!(RunView::open(&root).unwrap().load_current().unwrap().is_none());
    drop(run);
    RunDir::open(&root).unwrap();
}

#[test]
fn creating_spares_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    drop(new_run(folder.path()));
    let e = RunDir::create(&root, "").unwrap_err();
    assert!(matches!(e, RunError::AlreadyARun { .. }), "{e}");
    assert!(e.to_string().contains("--resume"), "{e}");
    // A creation that was interrupted before the recipe was written is taken over.
    fs::remove_file(root.join("recipe.toml")).unwrap();
    assert!(matches!(RunDir::open(&root), Err(RunError::NotARun { .. })));
    drop(RunDir::create(&root, "").unwrap());
    assert_eq!(names(&root).iter().filter(|n| n.starts_with("events.")).count(), 1);
    let thesis = folder.path().join("thesis");
    fs::create_dir(&thesis).unwrap();
    fs::write(thesis.join("chapter1.txt"), "words").unwrap();
    assert!(matches!(RunDir::create(&thesis, ""), Err(RunError::NotEmpty { .. })));
    assert_eq!(names(&thesis), ["chapter1.txt"]);
}

#[test]
fn damage_is_named_never_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut run = new_run(folder.path());
    run.append_metrics("{}").unwrap();
    run.save(&checkpoint(3), true).unwrap();
    drop(run);
    let set = "checkpoints/00000003-0";
    for name in [
        format!("{set}/last.safetensors"),
        format!("{set}/optimizer.safetensors"),
        format!("{set}/cursor.json"),
        "checkpoints/current".into(),
    ] {
        let path = root.join(&name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 40 + 1) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bad).unwrap();
            let e = RunView::open(&root).unwrap().load_current().unwrap_err().to_string();
            assert!(e.contains("run/checkpoints"), "{name} at {at}: {e}");
        }
        fs::write(&path, &good).unwrap();
    }
    fs::write(root.join("metrics.jsonl"), "").unwrap();
    let mut run = RunDir::open(&root).unwrap();
    assert!(matches!(run.resume(), Err(RunError::LogShort { have: 0, want: 3, .. })));
}
