//! Tilings of products: every one that a tuner may choose computes the definition, the tuner chooses what a
//! clock says and stays within its bounds, and a run keeps what it began with.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use compute::backend::gpu::tune::{CANDIDATES, Choices, Tiling, Tuner};
use compute::backend::gpu::{Gpu, Limits, Variants};
use compute::backend::{Backend, ProgramId};
use compute::graph::{Graph, TensorType};
use compute::ops::conv2d::{Conv2d, Conv2dBackwardW, Conv2dBackwardX, Geometry};
use compute::ops::matmul::Matmul;
use compute::ops::{Fill, Sample, Tolerance};
use compute::plan::Plan;
use compute::rewrite::Fusion;
use compute::tensor::Tensor;
use pollster::block_on;
use tests::suite::{self, check_candidates, check_tiling};

use crate::resume::chainrule;

/// Products past the largest tile and at its edges, batched, turned, with a bias; whole vec4s and not; narrow
/// and long ones.
fn products() -> Vec<Sample> {
    let fill = Fill::Uniform(-1.0, 1.0);
    let sizes =
        [(1, 130, 135, 70), (1, 132, 260, 96), (3, 70, 66, 40), (2, 17, 20, 300), (1, 12, 200, 64), (1, 200, 9, 33)];
    let mut out = vec![];
    for (batch, m, n, k) in sizes.into_iter().chain([(1, 64, 10, 5000), (1, 40, 36, 4200)]) {
        for (ta, tb) in [(false, false), (false, true), (true, false)] {
            let a = if ta { [batch, k, m] } else { [batch, m, k] };
            let b = if tb { [batch, n, k] } else { [batch, k, n] };
            let op = Matmul { transpose_a: ta, transpose_b: tb, bias: false };
            let inputs = vec![(TensorType::f32(a), fill.clone()), (TensorType::f32(b), fill.clone())];
            out.push(Sample::new(op, inputs, Tolerance::Reduction(k)));
        }
    }
    let op = Matmul { transpose_a: false, transpose_b: true, bias: true };
    let inputs =
        [TensorType::f32([66, 80]), TensorType::f32([70, 80]), TensorType::f32([70])].map(|t| (t, fill.clone()));
    out.push(Sample::new(op, inputs.to_vec(), Tolerance::Reduction(80)));
    out
}

/// The three directions of convolutions, with rows of whole fours and without, strides and groups, many channels
/// and few.
fn convolutions() -> Vec<Sample> {
    let g = Geometry::default();
    let cases = [
        ([2, 5, 9, 8], 70, [3, 3], Geometry { padding: [1, 1], ..g }),
        ([3, 20, 11, 7], 36, [3, 2], Geometry { stride: [2, 1], padding: [1, 0], ..g }),
        ([2, 8, 9, 9], 40, [3, 3], Geometry { groups: 2, dilation: [2, 1], ..g }),
        ([3, 3, 8, 13], 18, [5, 3], Geometry { padding: [2, 1], stride: [1, 2], ..g }),
    ];
    let mut out = vec![];
    for ([b, c, h, w], o, kernel, geometry) in cases {
        let [oh, ow] = geometry.output([h, w], kernel).expect("samples fit");
        let types =
            |a: [usize; 4], b: [usize; 4]| [a, b].map(|t| (TensorType::f32(t), Fill::Uniform(-1.0, 1.0))).to_vec();
        let (x, wt, dy) = ([b, c, h, w], [o, c / geometry.groups, kernel[0], kernel[1]], [b, o, oh, ow]);
        let taps = c / geometry.groups * kernel[0] * kernel[1];
        out.push(Sample::new(Conv2d { geometry, bias: false }, types(x, wt), Tolerance::Reduction(taps)));
        let back_x = Conv2dBackwardX { geometry, size: [h, w] };
        out.push(Sample::new(back_x, types(dy, wt), Tolerance::Reduction(o * kernel[0] * kernel[1])));
        let back_w = Conv2dBackwardW { geometry, kernel };
        out.push(Sample::new(back_w, types(x, dy), Tolerance::Reduction(b * oh * ow)));
    }
    out
}

#[test]
fn every_candidate_of_products_computes_the_definition() {
    block_on(check_candidates(&products()));
}

#[test]
fn every_candidate_of_convolutions_computes_the_definition() {
    block_on(check_candidates(&convolutions()));
}

