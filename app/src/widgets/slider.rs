//! A labelled range input with its value as text.

use super::format::number;
use crate::prelude::*;

#[component]
pub fn Slider(
    #[prop(into)] label: Signal<String>,
    value: RwSignal<f64>,
    min: f64,
    max: f64,
    step: f64,
    /// How the value is written; four digits if not said.
    #[prop(optional, into)]
    show: Option<Callback<f64, String>>,
) -> impl IntoView {
    let text = move || show.map_or_else(|| number(value.get()), |f| f.run(value.get()));
    let set = move |event| {
        if let Ok(v) = event_target_value(&event).parse::<f64>() {
            value.set(v);
        }
    };
    view! {
        <label class="slider">
            <span>{move || label.get()}</span>
            <input type="range" min=min max=max step=step prop:value=move || value.get() on:input=set aria-valuetext=text />
            <output>{move || text()}</output>
        </label>
    }
}
