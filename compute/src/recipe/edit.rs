//! Editing a recipe's text key by key, as a form does: comments, order and spacing of the rest stay.

use toml_edit::{Array, DocumentMut, Item, Table, Value as Toml};

use super::keys::{self, Default, KEYS, Key, PAIRS, Type};
use super::layer_table::{self, ROWS, Shape};
use super::print;
use super::read::{self, Origin};
use super::value::Value;
use super::{Problem, RecipeError};

/// A key as a recipe's text has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub key: &'static Key,
    /// The value as a form shows it: texts without quotes, lists without brackets, a layer a line. Empty
    /// where nothing holds.
    pub value: String,
    /// The text gives it; else it is the default.
    pub given: bool,
}

/// The keys that a recipe's text uses or may use, in the order of the key table; what the chosen loss,
/// optimiser or schedule has no use for is left out. Errors: a text whose keys and values cannot be taken
/// one by one; whether they make a recipe together is for `Recipe::parse` to say.
pub fn fields(name: &str, text: &str) -> Result<Vec<Field>, RecipeError> {
    let values = read::read(name, text, &[])?;
    let chosen = |selector: &str| match values.map.get(selector) {
        Some((Value::Text(word), _)) => word.clone(),
        _ => String::new(),
    };
    let used = |key: &&'static Key| match key.default {
        Default::ByChoice(selector, choices) => choices.iter().any(|(word, _)| *word == chosen(selector)),
        _ => true,
    };
    let field = |key: &'static Key| {
        let found = values.map.get(key.path);
        let given = found.is_some_and(|(_, origin)| !matches!(origin, Origin::Default));
        Field { key, value: found.map(|(v, _)| plain(v)).unwrap_or_default(), given }
    };
    Ok(KEYS.iter().filter(used).map(field).collect())
}

/// As a form shows it.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Lines(lines) => lines.iter().map(|(l, _)| l.as_str()).collect::<Vec<_>>().join("\n"),
        Value::Reals(_) => print::print(value).trim_matches(['[', ']']).into(),
        other => print::print(other),
    }
}

/// The text with one key set to what a form holds, or taken out where that is empty. The other of a
/// pair (`epochs`, `steps`) goes, and so do keys that a new choice has no use for. Errors: a text that is
/// no TOML, or a value that is none; whether it is a good one is for [`fields`] to say.
pub fn set(name: &str, text: &str, path: &str, value: &str) -> Result<String, RecipeError> {
    let fault = |message: String| RecipeError {
        place: super::Place::Whole(name.to_string()),
        problem: Box::new(Problem::Syntax { message }),
    };
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| fault(e.message().to_string()))?;
    let Some(key) = keys::find(path) else {
        return Err(fault(format!("there is no key {path}")));
    };
    if value.trim().is_empty() {
        remove(document.as_table_mut(), path);
        return Ok(document.to_string());
    }
    let old = find(document.as_table(), path).and_then(Item::as_array).cloned();
    let item = toml(key, value.trim(), old).map_err(|e| fault(format!("{path}: {}", e.message().trim())))?;
    put(document.as_table_mut(), path, item).ok_or_else(|| fault(format!("{path} lies in what is no table")))?;
    for (first, second) in PAIRS {
        if path == *first {
            remove(document.as_table_mut(), second);
        } else if path == *second {
            remove(document.as_table_mut(), first);
        }
    }
    for other in KEYS {
        if let Default::ByChoice(selector, choices) = other.default
            && selector == path
            && !choices.iter().any(|(word, _)| *word == value.trim())
        {
            remove(document.as_table_mut(), other.path);
        }
    }
    Ok(document.to_string())
}

/// A line of each layer that a recipe can name, with what it needs: to start from.
pub fn layer_lines() -> Vec<String> {
    let example = |shape: Shape| match shape {
        Shape::Out => "classes",
        Shape::Count(_) => "16",
        Shape::Pair => "3",
        Shape::Share | Shape::Momentum | Shape::Positive => "0.5",
        Shape::Flag => "",
    };
    ROWS.iter()
        .map(|row| {
            let needed =
                row.args.iter().enumerate().filter(|(_, a)| matches!(a.default, layer_table::Default::Required));
            let args = needed.map(|(k, a)| match k {
                0 => format!(" {}", example(a.shape)),
                _ => format!(" {} {}", a.word, example(a.shape)),
            });
            format!("{}{}", row.word, args.collect::<String>())
        })
        .collect()
}