/// A GPU's subgroup holds several teams. The subgroups of a software device have few lanes, so that there only
/// teams of half as many are more than one.
#[test]
fn teams_within_a_subgroup_compute_the_definition() {
    let all: Vec<Sample> = products().into_iter().chain(convolutions()).collect();
    for text in ["lanes 4x2 by 4", "lanes 2x1 by 4 turned split 2"] {
        block_on(check_tiling(&all, text.parse().expect("a tiling")));
    }
    let mut choices = Choices::default();
    choices.insert("matmul 1x128x128x128 stored f32", "lanes 4x2 by 4".parse().expect("a tiling"));
    let l = loaded(Variants::Hardware, choices);
    assert!(l.gpu.unfit().is_empty() && l.gpu.choices_in_use().len() == 1, "the tiling is not used");
}

#[test]
fn candidates_equal_stored_operands() {
    block_on(suite::candidates_equal_stored_operands());
}

/// Two products of different classes and their sum of squares.
fn graph() -> Graph {
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([96, 100]));
    let w = g.feed("w", TensorType::f32([100, 72]));
    let v = g.feed("v", TensorType::f32([72, 24]));
    let h = g.matmul(x, w).expect("matmul");
    let y = g.matmul(h, v).expect("matmul");
    g.output("y", y);
    g
}

struct Loaded {
    gpu: Gpu,
    program: ProgramId,
    plan: Arc<Plan>,
}

fn loaded(variants: Variants, choices: Choices) -> Loaded {
    let mut gpu = block_on(suite::gpu_with(variants, Limits::Adapter));
    gpu.set_choices(choices);
    let g = graph();
    let plan = Arc::new(Plan::new(&g, &Fusion::default(), None).expect("a plan"));
    let program = gpu.load(plan.clone()).expect("loads");
    for (k, name) in ["x", "w", "v"].iter().enumerate() {
        let shape = g.shape(g.find(name).expect("a feed"));
        let n: usize = shape.iter().product();
        let value = |i: usize| ((i * (7 + k) + 3 * k) % 23) as f32 / 23.0 - 0.5;
        gpu.write(name, &Tensor::f32(shape, (0..n).map(value).collect())).expect("a feed");
    }
    Loaded { gpu, program, plan }
}

impl Loaded {
    fn result(&mut self) -> Vec<f64> {
        self.gpu.poison(self.program).expect("buffers");
        self.gpu.run(self.program).expect("runs");
        block_on(self.gpu.read_f64(self.program, self.plan.output("y").expect("an output"))).expect("reads")
    }

    /// Goes through all trials by a clock on which trial number `k` of a class takes `secs(k, again)`, `again`
    /// if it is the winner's second; tells the tilings of each class in order.
    fn tune(&mut self, secs: impl Fn(usize, bool) -> f64) -> BTreeMap<String, Vec<Tiling>> {
        let (time, step) = (Cell::new(0.0), Cell::new(0.0));
        let now = || {
            time.set(time.get() + step.get());
            time.get()
        };
        let mut tuner: Tuner = self.gpu.tuner();
        let mut seen: BTreeMap<String, Vec<Tiling>> = BTreeMap::new();
        let mut tilings: Vec<Tiling> = vec![];
        loop {
            if tuner.between_classes() {
                tilings.clear();
            }
            step.set(secs(tilings.len(), tilings.len() > 1 && tilings.first() == tilings.last()));
            let Some(trial) = block_on(tuner.next(&mut self.gpu, &now)).expect("no device is lost") else { break };
            tilings.push(trial.tiling);
            seen.insert(trial.class, tilings.clone());
        }
        assert_eq!(tuner.left(), 0);
        seen
    }
}

const BOTH: [Variants; 2] = [Variants::Device, Variants::Hardware];

