//! A product laid out so that each element of C stands where its row of A and its column of B meet.

use wasm_bindgen::JsCast;

use crate::page::lang::t;
use crate::page::route;
use crate::prelude::*;
use crate::scenes::matmul::SIZES;
use crate::widgets::alert::alert;
use crate::widgets::format::{aligned, number, places};
use crate::widgets::live::Live;

const M: usize = SIZES[0];
const K: usize = SIZES[1];
const N: usize = SIZES[2];

/// The element pointed at, and the two matrices.
#[derive(Clone, Copy)]
pub struct Place {
    live: Live,
    a: RwSignal<Vec<f32>>,
    b: RwSignal<Vec<f32>>,
    wish: RwSignal<Vec<f32>>,
    at: Memo<(usize, usize)>,
}

impl Place {
    pub fn new(live: Live, a: RwSignal<Vec<f32>>, b: RwSignal<Vec<f32>>) -> Place {
        let wish = route::numbers("c", vec![1.0, 3.0]);
        let at =
            memo(move || wish.with(|w| ((w[0].max(0.0) as usize).min(M - 1), (w[1].max(0.0) as usize).min(N - 1))));
        Place { live, a, b, wish, at }
    }

    fn go(self, m: usize, n: usize) {
        self.wish.set(vec![m as f32, n as f32]);
    }
}

/// A given matrix: numbers to type over.
#[component]
fn Given(
    name: &'static str,
    values: RwSignal<Vec<f32>>,
    rows: usize,
    columns: usize,
    /// Which of its cells the element reads.
    lit: Callback<(usize, usize), bool>,
) -> impl IntoView {
    let put = move |k: usize, text: String| {
        if let Ok(v) = text.parse::<f32>() {
            values.maybe_update(|all| match all.get_mut(k) {
                Some(slot) if v.is_finite() && *slot != v => {
                    *slot = v;
                    true
                }
                _ => false,
            });
        }
    };
    view! {
        <table class="plain-matrix" data-name=name>
            <caption>{name} " " <small>{format!("[{rows}, {columns}]")}</small></caption>
            <tbody>{(0..rows).map(|r| view! {
                <tr>{(0..columns).map(|c| {
                    let k = r * columns + c;
                    let value = move || values.with(|v| v.get(k).copied().map_or(String::new(), |v| v.to_string()));
                    view! {
                        <td class:lit=move || lit.run((r, c))>
                            <input type="number" step="0.5" aria-label=format!("{name}[{r}, {c}]") prop:value=value
                                on:input=move |e| put(k, event_target_value(&e)) />
                        </td>
                    }
                }).collect_view()}</tr>
            }).collect_view()}</tbody>
        </table>
    }
}

#[component]
pub fn Cells(place: Place) -> impl IntoView {
    let table = NodeRef::<leptos::html::Table>::new();
    let key = move |e: leptos::ev::KeyboardEvent| {
        let (m, n) = place.at.get_untracked();
        let (m, n) = match e.key().as_str() {
            "ArrowLeft" => (m, n.saturating_sub(1)),
            "ArrowRight" => (m, (n + 1).min(N - 1)),
            "ArrowUp" => (m.saturating_sub(1), n),
            "ArrowDown" => ((m + 1).min(M - 1), n),
            _ => return,
        };
        e.prevent_default();
        place.go(m, n);
        let cell =
            table.get_untracked().and_then(|t| t.query_selector(&format!("[data-at=\"{m},{n}\"]")).ok().flatten());
        if let Some(cell) = cell {
            // An element that is gone takes no focus.
            let _ = cell.unchecked_ref::<web_sys::HtmlElement>().focus();
        }
    };
    let c =
        move |m: usize, n: usize| place.live.outputs.with(|o| o.get("C").and_then(|v| v.data.get(m * N + n).copied()));
    let shared = memo(move || places(&place.live.get("C")));
    let row = Callback::new(move |(r, _): (usize, usize)| place.at.get().0 == r);
    let column = Callback::new(move |(_, c): (usize, usize)| place.at.get().1 == c);
    view! {
        <div class="falk">
            <span></span>
            <Given name="B" values=place.b rows=K columns=N lit=column />
            <Given name="A" values=place.a rows=M columns=K lit=row />
            <table class="plain-matrix product" data-name="C" node_ref=table on:keydown=key>
                <caption>"C " <small>{format!("[{M}, {N}]")}</small></caption>
                <tbody>{(0..M).map(|m| view! {
                    <tr>{(0..N).map(|n| {
                        let here = move || place.at.get() == (m, n);
                        let text = move || c(m, n).map_or("…".into(), |v| aligned(v.into(), shared.get()));
                        view! {
                            <td class:lit=here>
                                <button class="digit" data-at=format!("{m},{n}") tabindex=move || if here() { "0" } else { "-1" }
                                    aria-label=move || format!("C[{m}, {n}] = {}", text())
                                    on:pointerenter=move |_| place.go(m, n) on:focus=move |_| place.go(m, n)
                                    on:click=move |_| place.live.ask("C", vec![m, n])>{move || text()}</button>
                            </td>
                        }
                    }).collect_view()}</tr>
                }).collect_view()}</tbody>
            </table>
        </div>
        <Sum place />
        {alert(place.live.failed)}
        <figcaption>{t("Point at an element of C or move with the arrow keys; click it for its derivation. A and B can be typed over.",
            "指向 C 的一个元素，或用方向键移动；点击它查看推导。A 和 B 可以直接改写。")}</figcaption>
    }
}

/// A factor or summand as it stands in a sum.
fn within(v: f32) -> String {
    if v < 0.0 { format!("({})", number(v.into())) } else { number(v.into()) }
}

/// The sum behind the element, written out.
#[component]
fn Sum(place: Place) -> impl IntoView {
    let factor = |of: RwSignal<Vec<f32>>, k: usize| of.with(|v| v.get(k).copied().unwrap_or(f32::NAN));
    let pairs = move || {
        let (m, n) = place.at.get();
        let pair =
            |k: usize| format!("{} · {}", within(factor(place.a, m * K + k)), within(factor(place.b, k * N + n)));
        (0..K).map(pair).collect::<Vec<_>>().join(" + ")
    };
    let product = move |k: usize| {
        let (m, n) = place.at.get();
        place.live.outputs.with(|o| o.get("terms").and_then(|v| v.data.get((m * N + n) * K + k).copied()))
    };
    let name = move || {
        let (m, n) = place.at.get();
        format!("C[{m}, {n}]")
    };
    let total = move || {
        let (m, n) = place.at.get();
        place.live.outputs.with(|o| o.get("C").and_then(|v| v.data.get(m * N + n).copied()))
    };
    let ask = move |_| {
        let (m, n) = place.at.get_untracked();
        place.live.ask("C", vec![m, n]);
    };
    view! {
        <p class="written num" aria-live="polite" id="written">
            <i>{name}</i> " = " <span>{move || pairs()}</span> " = "
            {(0..K).map(|k| {
                let ask = move |_| {
                    let (m, n) = place.at.get_untracked();
                    place.live.ask("terms", vec![m, n, k]);
                };
                view! { {(k > 0).then_some(" + ")} <button class="link" on:click=ask>{move || product(k).map_or("…".into(), within)}</button> }
            }).collect_view()}
            " = " <button class="link total" on:click=ask>{move || total().map_or("…".into(), |v| number(v.into()))}</button>
        </p>
    }
}
