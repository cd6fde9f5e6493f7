//! The page around the chapters: language, theme, address, navigation, the engine's state, and
//! the panel that explains numbers.

mod ask;
mod home;
pub mod lang;
mod prose;
pub mod route;
mod shell;

use wasm_bindgen::JsCast;

use crate::engine::client::Engine;
use crate::prelude::*;

pub use ask::Asked;
pub use prose::{Piece, Text, chapter};

/// Starts the engine and shows the page. Without a worker there is a sentence instead.
pub fn mount() {
    let names = document().query_selector("script[data-js]").ok().flatten().map(|script| {
        let get = |name: &str| script.get_attribute(name).unwrap_or_default();
        (get("data-js"), get("data-wasm"))
    });
    let (script, wasm) = names.unwrap_or_default();
    match Engine::start(&script, &wasm) {
        Ok(engine) => leptos::mount::mount_to_body(move || {
            provide_context(engine);
            provide_context(lang::Language::start());
            provide_context(route::Router::start());
            provide_context(Asked::default());
            provide_context(crate::lessons::lab::History::default());
            view! { <shell::Shell /> }
        }),
        Err(e) => {
            let text = format!(
                "This browser starts no module worker, which the engine needs. 此浏览器无法启动计算引擎。({e:?})"
            );
            if let Some(body) = document().body() {
                body.unchecked_ref::<web_sys::Node>().set_text_content(Some(&text));
            }
        }
    }
}