#[test]
fn the_clock_decides_and_the_result_stays() {
    for variants in BOTH {
        let mut l = loaded(variants, Choices::default());
        let table = l.result();
        // Another program, with the same memory.
        let other = l.gpu.load(l.plan.clone()).expect("loads");
        // The third is the fastest; the table's and it come again at the end.
        let seen = l.tune(|k, again| if k == 2 || again { 0.5 } else { 1.0 });
        assert_eq!(seen.len(), 2, "{seen:?}");
        for (class, tilings) in &seen {
            assert!((5..=CANDIDATES + 2).contains(&tilings.len()), "{class}: {tilings:?}");
            assert_eq!(tilings[tilings.len() - 2..], [tilings[0], tilings[2]], "{class}");
            assert_eq!(l.gpu.choices().get(class), Some(tilings[2]), "{class}");
        }
        l.gpu.reload().expect("reloads");
        assert_eq!(l.gpu.choices_in_use(), *l.gpu.choices());
        assert!(l.gpu.unfit().is_empty());
        let tuned = l.result();
        assert_eq!(tuned.len(), table.len());
        l.gpu.run(other).expect("runs");
        assert_eq!(block_on(l.gpu.read_f64(other, l.plan.output("y").expect("an output"))).expect("reads"), tuned);
        for (a, b) in table.iter().zip(&tuned) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
        // The same choices, the same bits; and no trial is left to make.
        let mut again = loaded(variants, l.gpu.choices().clone());
        assert_eq!(again.gpu.tuner().left(), 0);
        assert_eq!(again.result(), tuned);
    }
}

#[test]
fn noise_changes_nothing() {
    for variants in BOTH {
        let mut l = loaded(variants, Choices::default());
        let memory = l.gpu.memory().now_bytes;
        let seen = l.tune(|k, _| if k == 0 { 1.0 } else { 0.98 });
        for (class, tilings) in &seen {
            assert!(tilings.len() <= CANDIDATES);
            assert_eq!(l.gpu.choices().get(class), Some(tilings[0]), "{class}");
        }
        // One staging buffer, for the wait.
        assert!(l.gpu.memory().now_bytes <= memory + 1024, "trials left buffers behind");
        let table = loaded(variants, Choices::default()).result();
        l.gpu.reload().expect("reloads");
        assert_eq!(l.result(), table);
    }
}

/// The first measurement of the table's was an unlucky one, or the winner's a lucky one.
#[test]
fn a_winner_is_held_against_the_table_once_more() {
    for unlike in [|k: usize| if k == 0 { 1.4 } else { 1.0 }, |k: usize| if k == 2 { 0.9 } else { 1.0 }] {
        let mut l = loaded(Variants::Device, Choices::default());
        for (class, tilings) in l.tune(|k, _| unlike(k)) {
            assert_eq!(l.gpu.choices().get(&class), Some(tilings[0]), "{class}");
        }
    }
}

#[test]
fn choices_that_do_not_fit_are_told_and_not_used() {
    let table = loaded(Variants::Device, Choices::default()).result();
    let class = "matmul 1x128x128x128 stored f32";
    let mut choices = Choices::default();
    // Workgroup memory is for real GPUs.
    choices.insert(class, "tiled 2x2 by 256".parse().expect("a tiling"));
    choices.insert("matmul 1x2x2x2 stored f32", "rows 1x1 by 16".parse().expect("a tiling"));
    let mut l = loaded(Variants::Device, choices);
    assert_eq!(l.result(), table);
    assert_eq!(l.gpu.unfit(), [class]);
    assert_eq!(l.gpu.choices_in_use().len(), 1);
}

#[test]
fn choices_round_trip_and_what_is_none_is_named() {
    let mut l = loaded(Variants::Hardware, Choices::default());
    l.tune(|k, _| 1.0 / (k + 1) as f64);
    let choices = l.gpu.choices().clone();
    let texts = choices.texts();
    assert_eq!(Choices::from_texts(texts), (choices.clone(), vec![]));
    // Every byte of every text changed in many ways: what is read is whole, what is not is named.
    let (mut named, mut read) = (0, 0);
    for (class, text) in texts {
        for at in 0..class.len() + text.len() {
            for new in [' ', 'x', '0', '9', '-', 'é'] {
                let change = |s: &str, at: usize| -> String {
                    s.char_indices().map(|(i, c)| if i == at { new } else { c }).collect()
                };
                let (c, t) = (change(class, at), change(text, at.wrapping_sub(class.len())));
                let (some, wrong) = Choices::from_texts(&BTreeMap::from([(c.clone(), t)]));
                assert_eq!(some.len() + wrong.len(), 1);
                named += wrong.len();
                read += some.len();
                for (class, text) in some.texts() {
                    assert_eq!(some.get(class).map(|t| t.to_string()).as_ref(), Some(text));
                }
                assert!(wrong.iter().all(|w| w.contains(&c)), "{wrong:?}");
            }
        }
    }
    assert!(named > 100 && read > 100, "{named} named, {read} read");
}

