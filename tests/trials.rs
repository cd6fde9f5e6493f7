//! Trials beside the steps of a run, as the page makes them, and what becomes of their choices: they disturb nothing,
//! the programs take them between two steps, and they go with the run to the native program.

use std::cell::Cell;
use std::path::Path;

use compute::backend::Backend;
use compute::backend::gpu::tune::{Choices, Record};
use compute::backend::gpu::{Gpu, Variants};
use compute::checkpoint::{Cursor, Named, weights_from_bytes};
use compute::cli::load::{DataSpec, load};
use compute::recipe::Recipe;
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::sorting::sorted;
use compute::train::folder::RunFolder;
use compute::train::{Part, Trainer};
use pollster::block_on;
use tests::suite;

use crate::tuning::{RECIPE, ok};

/// A run of this recipe, step by step.
fn trainer(choices: Choices) -> Trainer {
    let mut gpu = block_on(suite::gpu_as(Variants::Device));
    gpu.set_choices(choices);
    let recipe = Recipe::parse("r.toml", RECIPE, &["train.epochs=3".to_string()]).expect("a recipe");
    let data = load(&DataSpec { set: recipe.data.set.clone(), limit: recipe.data.limit, ..DataSpec::default() })
        .expect("data");
    Trainer::new(Session::new(Box::new(gpu), Fusion::default()), recipe, data).expect("a trainer")
}

fn gpu(t: &mut Trainer) -> &mut Gpu {
    t.session().gpu().expect("a GPU")
}

fn take(t: &mut Trainer, steps: usize) {
    (0..steps).for_each(|_| t.step().expect("a step"));
}

/// All losses and the weights.
fn end(mut t: Trainer) -> (Vec<f64>, Named) {
    let losses = block_on(t.metrics()).expect("losses").iter().map(|m| m.loss).collect();
    (losses, block_on(t.weights()).expect("weights"))
}

/// Trials between the steps of a run, losses unread: as long as the programs take nothing they change no bit, and
/// what they take is what another run takes at the same step.
#[test]
fn trials_beside_a_run_disturb_nothing() {
    let mut calm = trainer(Choices::default());
    let mut tried = trainer(Choices::default());
    take(&mut calm, 3);
    // A shorter batch and an evaluation are programs of their own.
    block_on(tried.evaluate(Part::Test)).expect("scores");
    let mut tuner = gpu(&mut tried).tuner();
    let all = tuner.left();
    assert!(all > 4, "{all} classes");
    tuner.narrow(4, 1.0);
    assert_eq!(tuner.left(), 4);
    // The third of each class is the fastest, also when it is held against the table's once more.
    let (time, length) = (Cell::new(0.0), Cell::new(1.0));
    let now = || {
        time.set(time.get() + length.get());
        time.get()
    };
    let mut made = vec![];
    for _ in 0..3 {
        take(&mut tried, 1);
        for _ in 0..12 {
            if tuner.between_classes() {
                made.clear();
            }
            let again = made.len() > 1 && made.first() == made.last();
            length.set(if made.len() == 2 || again { 0.5 } else { 1.0 });
            let trial = block_on(tuner.next(gpu(&mut tried), &now)).expect("no device is lost");
            made.extend(trial.map(|t| t.tiling));
        }
    }
    let (before, after) = (block_on(calm.weights()).expect("weights"), block_on(tried.weights()).expect("weights"));
    assert!(before == after, "trials changed the weights");
    let choices = gpu(&mut tried).choices().clone();
    assert!(tuner.changed() > 1, "{choices:?}");

    for t in [&mut calm, &mut tried] {
        gpu(t).set_choices(choices.clone());
        gpu(t).reload().expect("reloads");
    }
    assert_eq!(gpu(&mut tried).unlike_the_table().len(), tuner.changed());
    assert_eq!(gpu(&mut tried).hold_choices().choices(), (choices.clone(), vec![]));
    // To the end of the epoch: the whole ring is read at once.
    let steps = calm.total_steps() - 3;
    take(&mut calm, steps);
    take(&mut tried, steps);
    let mut table = trainer(Choices::default());
    take(&mut table, 3 + steps);
    let (calm, tried, table) = (end(calm), end(tried), end(table));
    assert_eq!(calm.0.len(), 3 + steps);
    assert!(calm == tried, "the same choices, other bits");
    assert_eq!(tried.0[..3], table.0[..3], "losses before the programs took anything");
    assert!(tried.1 != table.1, "the programs took nothing");
    for (a, b) in tried.0.iter().zip(&table.0) {
        assert!((a - b).abs() < 1e-3, "{a} and {b}");
    }
}

