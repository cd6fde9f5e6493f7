//! Mixed precision: what is rounded to f16, that all backends round alike, and the scale of the loss.

use std::sync::Arc;

use compute::backend::Backend;
use compute::backend::cpu::Cpu;
use compute::backend::gpu::{Limits, Variants};
use compute::backend::reference::Reference;
use compute::data::sample;
use compute::graph::{Graph, TensorType};
use compute::network::{ImageShape, train_step};
use compute::ops::conv2d::{Conv2d, Conv2dBackwardX, Geometry};
use compute::ops::elementwise::Unary;
use compute::ops::matmul::Matmul;
use compute::ops::{Fill, Lowering, Op};
use compute::optim::scale;
use compute::plan::Plan;
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::{DType, Data, Tensor};
use compute::train::{TrainError, Trainer};
use compute::verify::tensor;
use pollster::block_on;
use tests::backends;
use tests::networks::{self, Step, difference};
use tests::steps::losses;

const GOOD: &str = "optimizer.good_steps";

/// A recipe of the test networks in mixed precision, with further changes.
fn mixed(layers: &str, batch: usize, changes: &[&str]) -> Recipe {
    let text = networks::recipe(layers, batch, "").to_toml();
    let sets: Vec<String> = ["train.precision=mixed"].iter().chain(changes).map(|s| s.to_string()).collect();
    Recipe::parse("mixed", &text, &sets).unwrap_or_else(|e| panic!("{e}"))
}

const NET: &str =
    "[\"conv 4 kernel 3 padding 1\", \"batch-norm\", \"relu\", \"max-pool 2\", \"flatten\", \"linear 5\"]";

fn trainer(backend: Box<dyn Backend>, changes: &[&str]) -> Trainer {
    let session = Session::new(backend, Fusion::default());
    Trainer::new(session, mixed(NET, 8, changes), networks::images(24, 8, 5)).unwrap_or_else(|e| panic!("{e}"))
}

fn number(t: &mut Trainer, leaf: &str) -> f64 {
    block_on(t.session().leaf(leaf)).unwrap_or_else(|e| panic!("{e}")).at(0)
}

fn set(t: &mut Trainer, leaf: &str, value: f32) {
    t.session().write(leaf, &Tensor::scalar(value)).unwrap_or_else(|e| panic!("{e}"));
}

/// Weights, running statistics and moments; without the scale.
fn state(t: &mut Trainer) -> Vec<(String, Tensor)> {
    let (weights, rest) = block_on(t.snapshot()).unwrap_or_else(|e| panic!("{e}"));
    weights.into_iter().chain(rest).filter(|(n, _)| n != scale::SCALE && n != GOOD).collect()
}

