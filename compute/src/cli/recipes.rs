//! Finding recipes: a path, or the name of a shipped one.

use std::path::Path;

use super::args::RecipesArgs;
use super::error::io;
use super::{CliError, system};
use crate::recipe::{Recipe, find_shipped, nearest_shipped, reference, shipped};

/// Reads the recipe that a user named, with overrides. A file wins over a shipped name only when
/// the word looks like a path (a separator or `.toml`), so that a stray file cannot shadow a name.
pub fn find(word: &str, sets: &[String]) -> Result<Recipe, CliError> {
    let path = Path::new(word);
    let is_path = word.contains(['/', '\\']) || word.ends_with(".toml");
    if !is_path {
        if let Some(text) = find_shipped(word) {
            return Ok(Recipe::parse(word, text, sets)?);
        }
        if !path.exists() {
            let near = nearest_shipped(word).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            return Err(CliError::Usage(format!(
                "no recipe `{word}`{near} `chainrule recipes` lists the shipped ones; a file's name ends in .toml"
            )));
        }
    }
    let text = std::fs::read_to_string(path).map_err(io(path, "read the recipe"));
    match text {
        Ok(text) => Ok(Recipe::parse(word, &text, sets)?),
        Err(CliError::Io { source, .. }) => Err(CliError::Usage(format!("{word}: cannot read the recipe: {source}"))),
        Err(e) => Err(e),
    }
}

/// `chainrule recipes`.
pub fn list(args: &RecipesArgs) -> Result<(), CliError> {
    if args.keys {
        system::line(reference().trim_end());
        return Ok(());
    }
    match &args.name {
        None => {
            for (name, _, about) in shipped() {
                system::line(&format!("{name:<14} {about}"));
            }
            Ok(())
        }
        Some(name) => match find_shipped(name) {
            Some(text) => {
                system::line(text.trim_end());
                Ok(())
            }
            None => find(name, &[]).map(|r| system::line(r.to_toml().trim_end())),
        },
    }
}
