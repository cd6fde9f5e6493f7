//! Bars: some to drag, some to read. Values stand beside them; keyboard as well as pointer.

use wasm_bindgen::JsCast;

use super::format::number;
use crate::prelude::*;

/// Drawing height of a bar's range, in user units.
const HEIGHT: f64 = 160.0;
const WIDTH: f64 = 56.0;

/// Bars that the reader moves.
#[component]
pub fn DragBars(
    #[prop(into)] label: Signal<String>,
    names: Vec<String>,
    values: RwSignal<Vec<f32>>,
    min: f64,
    max: f64,
    /// Set to the bar that moved last.
    moved: RwSignal<Option<usize>>,
    /// How far an arrow key goes.
    #[prop(default = 0.1)]
    step: f64,
) -> impl IntoView {
    let svg = NodeRef::<leptos::svg::Svg>::new();
    let held = RwSignal::new(None::<usize>);
    let y_of = move |v: f64| HEIGHT * (max - v.clamp(min, max)) / (max - min);
    let put = move |k: usize, v: f64| {
        let rounded = (v.clamp(min, max) * 100.0).round() / 100.0;
        values.update(|all| {
            if let Some(slot) = all.get_mut(k) {
                *slot = rounded as f32;
            }
        });
        moved.set(Some(k));
    };
    let follow = move |event: &leptos::ev::PointerEvent, k: usize| {
        let Some(svg) = svg.get_untracked() else { return };
        let rect = svg.unchecked_ref::<web_sys::Element>().get_bounding_client_rect();
        let share = (f64::from(event.client_y()) - rect.top()) / rect.height();
        put(k, max - (share * (HEIGHT + 40.0) - 20.0) / HEIGHT * (max - min));
    };
    let n = names.len();
    view! {
        <div class="bars">
            <p class="eyebrow">{move || label.get()}</p>
            <svg node_ref=svg viewBox=format!("0 -20 {} {}", WIDTH * n as f64, HEIGHT + 40.0)
                on:pointermove=move |e| if let Some(k) = held.get_untracked() { follow(&e, k) }
                on:pointerup=move |_| held.set(None)
                on:pointercancel=move |_| held.set(None)
            >
                <line x1="0" x2=WIDTH * n as f64 y1=y_of(0.0) y2=y_of(0.0) class="axis" />
                {names.into_iter().enumerate().map(|(k, name)| {
                    let value = memo(move || values.with(|v| v.get(k).copied().map_or(0.0, f64::from)));
                    let top = move || y_of(value.get().max(0.0));
                    let height = move || (y_of(value.get().min(0.0)) - y_of(value.get().max(0.0))).max(1.0);
                    let x = WIDTH * k as f64;
                    let key = move |e: leptos::ev::KeyboardEvent| {
                        let by = match e.key().as_str() {
                            "ArrowUp" | "ArrowRight" => step,
                            "ArrowDown" | "ArrowLeft" => -step,
                            "PageUp" => 10.0 * step,
                            "PageDown" => -10.0 * step,
                            _ => return,
                        };
                        e.prevent_default();
                        put(k, value.get_untracked() + by);
                    };
                    let down = move |e: leptos::ev::PointerEvent| {
                        e.prevent_default();
                        held.set(Some(k));
                        if let Some(svg) = svg.get_untracked() {
                            // A pointer that is gone already cannot be captured; then nothing is dragged.
                            let _ = svg.unchecked_ref::<web_sys::Element>().set_pointer_capture(e.pointer_id());
                        }
                        follow(&e, k);
                    };
                    view! {
                        <g
                            class="handle" tabindex="0" role="slider" aria-label=name.clone()
                            aria-valuemin=min aria-valuemax=max aria-valuenow=move || value.get()
                            aria-orientation="vertical"
                            on:keydown=key on:pointerdown=down
                        >
                            <rect class="target" x=x y="-20" width=WIDTH height=HEIGHT + 40.0 />
                            <rect class="bar forward" class:negative=move || value.get() < 0.0 x=x + 12.0 y=top width=WIDTH - 24.0 height=height />
                            <line class="grip" x1=x + 8.0 x2=x + WIDTH - 8.0 y1=move || y_of(value.get()) y2=move || y_of(value.get()) />
                            <text x=x + WIDTH / 2.0 y=move || if value.get() < 0.0 { y_of(value.get()) + 15.0 } else { y_of(value.get()) - 6.0 }>{move || number(value.get())}</text>
                            <text class="name" x=x + WIDTH / 2.0 y=move || if value.get() < 0.0 { y_of(0.0) - 6.0 } else { y_of(0.0) + 15.0 }>{name.clone()}</text>
                        </g>
                    }
                }).collect_view()}
            </svg>
        </div>
    }
}

/// Bars that show what was computed; each can be asked.
#[component]
pub fn Bars(
    #[prop(into)] label: Signal<String>,
    names: Vec<String>,
    #[prop(into)] values: Signal<Vec<f32>>,
    max: f64,
    #[prop(optional)] backward: bool,
    on_ask: Callback<usize>,
) -> impl IntoView {
    view! {
        <div class="bars rows">
            <p class="eyebrow">{move || label.get()}</p>
            <ul>
                {names.into_iter().enumerate().map(|(k, name)| {
                    let value = memo(move || values.with(|v| v.get(k).copied().map_or(f64::NAN, f64::from)));
                    let share = move || (100.0 * value.get().abs() / max).min(100.0);
                    let side = if backward { "bar backward" } else { "bar forward" };
                    view! {
                        <li>
                            <button on:click=move |_| on_ask.run(k)>
                                <span class="name">{name}</span>
                                <span class=side class:negative=move || value.get() < 0.0 style=move || format!("--share:{:.1}%", share())></span>
                                <span class="num">{move || number(value.get())}</span>
                            </button>
                        </li>
                    }
                }).collect_view()}
            </ul>
        </div>
    }
}
