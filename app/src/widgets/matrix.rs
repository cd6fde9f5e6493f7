//! A matrix of live numbers. Each cell can be asked; arrow keys move between them; colour shows
//! sign and size together with a bar, never alone. It is a real table, so screen readers read it.

use wasm_bindgen::JsCast;

use super::format::{aligned, number, places};
use super::live::Live;
use crate::prelude::*;

/// How a matrix is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Blue.
    #[default]
    Forward,
    /// Orange.
    Backward,
}

/// The output `name` of a scene as a table of rows and columns. `rows` and `columns` are labels;
/// missing ones are numbers. `scale`: the absolute value of a full bar.
#[component]
pub fn Matrix(
    live: Live,
    #[prop(into)] name: String,
    #[prop(default = Side::Forward.into(), into)] side: Signal<Side>,
    #[prop(optional, into)] caption: Option<Signal<String>>,
    #[prop(optional)] rows: Vec<String>,
    #[prop(optional)] columns: Vec<String>,
    #[prop(default = 1.0.into(), into)] scale: Signal<f64>,
    /// A column to point at.
    #[prop(optional, into)]
    lit: Option<Signal<Option<usize>>>,
    /// What a click asks, by row and column, where the table is not a node of that name.
    #[prop(optional)]
    on_ask: Option<Callback<(usize, usize)>>,
) -> impl IntoView {
    let focus = RwSignal::new((0usize, 0usize));
    let key = name.clone();
    let shape = memo(move || live.outputs.with(|o| o.get(&key).map(|v| v.shape.clone()).unwrap_or_default()));
    let size = move || match shape.get()[..] {
        [] => (1, 1),
        [n] => (1, n),
        [m, n] => (m, n),
        [.., m, n] => (m, n),
    };
    let class = move || format!("matrix {}", if side.get() == Side::Backward { "backward" } else { "forward" });
    let table = NodeRef::<leptos::html::Table>::new();
    let own = name.clone();
    let on_key = move |event: leptos::ev::KeyboardEvent| {
        let (m, n) = untrack(size);
        let (r, c) = focus.get_untracked();
        let next = match event.key().as_str() {
            "ArrowLeft" => (r, c.saturating_sub(1)),
            "ArrowRight" => (r, (c + 1).min(n.saturating_sub(1))),
            "ArrowUp" => (r.saturating_sub(1), c),
            "ArrowDown" => ((r + 1).min(m.saturating_sub(1)), c),
            "Home" => (r, 0),
            "End" => (r, n.saturating_sub(1)),
            _ => return,
        };
        event.prevent_default();
        focus.set(next);
        let cell = table
            .get_untracked()
            .and_then(|t| t.query_selector(&format!("button[data-at=\"{},{}\"]", next.0, next.1)).ok().flatten());
        if let Some(cell) = cell {
            let _ = cell.unchecked_ref::<web_sys::HtmlElement>().focus();
        }
    };
    let shape_text = move || {
        let s: Vec<String> = shape.get().iter().map(usize::to_string).collect();
        format!("[{}]", s.join(", "))
    };
    let range = {
        let name = name.clone();
        move || {
            let data = live.get(&name);
            let (lo, hi) = data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
            if data.is_empty() { String::new() } else { format!("{} … {}", number(lo.into()), number(hi.into())) }
        }
    };
    // One number of places for all, so that points stand below points.
    let shared = {
        let name = name.clone();
        memo(move || places(&live.get(&name)))
    };
    let (head_columns, head_rows) = (columns.clone(), rows.clone());
    let (labelled, labelled_rows) = (!columns.is_empty(), !rows.is_empty());
    view! {
        <div class="scroll">
            <table class=class node_ref=table on:keydown=on_key data-name=name.clone()>
                <caption>
                    {caption.map_or_else(|| view! { <span>{name.clone()}</span> }, |c| view! { <span>{move || c.get()}</span> })}
                    <small>{move || shape_text()} " " {move || range()}</small>
                </caption>
                {labelled.then(|| view! {
                    <thead><tr>{labelled_rows.then(|| view! { <td></td> })}{head_columns.iter().map(|c| view! { <th scope="col">{c.clone()}</th> }).collect_view()}</tr></thead>
                })}
                <tbody>
                    {move || {
                        let (m, n) = size();
                        let own = own.clone();
                        let rank = shape.with(Vec::len);
                        (0..m).map(|r| {
                            let own = own.clone();
                            let label = head_rows.get(r).cloned();
                            view! {
                                <tr>
                                    {label.map(|l| view! { <th scope="row">{l}</th> })}
                                    {(0..n).map(|c| {
                                        let name = own.clone();
                                        let read = {
                                            let name = own.clone();
                                            memo(move || live.outputs.with(|o| {
                                                o.get(&name).and_then(|v| v.data.get(r * n + c).copied()).map_or(f64::NAN, f64::from)
                                            }))
                                        };
                                        let index = match rank {
                                            0 => vec![],
                                            1 => vec![c],
                                            _ => {
                                                let mut index = vec![0; rank - 2];
                                                index.extend([r, c]);
                                                index
                                            }
                                        };
                                        let share = move || (100.0 * read.get().abs() / scale.get()).min(100.0);
                                        let is_lit = move || lit.is_some_and(|l| l.get() == Some(c));
                                        view! {
                                            <td class:lit=is_lit>
                                                <button
                                                    class="cell"
                                                    class:negative=move || read.get() < 0.0
                                                    style=move || format!("--share:{:.0}%", share())
                                                    data-at=format!("{r},{c}")
                                                    tabindex=move || if focus.get() == (r, c) { "0" } else { "-1" }
                                                    on:focus=move |_| focus.set((r, c))
                                                    on:click=move |_| match on_ask {
                                                        Some(f) => f.run((r, c)),
                                                        None => live.ask(&name, index.clone()),
                                                    }
                                                >
                                                    {move || aligned(read.get(), shared.get())}
                                                </button>
                                            </td>
                                        }
                                    }).collect_view()}
                                </tr>
                            }
                        }).collect_view()
                    }}
                </tbody>
            </table>
        </div>
    }
}
