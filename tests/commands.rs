//! The binary as a user meets it: help, errors and their exit codes, and a small run's whole life.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::resume::chainrule;

fn run(arguments: &[&str]) -> Output {
    std::process::Command::new(chainrule())
        .args(arguments)
        // What a command writes by default goes to the folder it runs in.
        .current_dir(std::env::temp_dir())
        .env("NO_COLOR", "1")
        .output()
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ok(arguments: &[&str]) -> String {
    let out = run(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Exit code and stderr.
fn fails(arguments: &[&str]) -> (i32, String) {
    let out = run(arguments);
    (out.status.code().expect("a code"), text(&out.stderr))
}

#[test]
fn errors_have_their_codes_and_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[data]\nset = \"fashion-sample\"\n[optimizer]\nkind = \"adam\"\nlrr = 1\n").expect("written");
    let bad = bad.to_string_lossy().into_owned();
    let missing = dir.path().join("none").to_string_lossy().into_owned();
    let root = format!("data.root={missing}");
    for (arguments, code, words) in [
        (vec!["train"], 2, "Usage"),
        (vec!["train", "quikc"], 2, "did you mean `quick`?"),
        (vec!["train", &bad], 2, "did you mean `lr`?"),
        (vec!["train", "quick", "--set", "train.batch=many"], 2, "train.batch"),
        (vec!["train", "quick", "--set", "model.layers=[\"flatten\", \"linear 3\"]"], 2, "linear classes"),
        (vec!["train", "quick", "--backend", "cpu", "--device", "0"], 2, "names a GPU"),
        (vec!["train", "seed-cnn-32", "--set", &root], 3, "none"),
        (vec!["train", "quick", "--device", "no such adapter"], 4, "no such adapter"),
        (vec!["data", "fetch", "mnist"], 2, "cifar10"),
        (vec!["eval", &missing], 3, "none"),
        (vec!["predict", &missing, "x.png"], 3, "none"),
        (vec!["runs", "compare", &missing, &missing], 3, "none"),
    ] {
        let (got, said) = fails(&arguments);
        assert!(got == code && said.contains(words), "{arguments:?}: exit {got}, {said}");
    }
}

#[test]
fn a_loss_that_explodes_ends_the_run_and_names_the_tensor() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("run").to_string_lossy().into_owned();
    let arguments = [
        "train",
        "quick",
        "--backend",
        "cpu",
        "--out",
        &out,
        "--set",
        "optimizer.kind=sgd",
        "--set",
        "optimizer.lr=1e20",
        "--set",
        "data.limit=256",
    ];
    let (code, said) = fails(&arguments);
    assert!(code == 5 && said.contains("diverged at step") && said.contains("not finite is"), "exit {code}: {said}");
    // What led to it is kept.
    assert!(Path::new(&out).join("last.safetensors").exists());
}

#[test]
fn listing_and_planning_commands_print() {
    assert!(ok(&["--help"]).contains("train"));
    assert!(ok(&["recipes"]).contains("seed-cnn-224"));
    assert!(ok(&["recipes", "quick"]).contains("[model]"));
    assert!(ok(&["recipes", "--keys"]).contains("checkpoint_every"));
    assert!(ok(&["data", "list"]).contains("fashion-sample"));
    let plan = ok(&["plan", "seed-cnn-224"]);
    assert!(plan.contains("conv2d.backward_w") && plan.contains("GFLOP") && plan.contains("peak"), "{plan}");
    let summary = ok(&["summary", "seed-cnn-224"]);
    assert!(summary.contains("16,057,226 parameters") && summary.contains("[64, 32, 224, 224]"), "{summary}");
    assert!(ok(&["completions", "bash"]).contains("chainrule"));
}

