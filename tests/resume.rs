//! The binary killed at random moments and resumed: the bits of an uninterrupted run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use compute::cell::rand::bits;

/// Kills in all.
const KILLS: usize = 50;

/// The binary beside the test's own: `cargo test --workspace` builds both.
pub fn chainrule() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folder = own.parent().and_then(Path::parent).expect("target/debug");
    let path = folder.join(format!("chainrule{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: run the tests with `cargo test --workspace`", path.display());
    path
}

const RECIPE: &str = r#"
[data]
set = "fashion-sample"
limit = 300
validation = 0.2
[augment]
crop_padding = 2
flip = true
[model]
layers = ["conv 4 kernel 3 padding 1", "batch-norm", "relu", "max-pool 2", "dropout 0.2", "flatten", "linear classes"]
[train]
batch = 32
epochs = 12
checkpoint_every = 2
[optimizer]
kind = "adam"
lr = 0.003
"#;

fn train(arguments: &[&str]) -> Command {
    let mut c = Command::new(chainrule());
    c.args(["train", "--backend", "cpu"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    c
}

fn weights(run: &Path) -> (Vec<u8>, Vec<u8>) {
    let read = |n: &str| std::fs::read(run.join(n)).unwrap_or_else(|e| panic!("{n}: {e}"));
    (read("last.safetensors"), read("best.safetensors"))
}

#[test]
fn fifty_kills_and_resumes_give_the_bits_of_an_uninterrupted_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |n: &str| dir.path().join(n).to_string_lossy().into_owned();
    let recipe = at("r.toml");
    std::fs::write(&recipe, RECIPE).expect("written");
    let whole = train(&[&recipe, "--out", &at("whole")]).output().expect("started");
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let want = weights(&dir.path().join("whole"));

    let (mut kills, mut rounds) = (0, 0);
    // A run ends before 50 kills: then another one begins.
    while kills < KILLS {
        rounds += 1;
        assert!(rounds < 40, "{kills} kills in {rounds} runs: the machine is too fast or too slow for this test");
        let run = at(&format!("run{rounds}"));
        let mut first = true;
        loop {
            let begun = Path::new(&run).join("recipe.toml").exists();
            let arguments: Vec<&str> =
                if first && !begun { vec![&recipe, "--out", &run] } else { vec!["--resume", &run] };
            first = false;
            if !begun && arguments[0] == "--resume" {
                // Killed before the run existed.
                first = true;
                continue;
            }
            let mut child = train(&arguments).spawn().expect("started");
            if kills < KILLS {
                std::thread::sleep(Duration::from_millis(
                    60 + u64::from(bits(5, 0, rounds as u32, kills as u32) % 500),
                ));
                if child.try_wait().expect("a state").is_none() {
                    child.kill().expect("killed");
                    child.wait().expect("gone");
                    kills += 1;
                    continue;
                }
            }
            let out = child.wait_with_output().expect("ended");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            break;
        }
        assert!(weights(Path::new(&run)) == want, "run {rounds} ended with other bits after {kills} kills in all");
    }
}
