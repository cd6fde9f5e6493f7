//! A choice of one among a few, as a row of buttons.

use crate::page::lang::t;
use crate::prelude::*;

#[component]
pub fn Choices(
    #[prop(into)] label: Signal<String>,
    /// English and Chinese.
    options: Vec<(&'static str, &'static str)>,
    value: RwSignal<usize>,
) -> impl IntoView {
    view! {
        <div class="choices" role="group" aria-label=move || label.get()>
            <span class="eyebrow">{move || label.get()}</span>
            {options.into_iter().enumerate().map(|(k, (en, zh))| view! {
                <button aria-pressed=move || (value.get() == k).to_string() on:click=move |_| value.set(k)>{t(en, zh)}</button>
            }).collect_view()}
        </div>
    }
}