#[test]
fn bench_writes_what_it_compares_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("before.json");
    let json = ok(&["bench", "mlp-30", "softmax", "--backend", "cpu", "--repeats", "2", "--json"]);
    std::fs::write(&file, &json).expect("written");
    let rows: Vec<Value> = json.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let cases: Vec<&str> = rows.iter().map(|r| r["case"].as_str().expect("a case")).collect();
    assert!(cases[0].starts_with("ceiling: matmul") && cases[1].starts_with("ceiling: copy"), "{cases:?}");
    assert_eq!(cases[2..], ["mlp-30", "softmax 4096x1000", "cross-entropy 4096x1000", "cross-entropy, gradient"]);
    assert_eq!(rows[2]["parameters"], 6274);
    for r in &rows {
        assert!(r["median_ms"].as_f64() > Some(0.0) && r["min_ms"].as_f64() <= r["median_ms"].as_f64(), "{r}");
    }
    let share = rows[3]["byte_share"].as_f64().expect("a share");
    assert!(share > 0.0 && share < 20.0, "{share} of what a copy moves");
    let table = ok(&["bench", "mlp-30", "--backend", "cpu", "--repeats", "2", "--compare", &file.to_string_lossy()]);
    let last = table.lines().last().expect("lines");
    assert!(last.starts_with("mlp-30") && last.split_whitespace().count() == 4, "{table}");
    // A whole job tells how many images pass in a second, and what their way to the device costs.
    let job = ok(&["bench", "mlp-30", "--job", "--backend", "cpu", "--repeats", "2", "--json"]);
    let row: Value = serde_json::from_str(job.lines().last().expect("lines")).expect("JSON");
    assert_eq!(row["case"], "job: mlp-30");
    let number = |k: &str| row[k].as_f64().expect("a number");
    assert!(number("images_per_sec") > 0.0 && (0.0..1.0).contains(&number("input_share")), "{row}");
    let bad = dir.path().join("bad.json");
    std::fs::write(&bad, "{}\n").expect("written");
    let (code, said) = fails(&["bench", "mlp-30", "--compare", &bad.to_string_lossy()]);
    assert!(code == 2 && said.contains("bad.json:1: not a line of"), "{code}: {said}");
}

#[test]
fn profile_tells_the_time_of_each_kernel_and_writes_a_trace() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("trace.json");
    let path = file.to_string_lossy().into_owned();
    let table = ok(&["profile", "quick", "--backend", "cpu", "--steps", "3", "--trace", &path]);
    let plan = ok(&["plan", "quick"]);
    let text = std::fs::read_to_string(&file).expect("a trace");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let steps: Vec<&Value> = events.iter().filter(|e| e["cat"] == "step").collect();
    assert_eq!(steps.len(), 3);
    let names: Vec<&str> = events.iter().filter_map(|e| e["name"].as_str()).collect();
    for name in ["conv1", "fc1.weight.next", "d conv1.weight"] {
        assert!(plan.contains(name) && table.contains(name) && names.contains(&name), "{name}: {table}");
    }
    assert!(table.lines().last().is_some_and(|l| l.starts_with("input: ") && l.contains("images/s")), "{table}");
    // Kernels lie in their step, one after the other.
    let number = |e: &Value, k: &str| e[k].as_f64().expect("a number");
    let (mut at, end) = (0.0, number(steps[2], "ts") + number(steps[2], "dur"));
    for e in events.iter().filter(|e| e["ph"] == "X" && e["cat"] != "step") {
        assert!(number(e, "ts") >= at - 1e-6 && number(e, "dur") >= 0.0, "{e}");
        at = number(e, "ts") + number(e, "dur");
    }
    assert!((at - end).abs() < 1e-6, "{at} {end}");
    // The new weight and its moments are one kernel, called by the weight.
    let small = ok(&["profile", "mlp-30", "--backend", "cpu", "--steps", "2"]);
    assert!(small.contains("fc2.weight.next") && !small.contains("exp_avg"), "{small}");
    let (code, said) = fails(&["profile", "quick", "--steps", "0"]);
    assert!(code == 2 && said.contains("--steps"), "{code}: {said}");
}

