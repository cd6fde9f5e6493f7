//! A recipe -> TOML with every key explicit, in the order of the key table.
//!
//! `Recipe::parse` of the text gives the same recipe, but for the catalogue's name of the model,
//! which becomes a comment: the layers that were trained are what a run must keep.

use super::keys::{self, KEYS};
use super::value::Value;
use super::{Loss, OptimizerKind, Precision, Recipe, ScheduleKind};
use std::fmt::Write;

/// Every key that the recipe uses with its value as TOML, in the order of the key table.
pub(crate) fn rows(recipe: &Recipe) -> Vec<(&'static str, String)> {
    KEYS.iter().filter_map(|key| Some((key.path, print(&value(recipe, key.path)?)))).collect()
}

pub(crate) fn to_toml(recipe: &Recipe) -> String {
    let mut text = String::new();
    let mut table = "";
    let mut inner: Vec<(&str, String)> = Vec::new();
    let rows = rows(recipe);
    for (index, (path, printed)) in rows.iter().enumerate() {
        let (owner, last) = keys::split(path);
        let top = owner.split('.').next().unwrap_or_default();
        if top != table {
            table = top;
            let _ = write!(text, "\n[{table}]\n"); // a String takes all
            if let (Some(name), "model") = (&recipe.model.name, table) {
                let _ = writeln!(text, "# {name}, resolved");
            }
        }
        match owner.split_once('.') {
            None => {
                let _ = writeln!(text, "{last} = {printed}");
            }
            // A table within: its keys in one line.
            Some((_, name)) => {
                inner.push((last, printed.clone()));
                let more = rows.get(index + 1).is_some_and(|(next, _)| keys::split(next).0 == owner);
                if !more {
                    let pairs: Vec<String> = inner.drain(..).map(|(key, value)| format!("{key} = {value}")).collect();
                    let _ = writeln!(text, "{name} = {{ {} }}", pairs.join(", "));
                }
            }
        }
    }
    text
}

/// A key's value in a recipe; `None` where it is not given or not used.
fn value(recipe: &Recipe, path: &str) -> Option<Value> {
    let text = |text: &str| Some(Value::Text(text.to_string()));
    let count = |count: usize| Some(Value::Count(count as u64));
    let real = |number: f64| Some(Value::Real(number));
    let reals = |numbers: &[f64]| Some(Value::Reals(numbers.to_vec()));
    let Recipe { data, train, optimizer, .. } = recipe;
    let cross_entropy = match &train.loss {
        Loss::CrossEntropy { label_smoothing, class_weights } => Some((*label_smoothing, class_weights.as_deref())),
        _ => None,
    };
    match path {
        "name" => text(&recipe.name),
        "data.set" => text(&data.set),
        "data.root" => text(data.root.as_deref()?),
        "data.limit" => count(data.limit?),
        "data.resize" => count(data.resize?),
        "data.normalize.mean" => reals(&data.normalize.as_ref()?.mean),
        "data.normalize.std" => reals(&data.normalize.as_ref()?.std),
        "data.shuffle" => Some(Value::Flag(data.shuffle)),
        "data.validation" => real(data.validation),
        "augment.crop_padding" => count(recipe.augment.crop_padding),
        "augment.flip" => Some(Value::Flag(recipe.augment.flip)),
        "model.layers" => {
            let lines = recipe.model.layers.iter();
            let lines = lines.map(|layer| (layer.to_string(), 0..0));
            Some(Value::Lines(lines.collect()))
        }
        "train.loss" => text(match train.loss {
            Loss::CrossEntropy { .. } => "cross-entropy",
            Loss::Mse => "mse",
            Loss::Bce => "bce",
        }),
        "train.label_smoothing" => real(cross_entropy?.0),
        "train.class_weights" => reals(cross_entropy?.1?),
        "train.batch" => count(train.batch),
        "train.epochs" => count(train.epochs?),
        "train.steps" => count(train.steps?),
        "train.seed" => Some(Value::Count(train.seed.into())),
        "train.precision" => text(match train.precision {
            Precision::F32 => "f32",
            Precision::Mixed => "mixed",
        }),
        "train.clip_norm" => real(train.clip_norm?),
        "train.checkpoint_every" => count(train.checkpoint_every?),
        "optimizer.lr" => real(optimizer.lr),
        "optimizer.weight_decay" => real(optimizer.weight_decay),
        _ => optimizer_value(&optimizer.kind, path).or_else(|| schedule_value(&recipe.schedule.kind, path)),
    }
}

fn optimizer_value(kind: &OptimizerKind, path: &str) -> Option<Value> {
    use OptimizerKind::{Adam, AdamW, RmsProp, Sgd};
    Some(match (path, kind) {
        ("optimizer.kind", _) => Value::Text(
            match kind {
                Sgd { .. } => "sgd",
                RmsProp { .. } => "rmsprop",
                Adam { .. } => "adam",
                AdamW { .. } => "adamw",
            }
            .to_string(),
        ),
        ("optimizer.momentum", Sgd { momentum, .. } | RmsProp { momentum, .. }) => Value::Real(*momentum),
        ("optimizer.nesterov", Sgd { nesterov, .. }) => Value::Flag(*nesterov),
        ("optimizer.alpha", RmsProp { alpha, .. }) => Value::Real(*alpha),
        ("optimizer.betas", Adam { betas, .. } | AdamW { betas, .. }) => Value::Reals(betas.to_vec()),
        ("optimizer.eps", RmsProp { eps, .. } | Adam { eps, .. } | AdamW { eps, .. }) => Value::Real(*eps),
        _ => return None,
    })
}

fn schedule_value(kind: &ScheduleKind, path: &str) -> Option<Value> {
    use ScheduleKind::{Constant, Cosine, Step};
    Some(match (path, kind) {
        ("schedule.kind", Constant) => Value::Text("constant".to_string()),
        ("schedule.kind", Step { .. }) => Value::Text("step".to_string()),
        ("schedule.kind", Cosine { .. }) => Value::Text("cosine".to_string()),
        ("schedule.every", Step { every, .. }) => Value::Count(*every as u64),
        ("schedule.gamma", Step { gamma, .. }) => Value::Real(*gamma),
        ("schedule.warmup", Cosine { warmup, .. }) => Value::Real(*warmup),
        ("schedule.min_lr", Cosine { min_lr, .. }) => Value::Real(*min_lr),
        _ => return None,
    })
}

pub(crate) fn print(value: &Value) -> String {
    // The TOML library escapes texts; `{:?}` prints the shortest digits that read back.
    let quoted = |text: &str| toml_edit::Value::from(text).to_string();
    match value {
        Value::Text(text) => quoted(text),
        Value::Flag(flag) => flag.to_string(),
        Value::Count(count) => count.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Reals(numbers) => format!("{numbers:?}"),
        Value::Lines(lines) => {
            let lines = lines.iter().map(|(line, _)| quoted(line));
            format!("[\n    {},\n]", lines.collect::<Vec<_>>().join(",\n    "))
        }
    }
}
