//! The layers a recipe can name: one row each, with its word, arguments, defaults and meaning.
//!
//! A new layer is one variant of `LayerKind` and one row of `ROWS`. Parser, printer, error hints
//! and the reference text read the table; nothing else lists the words.

use super::layer_kind::{LayerKind, Out};
use std::fmt;

/// The largest count a layer line can hold: products of two stay far inside 64 bits.
pub const MOST: usize = 1 << 20;

/// What an argument's text may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A whole number from the given least to `MOST`.
    Count(usize),
    /// One count for height and width, or `3x5`.
    Pair,
    /// A count or the word `classes`.
    Out,
    /// 0 <= x < 1.
    Share,
    /// 0 <= x <= 1.
    Momentum,
    /// x > 0.
    Positive,
    /// The bare word, or the word after `no-`.
    Flag,
}

impl Shape {
    /// What a value of this shape is, for messages.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Shape::Count(0) => "a whole number from 0 to 1048576",
            Shape::Count(_) => "a whole number from 1 to 1048576",
            Shape::Pair => "a whole number from 1 to 1048576, or two as in `3x5`",
            Shape::Out => "a whole number from 1 to 1048576, or `classes`",
            Shape::Share => "a number with 0 <= x < 1",
            Shape::Momentum => "a number with 0 <= x <= 1",
            Shape::Positive => "a number over 0",
            Shape::Flag => "a word alone",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Count(usize),
    Pair([usize; 2]),
    Out(Out),
    Real(f64),
    Flag(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(n) | Value::Out(Out::N(n)) => write!(f, "{n}"),
            Value::Pair([height, width]) if height == width => write!(f, "{height}"),
            Value::Pair([height, width]) => write!(f, "{height}x{width}"),
            Value::Out(Out::Classes) => write!(f, "classes"),
            Value::Real(x) => write!(f, "{x:?}"),
            Value::Flag(on) => write!(f, "{on}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    Required,
    Is(Value),
    /// The value of an earlier argument.
    Same(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    pub word: &'static str,
    pub shape: Shape,
    pub default: Default,
}

const fn arg(word: &'static str, shape: Shape, default: Default) -> Arg {
    Arg { word, shape, default }
}

const fn flag(word: &'static str, default: bool) -> Arg {
    arg(word, Shape::Flag, Default::Is(Value::Flag(default)))
}

const fn count(word: &'static str, least: usize, default: usize) -> Arg {
    let default = Default::Is(Value::Count(default));
    arg(word, Shape::Count(least), default)
}

/// One layer of the language. The first argument may be given without its word.
pub(crate) struct Row {
    pub word: &'static str,
    /// Unnamed layers are called this and their number.
    pub prefix: &'static str,
    /// Other words people write for it.
    pub also: &'static [&'static str],
    pub args: &'static [Arg],
    pub meaning: &'static str,
    /// Arguments in order to a layer; `None` only if a value has not its argument's shape.
    pub make: fn(&[Value]) -> Option<LayerKind>,
    /// The arguments of a layer of this row, `None` for any other.
    pub read: fn(&LayerKind) -> Option<Vec<Value>>,
    /// A rule that ties arguments together.
    pub rule: fn(&LayerKind) -> Result<(), &'static str>,
}

fn free(_: &LayerKind) -> Result<(), &'static str> {
    Ok(())
}

fn pool_rule(kind: &LayerKind) -> Result<(), &'static str> {
    match kind {
        LayerKind::MaxPool { kernel, padding, .. } | LayerKind::AvgPool { kernel, padding, .. }
            if *padding > kernel / 2 =>
        {
            Err("`padding` must be at most half of `kernel`")
        }
        _ => Ok(()),
    }
}

/// A row for a layer without arguments.
macro_rules! plain {
    ($word:literal, $prefix:literal, $kind:ident, $meaning:literal) => {
        Row {
            word: $word,
            prefix: $prefix,
            also: &[],
            args: &[],
            meaning: $meaning,
            make: |_| Some(LayerKind::$kind),
            read: |kind| matches!(kind, LayerKind::$kind).then(Vec::new),
            rule: free,
        }
    };
}

