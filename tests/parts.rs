//! Batches that do not fit a device as a whole, on backends that are held to small buffers.

use std::sync::Arc;

use compute::backend::{Backend, BackendResult, DeviceInfo, Memory, ProgramId, Reading};
use compute::data::Dataset;
use compute::graph::NodeId;
use compute::plan::Plan;
use compute::recipe::Recipe;
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use compute::train::{Part, TrainError, Trainer};
use pollster::block_on;
use tests::{backends, networks, steps};

/// A backend whose kernels may bind no more than so many bytes.
struct Small(Box<dyn Backend>, DeviceInfo);

fn small(inner: Box<dyn Backend>, bytes: usize) -> Box<dyn Backend> {
    let info = DeviceInfo { max_buffer_bytes: Some(bytes), ..inner.info().clone() };
    Box::new(Small(inner, info))
}

impl Backend for Small {
    fn info(&self) -> &DeviceInfo {
        &self.1
    }
    fn load(&mut self, plan: Arc<Plan>) -> BackendResult<ProgramId> {
        self.0.load(plan)
    }
    fn unload(&mut self, program: ProgramId) {
        self.0.unload(program);
    }
    fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()> {
        self.0.write(leaf, value)
    }
    fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()> {
        self.0.write_f64(leaf, values)
    }
    fn run(&mut self, program: ProgramId) -> BackendResult<()> {
        self.0.run(program)
    }
    fn run_each<'a>(&'a mut self, program: ProgramId, after: &'a mut (dyn FnMut(&str) + Send)) -> Reading<'a, ()> {
        self.0.run_each(program, after)
    }
    fn read(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Tensor> {
        self.0.read(program, node)
    }
    fn read_f64(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Vec<f64>> {
        self.0.read_f64(program, node)
    }
    fn read_leaf(&mut self, leaf: &str) -> Reading<'_, Tensor> {
        self.0.read_leaf(leaf)
    }
    fn memory(&self) -> Memory {
        self.0.memory()
    }
    fn poison(&mut self, program: ProgramId) -> BackendResult<()> {
        self.0.poison(program)
    }
}

/// A batch of 32 needs 512 KiB for what the second convolution gives, its weights 144 KiB.
const LAYERS: &str = "[\"conv 64 kernel 3 padding 1\", \"relu\", \"conv 64 kernel 3 padding 1\", \"relu\", \"max-pool 2\", \"flatten\", \"linear 5\"]";
const LIMIT: usize = 200 << 10;

/// 45 images in batches of 32: the last batch of an epoch has 13.
fn data() -> Arc<Dataset> {
    Arc::new(networks::images(45, 8, 5))
}

fn trainer(backend: Box<dyn Backend>, recipe: &Recipe) -> Result<Trainer, TrainError> {
    Trainer::new(Session::new(backend, Fusion::default()), recipe.clone(), data())
}

fn recipes() -> [Recipe; 3] {
    let of = |more: &str| networks::recipe(LAYERS, 32, more);
    let mut mixed = of("");
    mixed.train.precision = compute::recipe::Precision::Mixed;
    let mut clipped = of("");
    clipped.train.clip_norm = Some(0.5);
    [of(""), clipped, mixed]
}

#[test]
fn parts_make_the_steps_of_the_whole_batch() {
    for (name, backend) in backends::both() {
        for recipe in recipes() {
            let of_run = |limit: usize| {
                let mut t = trainer(small(backend(), limit), &recipe).unwrap_or_else(|e| panic!("{name}: {e}"));
                let parts = t.parts().map(|p| p.size);
                let losses = block_on(steps::losses(&mut t, 5));
                let score = block_on(t.evaluate(Part::Test)).map(|e| e.loss);
                (parts, losses, score.is_ok())
            };
            let (whole, parts, again) = (of_run(1 << 30), of_run(LIMIT), of_run(LIMIT));
            assert_eq!((whole.0, parts.0), (None, Some(8)), "{name}: 16 images would need 256 KiB");
            assert_eq!(parts, again, "{name}: the same bits every time");
            let tolerance = if recipe.train.precision == compute::recipe::Precision::F32 { 1e-4 } else { 2e-2 };
            for (k, (a, b)) in parts.1.iter().zip(&whole.1).enumerate() {
                assert!((a - b).abs() <= tolerance * b.abs(), "{name}, step {k}: {a} in parts, {b} as a whole");
            }
        }
    }
}

/// A run in parts goes on from its checkpoint to the same bits, and the parts of a step have random numbers of
/// their own.
#[test]
fn a_run_in_parts_resumes() {
    let layers = LAYERS.replace("\"flatten\"", "\"flatten\", \"dropout 0.5\"");
    let recipe = networks::recipe(&layers, 32, "[augment]\nflip = true");
    let new = || trainer(small(backends::cpu(), LIMIT), &recipe).unwrap_or_else(|e| panic!("{e}"));
    let mut through = new();
    block_on(steps::losses(&mut through, 3));
    let (weights, state) = block_on(through.snapshot()).unwrap_or_else(|e| panic!("{e}"));
    assert!(state.iter().all(|(name, _)| !name.starts_with("accumulated")), "sums are no state of a run");
    let want = block_on(steps::losses(&mut through, 3));
    let mut resumed = new();
    resumed.restore("memory", weights, state, 3).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(block_on(steps::losses(&mut resumed, 3)), want);
    let gradients = block_on(resumed.gradients()).unwrap_or_else(|e| panic!("{e}"));
    assert!(gradients.iter().all(|(_, d)| d.to_f64().iter().any(|x| *x != 0.0)), "gradients to look at");
}

#[test]
fn what_is_of_the_whole_batch_is_not_taken_in_parts() {
    let error = |recipe: &Recipe| match trainer(small(backends::cpu(), LIMIT), recipe) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("it cannot be the same"),
    };
    let with_statistics = LAYERS.replacen("\"relu\"", "\"batch-norm\", \"relu\"", 1);
    let said = error(&networks::recipe(&with_statistics, 32, ""));
    assert!(said.contains("statistics from the whole batch") && said.contains("Use a smaller batch"), "{said}");
    let mut weighted = networks::recipe(LAYERS, 32, "");
    weighted.train.loss = compute::recipe::Loss::CrossEntropy {
        label_smoothing: 0.0,
        class_weights: Some(vec![1.0, 2.0, 1.0, 1.0, 1.0]),
    };
    assert!(error(&weighted).contains("belong to the whole batch"));
    // Its weights alone are too large: no part helps.
    match trainer(small(backends::cpu(), 100 << 10), &networks::recipe(LAYERS, 32, "")) {
        Err(TrainError::Backend(e)) => assert!(e.to_string().contains("needs a buffer"), "{e}"),
        other => panic!("{:?}", other.map(|t| t.parts().map(|p| p.size)).map_err(|e| e.to_string())),
    }
}

/// A number that is not finite in a later part stops the run, names a tensor and leaves the state as it was.
#[test]
fn a_part_that_diverges_is_found() {
    let mut recipe = networks::recipe(LAYERS, 32, "");
    recipe.optimizer.lr = 1e30;
    let mut t = trainer(small(backends::cpu(), LIMIT), &recipe).unwrap_or_else(|e| panic!("{e}"));
    let mut stopped = None;
    for _ in 0..5 {
        t.step().unwrap_or_else(|e| panic!("{e}"));
        if let Err(e) = block_on(t.metrics()) {
            stopped = Some(e);
            break;
        }
    }
    match stopped {
        Some(TrainError::Diverged { tensor, .. }) => assert!(!tensor.starts_with("none"), "{tensor}"),
        other => panic!("{other:?}"),
    }
}
