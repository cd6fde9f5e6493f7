//! The layer language: `conv1: conv 32 kernel 3 padding 1`, a line for each layer.
//!
//! A line is an optional name with a colon, the layer's word, then its arguments in any order,
//! each as `word value`; the first may leave out its word, and a flag is its word alone, or with
//! `no-` before it. Unnamed layers are called by their kind and count (`conv1`, `bn1`, `relu1`,
//! `fc1`), past names that are taken. `Display` prints a line that parses to the same layer,
//! without the arguments that have their default. Errors say which word, and the nearest right
//! one. Knows nothing of shapes: whether layers fit together is found when the graph is built.

use super::error::{hint, nearest, quote};
use super::layer_kind::{LayerKind, Out};
use super::layer_table::{Arg, Default, MOST, ROWS, Row, Shape, Value};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;

/// A named layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique in its model; parameters are called by it (`conv1.weight`).
    pub name: String,
    pub kind: LayerKind,
}

/// The most layers a recipe may list.
pub const MOST_LAYERS: usize = 4096;

/// What is wrong with one line: the layer (from 0), the byte of the word in it, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LineError {
    pub layer: usize,
    pub offset: usize,
    pub message: String,
}

/// The layers of a model, named.
pub(crate) fn parse_layers<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Layer>, LineError> {
    let mut parsed = Vec::new();
    let mut taken = BTreeSet::new();
    for (layer, line) in lines.into_iter().enumerate() {
        let fail = |(offset, message)| LineError { layer, offset, message };
        if layer >= MOST_LAYERS {
            return Err(fail((0, format!("a model has at most {MOST_LAYERS}"))));
        }
        let (name, row, kind) = parse_line(line).map_err(fail)?;
        if let Some(name) = name
            && !taken.insert(name.to_string())
        {
            let message = format!("the name `{name}` is already taken by an earlier layer");
            return Err(fail((0, message)));
        }
        parsed.push((name, row, kind));
    }
    let mut counts = vec![0usize; ROWS.len()];
    let mut layers = Vec::with_capacity(parsed.len());
    for (name, row, kind) in parsed {
        let count = &mut counts[row];
        *count += 1;
        let name = match name {
            Some(name) => name.to_string(),
            None => loop {
                let name = format!("{}{}", ROWS[row].prefix, count);
                if taken.insert(name.clone()) {
                    break name;
                }
                *count += 1;
            },
        };
        layers.push(Layer { name, kind });
    }
    Ok(layers)
}

type Fault = (usize, String);

/// The words of a line with their byte offsets.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace().map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

/// One line: its name if given, its row, its layer.
fn parse_line(line: &str) -> Result<(Option<&str>, usize, LayerKind), Fault> {
    let (name, rest) = match line.split_once(':') {
        Some((name, _)) => (Some(check_name(name.trim())?), name.len() + 1),
        None => (None, 0),
    };
    let mut words = words(&line[rest..]).map(|(at, word)| (at + rest, word));
    let Some((at, word)) = words.next() else {
        return Err((rest, "no layer; write one such as `relu`".to_string()));
    };
    let Some(index) = ROWS.iter().position(|row| row.word == word) else {
        return Err((at, unknown_layer(word)));
    };
    let kind = parse_args(&ROWS[index], line, words)?;
    (ROWS[index].rule)(&kind).map_err(|message| (at, message.to_string()))?;
    Ok((name, index, kind))
}

/// A name that can be a parameter's: `conv1`, `features.0`.
fn check_name(name: &str) -> Result<&str, Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let edge = name.starts_with('.') || name.ends_with('.');
    if name.is_empty() || name.len() > 64 || edge || !name.chars().all(fits) {
        let message =
            format!("the name `{}` must be 1 to 64 of a-z, A-Z, 0-9, `_`, `-`, `.`, not `.` at an end", quote(name));
        return Err((0, message));
    }
    Ok(name)
}

fn unknown_layer(word: &str) -> String {
    let known: Vec<&str> = ROWS.iter().map(|row| row.word).collect();
    let exact = ROWS.iter().find(|row| row.also.iter().any(|also| also.eq_ignore_ascii_case(word)));
    let hint = match exact {
        Some(row) => format!("did you mean `{}`?", row.word),
        None => hint(word, &known),
    };
    format!("unknown layer `{}`; {hint}", quote(word))
}

