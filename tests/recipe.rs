//! Recipes: shipped ones and their meaning, messages for wrong ones, overrides, round trips over
//! random recipes, and mutants of text that must neither panic nor allocate without bound.

use crate::heap::peak_bytes;
use compute::recipe::{
    Augment, DataPart, Layer, LayerKind, Loss, ModelPart, Normalize, Optimizer, OptimizerKind, Out, Place, Precision,
    Recipe, RecipeError, Schedule, ScheduleKind, Train, find_shipped, keys, nearest_shipped, reference, shipped,
};
use proptest::prelude::*;

/// A recipe with every part, of which the error table replaces one line.
const FULL: &str = r#"[data]
set = "cifar10"
resize = 224
normalize = { mean = [0.5], std = [0.25] }
validation = 0.1
[model]
layers = [
    "conv1: conv 8 kernel 3 padding 1",
    "relu",
    "flatten",
    "linear 10",
]
[train]
loss = "cross-entropy"
batch = 64
epochs = 10
[optimizer]
kind = "adam"
lr = 0.001
[schedule]
kind = "cosine"
warmup = 1
"#;

fn parse(text: &str, sets: &[&str]) -> Result<Recipe, RecipeError> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Recipe::parse("x.toml", text, &sets)
}

/// The recipe read back from its text: the same, but for the catalogue's name of the model.
fn check_round_trip(recipe: &Recipe) {
    let text = recipe.to_toml();
    let again = Recipe::parse("run/recipe.toml", &text, &[]);
    let again = again.unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut expect = recipe.clone();
    expect.model.name = None;
    assert_eq!(again, expect, "{text}");
    assert_eq!(again.to_toml().replace("\n# ", ""), {
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    });
}

#[test]
fn shipped_recipes_parse_and_print_back() {
    for (name, text, description) in shipped() {
        let recipe = Recipe::parse(name, text, &[]).unwrap();
        assert_eq!(recipe.name, *name);
        assert!(!description.is_empty());
        check_round_trip(&recipe);
        for line in text.lines() {
            assert!(line.len() <= 100, "{name}: {line}");
        }
    }
    assert_eq!(find_shipped("nothing"), None);
    assert_eq!(nearest_shipped("quik"), Some("quick"));
    assert_eq!(nearest_shipped("seed-cnn-23"), Some("seed-cnn-32"));
}

#[test]
fn the_reference_job_is_what_its_script_says() {
    let text = find_shipped("seed-cnn-224").unwrap();
    let recipe = Recipe::parse("seed-cnn-224", text, &[]).unwrap();
    let layer = |name: &str, kind| Layer { name: name.to_string(), kind };
    let expect = Recipe {
        name: "seed-cnn-224".to_string(),
        data: DataPart {
            set: "cifar10".to_string(),
            root: None,
            limit: None,
            resize: Some(224),
            normalize: Some(Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }),
            shuffle: true,
            validation: 0.0,
        },
        augment: Augment { crop_padding: 0, flip: false },
        model: ModelPart {
            name: None,
            layers: vec![
                layer(
                    "conv1",
                    LayerKind::Conv {
                        out: 32,
                        kernel: [3, 3],
                        stride: 1,
                        padding: 1,
                        dilation: 1,
                        groups: 1,
                        bias: true,
                    },
                ),
                layer("relu1", LayerKind::Relu),
                layer("flatten1", LayerKind::Flatten),
                layer("fc1", LayerKind::Linear { out: Out::N(10), bias: true }),
            ],
        },
        train: Train {
            loss: Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None },
            batch: 64,
            epochs: Some(10),
            steps: None,
            seed: 0,
            precision: Precision::F32,
            clip_norm: None,
            checkpoint_every: None,
        },
        optimizer: Optimizer {
            lr: 0.001,
            weight_decay: 0.0,
            kind: OptimizerKind::Adam { betas: [0.9, 0.999], eps: 1e-8 },
        },
        schedule: Schedule { kind: ScheduleKind::Constant },
    };
    assert_eq!(recipe, expect);
    let text = find_shipped("seed-cnn-32").unwrap();
    let small = Recipe::parse("seed-cnn-224", text, &["data.resize=224".to_string()]).unwrap();
    assert_eq!(small, expect, "seed-cnn-32 differs by its size alone");
}

