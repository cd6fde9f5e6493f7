//! Gives the page its table of chapters: names, titles, and the files of their texts, which the package
//! `prose` sets. A chapter that cannot be set ends the build here.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed={}", prose::folder().display());
    let mut out = String::from("&[\n");
    for chapter in prose::chapters() {
        let [en, zh] = chapter.files().map(|(name, _)| name);
        let titles = chapter.texts.each_ref().map(|t| &t.title);
        let count = chapter.texts.iter().map(|t| t.pieces.len()).max().unwrap_or(0);
        let name = chapter.name;
        writeln!(out, "Chapter {{ name: {name:?}, titles: {titles:?}, files: [{en:?}, {zh:?}], count: {count} }},")
            .expect("a string");
    }
    out.push(']');
    let to = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("prose.rs");
    fs::write(to, out).expect("the output folder");
}
