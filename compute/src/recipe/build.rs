//! Checked values of single keys -> a recipe, with the checks that tie keys together.
//!
//! Each error stands at the key that is easiest to change; where the value came from an override
//! the error names the override.

use super::error::{Problem, RecipeError, quote};
use super::layers::{LineError, parse_layers};
use super::read::{Origin, Values};
use super::value::Value;
use super::{
    Augment, DataPart, Loss, ModelPart, Normalize, Optimizer, OptimizerKind, Precision, Recipe, Schedule, ScheduleKind,
    Train,
};
use std::ops::Range;

pub(crate) fn build(values: Values) -> Result<Recipe, RecipeError> {
    let values = &values;
    let recipe = Recipe {
        name: name(values)?,
        data: data(values)?,
        augment: Augment {
            crop_padding: values.need("augment.crop_padding", as_count)?,
            flip: values.need("augment.flip", as_flag)?,
        },
        model: model(values)?,
        train: train(values)?,
        optimizer: optimizer(values)?,
        schedule: schedule(values)?,
    };
    across(values, &recipe)?;
    Ok(recipe)
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Flag(flag) => Some(*flag),
        _ => None,
    }
}

fn as_count(value: &Value) -> Option<usize> {
    match value {
        Value::Count(count) => usize::try_from(*count).ok(),
        _ => None,
    }
}

fn as_real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(number) => Some(*number),
        _ => None,
    }
}

fn as_reals(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Reals(numbers) => Some(numbers.clone()),
        _ => None,
    }
}

fn as_pair(value: &Value) -> Option<[f64; 2]> {
    as_reals(value)?.try_into().ok()
}

impl Values<'_> {
    fn get<T>(&self, path: &str, read: fn(&Value) -> Option<T>) -> Option<T> {
        self.map.get(path).and_then(|(value, _)| read(value))
    }

    fn need<T>(&self, path: &str, read: fn(&Value) -> Option<T>) -> Result<T, RecipeError> {
        self.get(path, read).ok_or_else(|| self.missing(path, "give it a value"))
    }

    fn missing(&self, path: &str, hint: &str) -> RecipeError {
        let (key, hint) = (path.to_string(), hint.to_string());
        self.error(Origin::Default, Problem::Missing { key, hint })
    }

    fn mismatch(&self, path: &str, message: impl Into<String>) -> RecipeError {
        let (key, message) = (path.to_string(), message.into());
        self.error(self.origin(path), Problem::Mismatch { key, message })
    }
}

/// The given name, or the file's name without folders and `.toml`.
fn name(values: &Values) -> Result<String, RecipeError> {
    let fits = |c: &char| !c.is_control() && !matches!(c, '/' | '\\');
    if let Some(name) = values.get("name", as_text) {
        if name.chars().count() > 100 || !name.chars().all(|c| fits(&c)) {
            let message = "must be at most 100 characters, without `/`, `\\` or line ends";
            return Err(values.mismatch("name", message));
        }
        return Ok(name);
    }
    let file = values.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    let stem: String = stem.chars().filter(fits).take(100).collect();
    match stem.is_empty() {
        true => Ok("recipe".to_string()),
        false => Ok(stem),
    }
}

fn data(values: &Values) -> Result<DataPart, RecipeError> {
    let set = values.need("data.set", as_text)?;
    let root = values.get("data.root", as_text);
    if set == "folder" && root.is_none() {
        return Err(values.missing("data.root", "`data.set = \"folder\"` reads images from it"));
    }
    let mean = values.get("data.normalize.mean", as_reals);
    let std = values.get("data.normalize.std", as_reals);
    let normalize = match (mean, std) {
        (None, None) => None,
        (Some(mean), Some(std)) if mean.len() == std.len() => Some(Normalize { mean, std }),
        (Some(mean), Some(std)) => {
            let message = format!("has {} numbers, but mean has {}", std.len(), mean.len());
            return Err(values.mismatch("data.normalize.std", message));
        }
        (Some(_), None) => return Err(values.mismatch("data.normalize.mean", "needs a `std`")),
        (None, Some(_)) => return Err(values.mismatch("data.normalize.std", "needs a `mean`")),
    };
    Ok(DataPart {
        set,
        root,
        limit: values.get("data.limit", as_count),
        resize: values.get("data.resize", as_count),
        normalize,
        shuffle: values.need("data.shuffle", as_flag)?,
        validation: values.need("data.validation", as_real)?,
    })
}

fn model(values: &Values) -> Result<ModelPart, RecipeError> {
    if let Some(name) = values.get("model.name", as_text) {
        let model = crate::models::find(&name);
        let layers = model.and_then(|model| parse_layers(model.layers.iter().copied()).ok());
        let layers = layers.ok_or_else(|| values.mismatch("model.name", "is not a model of the catalogue"))?;
        let name = Some(name);
        return Ok(ModelPart { name, layers });
    }
    let Some((Value::Lines(lines), origin)) = values.map.get("model.layers") else {
        let hint = "list `layers`, or name a model of the catalogue with `model.name`";
        return Err(values.missing("model.layers", hint));
    };
    let layers = parse_layers(lines.iter().map(|(line, _)| line.as_str()));
    let layers = layers.map_err(|error| layer_error(values, lines, *origin, error))?;
    Ok(ModelPart { name: None, layers })
}

