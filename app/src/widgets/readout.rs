//! One live number with its name, to be read and to be asked.

use super::format::aligned;
use super::live::Live;
use super::matrix::Side;
use crate::prelude::*;

/// Element `index` of the output `name`.
#[component]
pub fn Readout(
    live: Live,
    #[prop(into)] name: String,
    #[prop(optional)] index: Vec<usize>,
    #[prop(into)] label: Signal<String>,
    #[prop(optional)] side: Side,
    /// The node to ask for, where the output only collects numbers of others.
    #[prop(optional, into)]
    node: Option<String>,
    /// Places that the numbers of a column share.
    #[prop(optional)]
    shared: Option<Memo<Option<usize>>>,
) -> impl IntoView {
    let value = element(live, name.clone(), index.clone());
    let class = if side == Side::Backward { "readout backward" } else { "readout forward" };
    let (asked, at) = match node {
        Some(n) => (n, vec![]),
        None => (name, index),
    };
    view! {
        <button class=class data-name=asked.clone() on:click={
            let (asked, at) = (asked.clone(), at.clone());
            move |_| live.ask(&asked, at.clone())
        }>
            <span class="name">{move || label.get()}</span>
            <span class="num">{move || aligned(value.get(), shared.and_then(|s| s.get()))}</span>
        </button>
    }
}

/// One element of an output as a number of its own; NaN until there is one.
pub fn element(live: Live, name: String, index: Vec<usize>) -> Memo<f64> {
    memo(move || {
        live.outputs.with(|o| {
            let Some(v) = o.get(&name) else { return f64::NAN };
            let at = index.iter().zip(&v.shape).fold(0, |at, (i, d)| at * d + i);
            v.data.get(at).copied().map_or(f64::NAN, f64::from)
        })
    })
}