/// Replaces the one line of `FULL` that starts with `start` and compares the message.
fn check_line(start: &str, line: &str, expect: &str) {
    let found = FULL.lines().filter(|l| l.trim_start().starts_with(start));
    assert_eq!(found.count(), 1, "{start}");
    let lines = FULL.lines().map(|l| match l.trim_start().starts_with(start) {
        true => line,
        false => l,
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let message = match parse(&text, &[]) {
        Ok(_) => "accepted".to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(message, expect, "for {line}");
}

#[test]
fn wrong_recipes_are_told_what_and_where() {
    for case in include_str!("recipe_errors.txt").split("\n\n") {
        let lines: Vec<&str> = case.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        match lines[..] {
            [start, line, expect] => {
                check_line(start, &line.replace("\\n", "\n"), expect);
            }
            [] => {}
            _ => panic!("not three lines: {case}"),
        }
    }
}

#[test]
fn texts_that_are_not_recipes_are_refused() {
    let message = |text: &str| parse(text, &[]).unwrap_err().to_string();
    assert_eq!(message(""), "recipe x.toml: `data.set` is missing; name a data set, such as `set = \"cifar10\"`");
    assert_eq!(
        message(&"#".repeat((1 << 20) + 1)),
        "recipe x.toml: the file has 1048577 bytes; a recipe has at most 1048576"
    );
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(message(&deep).contains("x.toml:1:"), "{}", message(&deep));
    let dotted = format!("a{} = 1", ".a".repeat(100_000));
    assert!(message(&dotted).contains("x.toml:1:"));
    let crlf = FULL.replace('\n', "\r\n");
    assert_eq!(parse(&crlf, &[]), parse(FULL, &[]));
    let bom = format!("\u{feff}{FULL}");
    assert_eq!(parse(&bom, &[]), parse(FULL, &[]));
}

#[test]
fn overrides_win() {
    let recipe = |sets: &[&str]| match parse(FULL, sets) {
        Ok(recipe) => recipe,
        Err(error) => panic!("{sets:?}: {error}"),
    };
    assert_eq!(recipe(&["optimizer.lr=1"]).optimizer.lr, 1.0);
    assert_eq!(recipe(&["optimizer.lr=1", "optimizer.lr = 2e-1"]).optimizer.lr, 0.2);
    assert_eq!(recipe(&["data.set=mnist"]).data.set, "mnist");
    assert_eq!(recipe(&["data.set=\"mnist\""]).data.set, "mnist");
    let root = |set| recipe(&[set]).data.root;
    assert_eq!(root("data.root=C:\\my files=1"), Some("C:\\my files=1".to_string()));
    assert_eq!(root("data.root=2024"), Some("2024".to_string()));
    assert_eq!(root("data.root='none'"), Some("none".to_string()));

    // One of each pair: the override replaces the other.
    let steps = recipe(&["train.steps=7"]).train;
    assert_eq!((steps.epochs, steps.steps), (None, Some(7)));
    let epochs = recipe(&["train.steps=7", "train.epochs=3"]).train;
    assert_eq!((epochs.epochs, epochs.steps), (Some(3), None));
    let model = recipe(&["model.name=mlp"]).model;
    assert_eq!((model.name.as_deref(), model.layers.len()), (Some("mlp"), 6));
    let model = recipe(&["model.name=mlp", "model.layers=[\"flatten\", \"linear 10\"]"]).model;
    assert_eq!((model.name, model.layers.len()), (None, 2));

    // A new choice drops the file's keys that it does not use, and keeps the rest.
    let sgd = recipe(&["optimizer.kind=sgd", "optimizer.momentum=0.5", "schedule.kind=step"]);
    let expect = OptimizerKind::Sgd { momentum: 0.5, nesterov: false };
    assert_eq!(sgd.optimizer.kind, expect);
    assert_eq!(sgd.optimizer.lr, 0.001);
    let expect = ScheduleKind::Step { every: 30, gamma: 0.1 };
    assert_eq!(sgd.schedule.kind, expect);

    // Tables at once, and taking keys away.
    let data = recipe(&["data={ limit = 5, normalize.mean = [0.1] }"]).data;
    assert_eq!(data.limit, Some(5));
    assert_eq!(data.normalize.unwrap().mean, [0.1]);
    let data = recipe(&["data.normalize=none", "data.resize=none"]).data;
    assert_eq!((data.normalize, data.resize), (None, None));
}

#[test]
fn wrong_overrides_are_named() {
    let check = |set: &str, expect: &str| {
        let message = parse(FULL, &[set]).unwrap_err().to_string();
        assert_eq!(message, format!("--set {set}: {expect}"));
    };
    check("lr", "an override is KEY=VALUE, such as `optimizer.lr=0.01`");
    check("optimizer.lrr=1", "unknown key `optimizer.lrr`; did you mean `optimizer.lr`?");
    check("lr=1", "unknown key `lr`; did you mean `optimizer.lr`?");
    check("batch_size=1", "unknown key `batch_size`; did you mean `train.batch`?");
    check("optimiser.lr=1", "unknown key `optimiser.lr`; did you mean `optimizer.lr`?");
    check("q.w=1", "unknown key `q.w`; known: name, data, augment, model, train, optimizer, schedule");
    check("train.batch=0", "`train.batch` must be a whole number from 1 to 1000000, found 0");
    check("train.batch=many", "`train.batch` must be a whole number from 1 to 1000000, found text \"many\"");
    check("train=1", "`train` must be a table, found 1");
    check("model.layers=[\"relo\"]", "layer 1 \"relo\": unknown layer `relo`; did you mean `relu`?");
    check(
        "optimizer.momentum=0.9",
        "`optimizer.momentum` is not used by optimizer.kind = \"adam\"; \
         it uses lr, betas, eps, weight_decay",
    );
    check("schedule.warmup=11", "`schedule.warmup` is longer than the run of 10 epochs");
    check("schedule.min_lr=1", "`schedule.min_lr` is over `optimizer.lr`, 0.001");
    let error = parse(FULL, &["data.normalize.mean=[1"]).unwrap_err().to_string();
    assert!(error.starts_with("--set data.normalize.mean=[1: not TOML: "), "{error}");
    // What an override takes away is then missing.
    let error = parse(FULL, &["train.epochs=none"]).unwrap_err().to_string();
    assert_eq!(error, "recipe x.toml: `train.epochs` is missing; give `epochs` or `steps`");
}

#[test]
fn the_reference_has_every_key() {
    let text = reference();
    for key in keys::KEYS {
        assert!(text.contains(key.meaning), "{}", key.path);
    }
    for word in ["`conv`", "`adaptive-avg-pool`", "`small-cnn`", "`seed-cnn-224`"] {
        assert!(text.contains(&format!("| {word} |")), "{word}");
    }
}

#[test]
fn every_model_of_the_catalogue_is_a_recipe() {
    for model in compute::models::MODELS {
        let set = format!("model.name={}", model.name);
        let recipe = parse(FULL, &[&set]).unwrap();
        assert_eq!(recipe.model.layers.len(), model.layers.len());
        check_round_trip(&recipe);
    }
}

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

/// SplitMix64: the mutants are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Texts that stand in for a token.
const STRANGE: &[&str] = &[
    "",
    "0",
    "-1",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "99999999999999999999",
    "0x7fffffffffffffff",
    "1_000",
    "0.5",
    "true",
    "\"\"",
    "''",
    "[]",
    "[[]]",
    "{}",
    "{ mean = 1 }",
    "[[data]]",
    "[data]",
    "[model.layers]",
    "1979-05-27",
    "\"\\u0000\"",
    "\"\\U0010ffff\"",
    "\u{202e}",
    "\u{0}",
    "é",
    "図",
    "\u{feff}",
    "\r",
    "#",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    ":",
    "x",
    "3x5",
    "3x",
    "x3",
    "no-",
    "no-bias",
    "classes",
    "kernel",
    "conv",
    "kernel 3 kernel 3",
    "none",
    "name = \"mlp\"",
    "steps = 3",
    "model.layers",
    "a.b.c.d",
    "\\",
];

/// A text as tokens: runs of word characters, and every other character.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let mut inside = false;
    for (at, c) in text.char_indices() {
        if !(inside && word(c)) && at > start {
            tokens.push(&text[start..at]);
            start = at;
        }
        inside = word(c);
    }
    tokens.push(&text[start..]);
    tokens
}

fn mutate(random: &mut Random, text: &str) -> String {
    let mut tokens: Vec<String> = tokens(text).into_iter().map(str::to_string).collect();
    for _ in 0..1 + random.below(3) {
        let (a, b) = (random.below(tokens.len()), random.below(tokens.len()));
        match random.below(10) {
            0 => tokens[a].clear(),
            1 => tokens[a] = tokens[a].repeat(2),
            2 => tokens.swap(a, b),
            3 => tokens[a] = random.pick(STRANGE).to_string(),
            4 => tokens[a].push_str(*random.pick(STRANGE)),
            5 => tokens[a] = tokens[b].clone(),
            6 => tokens.truncate(a.max(1)),
            // One letter of a word goes.
            7 => {
                tokens[a].pop();
            }
            8 => {
                let depth = 1 + random.below(120);
                let open = *random.pick(&["[", "{a=", "a.", "[a.", "\"", "[["]);
                tokens[a] = open.repeat(depth);
            }
            _ => {
                let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 20));
                let part = tokens[from..to].concat();
                tokens[to].push_str(&part);
            }
        }
    }
    tokens.concat()
}