fn parse_args<'a>(
    row: &Row,
    line: &str,
    mut words: impl Iterator<Item = (usize, &'a str)>,
) -> Result<LayerKind, Fault> {
    let mut values: Vec<Option<Value>> = vec![None; row.args.len()];
    let mut first = true;
    while let Some((at, word)) = words.next() {
        let (index, value) = match find_arg(row, word) {
            Some((index, Some(flag))) => (index, flag),
            Some((index, None)) => {
                let arg = &row.args[index];
                let Some((at, text)) = words.next() else {
                    let message = format!("`{}` needs {}", arg.word, arg.shape.says());
                    return Err((line.len(), message));
                };
                (index, read_value(arg, at, text)?)
            }
            // The first argument without its word: anything that is not near a known word.
            None => match row.args.first() {
                Some(arg) if first && arg.shape != Shape::Flag && !looks_like_word(row, word) => {
                    (0, read_value(arg, at, word)?)
                }
                _ => return Err((at, unknown_word(row, word))),
            },
        };
        first = false;
        if let Some(slot) = values.get_mut(index)
            && slot.replace(value).is_some()
        {
            let message = format!("`{}` is given twice", row.args[index].word);
            return Err((at, message));
        }
    }
    let mut full: Vec<Value> = Vec::with_capacity(row.args.len());
    for (arg, value) in row.args.iter().zip(values) {
        let value = match (value, arg.default) {
            (Some(value), _) | (None, Default::Is(value)) => Some(value),
            (None, Default::Same(index)) => full.get(index).copied(),
            (None, Default::Required) => None,
        };
        let Some(value) = value else {
            let message = format!("`{}` is missing: {}, as in `{}`", arg.word, arg.shape.says(), example(row));
            return Err((line.len(), message));
        };
        full.push(value);
    }
    // Each value was read by its argument's shape, so `make` finds what it expects.
    (row.make)(&full).ok_or_else(|| (0, format!("`{}` cannot take these arguments", row.word)))
}

/// The argument that a word names, and the value if the word is a flag.
fn find_arg(row: &Row, word: &str) -> Option<(usize, Option<Value>)> {
    row.args.iter().enumerate().find_map(|(index, arg)| {
        let flag = arg.shape == Shape::Flag;
        if word == arg.word {
            Some((index, flag.then_some(Value::Flag(true))))
        } else if flag && word.strip_prefix("no-") == Some(arg.word) {
            Some((index, Some(Value::Flag(false))))
        } else {
            None
        }
    })
}

fn arg_words(row: &Row) -> Vec<String> {
    let mut words = Vec::new();
    for arg in row.args {
        words.push(arg.word.to_string());
        if arg.shape == Shape::Flag {
            words.push(format!("no-{}", arg.word));
        }
    }
    words
}

/// Whether a word is a misspelt argument word and not a value.
fn looks_like_word(row: &Row, word: &str) -> bool {
    let starts_like_number = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    !starts_like_number
        && nearest("classes", [word]).is_none()
        && nearest(word, arg_words(row).iter().map(String::as_str)).is_some()
}

fn unknown_word(row: &Row, word: &str) -> String {
    let known = arg_words(row);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    if known.is_empty() {
        return format!("`{}` takes no arguments, found `{}`", row.word, quote(word));
    }
    format!("unknown word `{}`; {}", quote(word), hint(word, &known))
}

/// A line that shows every required argument.
fn example(row: &Row) -> String {
    let mut text = row.word.to_string();
    for (index, arg) in row.args.iter().enumerate() {
        if matches!(arg.default, Default::Required) {
            let sample = match (arg.shape, index) {
                (Shape::Out, _) => "10",
                (_, 0) if arg.word == "out" => "32",
                (_, 0) => "2",
                _ => "3",
            };
            if index > 0 {
                text = format!("{text} {}", arg.word);
            }
            text = format!("{text} {sample}");
        }
    }
    text
}

