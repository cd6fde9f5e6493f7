//! Random recipes and layers print to text that reads back as the same.

use super::{FULL, check_round_trip, parse};
use compute::recipe::{
    Augment, DataPart, Layer, LayerKind, Loss, ModelPart, Normalize, Optimizer, OptimizerKind, Out, Precision, Recipe,
    Schedule, ScheduleKind, Train, keys,
};
use proptest::prelude::*;

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![(-9i32..9, 1u32..1000).prop_map(|(power, digits)| digits as f64 * 10f64.powi(power)), 1e-9..1e9,]
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..0.999]
}

fn layer_kind() -> impl Strategy<Value = LayerKind> {
    let out = prop_oneof![Just(Out::Classes), (1usize..5000).prop_map(Out::N)];
    let pool = (1usize..9, 1usize..9, 0usize..5)
        .prop_map(|(kernel, stride, padding)| (kernel, stride, padding.min(kernel / 2)));
    prop_oneof![
        (1usize..600, [1usize..12, 1..12], [1usize..4, 0..4, 1..4], 1usize..9, any::<bool>()).prop_map(
            |(out, kernel, [stride, padding, dilation], groups, bias)| {
                LayerKind::Conv { out: out * groups, kernel, stride, padding, dilation, groups, bias }
            }
        ),
        (out, any::<bool>()).prop_map(|(out, bias)| LayerKind::Linear { out, bias }),
        prop::sample::select(vec![
            LayerKind::Relu,
            LayerKind::Gelu,
            LayerKind::GeluTanh,
            LayerKind::Silu,
            LayerKind::Tanh,
            LayerKind::Sigmoid,
            LayerKind::Flatten,
        ]),
        (pool.clone(), any::<bool>()).prop_map(|((kernel, stride, padding), max)| match max {
            true => LayerKind::MaxPool { kernel, stride, padding },
            false => LayerKind::AvgPool { kernel, stride, padding },
        }),
        (1usize..20).prop_map(|out| LayerKind::AdaptiveAvgPool { out }),
        (real(), share()).prop_map(|(eps, momentum)| LayerKind::BatchNorm { eps, momentum }),
        share().prop_map(|p| LayerKind::Dropout { p }),
    ]
}

fn optimizer() -> impl Strategy<Value = Optimizer> {
    let kind = (0..4, [share(), share()], real(), any::<bool>()).prop_map(|(kind, betas, eps, nesterov)| match kind {
        0 => OptimizerKind::Sgd { momentum: betas[0], nesterov: nesterov && betas[0] > 0.0 },
        1 => OptimizerKind::RmsProp { alpha: betas[0], eps, momentum: betas[1] },
        2 => OptimizerKind::Adam { betas, eps },
        _ => OptimizerKind::AdamW { betas, eps },
    });
    (real(), share(), kind).prop_map(|(lr, weight_decay, kind)| Optimizer { lr, weight_decay, kind })
}

fn train() -> impl Strategy<Value = Train> {
    let weights = prop::option::of(prop::collection::vec(real(), 1..12));
    let loss = (0..3, share(), weights).prop_map(|(loss, label_smoothing, class_weights)| match loss {
        0 => Loss::CrossEntropy { label_smoothing, class_weights },
        1 => Loss::Mse,
        _ => Loss::Bce,
    });
    let options = (prop::option::of(real()), prop::option::of(1usize..1_000_000));
    (loss, 1usize..9999, 1usize..100_000, any::<bool>(), any::<u32>(), options).prop_map(
        |(loss, batch, length, epochs, seed, (clip_norm, checkpoint_every))| Train {
            loss,
            batch,
            epochs: epochs.then_some(length),
            steps: (!epochs).then_some(length),
            seed,
            precision: Precision::F32,
            clip_norm,
            checkpoint_every,
        },
    )
}

fn data() -> impl Strategy<Value = DataPart> {
    let channel = (-9.0..9.0f64, real());
    let normalize = prop::option::of(prop::collection::vec(channel, 1..5)).prop_map(|channels| {
        let (mean, std) = channels?.into_iter().unzip();
        Some(Normalize { mean, std })
    });
    let root = prop::option::of("\\PC{1,20}|[a-z\"'\\\\\t\n]{1,9}");
    let sizes = (prop::option::of(1usize..99_999), prop::option::of(1usize..500));
    (prop::sample::select(keys::SETS), root, sizes, normalize, any::<bool>(), share()).prop_map(
        |(set, root, (limit, resize), normalize, shuffle, validation)| DataPart {
            set: set.to_string(),
            root: root.or((set == "folder").then(|| "images".to_string())),
            limit,
            resize,
            normalize,
            shuffle,
            validation,
        },
    )
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let layers = prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", layer_kind()), 1..12);
    let schedule = (0..3, 1usize..99, 0.001..1.0f64, share());
    let augment = (0usize..9, any::<bool>());
    let parts = (data(), augment, layers, train(), optimizer(), schedule);
    ("[^/\\\\\\pC]{1,20}", parts).prop_map(|(name, (data, augment, layers, train, optimizer, schedule))| {
        let (kind, every, gamma, part) = schedule;
        let kind = match kind {
            0 => ScheduleKind::Constant,
            1 => ScheduleKind::Step { every, gamma },
            _ => ScheduleKind::Cosine { warmup: train.epochs.unwrap_or(10) as f64 * part, min_lr: optimizer.lr * part },
        };
        let name_layer = |(index, (name, kind))| Layer { name: format!("{name}{index}"), kind };
        Recipe {
            name,
            data,
            augment: Augment { crop_padding: augment.0, flip: augment.1 },
            model: ModelPart { name: None, layers: layers.into_iter().enumerate().map(name_layer).collect() },
            train,
            optimizer,
            schedule: Schedule { kind },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_recipe_prints_and_reads_back(recipe in recipe()) {
        check_round_trip(&recipe);
    }

    #[test]
    fn a_layer_prints_and_reads_back(kind in layer_kind()) {
        let set = format!("model.layers=[\"a: {kind}\"]");
        let recipe = parse(FULL, &[&set]).unwrap();
        prop_assert_eq!(&recipe.model.layers[0].kind, &kind);
    }
}