#[test]
fn mutants_neither_panic_nor_allocate_without_bound() {
    let mut texts: Vec<&str> = shipped().iter().map(|(_, text, _)| *text).collect();
    texts.push(FULL);
    let random = &mut Random(7);
    let (mut good, mut bad, mut worst) = (0, 0, 0.0f64);
    for round in 0..120_000 {
        let text = *random.pick(&texts);
        // Every third round mutates overrides, the rest the text.
        let (text, sets) = if round % 3 == 0 {
            let key = keys::KEYS[random.below(keys::KEYS.len())].path;
            let value = *random.pick(STRANGE);
            let set = match random.below(2) {
                0 => format!("{key}={value}"),
                _ => mutate(random, &format!("{key}={value}")),
            };
            (text.to_string(), vec![set])
        } else {
            (mutate(random, text), vec![])
        };
        let (parsed, peak) = peak_bytes(|| Recipe::parse("x.toml", &text, &sets));
        let size = text.len() + sets.iter().map(String::len).sum::<usize>();
        worst = worst.max(peak as f64 / size as f64);
        assert!(peak <= 100_000 + 400 * size, "{peak} bytes for {size}: {text}");
        match parsed {
            Ok(recipe) => {
                good += 1;
                if round % 8 == 0 {
                    check_round_trip(&recipe);
                }
            }
            Err(error) => {
                bad += 1;
                let message = error.to_string();
                assert!(message.len() < 1000, "{message}");
                assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
                if let Place::Line { line, column, .. } = error.place {
                    let line = text.split('\n').nth(line - 1).unwrap();
                    assert!(column <= line.chars().count() + 1, "{message}\n{text}");
                }
            }
        }
    }
    // Both sides were tried, not only one.
    assert!(good > 5_000 && bad > 50_000, "{good} good, {bad} bad");
    println!("{good} good, {bad} bad, at most {worst:.0} bytes held a byte of input");
}

#[test]
fn the_largest_texts_stay_within_bounds() {
    let fill = |part: &str| part.repeat((1 << 20) / part.len() - 1);
    let hostile = [
        format!("a=[{}", fill("[],")),
        format!("[data]\n{}", fill("\n[a]")),
        fill("[[a]]\n"),
        fill("a.b={}\n"),
        format!("[model]\nlayers=[{}]", fill("\"relu\",")),
        format!("[data]\n{}=1", fill("k")),
        format!("[data]\nset=\"{}\"", fill("é")),
        fill("\u{202e}"),
    ];
    for text in hostile {
        let (parsed, peak) = peak_bytes(|| parse(&text, &[]));
        let start: String = text.chars().take(20).collect();
        assert!(parsed.unwrap_err().to_string().len() < 1000, "{start}");
        assert!(peak < 400 << 20, "{peak} bytes for {start}");
    }
}
