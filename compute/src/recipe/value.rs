//! One TOML item -> the value of one key, of the type and in the range that the key table says.

use super::error::{Problem, hint, quote};
use super::keys::{Key, Type};
use super::layers::MOST_LAYERS;
use std::ops::Range;
use toml_edit::Item;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    Count(u64),
    Real(f64),
    Reals(Vec<f64>),
    /// Each line with its bytes in the source, for errors.
    Lines(Vec<(String, Range<usize>)>),
}

/// What was found, as messages call it.
pub(super) fn describe(item: &Item) -> String {
    match item {
        Item::None => "nothing".to_string(),
        Item::Table(_) => "a table".to_string(),
        Item::ArrayOfTables(_) => "a list of tables".to_string(),
        Item::Value(value) => match value {
            toml_edit::Value::String(text) => format!("text \"{}\"", quote(text.value())),
            toml_edit::Value::Integer(number) => number.value().to_string(),
            toml_edit::Value::Float(number) => format!("{:?}", number.value()),
            toml_edit::Value::Boolean(flag) => flag.value().to_string(),
            toml_edit::Value::Datetime(date) => format!("the date {}", date.value()),
            toml_edit::Value::Array(items) => format!("a list of {} items", items.len()),
            toml_edit::Value::InlineTable(_) => "a table".to_string(),
        },
    }
}

/// Where in the source, if known, and what is wrong.
pub(super) type Fault = (Option<Range<usize>>, Problem);

/// The value that a key's type makes of an item.
pub(super) fn value_of(key: &Key, item: &Item) -> Result<Value, Fault> {
    let path = || key.path.to_string();
    let wrong = || {
        let (expected, found) = (key.ty.says(), describe(item));
        let problem = Problem::WrongType { key: path(), expected, found };
        (item.span(), problem)
    };
    let out_of_range = |span, found: String| {
        let problem = Problem::OutOfRange { key: path(), expected: key.ty.says(), found };
        (span, problem)
    };
    let word = |text: &str, words: &[&str]| {
        if words.contains(&text) {
            return Ok(Value::Text(text.to_string()));
        }
        let problem = Problem::UnknownValue { key: path(), value: text.to_string(), hint: hint(text, words) };
        Err((item.span(), problem))
    };
    // An integer where a number is asked for is that number.
    let number = |value: &toml_edit::Value| match value {
        toml_edit::Value::Integer(number) => Some(*number.value() as f64),
        toml_edit::Value::Float(number) => Some(*number.value()),
        _ => None,
    };
    match key.ty {
        Type::Text => match item.as_str().ok_or_else(wrong)? {
            "" => Err(out_of_range(item.span(), "an empty text".to_string())),
            text => Ok(Value::Text(text.to_string())),
        },
        Type::Word(words) => word(item.as_str().ok_or_else(wrong)?, words),
        Type::Model => {
            let models: Vec<&str> = crate::models::MODELS.iter().map(|m| m.name).collect();
            word(item.as_str().ok_or_else(wrong)?, &models)
        }
        Type::Flag => item.as_bool().map(Value::Flag).ok_or_else(wrong),
        Type::Count(least, most) => {
            let number = item.as_integer().ok_or_else(wrong)?;
            let count = u64::try_from(number).ok();
            let count = count.filter(|n| (least..=most).contains(n));
            let found = || out_of_range(item.span(), number.to_string());
            count.map(Value::Count).ok_or_else(found)
        }
        Type::Real(range) => {
            let number = item.as_value().and_then(number).ok_or_else(wrong)?;
            match range.holds(number) {
                true => Ok(Value::Real(number)),
                false => Err(out_of_range(item.span(), describe(item))),
            }
        }
        Type::Reals(range, least, most) => {
            let items = item.as_array().ok_or_else(wrong)?;
            if !(least..=most).contains(&items.len()) {
                return Err(wrong());
            }
            let mut numbers = Vec::with_capacity(items.len());
            for value in items {
                match number(value).filter(|number| range.holds(*number)) {
                    Some(number) => numbers.push(number),
                    None => {
                        let found = describe(&Item::Value(value.clone()));
                        return Err(out_of_range(value.span(), format!("{found} in it")));
                    }
                }
            }
            Ok(Value::Reals(numbers))
        }
        Type::Layers => {
            let items = item.as_array().ok_or_else(wrong)?;
            if !(1..=MOST_LAYERS).contains(&items.len()) {
                return Err(wrong());
            }
            let lines = items.iter().map(|value| {
                let line = value.as_str().ok_or_else(|| {
                    let expected = "a list of layer lines, each a text".to_string();
                    let found = describe(&Item::Value(value.clone()));
                    let key = path();
                    let problem = Problem::WrongType { key, expected, found: format!("{found} in it") };
                    (value.span(), problem)
                })?;
                Ok((line.to_string(), value.span().unwrap_or_default()))
            });
            Ok(Value::Lines(lines.collect::<Result<_, Fault>>()?))
        }
    }
}

/// A default's text as the key's value; `None` for "".
pub(crate) fn default_value(key: &Key, text: &str) -> Option<Value> {
    let item = Item::Value(text.parse().ok()?);
    value_of(key, &item).ok()
}