/// A program that is made anew compiles what differs.
#[test]
fn a_reload_compiles_little() {
    let mut t = trainer(Choices::default());
    let loaded = gpu(&mut t).memory().objects;
    let class = "matmul 1x16x64x512 stored f32";
    let mut choices = Choices::default();
    choices.insert(class, "rows 1x1 by 16".parse().expect("a tiling"));
    gpu(&mut t).set_choices(choices);
    gpu(&mut t).reload().expect("reloads");
    assert_eq!(gpu(&mut t).unlike_the_table(), [class]);
    let more = gpu(&mut t).memory().objects - loaded;
    // A group for each dispatch; of the four objects of a pipeline few.
    assert!(more < loaded / 2, "{more} objects after {loaded}");
}

/// The archive that the page saves, unpacked.
fn unpacked(at: &Path, files: Vec<(String, Vec<u8>)>) {
    for (name, bytes) in files {
        let path = at.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
}

/// What the page saved goes on natively with the page's tilings where they are this adapter's, else by the table.
#[test]
fn a_run_of_the_page_keeps_its_tilings() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |n: &str| dir.path().join(n).to_string_lossy().into_owned();
    let mut choices = Choices::default();
    for class in ["conv2d_forward-few 1x8x16384x16 stored f32", "matmul 1x16x64x512 stored f32"] {
        choices.insert(class, "rows 1x1 by 16".parse().expect("a tiling"));
    }
    let mut t = trainer(choices.clone());
    take(&mut t, 1);
    let record = gpu(&mut t).hold_choices();
    assert_eq!(record.choices().0, choices);
    let checkpoint = block_on(t.checkpoint(&Cursor::default())).expect("a checkpoint");
    let folder = |record: &Record| {
        let record = record.clone();
        let (recipe, checkpoint) = (t.recipe().to_toml(), Some(checkpoint.clone()));
        RunFolder { recipe, checkpoint, kernels: Some(Ok(record)), ..RunFolder::default() }
    };
    let mut other = record.clone();
    other.adapter = "google swiftshader".into();
    for (name, record) in [("own", &record), ("other", &other)] {
        unpacked(&dir.path().join(name), folder(record).to_files(1.7e9).expect("files"));
    }
    let cache = dir.path().join("cache");
    let said = ok(&cache, &["train", "--resume", &at("own"), "--backend", "gpu"]);
    assert!(!said.contains("ignored") && !said.contains("not fit"), "{said}");
    ok(&cache, &["train", "--resume", &at("other"), "--backend", "gpu"]);
    let steps = t.total_steps() - 1;
    take(&mut t, steps);
    let native = |run: &str| {
        let bytes = std::fs::read(dir.path().join(run).join("last.safetensors")).expect("weights");
        sorted(weights_from_bytes(run, &bytes).expect("weights"), |a, b| a.0.cmp(&b.0))
    };
    let want = sorted(end(t).1, |a, b| a.0.cmp(&b.0));
    assert!(native("own") == want, "other bits than the run itself");
    assert!(native("other") != want, "another adapter's tilings were used");
    let kept = |run: &str| Record::parse(&std::fs::read(dir.path().join(run).join("kernels.json")).expect("a file"));
    assert_eq!(kept("own"), Ok(record));
    assert!(kept("other").expect("whole").is_empty());
}
