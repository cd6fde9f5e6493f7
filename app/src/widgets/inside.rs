//! Inside a training step: every tensor of the step that the run would take next, weights,
//! activations, gradients and optimiser states, as a table of numbers to ask.

use leptos::task::spawn_local;

use super::alert::alert;
use super::live::Live;
use super::matrix::{Matrix, Side};
use super::training::Run;
use crate::engine::client::engine;
use crate::engine::training::{Command, Frozen};
use crate::engine::{NodeInfo, Reply, Request};
use crate::page::lang::t;
use crate::prelude::*;

/// Rows and columns of a table; larger tensors show a window.
const WINDOW: usize = 8;

/// The window of a tensor that is shown: of the last two axes a block, of the others one index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    pub node: u32,
    pub lead: usize,
    pub row: usize,
    pub column: usize,
}

/// Rows, columns and how many such matrices a shape holds.
fn matrix_of(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [] => [1, 1, 1],
        [n] => [1, n, 1],
        [ref lead @ .., m, n] => [m, n, lead.iter().product()],
    }
}

#[component]
pub fn Inside(run: Run, live: Live) -> impl IntoView {
    let busy = RwSignal::new(false);
    let freeze = move |_| {
        busy.set(true);
        spawn_local(async move {
            run.send(Command::Pause).await;
            live.freeze(Frozen::Step).await;
            busy.try_set(false);
        });
    };
    let ready = move || run.report.with(Option::is_some);
    view! {
        <div class="row">
            <button id="freeze" disabled=move || busy.get() || !ready() on:click=freeze>{t("Stop and look inside the next step", "停下，查看下一步的内部")}</button>
            <Show when=move || busy.get()><span class="quiet">{t("computing every tensor of the step…", "正在计算这一步的所有张量……")}</span></Show>
        </div>
        {alert(live.failed)}
        <Show when=move || live.scene.get().is_some()>
            {move || {
                let first = live.nodes.with_untracked(|all| all.iter().find(|n| n.name.ends_with("weight")).map_or(0, |n| n.id));
                view! { <Tensors live place=RwSignal::new(Place { node: first, ..Place::default() }) /> }
            }}
        </Show>
    }
}

/// What the reader chooses from, in the order of the step.
fn kinds(nodes: &[NodeInfo]) -> Vec<NodeInfo> {
    nodes.iter().filter(|n| !n.name.starts_with("images") && n.name != "rng").cloned().collect()
}

/// Any tensor of a scene, as a window of numbers at `place`.
#[component]
pub fn Tensors(live: Live, place: RwSignal<Place>) -> impl IntoView {
    let engine = engine();
    let info = memo(move || {
        let id = place.with(|p| p.node);
        live.nodes.with(|all| all.iter().find(|n| n.id == id).cloned())
    });
    let dims = move || info.get().map_or([1, 1, 1], |n| matrix_of(&n.shape));
    // The window's numbers, as an output of the scene that the table reads.
    effect(move || {
        let (p, Some(n), Some(scene)) = (place.get(), info.get(), live.scene.get()) else { return };
        spawn_local(async move {
            match engine.ask(Request::Inspect { scene, nodes: vec![n.id] }).await {
                Ok(Reply::Values { mut values, .. }) => {
                    let Some(mut v) = values.pop() else { return };
                    let [rows, columns, _] = matrix_of(&n.shape);
                    let (m, c) = (rows.min(WINDOW), columns.min(WINDOW));
                    let at = |r: usize, k: usize| (p.lead * rows + p.row + r) * columns + p.column + k;
                    v.data = (0..m * c).map(|i| v.data.get(at(i / c, i % c)).copied().unwrap_or(f32::NAN)).collect();
                    v.shape = vec![m, c];
                    v.name = WINDOW_NAME.into();
                    live.outputs.try_update(|o| o.insert(WINDOW_NAME.into(), v));
                }
                Ok(_) => {}
                Err(e) => {
                    live.failed.try_set(Some(e));
                }
            }
        });
    });
    let choose = move |event| {
        if let Ok(node) = event_target_value(&event).parse() {
            place.set(Place { node, ..Place::default() });
        }
    };
    let ask = Callback::new(move |(r, c): (usize, usize)| {
        let (p, Some(n)) = (place.get_untracked(), info.get_untracked()) else { return };
        let mut index = match n.shape.len() {
            0 => vec![],
            1 => vec![p.column + c],
            _ => vec![p.row + r, p.column + c],
        };
        if n.shape.len() > 2 {
            let mut lead = p.lead;
            for d in n.shape[..n.shape.len() - 2].iter().rev() {
                index.insert(0, lead % d);
                lead /= d;
            }
        }
        live.ask_node(n.id, &n.name, index);
    });
    let side = move || if info.get().is_some_and(|n| n.backward) { Side::Backward } else { Side::Forward };
    let scale = move || {
        live.outputs
            .with(|o| o.get(WINDOW_NAME).map_or(1.0, |v| v.data.iter().fold(1e-9f64, |s, x| s.max(f64::from(x.abs())))))
    };
    let caption = move || info.get().map(|n| n.name).unwrap_or_default();
    view! {
        <label class="row">
            <span class="quiet">{t("tensor", "张量")}</span>
            <select class="tensor" on:change=choose>
                {move || {
                    let chosen = place.with(|p| p.node);
                    live.nodes.with(|n| kinds(n)).into_iter().map(|n| {
                        let shape: Vec<String> = n.shape.iter().map(usize::to_string).collect();
                        let mark = if n.backward { "← " } else { "" };
                        view! { <option value=n.id.to_string() selected=n.id == chosen>{format!("{mark}{} [{}]", n.name, shape.join(", "))}</option> }
                    }).collect_view()
                }}
            </select>
        </label>
        <Steer place dims=derived(dims) />
        <Matrix live name=WINDOW_NAME side=derived(side) caption=derived(caption) scale=derived(scale) on_ask=ask />
        <figcaption>{t("Click a number to see where it comes from. Arrows mark the backward pass and the optimiser.",
            "点击任一数字查看由来。箭头标出反向传播与优化器中的张量。")}</figcaption>
    }
}

const WINDOW_NAME: &str = "window";

/// Moves the window over a large tensor.
#[component]
fn Steer(place: RwSignal<Place>, dims: Signal<[usize; 3]>) -> impl IntoView {
    let slider = move |label: &'static str,
                       zh: &'static str,
                       most: fn([usize; 3]) -> usize,
                       get: fn(&Place) -> usize,
                       set: fn(&mut Place, usize)| {
        view! {
            <Show when=move || 0 < most(dims.get())>
                <label class="slider">
                    <span>{t(label, zh)}</span>
                    <input type="range" min="0" max=move || most(dims.get()) step="1" prop:value=move || place.with(get)
                        on:input=move |e| if let Ok(v) = event_target_value(&e).parse() { place.update(|p| set(p, v)) } />
                    <output>{move || place.with(get)}</output>
                </label>
            </Show>
        }
    };
    view! {
        {slider("matrix", "矩阵", |d| d[2].saturating_sub(1), |p| p.lead, |p, v| p.lead = v)}
        {slider("first row", "起始行", |d| d[0].saturating_sub(WINDOW), |p| p.row, |p, v| p.row = v)}
        {slider("first column", "起始列", |d| d[1].saturating_sub(WINDOW), |p| p.column, |p, v| p.column = v)}
    }
}
