//! Recipes: shipped ones and their meaning, messages for wrong ones (`recipe/errors.txt`),
//! overrides. `random` has the round trips, `mutants` the hostile texts.

use compute::recipe::{
    Augment, DataPart, Layer, LayerKind, Loss, ModelPart, Normalize, Optimizer, OptimizerKind, Out, Precision, Recipe,
    RecipeError, Schedule, ScheduleKind, Train, find_shipped, keys, nearest_shipped, reference, shipped,
};

mod mutants;
mod random;

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
    let mut cases = 0;
    for case in include_str!("recipe/errors.txt").split("\n\n") {
        let lines: Vec<&str> = case.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        match lines[..] {
            [start, line, expect] => {
                check_line(start, &line.replace("\\n", "\n"), expect);
                cases += 1;
            }
            [] => {}
            _ => panic!("not three lines: {case}"),
        }
    }
    assert!(cases >= 75, "{cases}");
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

/// A row of the key table whose value is read but not printed, or the reverse, shows here.
#[test]
fn every_key_reaches_the_recipe_and_its_text() {
    for key in keys::KEYS.iter().filter(|key| key.path != "model.name") {
        let sample = match key.ty {
            keys::Type::Text | keys::Type::Model => "\"sample\"".to_string(),
            keys::Type::Word(words) => {
                let mut quoted = words.iter().map(|word| format!("\"{word}\""));
                quoted.find(|word| !FULL.contains(word)).unwrap()
            }
            keys::Type::Layers => "[\"a: relu\"]".to_string(),
            keys::Type::Flag => "true".to_string(),
            keys::Type::Count(..) => "5".to_string(),
            keys::Type::Real(_) => "0.75".to_string(),
            keys::Type::Reals(_, least, _) => format!("{:?}", vec![0.75; least]),
        };
        let mut sets = vec!["optimizer.lr=1".to_string(), "data.root=images".to_string()];
        if let keys::Default::ByChoice(selector, choices) = key.default {
            sets.push(format!("{selector}={}", choices[0].0));
        }
        if key.path == "optimizer.nesterov" {
            sets.push("optimizer.momentum=0.5".to_string());
        }
        let before = Recipe::parse("x.toml", FULL, &sets).unwrap();
        sets.push(format!("{}={sample}", key.path));
        let recipe = Recipe::parse("x.toml", FULL, &sets).unwrap_or_else(|error| panic!("{error}"));
        let last = key.path.rsplit('.').next().unwrap();
        let expect = match key.ty {
            keys::Type::Layers => "layers = [\n    \"a: relu\",\n]".to_string(),
            _ => format!("{last} = {sample}"),
        };
        let text = recipe.to_toml();
        assert!(text.contains(&expect), "{}: no {expect} in\n{text}", key.path);
        // `data.shuffle` and `train.precision` are at their sample already.
        if !matches!(key.path, "data.shuffle" | "train.precision") {
            assert_ne!(recipe, before, "{} changes nothing", key.path);
        }
        check_round_trip(&recipe);
    }
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
