//! Sets the chapters' Markdown as HTML with MathML, before the page is there, so that the page carries
//! neither a Markdown reader nor a formula setter.
//!
//! A chapter is cut into pieces: text (HTML), a place for a widget (`{{name}}` alone on a line), and
//! a question (`:::predict` to `:::`). Both languages must have the same widgets in the same order.
//! Each chapter becomes one file for each language, with a hash of its content in its name. `app`'s
//! build script takes titles and names from here, this package's program the files themselves.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CowStr, Event, Options, Parser, html};
use pulldown_latex::{Parser as Latex, RenderConfig, Storage, config::DisplayMode, mathml::push_mathml};
use serde::Serialize;

const CHAPTERS: [&str; 8] =
    ["normalise", "activations", "softmax", "cross-entropy", "backprop", "matmul", "convolution", "cnn"];

/// A chapter in both languages, English first.
pub struct Chapter {
    pub name: &'static str,
    pub texts: [Text; 2],
}

/// All chapters. Panics with file and reason where one cannot be set: that ends a build.
pub fn chapters() -> Vec<Chapter> {
    CHAPTERS.iter().map(|name| chapter(name)).collect()
}

/// The folder of the Markdown.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn chapter(name: &'static str) -> Chapter {
    let texts = ["en", "zh"].map(|lang| {
        let path = folder().join(lang).join(format!("{name}.md"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        set(&path, &text)
    });
    let [en, zh] = texts.each_ref().map(Text::widgets);
    assert_eq!(en, zh, "{name}: the two languages have other widgets");
    Chapter { name, texts }
}

impl Chapter {
    /// Name and content of the file of each language.
    pub fn files(&self) -> [(String, String); 2] {
        let [en, zh] = &self.texts;
        [(en, "en"), (zh, "zh")].map(|(text, lang)| {
            let content = serde_json::to_string(text).expect("strings have no other keys");
            (format!("{}.{lang}-{:016x}.json", self.name, hash(content.as_bytes())), content)
        })
    }
}

impl Text {
    fn widgets(&self) -> Vec<&str> {
        self.pieces.iter().filter_map(|p| if let Piece::Widget(w) = p { Some(w.as_str()) } else { None }).collect()
    }
}

/// FNV-1a: tells versions of a file apart, and nothing hangs on its strength.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// A chapter in one language, as its file holds it.
#[derive(Serialize)]
pub struct Text {
    #[serde(skip)]
    pub title: String,
    pub pieces: Vec<Piece>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    Html(String),
    Widget(String),
    /// What is asked, the answers and whether each is right, what is revealed.
    Question {
        ask: String,
        answers: Vec<(bool, String)>,
        reveal: String,
    },
}

fn set(path: &Path, text: &str) -> Text {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let title = first.strip_prefix("# ").unwrap_or_else(|| panic!("{}: line 1 must be `# Title`", path.display()));
    let (mut pieces, mut plain) = (vec![], String::new());
    let flush = |plain: &mut String, pieces: &mut Vec<Piece>| {
        if !plain.trim().is_empty() {
            pieces.push(Piece::Html(render(path, plain)));
        }
        plain.clear();
    };
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix("{{").and_then(|l| l.strip_suffix("}}")) {
            flush(&mut plain, &mut pieces);
            pieces.push(Piece::Widget(name.trim().into()));
        } else if trimmed == ":::predict" {
            flush(&mut plain, &mut pieces);
            let body: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != ":::").collect();
            pieces.push(question(path, &body));
        } else {
            plain += line;
            plain.push('\n');
        }
    }
    flush(&mut plain, &mut pieces);
    Text { title: title.into(), pieces }
}

fn question(path: &Path, body: &[&str]) -> Piece {
    let at = body.iter().position(|l| l.trim() == "---");
    let at = at.unwrap_or_else(|| panic!("{}: a question has no `---` before what is revealed", path.display()));
    let (mut ask, mut answers) = (String::new(), vec![]);
    for line in &body[..at] {
        let t = line.trim();
        match (t.strip_prefix("- [ ] "), t.strip_prefix("- [x] ")) {
            (Some(a), _) => answers.push((false, inline(path, a))),
            (_, Some(a)) => answers.push((true, inline(path, a))),
            _ => {
                ask += line;
                ask.push('\n');
            }
        }
    }
    let right = answers.iter().filter(|a| a.0).count();
    assert!(right == 1 && answers.len() >= 2, "{}: a question needs one right answer of several", path.display());
    Piece::Question { ask: render(path, &ask), answers, reveal: render(path, &body[at + 1..].join("\n")) }
}

/// One paragraph without its tags.
fn inline(path: &Path, text: &str) -> String {
    let html = render(path, text);
    html.trim().trim_start_matches("<p>").trim_end_matches("</p>").into()
}

fn render(path: &Path, text: &str) -> String {
    let options = Options::ENABLE_MATH | Options::ENABLE_TABLES;
    let events = Parser::new_ext(text, options).map(|event| match event {
        Event::InlineMath(tex) => Event::InlineHtml(CowStr::from(math(path, &tex, DisplayMode::Inline))),
        Event::DisplayMath(tex) => Event::InlineHtml(CowStr::from(math(path, &tex, DisplayMode::Block))),
        other => other,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    let out = keep_punctuation(&out);
    // A wide table scrolls by itself and not the page.
    out.replace("<table>", "<div class=\"scroll\" tabindex=\"0\"><table>").replace("</table>", "</table></div>")
}

/// Holds a formula in the line and the mark after it together: a browser would break between them.
fn keep_punctuation(html: &str) -> String {
    let (mut out, mut rest) = (String::new(), html);
    while let Some(start) = rest.find("<math") {
        let Some(length) = rest[start..].find("</math>").map(|k| k + "</math>".len()) else { break };
        let (formula, after) = rest[start..].split_at(length);
        let mark = after.chars().next().filter(|c| ",.;:!?)，。；：！？、）".contains(*c));
        out += &rest[..start];
        rest = after;
        match mark {
            Some(mark) if !formula.contains("display=\"block\"") => {
                out += &format!("<span class=\"together\">{formula}{mark}</span>");
                rest = &after[mark.len_utf8()..];
            }
            _ => out += formula,
        }
    }
    out + rest
}

fn math(path: &Path, tex: &str, display_mode: DisplayMode) -> String {
    let storage = Storage::new();
    let parser = Latex::new(tex, &storage);
    let mut out = String::new();
    let config = RenderConfig { display_mode, ..RenderConfig::default() };
    push_mathml(&mut out, parser, config).unwrap_or_else(|e| panic!("{}: ${tex}$: {e}", path.display()));
    assert!(!out.contains("<merror"), "{}: ${tex}$ cannot be set: {out}", path.display());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_keeps_the_mark_after_it() {
        let html = render(Path::new("t"), "With $x$, and $y$ more $$z$$.\n\n而 $x$，");
        assert_eq!(html.matches("together").count(), 2, "{html}");
        assert!(html.contains("</math>,</span> and <math") && html.contains("</math>，</span>"), "{html}");
    }
}