/// The item of a path.
fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Item> {
    let mut at: &dyn toml_edit::TableLike = table;
    let (owner, last) = keys::split(path);
    for part in owner.split('.').filter(|p| !p.is_empty()) {
        at = at.get(part)?.as_table_like()?;
    }
    at.get(last)
}

/// A form's text as TOML. Of a list of layers, `old` keeps the comments beside the lines that stay.
fn toml(key: &Key, text: &str, old: Option<Array>) -> Result<Toml, toml_edit::TomlError> {
    Ok(match key.ty {
        Type::Text | Type::Word(_) | Type::Model => Toml::from(text),
        Type::Reals(..) => format!("[{}]", text.trim_matches(['[', ']'])).parse()?,
        Type::Layers => {
            let mut before = old.map(commented).unwrap_or_default();
            let mut lines = Array::new();
            let mut comment = String::new();
            for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
                let known = before.iter().position(|(v, ..)| v.as_str() == Some(line));
                let (value, above, after) = match known {
                    Some(k) => before.remove(k),
                    None => (Toml::from(line), "\n    ".into(), String::new()),
                };
                lines.push_formatted(value.decorated(comment + &above, ""));
                comment = after;
            }
            lines.set_trailing(comment + "\n");
            lines.set_trailing_comma(true);
            Toml::Array(lines)
        }
        _ => text.parse()?,
    })
}

/// The items of a list, each with what stands above it (a line break at least) and the comment behind
/// it. (In the document both lie before an item: the comment first, up to the line break.)
fn commented(list: Array) -> Vec<(Toml, String, String)> {
    let text = |raw: Option<&toml_edit::RawString>| raw.and_then(|r| r.as_str()).unwrap_or_default().to_string();
    let cut = |s: String| match s.split_once('\n') {
        Some((comment, rest)) => (comment.to_string(), format!("\n{rest}")),
        None => (String::new(), "\n    ".into()),
    };
    let before: Vec<(String, String)> = list.iter().map(|v| cut(text(v.decor().prefix()))).collect();
    let last = cut(text(Some(list.trailing()))).0;
    let after = before.iter().skip(1).map(|(comment, _)| comment.clone()).chain([last]);
    list.iter().cloned().zip(&before).zip(after).map(|((v, (_, above)), comment)| (v, above.clone(), comment)).collect()
}

/// Sets a value, making tables on the way; what was around the old value stays. `None`: a part of the
/// path is no table.
fn put(table: &mut Table, path: &str, mut value: Toml) -> Option<()> {
    let (owner, last) = keys::split(path);
    let mut at: &mut dyn toml_edit::TableLike = table;
    for (depth, part) in owner.split('.').filter(|p| !p.is_empty()).enumerate() {
        let fresh = || {
            if depth == 0 {
                Item::Table(Table::new())
            } else {
                Item::Value(Toml::InlineTable(toml_edit::InlineTable::new()))
            }
        };
        at = at.entry(part).or_insert_with(fresh).as_table_like_mut()?;
    }
    match at.get_mut(last).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            at.insert(last, Item::Value(value));
        }
    }
    Some(())
}

