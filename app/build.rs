//! Turns the chapters' Markdown into HTML with MathML while the app is built, so that the page
//! carries neither a Markdown reader nor a formula setter.
//!
//! A chapter is cut into pieces: text (HTML), a place for a widget (`{{name}}` alone on a line), and
//! a question (`:::predict` to `:::`). Both languages must have the same widgets in the same order.
//! The result is `prose.rs`, a table that `page::prose` includes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use pulldown_latex::{Parser as Latex, RenderConfig, Storage, config::DisplayMode, mathml::push_mathml};

const CHAPTERS: [&str; 7] =
    ["normalise", "activations", "softmax", "cross-entropy", "backprop", "matmul", "convolution"];

fn main() {
    println!("cargo::rerun-if-changed=prose");
    let mut out = String::from("&[\n");
    for name in CHAPTERS {
        let [en, zh] = ["en", "zh"].map(|lang| {
            let path = PathBuf::from(format!("prose/{lang}/{name}.md"));
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            chapter(&path, &text)
        });
        let widgets = |c: &Chapter| -> Vec<String> {
            c.pieces.iter().filter_map(|p| if let Piece::Widget(w) = p { Some(w.clone()) } else { None }).collect()
        };
        assert_eq!(widgets(&en), widgets(&zh), "{name}: the two languages have other widgets");
        writeln!(out, "Chapter {{ name: {name:?}, texts: [{}, {}] }},", print(&en), print(&zh)).expect("a string");
    }
    out.push(']');
    let to = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("prose.rs");
    fs::write(to, out).expect("the output folder");
}

struct Chapter {
    title: String,
    pieces: Vec<Piece>,
}

enum Piece {
    Html(String),
    Widget(String),
    Question { ask: String, answers: Vec<(bool, String)>, reveal: String },
}

fn chapter(path: &Path, text: &str) -> Chapter {
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
    Chapter { title: title.into(), pieces }
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
        // A wide table scrolls by itself and not the page.
        Event::Start(Tag::Table(a)) => Event::Start(Tag::Table(a)),
        Event::End(TagEnd::Table) => Event::End(TagEnd::Table),
        other => other,
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    out.replace("<table>", "<div class=\"scroll\" tabindex=\"0\"><table>").replace("</table>", "</table></div>")
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

fn print(c: &Chapter) -> String {
    let pieces: String = c
        .pieces
        .iter()
        .map(|p| match p {
            Piece::Html(h) => format!("Piece::Html({h:?}), "),
            Piece::Widget(w) => format!("Piece::Widget({w:?}), "),
            Piece::Question { ask, answers, reveal } => {
                format!("Piece::Question {{ ask: {ask:?}, answers: &{answers:?}, reveal: {reveal:?} }}, ")
            }
        })
        .collect();
    format!("Text {{ title: {:?}, pieces: &[{pieces}] }}", c.title)
}
