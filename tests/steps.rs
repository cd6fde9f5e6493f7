//! Training steps on any backend, natively and in a browser.

use compute::backend::{Backend, Memory};
use compute::network::Source;
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::train::Trainer;

use crate::networks;

/// A shipped recipe on images of noise: as many as `batches` batches.
pub fn on_noise(backend: Box<dyn Backend>, recipe: &str, batch: usize, batches: usize) -> Trainer {
    let text = find_shipped(recipe).expect("shipped");
    let changes = [format!("train.batch={batch}"), "data.validation=0".into(), "data.shuffle=false".into()];
    let recipe = Recipe::parse(recipe, text, &changes).expect("a recipe");
    let data = networks::images(batch * batches, 32, 10);
    Trainer::new(Session::new(backend, Fusion::default()), recipe, data).unwrap_or_else(|e| panic!("{e}"))
}

/// The losses of the next steps, each read when it was taken.
pub async fn losses(t: &mut Trainer, steps: usize) -> Vec<f64> {
    let mut out = vec![];
    for _ in 0..steps {
        t.step().unwrap_or_else(|e| panic!("{e}"));
        out.extend(t.metrics().await.unwrap_or_else(|e| panic!("{e}")).iter().map(|m| m.loss));
    }
    out
}

/// The first 20 losses of `seed-cnn-32` on noise, batches of 64, against those of the native cpu
/// backend in `golden/noise.json`. What a run gets stands in the message, to renew the file with.
pub async fn seed_cnn_32_follows_the_native_cpu_backend(backend: Box<dyn Backend>, tolerance: f64) {
    let want: Vec<f64> = serde_json::from_str(include_str!("golden/noise.json")).expect("the golden file");
    assert_eq!(want.len(), 20);
    let got = losses(&mut on_noise(backend, "seed-cnn-32", 64, 20), 20).await;
    assert_eq!(got.len(), 20, "a loss for each step");
    for (k, (got_k, want_k)) in got.iter().zip(&want).enumerate() {
        let near = (got_k - want_k).abs() <= tolerance * want_k.abs();
        assert!(near, "step {}: {got_k} for {want_k}; all: {got:?}", k + 1);
    }
}

/// A small net with a short last batch: two programs take turns.
pub fn small(backend: Box<dyn Backend>) -> Trainer {
    let layers = "[\"conv 4 kernel 3 padding 1\", \"batch-norm\", \"relu\", \"max-pool 2\", \"flatten\", \"linear 5\"]";
    let recipe = networks::recipe(layers, 8, "");
    let session = Session::new(backend, Fusion::default());
    // 20 images in batches of 8: the last batch of an epoch is a program of its own.
    Trainer::new(session, recipe, networks::images(20, 8, 5)).unwrap_or_else(|e| panic!("{e}"))
}

/// Batches gathered on the device are the batches that are written: the same losses to the bit.
pub async fn images_on_the_device_make_the_same_steps(make: impl Fn() -> Box<dyn Backend>) {
    let text = "[\"conv 4 kernel 3 padding 1\", \"relu\", \"flatten\", \"linear 5\"]";
    let recipe = networks::recipe(text, 8, "[augment]\ncrop_padding = 2\nflip = true");
    let session = || Session::new(make(), Fusion::default());
    let data = networks::images(20, 8, 5);
    let mut fed = Trainer::new(session(), recipe.clone(), data.clone()).unwrap_or_else(|e| panic!("{e}"));
    let mut held = Trainer::with_images_on_device(session(), recipe, data).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(held.source(), Source::Resident(_)) && *fed.source() == Source::Fed);
    // Past an epoch, whose last batch is short.
    assert_eq!(losses(&mut held, 7).await, losses(&mut fed, 7).await);
}

/// Takes steps, reads metrics when it must and at the end, and returns what the device holds.
pub async fn take(t: &mut Trainer, steps: usize) -> Memory {
    for _ in 0..steps {
        t.step().unwrap_or_else(|e| panic!("{e}"));
        if t.must_read() {
            t.metrics().await.unwrap_or_else(|e| panic!("{e}"));
        }
    }
    t.metrics().await.unwrap_or_else(|e| panic!("{e}"));
    t.session().memory()
}

/// Nothing on the device came or went between two states.
pub fn flat(what: &str, before: Memory, after: Memory) {
    assert_eq!(before.objects, after.objects, "{what}: device objects");
    assert_eq!((before.now_bytes, before.peak_bytes), (after.now_bytes, after.peak_bytes), "{what}: device bytes");
    assert!(before.now_bytes > 0, "{what}: device bytes are counted");
}

/// Steps kernel by kernel are the same steps, to the bit, and name every kernel of the plan.
pub async fn each_kernel_alone_is_the_same_step(make: impl Fn() -> Box<dyn Backend>) {
    let (mut whole, mut each) = (small(make()), small(make()));
    let want = losses(&mut whole, 4).await;
    let (mut got, mut labels) = (vec![], vec![]);
    for _ in 0..4 {
        each.step_each(|| {}, &mut |label| labels.push(label.to_string())).await.unwrap_or_else(|e| panic!("{e}"));
        got.extend(each.metrics().await.unwrap_or_else(|e| panic!("{e}")).iter().map(|m| m.loss));
    }
    assert_eq!(got, want);
    let graph = each.network().graph.clone();
    let plan = each.session().plan(&graph).unwrap_or_else(|e| panic!("{e}"));
    for (k, kernel) in plan.kernels.iter().enumerate() {
        let name = &plan.graph.node(kernel.main()).name;
        // Kernels alike may be one, called as the first of them.
        let follows = plan.together.iter().any(|t| t.kernels.contains(&k) && t.kernels.start != k);
        assert!(follows || labels.contains(name), "{name} was not told; told: {labels:?}");
    }
}
