//! Every key of a recipe: its place, type, range, default and meaning, in one table.
//!
//! Reading, range checks, the order of the printed recipe, hints for misspelt keys and the
//! reference text come from `KEYS`; a new key is one row, a field, and its line in `build` and
//! `print`. A selector (`optimizer.kind`) stands before the keys that depend on it.

use super::layers::MOST_LAYERS;

/// The data sets that `data.set` can name.
pub const SETS: &[&str] = &["cifar10", "fashion-sample", "blood-cells", "mnist", "fashion-mnist", "folder"];

/// What a number may be. All are finite, and keep their range when rounded to f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    Finite,
    /// x > 0
    Positive,
    /// x >= 0
    NotNegative,
    /// 0 <= x < 1
    Share,
    /// 0 < x <= 1
    Factor,
}

impl Range {
    pub fn holds(self, x: f64) -> bool {
        let x = x as f32;
        x.is_finite()
            && match self {
                Range::Finite => true,
                Range::Positive => x > 0.0,
                Range::NotNegative => x >= 0.0,
                Range::Share => (0.0..1.0).contains(&x),
                Range::Factor => x > 0.0 && x <= 1.0,
            }
    }

    pub fn says(self) -> &'static str {
        match self {
            Range::Finite => "a number",
            Range::Positive => "a number over 0",
            Range::NotNegative => "a number from 0",
            Range::Share => "a number with 0 <= x < 1",
            Range::Factor => "a number with 0 < x <= 1",
        }
    }
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// Any text but the empty one.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a model of the catalogue.
    Model,
    /// Layer lines.
    Layers,
    Flag,
    /// A whole number from `.0` to `.1`.
    Count(u64, u64),
    Real(Range),
    /// From `.1` to `.2` numbers.
    Reals(Range, usize, usize),
}

impl Type {
    /// What a value of this type is, for messages and the reference.
    pub fn says(self) -> String {
        match self {
            Type::Text => "text".to_string(),
            Type::Word(words) => format!("one of {}", words.join(", ")),
            Type::Model => "the name of a model".to_string(),
            Type::Layers => format!("a list of 1 to {MOST_LAYERS} layer lines"),
            Type::Flag => "true or false".to_string(),
            Type::Count(least, most) => format!("a whole number from {least} to {most}"),
            Type::Real(range) => range.says().to_string(),
            Type::Reals(range, least, most) => {
                let numbers = match least == most {
                    true => format!("{least}"),
                    false => format!("{least} to {most}"),
                };
                format!("a list of {numbers} items, each {}", range.says())
            }
        }
    }
}

/// What holds when a key is not given. Values are TOML, as a recipe would write them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// The text says what to do.
    Required(&'static str),
    Absent,
    Is(&'static str),
    /// Used only with these values of the selector `.0`, each with its default ("" is absent).
    ByChoice(&'static str, &'static [(&'static str, &'static str)]),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Dotted, such as `data.normalize.mean`.
    pub path: &'static str,
    pub ty: Type,
    pub default: Default,
    /// Names that other programs use for it.
    pub also: &'static [&'static str],
    pub meaning: &'static str,
}

/// Exactly one of each pair is given; an override of one drops the other.
pub const PAIRS: &[(&str, &str)] = &[("model.name", "model.layers"), ("train.epochs", "train.steps")];

const MOST: u64 = 1_000_000_000;
const LOSS: &str = "train.loss";
const KIND: &str = "optimizer.kind";
const SHAPE: &str = "schedule.kind";

const fn key(
    path: &'static str,
    ty: Type,
    default: Default,
    also: &'static [&'static str],
    meaning: &'static str,
) -> Key {
    Key { path, ty, default, also, meaning }
}

use self::Default::{Absent, ByChoice, Is, Required};
use Type::{Count, Flag, Layers, Model, Real, Reals, Text, Word};