fn step(t: &mut Trainer) {
    t.step().unwrap_or_else(|e| panic!("{e}"));
    block_on(t.metrics()).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_half_comes_back_from_every_backend() {
    let bits: Vec<u16> = (0..=u16::MAX).filter(|b| b & 0x7c00 != 0x7c00 || b & 0x3ff == 0).collect();
    // In whole fours, and not.
    for n in [bits.len() - 2, bits.len() - bits.len() % 4] {
        let mut g = Graph::new();
        let x = g.feed("x", TensorType::f16([n]));
        let wide = g.unary(Unary::ToF32, x).expect("to_f32");
        let again = g.half(wide).expect("half");
        g.output("wide", wide);
        g.output("again", again);
        let given = Tensor::new([n], Data::F16(bits[..n].to_vec())).expect("as many");
        for (name, backend) in backends::both() {
            let mut session = Session::new(backend(), Fusion::off());
            let program = session.load(&g).expect("loads");
            session.write("x", &given).expect("a feed");
            session.run(program).expect("runs");
            assert_eq!(block_on(session.output_f64(program, "wide")).expect("reads"), given.to_f64(), "{name}");
            let again = block_on(session.output(program, "again")).expect("reads");
            assert_eq!(again, given, "{name}");
        }
    }
}

/// Where numbers that differ in the last place of f32 lie on two sides of a tie, they become different
/// halves: 2^-11 apart. So a tensor may differ by some of these, and few do by that much.
#[test]
fn whole_steps_agree_with_the_reference_fused_and_unfused() {
    let nets = [
        (NET, 8),
        ("[\"conv 5 kernel 3 padding 1\", \"relu\", \"conv 7 kernel 3\", \"sigmoid\", \"flatten\", \"linear 5\"]", 3),
        (
            "[\"conv 6 kernel 3 groups 3\", \"gelu\", \"dropout 0.2\", \"avg-pool 2\", \"flatten\", \"linear 17\", \"relu\", \"linear 5\"]",
            5,
        ),
    ];
    let all = Fusion { max_buffer_bytes: 1 << 12, max_terms: 2e3, ..Fusion::default() };
    for (layers, batch) in nets {
        let network = Step::new(&mixed(layers, batch, &[]), &networks::images(batch, 8, 5), batch);
        let plan = Plan::new(&network.network.graph, &Fusion::default(), None).expect("a plan");
        let halves = plan.kernels.iter().flat_map(|k| &k.reads).filter(|r| plan.graph.ty(**r).dtype == DType::F16);
        assert!(halves.count() >= 5, "{layers}: products read halves");
        let want = network.loss_and_gradients(&mut backends::reference());
        let exact = Step::new(&networks::recipe(layers, batch, ""), &networks::images(batch, 8, 5), batch);
        let exact = exact.loss_and_gradients(&mut backends::reference());
        assert!(want != exact && (want[0][0] - exact[0][0]).abs() < 1e-3 * exact[0][0], "{layers}: near f32's, not it");
        let default_limits = ("default limits", backends::gpu_with_default_limits as fn() -> Box<dyn Backend>);
        for (name, backend) in backends::both().into_iter().chain([default_limits]) {
            // A kernel of all would bind more than the eight buffers of the default limits.
            let forced = (name != "default limits").then(|| ("all", all.clone()));
            for (how, fusion) in [("off", Fusion::off()), ("default", Fusion::default())].into_iter().chain(forced) {
                let got = network.loss_and_gradients(&mut Session::new(backend(), fusion));
                let largest = want.iter().skip(1).flatten().fold(0.0f64, |m, x| m.max(x.abs()));
                for (k, (a, b)) in got.iter().zip(&want).enumerate() {
                    let own = b.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
                    let error = difference(a, b) * own / own.max(1e-2 * largest);
                    assert!(error < 1e-3, "{name}, fusion {how}, {layers}: tensor {k} differs by {error:.1e}");
                }
            }
        }
    }
}

/// Rows that are whole vec4s, and rows of pairs; with a bias; in one part, and in parts that are added.
fn rounded_products() -> Vec<Graph> {
    let mut all = vec![];
    let mut add = |op: Arc<dyn Op>, types: &[TensorType]| {
        let mut g = Graph::new();
        let x: Vec<_> = types.iter().enumerate().map(|(k, ty)| g.feed(&format!("x{k}"), ty.clone())).collect();
        let p = g.add_arc(op, &x).expect("a product");
        let y = g.half(p).expect("half");
        g.output("y", y);
        all.push(g);
    };
    let (half, full) = (|s: &[usize]| TensorType::f16(s), |s: &[usize]| TensorType::f32(s));
    for (m, n, k) in [(64, 36, 68), (65, 70, 67), (3, 2, 5), (17, 6, 5000), (40, 520, 12)] {
        let plain = Matmul { transpose_a: false, transpose_b: true, bias: false };
        add(Arc::new(plain), &[half(&[m, k]), half(&[n, k])]);
        add(Arc::new(Matmul { bias: true, ..plain }), &[half(&[m, k]), full(&[n, k]), full(&[n])]);
    }
    let pad = Geometry { padding: [1, 1], ..Geometry::default() };
    for (x, o, geometry) in [
        ([2, 4, 6, 8], 36, pad),
        ([2, 3, 7, 6], 5, pad),
        ([1, 4, 9, 10], 6, Geometry { groups: 2, stride: [2, 2], ..pad }),
        ([2, 600, 4, 4], 3, pad),
    ] {
        let w = [o, x[1] / geometry.groups, 3, 3];
        let [h, w_out] = geometry.output([x[2], x[3]], [3, 3]).expect("fits");
        let dy = [x[0], o, h, w_out];
        if (h * w_out).is_multiple_of(2) {
            add(Arc::new(Conv2d { geometry, bias: false }), &[half(&x), half(&w)]);
            add(Arc::new(Conv2d { geometry, bias: true }), &[half(&x), half(&w), full(&[o])]);
        }
        add(Arc::new(Conv2dBackwardX { geometry, size: [x[2], x[3]] }), &[half(&dy), half(&w)]);
    }
    all
}

#[test]
fn products_round_their_results_where_nothing_else_reads_them() {
    for g in rounded_products() {
        let types: Vec<TensorType> = g.nodes().iter().filter(|n| n.op().is_none()).map(|n| n.ty.clone()).collect();
        let fill = Fill::Uniform(-1.0, 1.0);
        let inputs: Vec<Tensor> =
            types.iter().enumerate().map(|(k, ty)| tensor(ty, &tests::samples::fill(ty, &fill, k))).collect();
        let plan = Arc::new(Plan::new(&g, &Fusion::default(), None).expect("a plan"));
        let [kernel] = &plan.kernels[..] else { panic!("{plan}") };
        assert_ne!(kernel.lowering, Lowering::Cells, "{plan}");
        let node = plan.output("y").expect("an output");
        let run = |backend: &mut dyn Backend| -> Vec<f64> {
            let program = backend.load(plan.clone()).unwrap_or_else(|e| panic!("{e}\n{plan}"));
            for (k, x) in inputs.iter().enumerate() {
                backend.write(&format!("x{k}"), x).expect("a feed");
            }
            backend.poison(program).expect("buffers");
            backend.run(program).expect("runs");
            block_on(backend.read_f64(program, node)).expect("reads")
        };
        let want = run(&mut Reference::new());
        let mut all = vec![("cpu".to_string(), run(&mut Cpu::new()))];
        for v in [Variants::Naive, Variants::Device, Variants::Software, Variants::Hardware] {
            let mut gpu = block_on(tests::suite::gpu(Limits::Adapter));
            gpu.set_variants(v);
            all.push((format!("{v:?}"), run(&mut gpu)));
        }
        for (what, got) in all {
            let mut others = 0;
            for (a, b) in got.iter().zip(&want) {
                // The next half, where f32 is on the other side of a tie; halves near 0 lie closer than f32's error.
                assert!((a - b).abs() <= 2f64.powi(-10) * b.abs() + 1e-4, "{what}: {a} for {b} in\n{plan}");
                others += usize::from(a != b);
            }
            assert!(others * 50 <= want.len(), "{what}: {others} of {} are other halves in\n{plan}", want.len());
        }
    }
}

#[test]
fn a_gradient_that_overflows_halves_the_scale_and_changes_nothing_else() {
    for changes in [&[][..], &["train.clip_norm=0.5"]] {
        for (name, backend) in backends::both() {
            let mut t = trainer(backend(), changes);
            step(&mut t);
            assert_eq!((number(&mut t, scale::SCALE), number(&mut t, GOOD)), (65_536.0, 1.0), "{name}");
            let (before, large) = (state(&mut t), 2f32.powi(40));
            set(&mut t, scale::SCALE, large);
            step(&mut t);
            assert!(state(&mut t) == before, "{name}: the step changed something");
            assert_eq!((number(&mut t, scale::SCALE), number(&mut t, GOOD)), (f64::from(large) / 2.0, 0.0), "{name}");
            assert_eq!(t.loss_scale(), Some(f64::from(large) / 2.0), "{name}");
            set(&mut t, scale::SCALE, 1024.0);
            step(&mut t);
            assert!(state(&mut t) != before, "{name}: a good step changes weights");
        }
    }
}

#[test]
fn good_steps_in_a_row_double_the_scale() {
    for (name, backend) in backends::both() {
        let mut t = trainer(backend(), &[]);
        set(&mut t, GOOD, scale::PATIENCE as f32 - 2.0);
        for (want_scale, want_good) in [(65_536.0, scale::PATIENCE - 1.0), (131_072.0, 0.0), (131_072.0, 1.0)] {
            step(&mut t);
            assert_eq!((number(&mut t, scale::SCALE), number(&mut t, GOOD)), (want_scale, want_good), "{name}");
        }
    }
}

/// A power of two is exact, so unless something under- or overflows the scale leaves no trace.
#[test]
fn gradients_are_those_of_the_loss_whatever_its_scale() {
    let mut t = trainer(backends::cpu(), &[]);
    let first = block_on(t.gradients()).expect("gradients");
    set(&mut t, scale::SCALE, 32_768.0);
    assert_eq!(block_on(t.gradients()).expect("gradients"), first);
    assert!(first.iter().any(|(_, d)| d.to_f64().iter().any(|x| *x != 0.0)));
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_its_state() {
    for (name, backend) in backends::both() {
        let mut t = trainer(backend(), &[]);
        step(&mut t);
        let weight = block_on(t.session().leaf("fc1.weight")).expect("a weight");
        t.session().write("fc1.weight", &Tensor::f32(weight.shape(), vec![1e30; weight.len()])).expect("written");
        let before = state(&mut t);
        t.step().expect("runs");
        let error = block_on(t.metrics()).expect_err("not finite");
        assert!(
            matches!(&error, TrainError::Diverged { step: 1, tensor, .. } if tensor.starts_with("fc1.weight.half"))
        );
        assert!(error.to_string().contains("f16 ends at 65,504"), "{name}: {error}");
        assert!(state(&mut t) == before, "{name}: the step changed something");
        assert_eq!((number(&mut t, scale::SCALE), number(&mut t, GOOD)), (65_536.0, 1.0), "{name}");
    }
}

#[test]
fn a_scale_that_can_fall_no_further_stops_the_run() {
    let mut t = trainer(backends::cpu(), &[]);
    set(&mut t, scale::SCALE, scale::BOUNDS[0] as f32);
    t.step().expect("runs");
    let error = block_on(t.metrics()).expect_err("too small a scale");
    assert!(matches!(error, TrainError::Overflow { step: 1, .. }) && error.to_string().contains("train.precision=f32"));
}

#[test]
fn a_resumed_run_gives_the_same_bits() {
    for (name, backend) in backends::both() {
        let mut whole = trainer(backend(), &[]);
        block_on(losses(&mut whole, 2));
        set(&mut whole, GOOD, scale::PATIENCE as f32 - 2.0);
        block_on(losses(&mut whole, 1));
        let (weights, rest) = block_on(whole.snapshot()).expect("a snapshot");
        assert!(weights.iter().all(|(n, _)| !n.starts_with("optimizer.")), "{name}: weights are weights");
        let want = block_on(losses(&mut whole, 4));
        let mut resumed = trainer(backend(), &[]);
        resumed.restore("test", weights, rest, 3).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(block_on(losses(&mut resumed, 4)), want, "{name}");
        assert!(state(&mut resumed) == state(&mut whole), "{name}");
        assert_eq!(number(&mut resumed, scale::SCALE), 131_072.0, "{name}");
    }
}

#[test]
fn mixed_training_follows_f32() {
    let layers =
        "model.layers=[\"conv 8 kernel 3 padding 1\", \"relu\", \"max-pool 2\", \"flatten\", \"linear classes\"]";
    let text = find_shipped("quick").expect("shipped");
    for (name, backend) in backends::both() {
        let end = |precision: &str| {
            let sets = [format!("train.precision={precision}"), layers.into(), "train.batch=32".into()];
            let recipe = Recipe::parse("quick", text, &sets).unwrap_or_else(|e| panic!("{e}"));
            let mut data = sample::fashion_sample().expect("the sample");
            data.train.truncate(1500);
            let mut t = Trainer::new(Session::new(backend(), Fusion::default()), recipe, data).expect("a trainer");
            let all = block_on(losses(&mut t, 40));
            (all[0], all[30..].iter().sum::<f64>() / 10.0)
        };
        let ((first, want), (_, got)) = (end("f32"), end("mixed"));
        assert!(want < 0.6 * first, "{name}: {first} to {want} is little");
        assert!((got - want).abs() < 0.02 * want, "{name}: mixed ends at {got}, f32 at {want}");
    }
}

#[test]
fn a_mixed_step_needs_less_memory_and_moves_less() {
    let shape = ImageShape { channels: 3, height: 32, width: 32, classes: 10 };
    let planned = |precision: &str, half_bytes: usize| {
        let sets = [format!("train.precision={precision}")];
        let recipe = Recipe::parse("cnn-32", find_shipped("cnn-32").expect("shipped"), &sets).expect("a recipe");
        let graph = train_step(&recipe, shape, recipe.train.batch).expect("a model").graph;
        let plan = Plan::new(&graph, &Fusion { half_bytes, ..Fusion::default() }, None).expect("a plan");
        let moved: usize = plan.kernels.iter().map(|k| k.bytes).sum();
        (plan.peak_bytes() as f64, moved as f64)
    };
    let (f32, packed, wide) = (planned("f32", 2), planned("mixed", 2), planned("mixed", 4));
    assert!(packed.0 < 0.8 * f32.0 && packed.1 < 0.9 * f32.1, "{packed:?} of {f32:?}");
    assert!(packed.0 < wide.0 && packed.1 < wide.1, "{packed:?} of {wide:?}");
}
