//! The chapters' texts, set while the app was built (`build.rs`).

use super::lang::Lang;

/// A part of a chapter.
pub enum Piece {
    Html(&'static str),
    /// A place for the widget of this name.
    Widget(&'static str),
    /// Asked before the answer is shown.
    Question {
        ask: &'static str,
        answers: &'static [(bool, &'static str)],
        reveal: &'static str,
    },
}

/// A chapter in one language.
pub struct Text {
    pub title: &'static str,
    pub pieces: &'static [Piece],
}

/// A chapter in both.
pub struct Chapter {
    pub name: &'static str,
    texts: [Text; 2],
}

static ALL: &[Chapter] = include!(concat!(env!("OUT_DIR"), "/prose.rs"));

/// The chapter of that name.
pub fn chapter(name: &str) -> Option<&'static Chapter> {
    ALL.iter().find(|c| c.name == name)
}

impl Chapter {
    pub fn text(&self, lang: Lang) -> &Text {
        let [en, zh] = &self.texts;
        lang.pick(en, zh)
    }
}