#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("name", Text, Absent, &["title"],
        "the recipe's name; the file's name without `.toml` unless given"),

    key("data.set", Word(SETS), Required("name a data set, such as `set = \"cifar10\"`"),
        &["dataset", "name"], "which images"),
    key("data.root", Text, Absent, &["path", "dir", "folder"],
        "folder that holds the images or files; needed by `folder`"),
    key("data.limit", Count(1, MOST), Absent, &["max", "subset"],
        "use only the first N training images"),
    key("data.resize", Count(1, 4096), Absent, &["size", "image_size"],
        "bilinear resize to this height and width"),
    key("data.normalize.mean", Reals(Range::Finite, 1, 4), Absent, &[],
        "per channel: x becomes (x - mean) / std, for x from 0 to 1"),
    key("data.normalize.std", Reals(Range::Positive, 1, 4), Absent, &[],
        "per channel"),
    key("data.shuffle", Flag, Is("true"), &[],
        "a new order each epoch; false keeps the file's order"),
    key("data.validation", Real(Range::Share), Is("0.1"), &["val", "valid", "val_split"],
        "part of the training images kept to choose the best epoch, by class"),

    key("augment.crop_padding", Count(0, 1024), Is("0"), &["padding", "random_crop", "crop"],
        "pad by this many pixels, then crop at random to the old size; 0 is off"),
    key("augment.flip", Flag, Is("false"), &["horizontal_flip", "mirror"],
        "mirror left and right at random"),

    key("model.name", Model, Absent, &["model", "kind"],
        "a model of the catalogue; or give `layers`"),
    key("model.layers", Layers, Absent, &["layer"],
        "the layers in order; or give `name`"),

    key(LOSS, Word(&["cross-entropy", "mse", "bce"]), Is("\"cross-entropy\""),
        &["criterion", "objective"],
        "cross-entropy (from logits), mean squared error, binary cross-entropy (from logits)"),
    key("train.label_smoothing", Real(Range::Share), ByChoice(LOSS, &[("cross-entropy", "0.0")]),
        &["smoothing"], "part of each target spread evenly over the classes"),
    key("train.class_weights", Reals(Range::NotNegative, 1, 100_000),
        ByChoice(LOSS, &[("cross-entropy", "")]), &["weight", "weights"],
        "weight of each class in the loss"),
    key("train.batch", Count(1, 1_000_000), Is("64"), &["batch_size", "batchsize"],
        "images in a step"),
    key("train.epochs", Count(1, MOST), Absent, &["epoch", "num_epochs"],
        "passes over the training images; or give `steps`"),
    key("train.steps", Count(1, MOST), Absent, &["iterations", "max_steps"],
        "batches in all; or give `epochs`"),
    key("train.seed", Count(0, u32::MAX as u64), Is("0"), &["random_seed"],
        "fixes initial weights, order, augmentation and dropout"),
    key("train.precision", Word(&["f32", "mixed"]), Is("\"f32\""), &["dtype"],
        "mixed: products and convolutions read f16 and add in f32, with a loss scale that adapts; weights stay f32"),
    key("train.clip_norm", Real(Range::Positive), Absent, &["grad_clip", "clip", "max_norm"],
        "scale gradients down to this norm when theirs is larger"),
    key("train.checkpoint_every", Count(1, MOST), Absent, &["save_every"],
        "also save a checkpoint each N steps; at the end of an epoch it is always saved"),

    key(KIND, Word(&["sgd", "rmsprop", "adam", "adamw"]),
        Required("name an optimiser, such as `kind = \"adam\"`"), &["name", "type"],
        "the update rule; defaults are PyTorch's"),
    key("optimizer.lr", Real(Range::Positive), ByChoice(KIND, &[("sgd", "0.001"),
        ("rmsprop", "0.01"), ("adam", "0.001"), ("adamw", "0.001")]),
        &["learning_rate", "rate"], "learning rate before the schedule"),
    key("optimizer.momentum", Real(Range::Share), ByChoice(KIND, &[("sgd", "0.0"),
        ("rmsprop", "0.0")]), &[], "part of the last update that is kept"),
    key("optimizer.nesterov", Flag, ByChoice(KIND, &[("sgd", "false")]), &[],
        "look ahead by the momentum"),
    key("optimizer.alpha", Real(Range::Share), ByChoice(KIND, &[("rmsprop", "0.99")]),
        &["decay", "rho"], "decay of the mean of squared gradients"),
    key("optimizer.betas", Reals(Range::Share, 2, 2), ByChoice(KIND, &[
        ("adam", "[0.9, 0.999]"), ("adamw", "[0.9, 0.999]")]), &["beta", "beta1", "beta2"],
        "decay of the means of gradients and of squared gradients"),
    key("optimizer.eps", Real(Range::Positive), ByChoice(KIND, &[("rmsprop", "1e-8"),
        ("adam", "1e-8"), ("adamw", "1e-8")]), &["epsilon"],
        "added to the root, against division by 0"),
    key("optimizer.weight_decay", Real(Range::NotNegative), ByChoice(KIND, &[("sgd", "0.0"),
        ("rmsprop", "0.0"), ("adam", "0.0"), ("adamw", "0.01")]), &["l2", "wd"],
        "pull of the weights to 0: added to the gradient, or apart from it with adamw"),

    key(SHAPE, Word(&["constant", "step", "cosine"]), Is("\"constant\""), &["name", "type"],
        "how the learning rate changes"),
    key("schedule.every", Count(1, MOST), ByChoice(SHAPE, &[("step", "30")]),
        &["step_size", "period"], "epochs between two falls"),
    key("schedule.gamma", Real(Range::Factor), ByChoice(SHAPE, &[("step", "0.1")]),
        &["factor"], "factor of each fall"),
    key("schedule.warmup", Real(Range::NotNegative), ByChoice(SHAPE, &[("cosine", "0.0")]),
        &["warm_up", "warmup_epochs"], "epochs of linear rise before the cosine"),
    key("schedule.min_lr", Real(Range::NotNegative), ByChoice(SHAPE, &[("cosine", "0.0")]),
        &["eta_min"], "learning rate at the end"),
];

/// The row of a path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether `path` is a table with keys in it.
pub(crate) fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| below(key.path, path))
}

/// Whether `path` lies in the table `table`.
pub(crate) fn below(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// A path's table and last part; a key at the top has the table "".
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in KEYS {
            let defaults = match key.default {
                Is(text) => vec![text],
                ByChoice(selector, choices) => {
                    let at = |path| KEYS.iter().position(|key| key.path == path);
                    assert!(at(selector) < at(key.path), "{} first", selector);
                    let Some(Type::Word(words)) = find(selector).map(|key| key.ty) else {
                        panic!("{selector} has no words");
                    };
                    assert!(choices.iter().all(|(choice, _)| words.contains(choice)));
                    choices.iter().map(|(_, text)| *text).collect()
                }
                Required(_) | Absent => vec![],
            };
            for text in defaults.into_iter().filter(|text| !text.is_empty()) {
                let value = super::super::value::default_value(key, text);
                assert!(value.is_some(), "{} = {text}", key.path);
            }
        }
    }
}