/// The error at the word itself where the file shows the line as it is, else at its start.
fn layer_error(values: &Values, lines: &[(String, Range<usize>)], origin: Origin, error: LineError) -> RecipeError {
    let (line, span) = lines.get(error.layer).cloned().unwrap_or_default();
    let origin = match origin {
        Origin::File(_) => {
            let inner = values.text.get(span.start + 1..span.end.saturating_sub(1));
            match inner == Some(line.as_str()) {
                true => Origin::File(span.start + 1 + error.offset),
                false => Origin::File(span.start),
            }
        }
        other => other,
    };
    let problem = Problem::Layer { number: error.layer + 1, line: quote(&line), message: error.message };
    values.error(origin, problem)
}

fn train(values: &Values) -> Result<Train, RecipeError> {
    let loss = match values.need("train.loss", as_text)?.as_str() {
        "mse" => Loss::Mse,
        "bce" => Loss::Bce,
        _ => Loss::CrossEntropy {
            label_smoothing: values.need("train.label_smoothing", as_real)?,
            class_weights: values.get("train.class_weights", as_reals),
        },
    };
    if let Loss::CrossEntropy { class_weights: Some(weights), .. } = &loss
        && weights.iter().all(|weight| *weight == 0.0)
    {
        let message = "must have a weight over 0, or no image counts";
        return Err(values.mismatch("train.class_weights", message));
    }
    let epochs = values.get("train.epochs", as_count);
    let steps = values.get("train.steps", as_count);
    if epochs.is_none() && steps.is_none() {
        return Err(values.missing("train.epochs", "give `epochs` or `steps`"));
    }
    Ok(Train {
        loss,
        batch: values.need("train.batch", as_count)?,
        epochs,
        steps,
        seed: values.need("train.seed", as_count)? as u32, // the table's range is that of u32
        precision: match values.need("train.precision", as_text)?.as_str() {
            "mixed" => Precision::Mixed,
            _ => Precision::F32,
        },
        clip_norm: values.get("train.clip_norm", as_real),
        checkpoint_every: values.get("train.checkpoint_every", as_count),
    })
}

fn optimizer(values: &Values) -> Result<Optimizer, RecipeError> {
    let momentum = || values.need("optimizer.momentum", as_real);
    let eps = || values.need("optimizer.eps", as_real);
    let betas = || values.need("optimizer.betas", as_pair);
    let kind = match values.need("optimizer.kind", as_text)?.as_str() {
        "sgd" => OptimizerKind::Sgd { momentum: momentum()?, nesterov: values.need("optimizer.nesterov", as_flag)? },
        "rmsprop" => OptimizerKind::RmsProp {
            alpha: values.need("optimizer.alpha", as_real)?,
            eps: eps()?,
            momentum: momentum()?,
        },
        "adamw" => OptimizerKind::AdamW { betas: betas()?, eps: eps()? },
        _ => OptimizerKind::Adam { betas: betas()?, eps: eps()? },
    };
    if let OptimizerKind::Sgd { momentum: 0.0, nesterov: true } = kind {
        let message = "needs `optimizer.momentum` over 0";
        return Err(values.mismatch("optimizer.nesterov", message));
    }
    Ok(Optimizer {
        lr: values.need("optimizer.lr", as_real)?,
        weight_decay: values.need("optimizer.weight_decay", as_real)?,
        kind,
    })
}

fn schedule(values: &Values) -> Result<Schedule, RecipeError> {
    let kind = match values.need("schedule.kind", as_text)?.as_str() {
        "step" => ScheduleKind::Step {
            every: values.need("schedule.every", as_count)?,
            gamma: values.need("schedule.gamma", as_real)?,
        },
        "cosine" => ScheduleKind::Cosine {
            warmup: values.need("schedule.warmup", as_real)?,
            min_lr: values.need("schedule.min_lr", as_real)?,
        },
        _ => ScheduleKind::Constant,
    };
    Ok(Schedule { kind })
}

/// Checks over more than one part.
fn across(values: &Values, recipe: &Recipe) -> Result<(), RecipeError> {
    let ScheduleKind::Cosine { warmup, min_lr } = recipe.schedule.kind else {
        return Ok(());
    };
    if min_lr > recipe.optimizer.lr {
        let message = format!("is over `optimizer.lr`, {:?}", recipe.optimizer.lr);
        return Err(values.mismatch("schedule.min_lr", message));
    }
    if let Some(epochs) = recipe.train.epochs.filter(|epochs| warmup > *epochs as f64) {
        let message = format!("is longer than the run of {epochs} epochs");
        return Err(values.mismatch("schedule.warmup", message));
    }
    Ok(())
}
