//! The chapters' texts: files beside the page, fetched when a chapter is opened. Their names carry a
//! hash of their content, so a browser may keep them for good. The table of names and titles is made
//! while the app is built (`build.rs`), the files by the package `prose`.

use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::lang::Lang;

/// A part of a chapter.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    Html(String),
    /// A place for the widget of this name.
    Widget(String),
    /// Asked before the answer is shown.
    Question {
        ask: String,
        answers: Vec<(bool, String)>,
        reveal: String,
    },
}

/// A chapter's text in one language.
#[derive(Clone, Debug, Deserialize)]
pub struct Text {
    pub pieces: Vec<Piece>,
}

/// A chapter; of each pair the first is English.
pub struct Chapter {
    pub name: &'static str,
    titles: [&'static str; 2],
    files: [&'static str; 2],
    /// No text of it has more pieces.
    pub count: usize,
}

static ALL: &[Chapter] = include!(concat!(env!("OUT_DIR"), "/prose.rs"));

/// The chapter of that name.
pub fn chapter(name: &str) -> Option<&'static Chapter> {
    ALL.iter().find(|c| c.name == name)
}

impl Chapter {
    pub fn title(&self, lang: Lang) -> &'static str {
        let [en, zh] = self.titles;
        lang.pick(en, zh)
    }

    /// Fetches the text from the page's own folder.
    pub async fn text(&self, lang: Lang) -> Result<Text, String> {
        let [en, zh] = self.files;
        let path = format!("prose/{}", lang.pick(en, zh));
        let failed = |e: JsValue| format!("{path}: {}", js_sys::Object::from(e).to_string());
        let response = JsFuture::from(crate::prelude::window().fetch_with_str(&path)).await.map_err(failed)?;
        let response: web_sys::Response = response.dyn_into().map_err(failed)?;
        if !response.ok() {
            return Err(format!("{path}: the server answers {}", response.status()));
        }
        let body = JsFuture::from(response.text().map_err(failed)?).await.map_err(failed)?;
        serde_json::from_str(&body.as_string().unwrap_or_default()).map_err(|e| format!("{path}: {e}"))
    }
}