fn remove(table: &mut Table, path: &str) {
    let (owner, last) = keys::split(path);
    let mut at: &mut dyn toml_edit::TableLike = table;
    for part in owner.split('.').filter(|p| !p.is_empty()) {
        match at.get_mut(part).and_then(Item::as_table_like_mut) {
            Some(inner) => at = inner,
            None => return,
        }
    }
    at.remove(last);
    // Half of `normalize` is worth nothing, and an empty table in a line says nothing.
    if at.is_empty()
        && let Some((outer, name)) = owner.rsplit_once('.')
    {
        remove(table, &format!("{outer}.{name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[data]\nset = \"cifar10\"  # colour\n\n[model]\nlayers = [\"flatten\", \"linear classes\"]\n\
                        [train]\nepochs = 3\n[optimizer]\nkind = \"adam\"\nbetas = [0.8, 0.99]\n";

    fn value(text: &str, path: &str) -> (String, bool) {
        let all = fields("r", text).unwrap();
        all.into_iter().find(|f| f.key.path == path).map(|f| (f.value, f.given)).unwrap_or_default()
    }

    #[test]
    fn a_changed_value_keeps_what_stands_around_it() {
        let text = set("r", TEXT, "data.set", "fashion-sample").unwrap();
        assert_eq!(text, TEXT.replace("cifar10", "fashion-sample"));
        let text = set("r", &text, "train.batch", "32").unwrap();
        assert_eq!(value(&text, "train.batch"), ("32".into(), true));
        assert!(text.contains("# mine") && text.contains("# colour"));
        let text = set("r", &text, "train.batch", "").unwrap();
        assert_eq!(value(&text, "train.batch"), ("64".into(), false));
    }

    #[test]
    fn pairs_and_choices_drop_what_they_exclude() {
        let text = set("r", TEXT, "train.steps", "50").unwrap();
        assert_eq!((value(&text, "train.steps").0, value(&text, "train.epochs").0), ("50".into(), String::new()));
        let text = set("r", TEXT, "optimizer.kind", "sgd").unwrap();
        assert!(!text.contains("betas") && value(&text, "optimizer.momentum") == ("0.0".into(), false));
        assert!(fields("r", &text).unwrap().iter().all(|f| f.key.path != "optimizer.betas"));
    }

    #[test]
    fn lists_layers_and_tables_in_tables() {
        let text = set("r", TEXT, "data.normalize.mean", "0.5, 0.4, 0.3").unwrap();
        let text = set("r", &text, "data.normalize.std", "[1, 1, 1]").unwrap();
        assert_eq!(value(&text, "data.normalize.mean").0, "0.5, 0.4, 0.3");
        assert!(text.contains("normalize = {"), "{text}");
        let text = set("r", &text, "model.layers", "conv 4 kernel 3\n\n relu\nflatten\nlinear classes").unwrap();
        assert_eq!(value(&text, "model.layers").0.lines().count(), 4);
        let text = set("r", &text, "data.normalize.mean", "").unwrap();
        let text = set("r", &text, "data.normalize.std", "").unwrap();
        assert!(!text.contains("normalize"), "{text}");
    }

    #[test]
    fn comments_beside_layers_that_stay() {
        let text = "[model]\nlayers = [\n    \"relu\", # first\n    \"flatten\", # second\n    \"linear 3\",\n]\n";
        let text = set("r", text, "model.layers", "relu\nflatten\ngelu\nlinear 4").unwrap();
        assert!(text.contains("\"relu\", # first\n") && text.contains("# second"), "{text}");
        assert!(text.contains("\"gelu\"") && text.contains("\"linear 4\"") && !text.contains("linear 3"), "{text}");
    }

    #[test]
    fn lines_to_start_from_are_layers() {
        let all = layer_lines();
        assert!(all.iter().any(|l| l.starts_with("conv ")) && all.len() == ROWS.len());
        let text = set("r", TEXT, "model.layers", &all.join("\n")).unwrap();
        assert!(fields("r", &text).is_ok(), "{text}: {:?}", fields("r", &text).err());
    }

    #[test]
    fn what_cannot_be_set_is_an_error() {
        assert!(set("r", "= 1", "train.batch", "2").is_err());
        assert!(set("r", TEXT, "train.batch", "two words").is_err());
        assert!(set("r", "data = 3", "data.set", "cifar10").is_err());
        assert!(set("r", TEXT, "train.bat", "1").is_err());
        let odd = set("r", TEXT, "train.batch", "0").unwrap();
        assert!(fields("r", &odd).unwrap_err().to_string().contains("train.batch"));
    }
}
