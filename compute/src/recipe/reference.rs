//! The reference of recipes as Markdown, printed from the tables: keys, layers, models, recipes.

use super::keys::{self, Default, KEYS, PAIRS};
use super::layer_table::{self, ROWS, Shape};
use super::shipped;
use std::fmt::Write;

/// Every key with its values, default and meaning; then layers, models and shipped recipes.
pub fn reference() -> String {
    let mut text = String::from("# Recipe reference\n");
    let mut table = None;
    for key in KEYS {
        let top = match key.path.split_once('.') {
            Some((top, _)) => top,
            None => "",
        };
        if table != Some(top) {
            table = Some(top);
            let title = match top {
                "" => "At the top".to_string(),
                _ => format!("[{top}]"),
            };
            let _ = writeln!(text, "\n## {title}\n"); // a String takes all
            text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        }
        let name = key.path.strip_prefix(top).unwrap_or(key.path);
        let name = name.trim_start_matches('.');
        let default = default_text(key);
        let (value, meaning) = (key.ty.says(), key.meaning);
        let _ = writeln!(text, "| `{name}` | {value} | {default} | {meaning} |");
    }
    text.push_str("\n## Layers\n\nA line is `name: word arguments`; the name may be left out, ");
    text.push_str("and so may the word of the first argument.\n\n");
    text.push_str("| layer | arguments | meaning |\n| --- | --- | --- |\n");
    for row in ROWS {
        let args: Vec<String> = row.args.iter().map(arg_text).collect();
        let args = args.join(", ");
        let _ = writeln!(text, "| `{}` | {args} | {} |", row.word, row.meaning);
    }
    text.push_str("\n## Models\n\n| name | what it is |\n| --- | --- |\n");
    for model in crate::models::MODELS {
        let _ = writeln!(text, "| `{}` | {} |", model.name, model.description);
    }
    text.push_str("\n## Shipped recipes\n\n| name | what it is |\n| --- | --- |\n");
    for (name, _, description) in shipped() {
        let _ = writeln!(text, "| `{name}` | {description} |");
    }
    text
}

fn default_text(key: &keys::Key) -> String {
    let partner = PAIRS.iter().find_map(|(first, second)| match key.path {
        path if path == *first => Some(*second),
        path if path == *second => Some(*first),
        _ => None,
    });
    match (key.default, partner) {
        (_, Some(partner)) => format!("this or `{}`", keys::split(partner).1),
        (Default::Required(_), _) => "required".to_string(),
        (Default::Absent, _) => "none".to_string(),
        (Default::Is(value), _) => format!("`{value}`"),
        (Default::ByChoice(_, choices), _) => {
            let choices = choices.iter().map(|(choice, value)| match *value {
                "" => format!("{choice}: none"),
                value => format!("{choice}: `{value}`"),
            });
            choices.collect::<Vec<_>>().join("; ")
        }
    }
}

fn arg_text(arg: &layer_table::Arg) -> String {
    match (arg.default, arg.shape) {
        (layer_table::Default::Is(layer_table::Value::Flag(true)), Shape::Flag) => {
            format!("`no-{}`", arg.word)
        }
        (_, Shape::Flag) => format!("`{}`", arg.word),
        (layer_table::Default::Required, _) => format!("`{}` (required)", arg.word),
        (layer_table::Default::Is(value), _) => format!("`{}` ({value})", arg.word),
        (layer_table::Default::Same(_), _) => format!("`{}`", arg.word),
    }
}