#[test]
fn a_run_from_training_to_prediction() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |n: &str| dir.path().join(n).to_string_lossy().into_owned();
    let run = path("run");
    let lines = ok(&[
        "train",
        "quick",
        "--backend",
        "cpu",
        "--json",
        "--out",
        &run,
        "--set",
        "data.limit=640",
        "--set",
        "train.epochs=2",
    ]);
    let events: Vec<Value> =
        lines.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect();
    let kind = |k: &str| events.iter().filter(|e| e["event"] == k).count();
    assert!(kind("start") == 1 && kind("epoch") == 2 && kind("end") == 1, "{lines}");
    for name in ["recipe.toml", "metrics.jsonl", "summary.json", "last.safetensors", "best.safetensors", "model.json"] {
        assert!(Path::new(&run).join(name).exists(), "{name}");
    }
    let summary: Value =
        serde_json::from_str(&std::fs::read_to_string(Path::new(&run).join("summary.json")).expect("read"))
            .expect("JSON");
    assert!(summary["test"]["accuracy"].as_f64().expect("a number") > 0.3, "{summary}");

    // More epochs on the finished run; anything else is refused.
    ok(&["train", "--resume", &run, "--backend", "cpu", "--set", "train.epochs=3"]);
    let (code, said) = fails(&["train", "--resume", &run, "--set", "optimizer.lr=1.0"]);
    assert!(code == 2 && said.contains("--init"), "{said}");

    let scores: Value = serde_json::from_str(&ok(&["eval", &run, "--backend", "cpu", "--json"])).expect("JSON");
    assert_eq!(scores["samples"], 1000);
    let files = path("pictures");
    std::fs::create_dir(&files).expect("made");
    for k in 0..3u8 {
        let grey = image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x as u8 * 9) ^ (y as u8 * k)]));
        grey.save(Path::new(&files).join(format!("{k}.png"))).expect("saved");
    }
    let csv = ok(&["predict", &run, &files, "--backend", "cpu"]);
    assert!(csv.lines().count() == 4 && csv.starts_with("file,class,probability"), "{csv}");
    let json: Value =
        serde_json::from_str(&ok(&["predict", &run, &files, "--backend", "cpu", "--format", "json"])).expect("JSON");
    let sum: f64 = json[0]["probabilities"].as_object().expect("classes").values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{json}");

    ok(&["export", &run, &path("out")]);
    assert!(dir.path().join("out/weights.safetensors").exists() && dir.path().join("out/recipe.toml").exists());
    ok(&["export", &run, &path("w.safetensors")]);
    // Weights start another run.
    ok(&[
        "train",
        "quick",
        "--backend",
        "cpu",
        "--init",
        &path("w.safetensors"),
        "--out",
        &path("second"),
        "--set",
        "train.epochs=1",
        "--set",
        "data.limit=64",
    ]);
    let (code, said) = fails(&[
        "train",
        "seed-cnn-32",
        "--set",
        "data.set=blood-cells",
        "--set",
        "data.limit=64",
        "--set",
        "model.layers=[\"conv1: conv 32 kernel 3\", \"flatten\", \"fc1: linear classes\"]",
        "--init",
        &path("w.safetensors"),
        "--out",
        &path("third"),
    ]);
    assert!(code == 3 && said.contains("conv1.weight"), "{said}");
    assert!(ok(&["runs", "list", &dir.path().to_string_lossy()]).contains("second"));
    assert!(ok(&["runs", "compare", &run, &path("second")]).contains("test accuracy"));
}

#[test]
fn doctor_checks_every_backend() {
    let out: Value = serde_json::from_str(&ok(&["doctor", "--json"])).expect("JSON");
    let checks = out["checks"].as_array().expect("checks");
    assert!(checks.len() >= 2 && checks.iter().all(|c| c["ok"] == true), "{out}");
    let listed: Value = serde_json::from_str(&ok(&["doctor", "--list", "--json"])).expect("JSON");
    assert!(
        listed["adapters"] == out["adapters"] && listed["checks"].as_array().is_some_and(Vec::is_empty),
        "{listed}"
    );
    // Where there is only a software Vulkan, `auto` takes the CPU.
    let software = out["adapters"]
        .as_array()
        .expect("adapters")
        .iter()
        .all(|a| a["summary"].as_str().is_some_and(|s| s.contains("software")));
    assert!(!software || out["auto"]["backend"] == "cpu", "{out}");
}

#[test]
fn verify_holds_every_op_of_a_family_to_its_definition() {
    for backend in ["cpu", "gpu"] {
        let lines = ok(&["verify", "softmax", "gather", "--backend", backend, "--json"]);
        let rows: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let ops: Vec<&str> = rows.iter().filter_map(|r| r["op"].as_str()).collect();
        assert!(ops.contains(&"gather") && ops.contains(&"softmax"), "{ops:?}");
        for r in &rows {
            assert!(r["ok"] == true && r["backend"] == backend && r["samples"].as_u64() > Some(0), "{r}");
            assert!(r["worst"].as_f64().is_some_and(|w| (0.0..=1.0).contains(&w)), "{r}");
        }
    }
    assert!(ok(&["verify", "gather", "--backend", "gpu", "--all-variants"]).contains("kernels of real GPUs"));
    let (code, said) = fails(&["verify", "sofmax"]);
    assert!(code == 2 && said.contains("softmax"), "{code}: {said}");
}
