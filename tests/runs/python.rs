//! Our files in the programs they are made for: the `tensorboard` and `safetensors` packages.
//! Ignored by default because they need a Python with those packages; `CHAINRULE_PYTHON` names
//! it (else `python3`).

use super::{checkpoint, weights};
use compute::checkpoint::weights_to_bytes;
use compute::cli::run_dir::RunDir;
use compute::events;
use compute::tensor::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Runs a script with one argument; gives back the JSON that it prints.
fn python(script: &str, argument: &Path) -> Value {
    let python = std::env::var("CHAINRULE_PYTHON").unwrap_or_else(|_| "python3".into());
    let output =
        Command::new(&python).args(["-c", script]).arg(argument).output().unwrap_or_else(|e| panic!("{python}: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"))
}

const READ_EVENTS: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
keep_all = {k: 0 for k in ("scalars", "histograms", "images")}
run = EventAccumulator(sys.argv[1], size_guidance=keep_all)
run.Reload()
h = run.Histograms("weights/conv1.weight")[0]
v = h.histogram_value
i = run.Images("conv1/filters")[0]
print(json.dumps(dict(
    tags={k: run.Tags()[k] for k in ("scalars", "histograms", "images")},
    scalars=[[s.step, s.wall_time, s.value] for s in run.Scalars("Test/Accuracy")],
    histogram=dict(step=h.step, min=v.min, max=v.max, num=v.num, sum=v.sum,
                   sum_squares=v.sum_squares, limits=list(v.bucket_limit), counts=list(v.bucket)),
    image=dict(step=i.step, width=i.width, height=i.height, png=list(i.encoded_image_string)),
)))
"#;

#[test]
#[ignore = "needs the tensorboard package: ./check runs it"]
fn tensorboard_reads_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut run = RunDir::create(&root, "").unwrap();
    let values: Vec<f32> = (0..864).map(|i| (i as f32 * 0.37).sin() * 0.2).collect();
    let filters = Tensor::f32(vec![32, 3, 3, 3], values.clone());
    let (width, height, png) = events::filters_png(&filters).unwrap();
    for epoch in 1..=2u64 {
        let wall = 1_700_000_000.25 + epoch as f64;
        let accuracy = 0.25 * epoch as f32;
        run.append_events(&events::scalar(epoch, wall, "Test/Accuracy", accuracy)).unwrap();
    }
    let tag = "weights/conv1.weight";
    run.append_events(&events::histogram(300, 2.0, tag, values.iter().copied())).unwrap();
    run.append_events(&events::image(2, 3.0, "conv1/filters", width, height, &png)).unwrap();
    // A resumed run: a checkpoint, a scalar after it, and back to the checkpoint.
    run.save(&checkpoint(2), false).unwrap();
    run.append_events(&events::scalar(3, 9.0, "Test/Accuracy", 0.9)).unwrap();
    run.resume().unwrap();
    drop(run);

    let found = python(READ_EVENTS, &root);
    assert_eq!(
        found["tags"],
        serde_json::json!({
            "scalars": ["Test/Accuracy"], "histograms": [tag], "images": ["conv1/filters"],
        })
    );
    assert_eq!(found["scalars"], serde_json::json!([[1, 1_700_000_001.25, 0.25], [2, 1_700_000_002.25, 0.5]]));
    let image = serde_json::json!({ "step": 2, "width": width, "height": height, "png": png });
    assert_eq!(found["image"], image);
    let h = &found["histogram"];
    let number = |key: &str| h[key].as_f64().unwrap();
    let exact = |f: fn(f64, f64) -> f64, start| values.iter().fold(start, |a, &v| f(a, v.into()));
    assert_eq!(number("step"), 300.0);
    assert_eq!(number("num"), 864.0);
    assert_eq!(number("min"), exact(f64::min, f64::INFINITY));
    assert_eq!(number("max"), exact(f64::max, f64::NEG_INFINITY));
    assert_eq!(number("sum"), exact(|a, v| a + v, 0.0));
    assert_eq!(number("sum_squares"), exact(|a, v| a + v * v, 0.0));
    let list = |key: &str| -> Vec<f64> { h[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
    let (limits, counts) = (list("limits"), list("counts"));
    for (i, count) in counts.iter().enumerate().skip(1) {
        let inside = |v: f64| limits[i - 1] <= v && v < limits[i];
        let wanted = values.iter().filter(|&&v| inside(v.into())).count();
        assert_eq!(*count, wanted as f64, "bucket {i}");
    }
    assert_eq!(counts.iter().sum::<f64>(), 864.0);
}

const READ_TENSORS: &str = r#"
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], "numpy") as f:
    print(json.dumps(dict(metadata=f.metadata(), tensors={
        name: [str(t.dtype), list(t.shape), t.reshape(-1).tolist()]
        for name in f.keys() for t in [f.get_tensor(name)]})))
"#;

#[test]
#[ignore = "needs the safetensors and numpy packages: ./check runs it"]
fn python_reads_our_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let mut tensors = weights(5);
    tensors.insert(0, ("mask".into(), Tensor::u8(vec![3], vec![1, 0, 255])));
    tensors.push(("steps".into(), Tensor::u32(vec![], vec![u32::MAX])));
    std::fs::write(&path, weights_to_bytes(&tensors, &BTreeMap::new()).unwrap()).unwrap();
    let found = python(READ_TENSORS, &path);
    assert_eq!(found["metadata"], serde_json::json!({ "format": "pt" }));
    for (name, t) in &tensors {
        let kind = match t.dtype().to_string().as_str() {
            "f32" => "float32",
            "u32" => "uint32",
            _ => "uint8",
        };
        let row = &found["tensors"][name];
        assert_eq!((&row[0], &row[1]), (&kind.into(), &serde_json::json!(t.shape())), "{name}");
        let numbers: Vec<f64> = row[2].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(numbers, t.to_f64(), "{name}");
    }
    assert_eq!(found["tensors"].as_object().unwrap().len(), tensors.len());
}
