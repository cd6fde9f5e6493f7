//! A question before its answer: the reader chooses, then sees what is true and why.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::page::lang::t;
use crate::prelude::*;

/// Numbers the questions, so that each can be named by its own words.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Names of the answers: one may be a formula alone, which has no name to be read out.
const LETTERS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

#[component]
pub fn Predict(
    ask: String,
    /// Whether each is right, and its text.
    answers: Vec<(bool, String)>,
    reveal: String,
    /// The chosen answer. It lives with the chapter, so that another language keeps it.
    chosen: RwSignal<Option<usize>>,
) -> impl IntoView {
    let id = format!("question-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    view! {
        <section class="predict" aria-labelledby=id.clone()>
            <p class="eyebrow">{t("Predict, then reveal", "先猜，再看答案")}</p>
            <div id=id.clone() inner_html=ask></div>
            <div class="answers" role="group" aria-labelledby=id.clone()>
                {answers.into_iter().enumerate().map(|(k, (right, text))| {
                    let mark = move || match chosen.get() {
                        Some(_) if right => " ✓",
                        Some(c) if c == k => " ✗",
                        _ => "",
                    };
                    view! {
                        <button
                            aria-pressed=move || (chosen.get() == Some(k)).to_string()
                            class:right=move || chosen.get().is_some() && right
                            class:wrong=move || chosen.get() == Some(k) && !right
                            on:click=move |_| chosen.set(Some(k))
                        >
                            <span class="letter">{LETTERS.get(k).copied().unwrap_or("")}</span> <span inner_html=text></span>{move || mark()}
                        </button>
                    }
                }).collect_view()}
            </div>
            <div aria-live="polite">
                {move || chosen.get().map(|_| view! { <div class="reveal" inner_html=reveal.clone()></div> })}
            </div>
        </section>
    }
}
