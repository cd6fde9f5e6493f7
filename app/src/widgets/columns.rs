//! Upright bars that show an output of a scene; each can be asked. They have the height of the
//! bars that the reader drags, so both can stand side by side.

use super::format::number;
use super::live::Live;
use super::matrix::Side;
use super::readout::element;
use crate::prelude::*;

const HEIGHT: f64 = 160.0;
const WIDTH: f64 = 56.0;

/// The row `[1, n]` called `name`.
#[component]
pub fn Columns(
    live: Live,
    #[prop(into)] name: String,
    #[prop(into)] label: Signal<String>,
    names: Vec<String>,
    /// The least and the largest value that fit.
    range: [f64; 2],
    #[prop(optional)] side: Side,
    /// A bar to point at.
    #[prop(optional, into)]
    lit: Option<Signal<usize>>,
) -> impl IntoView {
    let [min, max] = range;
    let y_of = move |v: f64| HEIGHT * (max - v.clamp(min, max)) / (max - min);
    let width = WIDTH * names.len() as f64;
    let class = if side == Side::Backward { "backward" } else { "forward" };
    view! {
        <div class=format!("columns {class}")>
            <p class="eyebrow">{move || label.get()}</p>
            <svg viewBox=format!("0 -20 {width} {}", HEIGHT + 40.0)>
                {[min, max].into_iter().filter(|v| *v != 0.0).map(|v| view! {
                    <line class="limit" x1="0" x2=width y1=y_of(v) y2=y_of(v) />
                    <text class="limit" x="-3" y=y_of(v) + 4.0>{number(v)}</text>
                }).collect_view()}
                {names.into_iter().enumerate().map(|(k, text)| {
                    let value = element(live, name.clone(), vec![0, k]);
                    let shown = move || if value.get().is_finite() { value.get() } else { 0.0 };
                    let top = move || y_of(shown().max(0.0));
                    let height = move || y_of(shown().min(0.0)) - top();
                    let down = move || value.get() < 0.0;
                    let x = WIDTH * k as f64;
                    let ask = { let name = name.clone(); move || live.ask(&name, vec![0, k]) };
                    let by_key = { let ask = ask.clone(); move |e: leptos::ev::KeyboardEvent| {
                        if matches!(e.key().as_str(), "Enter" | " ") {
                            e.prevent_default();
                            ask();
                        }
                    } };
                    view! {
                        <g class="column" class:lit=move || lit.is_some_and(|l| l.get() == k) tabindex="0" role="button"
                            data-name=name.clone() on:click=move |_| ask() on:keydown=by_key>
                            <rect class="target" x=x + 2.0 y="-20" width=WIDTH - 4.0 height=HEIGHT + 40.0 />
                            <rect class=format!("bar {class}") class:negative=down x=x + 12.0 y=top width=WIDTH - 24.0 height=height />
                            <text x=x + WIDTH / 2.0 y=move || if down() { y_of(shown()) + 15.0 } else { y_of(shown()) - 6.0 }>{move || number(value.get())}</text>
                            <text class="name" x=x + WIDTH / 2.0 y=move || if down() { y_of(0.0) - 6.0 } else { y_of(0.0) + 15.0 }>{text}</text>
                        </g>
                    }
                }).collect_view()}
                <line x1="0" x2=width y1=y_of(0.0) y2=y_of(0.0) class="axis" />
            </svg>
        </div>
    }
}
