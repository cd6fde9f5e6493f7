//! TOML text and overrides -> the value of every key, checked against the key table.
//!
//! Steps: parse the TOML (at most `MOST_BYTES`; toml_edit bounds nesting at 80), take each key
//! that the table knows, apply overrides in order, drop what an override made obsolete, refuse
//! keys that the chosen loss, optimiser or schedule does not use, fill in defaults. Byte offsets
//! become lines and columns only when an error needs them.

use super::error::{Place, Problem, RecipeError, quote};
use super::keys::{self, Default, KEYS, Key, PAIRS, Type};
use super::value::{Value, default_value, describe, value_of};
use std::collections::BTreeMap;
use toml_edit::{Document, Item, TableLike, TomlError};

/// The longest recipe, and the longest override, in bytes.
pub const MOST_BYTES: usize = 1 << 20;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Origin {
    /// A byte of the file.
    File(usize),
    /// An index into the overrides.
    Set(usize),
    Default,
}

/// The values by path, with what is needed to say where each was.
pub(crate) struct Values<'a> {
    pub name: &'a str,
    pub text: &'a str,
    pub sets: &'a [String],
    pub map: BTreeMap<&'static str, (Value, Origin)>,
}

impl Values<'_> {
    pub fn place(&self, origin: Origin) -> Place {
        match origin {
            Origin::File(byte) => {
                let before = self.text.as_bytes().get(..byte).unwrap_or_default();
                let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
                // Characters, not bytes: count the bytes that start one.
                let starts = |b: &&u8| **b & 0xc0 != 0x80;
                Place::Line {
                    file: self.name.to_string(),
                    line: before.iter().filter(|b| **b == b'\n').count() + 1,
                    column: before[start..].iter().filter(starts).count() + 1,
                }
            }
            Origin::Set(index) => Place::Set(self.sets.get(index).cloned().unwrap_or_default()),
            Origin::Default => Place::Whole(self.name.to_string()),
        }
    }

    pub fn error(&self, origin: Origin, problem: impl Into<Box<Problem>>) -> RecipeError {
        RecipeError { place: self.place(origin), problem: problem.into() }
    }

    pub fn origin(&self, path: &str) -> Origin {
        self.map.get(path).map_or(Origin::Default, |(_, at)| *at)
    }

    /// The choice that a selector names.
    fn choice(&self, selector: &str) -> Option<&str> {
        match self.map.get(selector) {
            Some((Value::Text(choice), _)) => Some(choice),
            _ => None,
        }
    }
}

pub(crate) fn read<'a>(name: &'a str, text: &'a str, sets: &'a [String]) -> Result<Values<'a>, RecipeError> {
    let map = BTreeMap::new();
    let mut values = Values { name, text, sets, map };
    let too_long = |bytes: usize| Problem::TooLong { bytes, most: MOST_BYTES };
    if text.len() > MOST_BYTES {
        return Err(values.error(Origin::Default, too_long(text.len())));
    }
    let document = Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        values.error(Origin::File(at), syntax(&error))
    })?;
    take_table(&mut values, "", document.as_table(), None)?;
    for (first, second) in PAIRS {
        if values.map.contains_key(first) && values.map.contains_key(second) {
            let (first, second) = (first.to_string(), second.to_string());
            let origin = values.origin(&second);
            return Err(values.error(origin, Problem::Both { first, second }));
        }
    }
    for (index, set) in sets.iter().enumerate() {
        if set.len() > MOST_BYTES {
            return Err(values.error(Origin::Set(index), too_long(set.len())));
        }
        apply(&mut values, index, set)?;
    }
    fill(&mut values)?;
    Ok(values)
}

fn syntax(error: &TomlError) -> Problem {
    let message = quote(error.message());
    Problem::Syntax { message }
}

/// Takes every key of a table. `set` is the override's index; `None` for the file.
fn take_table(values: &mut Values, table: &str, items: &dyn TableLike, set: Option<usize>) -> Result<(), RecipeError> {
    for (name, item) in items.iter() {
        let key_span = items.key(name).and_then(|key| key.span());
        let start = key_span.or(item.span()).map_or(0, |span| span.start);
        let path = match table {
            "" => name.to_string(),
            _ => format!("{table}.{name}"),
        };
        take(values, &path, item, start, set)?;
    }
    Ok(())
}

/// Takes one key: a value of the key table, or a table of such.
fn take(values: &mut Values, path: &str, item: &Item, start: usize, set: Option<usize>) -> Result<(), RecipeError> {
    let origin = |byte| set.map_or(Origin::File(byte), Origin::Set);
    if let Some(key) = keys::find(path) {
        let value = value_of(key, item).map_err(|(span, problem)| {
            let at = span.or(item.span()).map_or(start, |span| span.start);
            values.error(origin(at), problem)
        })?;
        values.map.insert(key.path, (value, origin(start)));
        if set.is_some() {
            for (first, second) in PAIRS {
                if key.path == *first {
                    values.map.remove(second);
                } else if key.path == *second {
                    values.map.remove(first);
                }
            }
        }
        return Ok(());
    }
    if !keys::is_table(path) {
        let key = path.to_string();
        let hint = key_hint(path, set.is_none());
        return Err(values.error(origin(start), Problem::UnknownKey { key, hint }));
    }
    match item.as_table_like() {
        Some(inner) => take_table(values, path, inner, set),
        None => {
            let key = path.to_string();
            let expected = "a table".to_string();
            let found = describe(item);
            let problem = Problem::WrongType { key, expected, found };
            Err(values.error(origin(start), problem))
        }
    }
}