pub const RECIPE: &str = r#"
[data]
set = "fashion-sample"
limit = 48
validation = 0
[model]
layers = ["conv 8 kernel 3 padding 1", "relu", "max-pool 4", "flatten", "linear 40", "relu", "linear classes"]
[train]
batch = 16
epochs = 1
[optimizer]
kind = "adam"
lr = 0.003
"#;

/// `chainrule` with a cache folder of its own; exit code and stderr.
fn command(cache: &Path, arguments: &[&str]) -> (i32, String) {
    let out = std::process::Command::new(chainrule())
        .args(arguments)
        .env("CHAINRULE_CACHE", cache)
        .output()
        .expect("started");
    (out.status.code().expect("a code"), String::from_utf8_lossy(&out.stderr).into_owned())
}

pub fn ok(cache: &Path, arguments: &[&str]) -> String {
    let (code, said) = command(cache, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    said
}

#[test]
fn a_run_keeps_the_tilings_that_it_began_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let (cache, at) = (dir.path().join("cache"), |n: &str| dir.path().join(n).to_string_lossy().into_owned());
    let (recipe, gpu) = (at("r.toml"), ["--backend", "gpu"]);
    std::fs::write(&recipe, RECIPE).expect("written");
    let train = |more: &[&str]| ok(&cache, &[&["train"], more, &gpu].concat());
    let weights = |run: &str| std::fs::read(dir.path().join(run).join("last.safetensors")).expect("weights");
    let longer = ["--set", "train.epochs=2"];

    // A software GPU is tuned when asked for.
    let said = train(&[&recipe, "--out", &at("table")]);
    assert!(!said.contains("tuned") && !cache.join("kernels").exists(), "{said}");
    let said = train(&[&recipe, "--out", &at("tuned"), "--tune", "again"]);
    assert!(said.contains("tuned ") && said.contains("classes of products"), "{said}");
    let file =
        std::fs::read_dir(cache.join("kernels")).expect("a folder").next().expect("a file").expect("read").path();
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(dir.path().join("tuned/kernels.json").exists());

    // Choices that are surely not the table's, for most of the step.
    let mut record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(record["choices"].as_object().is_some_and(|c| !c.is_empty()), "{text}");
    let classes = [
        "conv2d_forward-few 1x8x16384x16 stored f32",
        "conv2d_backward_w 1x8x16x16384 computed-a f32",
        "matmul 1x16x64x512 stored f32",
        "matmul 1x16x512x64 stored f32",
        "matmul 1x64x512x16 stored f32",
    ];
    record["choices"] =
        classes.into_iter().map(|c| (c.to_string(), serde_json::Value::from("rows 1x1 by 16"))).collect();
    std::fs::write(&file, record.to_string()).expect("written");
    let whole = train(&[&[&recipe[..], "--out", &at("whole")], &longer[..]].concat());
    assert!(!whole.contains("tuned"), "{whole}");
    train(&[&recipe, "--out", &at("parts")]);
    // Whatever happens to the cache meanwhile.
    std::fs::write(&file, &text[..text.len() / 2]).expect("written");
    train(&[&["--resume", &at("parts")], &longer[..]].concat());
    assert!(weights("parts") == weights("whole"), "a resumed run has other bits");

    // A broken cache is told of, and the table used; so is a switch that would break the promise.
    let said = train(&[&[&recipe[..], "--out", &at("broken")], &longer[..]].concat());
    assert!(said.contains("it is damaged") && said.contains("by the table"), "{said}");
    train(&[&[&recipe[..], "--out", &at("off"), "--tune", "off"], &longer[..]].concat());
    assert!(weights("off") == weights("broken"), "the table's bits");
    assert!(weights("off") != weights("whole"), "the choices of the cache were not used");
    let (code, said) = command(&cache, &["train", "--resume", &at("parts"), "--tune", "again", "--backend", "gpu"]);
    assert!(code == 2 && said.contains("leave out --tune"), "{code}: {said}");

    // A run without the file is one by the table, even if the cache says otherwise.
    std::fs::write(&file, record.to_string()).expect("written");
    train(&[&["--resume", &at("table")], &longer[..]].concat());
    assert!(weights("table") == weights("off"), "an older run has other bits");
}