fn read_value(arg: &Arg, at: usize, text: &str) -> Result<Value, Fault> {
    let count = |text: &str, least: usize| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<usize>().ok().filter(|_| digits);
        number.filter(|n| (least..=MOST).contains(n))
    };
    let real = || text.parse::<f64>().ok().filter(|x| x.is_finite());
    let value = match arg.shape {
        Shape::Count(least) => count(text, least).map(Value::Count),
        Shape::Pair => match text.split_once('x') {
            Some((height, width)) => {
                count(height, 1).zip(count(width, 1)).map(|(height, width)| Value::Pair([height, width]))
            }
            None => count(text, 1).map(|side| Value::Pair([side, side])),
        },
        Shape::Out if text == "classes" => Some(Value::Out(Out::Classes)),
        Shape::Out => count(text, 1).map(|n| Value::Out(Out::N(n))),
        Shape::Share => real().filter(|x| (0.0..1.0).contains(x)).map(Value::Real),
        Shape::Momentum => real().filter(|x| (0.0..=1.0).contains(x)).map(Value::Real),
        Shape::Positive => real().filter(|x| *x > 0.0).map(Value::Real),
        Shape::Flag => None,
    };
    value.ok_or_else(|| {
        let says = arg.shape.says();
        let message = format!("`{}` must be {says}, found `{}`", arg.word, quote(text));
        (at, message)
    })
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in ROWS {
            let Some(values) = (row.read)(self) else {
                continue;
            };
            write!(f, "{}", row.word)?;
            for (index, (arg, value)) in row.args.iter().zip(&values).enumerate() {
                let default = match arg.default {
                    Default::Required => None,
                    Default::Is(value) => Some(value),
                    Default::Same(index) => values.get(index).copied(),
                };
                match value {
                    _ if default == Some(*value) => {}
                    Value::Flag(true) => write!(f, " {}", arg.word)?,
                    Value::Flag(false) => write!(f, " no-{}", arg.word)?,
                    _ if index == 0 => write!(f, " {value}")?,
                    _ => write!(f, " {} {value}", arg.word)?,
                }
            }
            return Ok(());
        }
        Err(fmt::Error) // a variant without a row; a test goes through all of them
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)
    }
}

/// A layer serializes as its line.
impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        match parse_layers([text]) {
            Ok(layers) => layers[0].to_string(),
            Err(error) => format!("{}: {}", error.offset, error.message),
        }
    }

    #[test]
    fn lines_print_back_in_their_shortest_form() {
        let same = [
            "conv1: conv 32 kernel 3 padding 1",
            "conv1: conv 64 kernel 3x5 stride 2 padding 1 dilation 2 groups 2 no-bias",
            "features.0: linear 10",
            "fc1: linear classes no-bias",
            "relu1: relu",
            "gelu1: gelu tanh",
            "pool1: max-pool 2",
            "pool1: max-pool 3 stride 2 padding 1",
            "avgpool1: avg-pool 2",
            "gap1: adaptive-avg-pool 7",
            "bn1: batch-norm",
            "bn1: batch-norm 0.001 momentum 0.5",
            "dropout1: dropout 0.25",
        ];
        for text in same {
            assert_eq!(line(text), text);
        }
        let shorter = [
            ("  a :conv out 8 kernel 3x3 bias ", "a: conv 8 kernel 3"),
            ("conv kernel 5 out 8 stride 1", "conv1: conv 8 kernel 5"),
            ("max-pool kernel 3 stride 3", "pool1: max-pool 3"),
            ("adaptive-avg-pool", "gap1: adaptive-avg-pool"),
            ("dropout 0.5", "dropout1: dropout"),
            ("gelu no-tanh", "gelu1: gelu"),
        ];
        for (text, expect) in shorter {
            assert_eq!(line(text), expect);
        }
    }

    #[test]
    fn every_row_reads_back_what_it_makes() {
        for row in ROWS {
            let kind = parse_line(&example(row)).unwrap().2;
            let values = (row.read)(&kind).unwrap();
            assert_eq!(values.len(), row.args.len(), "{}", row.word);
            assert_eq!((row.make)(&values), Some(kind.clone()), "{}", row.word);
            let readers = ROWS.iter().filter(|row| (row.read)(&kind).is_some());
            assert_eq!(readers.count(), 1, "{} is printed by one row", row.word);
        }
    }

    #[test]
    fn unnamed_layers_count_by_kind_past_taken_names() {
        let lines = [
            "stem: conv 8 kernel 3",
            "relu",
            "conv 8 kernel 3",
            "conv3: conv 8 kernel 3",
            "relu",
            "conv 8 kernel 3",
            "conv4: batch-norm",
            "linear 2",
        ];
        let layers = parse_layers(lines).unwrap();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let expect = ["stem", "relu1", "conv2", "conv3", "relu2", "conv5", "conv4", "fc1"];
        assert_eq!(names, expect);
    }
}