/// A row for a window that slides over height and width.
macro_rules! pool {
    ($word:literal, $prefix:literal, $also:expr, $kind:ident, $meaning:literal) => {
        Row {
            word: $word,
            prefix: $prefix,
            also: $also,
            args: &[
                arg("kernel", Shape::Count(1), Default::Required),
                arg("stride", Shape::Count(1), Default::Same(0)),
                count("padding", 0, 0),
            ],
            meaning: $meaning,
            make: |values| match *values {
                [Value::Count(kernel), Value::Count(stride), Value::Count(padding)] => {
                    Some(LayerKind::$kind { kernel, stride, padding })
                }
                _ => None,
            },
            read: |kind| match *kind {
                LayerKind::$kind { kernel, stride, padding } => {
                    Some([kernel, stride, padding].map(Value::Count).to_vec())
                }
                _ => None,
            },
            rule: pool_rule,
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        word: "conv",
        prefix: "conv",
        also: &["conv2d", "convolution"],
        args: &[
            arg("out", Shape::Count(1), Default::Required),
            arg("kernel", Shape::Pair, Default::Required),
            count("stride", 1, 1),
            count("padding", 0, 0),
            count("dilation", 1, 1),
            count("groups", 1, 1),
            flag("bias", true),
        ],
        meaning: "convolution with `out` channels; `kernel` is a side or `3x5`",
        make: |values| match *values {
            [
                Value::Count(out),
                Value::Pair(kernel),
                Value::Count(stride),
                Value::Count(padding),
                Value::Count(dilation),
                Value::Count(groups),
                Value::Flag(bias),
            ] => Some(LayerKind::Conv { out, kernel, stride, padding, dilation, groups, bias }),
            _ => None,
        },
        read: |kind| match *kind {
            LayerKind::Conv { out, kernel, stride, padding, dilation, groups, bias } => {
                let mut values = vec![Value::Count(out), Value::Pair(kernel)];
                values.extend([stride, padding, dilation, groups].map(Value::Count));
                values.push(Value::Flag(bias));
                Some(values)
            }
            _ => None,
        },
        rule: |kind| match kind {
            LayerKind::Conv { out, groups, .. } if out % groups != 0 => Err("`groups` must divide the output channels"),
            _ => Ok(()),
        },
    },
    Row {
        word: "linear",
        prefix: "fc",
        also: &["fc", "dense", "fully-connected"],
        args: &[arg("out", Shape::Out, Default::Required), flag("bias", true)],
        meaning: "fully connected; `linear classes` has one output a class of the data set",
        make: |values| match *values {
            [Value::Out(out), Value::Flag(bias)] => Some(LayerKind::Linear { out, bias }),
            _ => None,
        },
        read: |kind| match *kind {
            LayerKind::Linear { out, bias } => Some(vec![Value::Out(out), Value::Flag(bias)]),
            _ => None,
        },
        rule: free,
    },
    plain!("relu", "relu", Relu, "max(x, 0)"),
    Row {
        word: "gelu",
        prefix: "gelu",
        also: &[],
        args: &[flag("tanh", false)],
        meaning: "x * Phi(x), exact; `gelu tanh` is its tanh approximation",
        make: |values| match *values {
            [Value::Flag(true)] => Some(LayerKind::GeluTanh),
            [Value::Flag(false)] => Some(LayerKind::Gelu),
            _ => None,
        },
        read: |kind| match kind {
            LayerKind::Gelu => Some(vec![Value::Flag(false)]),
            LayerKind::GeluTanh => Some(vec![Value::Flag(true)]),
            _ => None,
        },
        rule: free,
    },
    plain!("silu", "silu", Silu, "x * sigmoid(x)"),
    plain!("tanh", "tanh", Tanh, "hyperbolic tangent"),
    plain!("sigmoid", "sigmoid", Sigmoid, "1 / (1 + exp(-x))"),
    pool!(
        "max-pool",
        "pool",
        &["maxpool", "maxpool2d", "pool"],
        MaxPool,
        "largest of each window; `stride` is `kernel` unless given"
    ),
    pool!(
        "avg-pool",
        "avgpool",
        &["avgpool", "avgpool2d", "average-pool", "mean-pool"],
        AvgPool,
        "mean of each window, padding counted; `stride` is `kernel` unless given"
    ),
    Row {
        word: "adaptive-avg-pool",
        prefix: "gap",
        also: &["global-avg-pool", "gap"],
        args: &[count("out", 1, 1)],
        meaning: "mean over equal parts, to `out` by `out`; 1 is the global average",
        make: |values| match *values {
            [Value::Count(out)] => Some(LayerKind::AdaptiveAvgPool { out }),
            _ => None,
        },
        read: |kind| match *kind {
            LayerKind::AdaptiveAvgPool { out } => Some(vec![Value::Count(out)]),
            _ => None,
        },
        rule: free,
    },
    Row {
        word: "batch-norm",
        prefix: "bn",
        also: &["bn", "batchnorm", "batchnorm2d"],
        args: &[
            arg("eps", Shape::Positive, Default::Is(Value::Real(1e-5))),
            arg("momentum", Shape::Momentum, Default::Is(Value::Real(0.1))),
        ],
        meaning: "each channel to mean 0 and variance 1 over the batch, then scale and shift",
        make: |values| match *values {
            [Value::Real(eps), Value::Real(momentum)] => Some(LayerKind::BatchNorm { eps, momentum }),
            _ => None,
        },
        read: |kind| match *kind {
            LayerKind::BatchNorm { eps, momentum } => Some([eps, momentum].map(Value::Real).to_vec()),
            _ => None,
        },
        rule: free,
    },
    Row {
        word: "dropout",
        prefix: "dropout",
        also: &[],
        args: &[arg("p", Shape::Share, Default::Is(Value::Real(0.5)))],
        meaning: "zeroes each element with probability `p` while training",
        make: |values| match *values {
            [Value::Real(p)] => Some(LayerKind::Dropout { p }),
            _ => None,
        },
        read: |kind| match *kind {
            LayerKind::Dropout { p } => Some(vec![Value::Real(p)]),
            _ => None,
        },
        rule: free,
    },
    plain!("flatten", "flatten", Flatten, "all axes but the batch into one"),
];
