//! What can be wrong with a recipe, and where: a file's line and column, or an override's text.
//!
//! A message reads `recipe quick.toml:7:1: unknown key `optimizer.lrr`; did you mean `lr`?`
//! or `--set optimizer.lrr=1: unknown key ...`. Text quoted from the input is cut at 60
//! characters, so a message is short whatever the input was.

use std::fmt;

/// A recipe that cannot be used: the place and the problem.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct RecipeError {
    pub place: Place,
    /// Boxed, so that a `Result` with it stays small.
    pub problem: Box<Problem>,
}

/// Where a value came from; every error names one.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// 1-based line and column (in characters) of the recipe file.
    Line { file: String, line: usize, column: usize },
    /// The text of one `--set`.
    Set(String),
    /// The file as a whole, for what is missing from it.
    Whole(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line, column } => {
                write!(f, "recipe {}:{line}:{column}", quote(file))
            }
            Place::Set(text) => write!(f, "--set {}", quote(text)),
            Place::Whole(file) => write!(f, "recipe {}", quote(file)),
        }
    }
}

/// What is wrong; `hint` is the part that says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("the file has {bytes} bytes; a recipe has at most {most}")]
    TooLong { bytes: usize, most: usize },
    #[error("not TOML: {message}")]
    Syntax { message: String },
    #[error("an override is KEY=VALUE, such as `optimizer.lr=0.01`")]
    NotAnOverride,
    #[error("unknown key `{}`; {hint}", quote(.key))]
    UnknownKey { key: String, hint: String },
    #[error("`{key}` must be {expected}, found {found}")]
    WrongType { key: String, expected: String, found: String },
    #[error("`{key}` must be {expected}, found {found}")]
    OutOfRange { key: String, expected: String, found: String },
    #[error("`{key}` cannot be `{}`; {hint}", quote(.value))]
    UnknownValue { key: String, value: String, hint: String },
    #[error("`{key}` is not used by {selector} = \"{choice}\"; {hint}")]
    NotUsed { key: String, selector: String, choice: String, hint: String },
    #[error("`{first}` and `{second}` exclude each other; keep one")]
    Both { first: String, second: String },
    #[error("`{key}` is missing; {hint}")]
    Missing { key: String, hint: String },
    #[error("`{key}` {message}")]
    Mismatch { key: String, message: String },
    #[error("layer {number} \"{}\": {message}", quote(.line))]
    Layer { number: usize, line: String, message: String },
}

/// Input text as an error message shows it: no control characters, at most 60 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        shown.push_str("...");
    }
    shown
}

/// The candidate nearest to `word` by edit distance, if one is near enough to be meant.
///
/// Near enough is a third of the word's length, at least one edit; ties go to the earlier one.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().take(65).count();
    if length > 64 {
        return None; // edit distance costs the product of the lengths
    }
    let word = word.to_lowercase();
    let most = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        // `max_pool` and `max-pool` are the same word to a reader.
        let distance = strsim::osa_distance(&word.replace('_', "-"), &candidate.to_lowercase().replace('_', "-"));
        if distance <= most && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// "did you mean `x`?", or the words there are.
pub(crate) fn hint(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_takes_the_closest_and_refuses_the_far() {
        let words = ["lr", "kernel", "kind", "max-pool"];
        assert_eq!(nearest("lrr", words), Some("lr"));
        assert_eq!(nearest("kernal", words), Some("kernel"));
        assert_eq!(nearest("Max_Pool", words), Some("max-pool"));
        assert_eq!(nearest("banana", words), None);
        assert_eq!(nearest(&"k".repeat(1 << 20), words), None);
    }

    #[test]
    fn quoted_text_is_short_and_printable() {
        assert_eq!(quote("a\nb"), "a\u{fffd}b");
        assert_eq!(quote(&"é".repeat(61)), "é".repeat(60) + "...");
        assert_eq!(quote(&"é".repeat(60)), "é".repeat(60));
    }
}
