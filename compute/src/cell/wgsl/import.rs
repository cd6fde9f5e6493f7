//! The importer: composes shader texts. It resolves `#import "shared/x.wgsl"`, sets `const`s and
//! replaces functions and bindings of the hand-written files, and adds
//! those functions of `shared/math.wgsl` that a text calls. Texts go in and out as strings; it
//! reads no files.
//!
//! A "function" is a top-level item that starts with `fn name(` (after attributes and comments of
//! its own) and ends with a line that is `}`: the layout of every file in `shaders/`.

use std::collections::BTreeSet;

use super::MATH;

/// Why a text could not be composed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("{shader} has no const {name}")]
    NoConst { shader: String, name: String },
    #[error("{shader} has no function {name}")]
    NoFunction { shader: String, name: String },
    #[error("{shader} has no text {text:?}")]
    NoText { shader: String, text: String },
    #[error("{shader} imports {import}, which is not a file of shaders/")]
    NoImport { shader: String, import: String },
}

/// The top-level functions of a text: name and whole text, leading comment included.
fn functions(text: &str) -> Vec<(String, String)> {
    let mut out = vec![];
    let (mut comment, mut body, mut name) = (String::new(), String::new(), None::<String>);
    for line in text.lines() {
        if name.is_none() {
            if line.starts_with("//") {
                comment += line;
                comment.push('\n');
                continue;
            }
            if let Some(rest) = line.strip_prefix("fn ") {
                name = rest.split('(').next().map(str::to_string);
                body = std::mem::take(&mut comment);
            } else {
                comment.clear();
                continue;
            }
        }
        body += line;
        body.push('\n');
        if line == "}"
            && let Some(name) = name.take()
        {
            out.push((name, std::mem::take(&mut body)));
        }
    }
    out
}

/// Whether `text` calls `name`.
fn calls(text: &str, name: &str) -> bool {
    let call = format!("{name}(");
    text.match_indices(&call).any(|(i, _)| {
        let before = text[..i].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && !text[..i].ends_with("fn ")
    })
}

/// `code` and the functions of `shared/math.wgsl` that it calls, directly or not.
pub fn with_math(code: &str) -> String {
    let library = functions(MATH);
    let mut used = BTreeSet::new();
    loop {
        let before = used.len();
        for (k, (name, _)) in library.iter().enumerate() {
            if calls(code, name) || used.iter().any(|u: &usize| calls(&library[*u].1, name)) {
                used.insert(k);
            }
        }
        if used.len() == before {
            break;
        }
    }
    let mut out = code.to_string();
    for k in used {
        out.push('\n');
        out += &library[k].1;
    }
    out
}

/// A shader text on its way to being complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    name: String,
    text: String,
}

impl Shader {
    /// Starts from a text; `#import`s are looked up in `files` (path, text).
    pub fn new(name: &str, text: &str, files: &[(&str, &str)]) -> Result<Shader, ImportError> {
        let mut out = String::new();
        for line in text.lines() {
            match line.strip_prefix("#import ") {
                None => out += line,
                Some(path) => {
                    let path = path.trim().trim_matches('"');
                    let found = files.iter().find(|(p, _)| *p == path);
                    let no = || ImportError::NoImport { shader: name.into(), import: path.into() };
                    out += found.ok_or_else(no)?.1.trim_end();
                }
            }
            out.push('\n');
        }
        Ok(Shader { name: name.into(), text: out })
    }

    /// Sets `const NAME: T = value;`.
    pub fn set(mut self, name: &str, value: impl ToString) -> Result<Shader, ImportError> {
        let start = format!("const {name}: ");
        let mut found = false;
        let mut out = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            if let (Some(rest), false) = (line.strip_prefix(&start), found) {
                let ty = rest.split(" =").next().unwrap_or("i32");
                out += &format!("{start}{ty} = {};", value.to_string());
                found = true;
            } else {
                out += line;
            }
            out.push('\n');
        }
        self.text = out;
        if found { Ok(self) } else { Err(ImportError::NoConst { shader: self.name, name: name.into() }) }
    }

    /// Puts another text in the place of a function.
    pub fn replace(mut self, name: &str, text: &str) -> Result<Shader, ImportError> {
        let all = functions(&self.text);
        let Some((_, old)) = all.iter().find(|(n, _)| n == name) else {
            return Err(ImportError::NoFunction { shader: self.name, name: name.into() });
        };
        self.text = self.text.replacen(old, text, 1);
        Ok(self)
    }

    /// Replaces a phrase of the text, which must occur.
    pub fn edit(mut self, from: &str, to: &str) -> Result<Shader, ImportError> {
        if !self.text.contains(from) {
            return Err(ImportError::NoText { shader: self.name, text: from.into() });
        }
        self.text = self.text.replacen(from, to, 1);
        Ok(self)
    }

    /// Adds a text at the end.
    pub fn append(mut self, text: &str) -> Shader {
        self.text.push('\n');
        self.text += text;
        self
    }

    /// Puts other storage bindings (and whatever else belongs to the top) in place of all of the file's.
    pub fn bindings(mut self, text: &str) -> Shader {
        let rest: Vec<&str> = self.text.lines().filter(|l| !l.starts_with("@group(0)")).collect();
        let header = rest.iter().take_while(|l| l.starts_with("//")).count();
        self.text = format!("{}\n\n{text}{}\n", rest[..header].join("\n"), rest[header..].join("\n"));
        self
    }

    /// The text as it is, a part of a larger one.
    pub fn finish_plain(self) -> String {
        self.text
    }

    /// The complete text, with the helper functions it calls.
    pub fn finish(self) -> String {
        with_math(&self.text)
    }
}