/// What an unknown key was probably meant to be. In a file, keys of the same table are named
/// by their last part, as the reader sees them.
fn key_hint(path: &str, in_file: bool) -> String {
    let (table, name) = keys::split(path);
    let show = |path: &str| match keys::split(path) {
        (same, last) if in_file && same == table => last.to_string(),
        _ => path.to_string(),
    };
    // What stands in the same table: keys and inner tables.
    let mut here: Vec<&str> = Vec::new();
    for key in KEYS {
        let rest = match table {
            "" => Some(key.path),
            _ if keys::below(key.path, table) => key.path.get(table.len() + 1..),
            _ => None,
        };
        let first = rest.and_then(|rest| rest.split('.').next());
        here.extend(first.filter(|first| !here.contains(first)));
    }
    let also = |key: &&Key| key.also.iter().any(|also| also.eq_ignore_ascii_case(name));
    let same_table = |key: &&Key| keys::split(key.path).0 == table;
    let elsewhere = |key: &&Key| keys::split(key.path).1 == name;
    let known = KEYS.iter().filter(same_table).find(also);
    if let Some(key) = known {
        return format!("did you mean `{}`?", show(key.path));
    }
    if let Some(near) = super::nearest(name, here.iter().copied()) {
        let near = match (in_file, table) {
            (true, _) | (false, "") => near.to_string(),
            (false, _) => format!("{table}.{near}"),
        };
        return format!("did you mean `{near}`?");
    }
    // A whole path with a slip in it, the key of another table, or another program's name.
    let full = super::nearest(path, KEYS.iter().map(|key| key.path));
    let full = full.or_else(|| KEYS.iter().find(elsewhere).map(|key| key.path));
    match full.or_else(|| KEYS.iter().find(also).map(|key| key.path)) {
        Some(full) => format!("did you mean `{full}`?"),
        None if here.is_empty() => key_hint_top(),
        None => format!("known: {}", here.join(", ")),
    }
}

/// The tables and keys at the top of a recipe.
fn key_hint_top() -> String {
    let mut top: Vec<&str> = Vec::new();
    for key in KEYS {
        let first = key.path.split('.').next();
        top.extend(first.filter(|first| !top.contains(first)));
    }
    format!("known: {}", top.join(", "))
}

/// Applies one override, `KEY=VALUE`: a TOML value, or plain text; `none` takes the key away.
fn apply(values: &mut Values, index: usize, set: &str) -> Result<(), RecipeError> {
    let Some((path, text)) = set.split_once('=') else {
        return Err(values.error(Origin::Set(index), Problem::NotAnOverride));
    };
    let (path, text) = (path.trim(), text.trim());
    if text == "none" && (keys::find(path).is_some() || keys::is_table(path)) {
        values.map.retain(|key, _| *key != path && !keys::below(key, path));
        return Ok(());
    }
    let plain = || Item::Value(toml_edit::Value::from(text));
    let takes_text = matches!(keys::find(path).map(|key| key.ty), Some(Type::Text | Type::Word(_) | Type::Model));
    let item = match text.parse::<toml_edit::Value>() {
        // `data.root=2024` is a folder's name, not a number.
        Ok(value) if takes_text && !value.is_str() => plain(),
        Ok(value) => Item::Value(value),
        Err(error) if !takes_text && text.starts_with(['[', '{', '"', '\'']) => {
            return Err(values.error(Origin::Set(index), syntax(&error)));
        }
        Err(_) => plain(),
    };
    take(values, path, &item, 0, Some(index))
}

/// Drops or refuses keys that the choices leave unused, and fills in defaults.
fn fill(values: &mut Values) -> Result<(), RecipeError> {
    for key in KEYS {
        let given = values.map.contains_key(key.path);
        let default = match key.default {
            _ if given && !matches!(key.default, Default::ByChoice(..)) => continue,
            Default::Absent => continue,
            Default::Is(text) => text,
            Default::Required(hint) => {
                let (key, hint) = (key.path.to_string(), hint.to_string());
                return Err(values.error(Origin::Default, Problem::Missing { key, hint }));
            }
            Default::ByChoice(selector, choices) => {
                let chosen = values.choice(selector).unwrap_or_default();
                let used = choices.iter().find(|(choice, _)| *choice == chosen);
                match used {
                    Some(_) if given => continue,
                    Some((_, text)) => text,
                    None if !given => continue,
                    None => {
                        refuse(values, key, selector)?;
                        continue;
                    }
                }
            }
        };
        if let Some(value) = default_value(key, default) {
            values.map.insert(key.path, (value, Origin::Default));
        }
    }
    Ok(())
}

/// A key that the choice does not use: an error, unless an override made the choice and the
/// file's key is left over from the old one.
fn refuse(values: &mut Values, key: &Key, selector: &str) -> Result<(), RecipeError> {
    let origin = values.origin(key.path);
    let overridden = matches!(values.origin(selector), Origin::Set(_));
    if overridden && matches!(origin, Origin::File(_)) {
        values.map.remove(key.path);
        return Ok(());
    }
    let choice = values.choice(selector).unwrap_or_default().to_string();
    let uses = |key: &&Key| match key.default {
        Default::ByChoice(by, choices) => by == selector && choices.iter().any(|(word, _)| *word == choice),
        _ => false,
    };
    let used: Vec<&str> = KEYS.iter().filter(uses).map(|key| keys::split(key.path).1).collect();
    let hint = match used.is_empty() {
        true => "remove it".to_string(),
        false => format!("it uses {}", used.join(", ")),
    };
    let problem = Problem::NotUsed { key: key.path.to_string(), selector: selector.to_string(), choice, hint };
    Err(values.error(origin, problem))
}
