//! The graph of a small net, drawn from the nodes that the engine holds and walked through in the
//! order in which it computes them. Values are inspected, never computed here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::layout::{Form, Layout, Placed, edge, layout};
use crate::engine::client::engine;
use crate::engine::{NodeInfo, Reply, Request};
use crate::page::lang::{Lang, lang, t};
use crate::page::route;
use crate::prelude::*;
use crate::widgets::format::number;
use crate::widgets::latest::latest;
use crate::widgets::live::Live;
use crate::widgets::slider::Slider;
use compute::sorting::map_of;

/// Height of the buttons that stay above the drawing, and of the space kept free below it.
const HEAD: f64 = 150.0;
const GROUND: f64 = 40.0;

/// How long a step stays when the graph plays by itself.
const BEAT: Duration = Duration::from_millis(700);

/// The form that fits the window, also after it was resized.
fn form() -> RwSignal<Form> {
    let narrower = |query: &str| window().match_media(query).ok().flatten().is_some_and(|m| m.matches());
    let fits = move || match (narrower("(max-width: 66rem)"), narrower("(max-width: 34rem)")) {
        (_, true) => Form::Phone,
        (true, false) => Form::Tall,
        _ => Form::Wide,
    };
    let form = RwSignal::new(fits());
    let resized = window_event_listener(leptos::ev::resize, move |_| {
        let now = fits();
        form.maybe_update(|f| std::mem::replace(f, now) != now);
    });
    on_cleanup(move || resized.remove());
    form
}

/// Where the reader is, and the values seen so far.
#[derive(Clone, Copy)]
pub struct Walk {
    live: Live,
    layout: Memo<Layout>,
    /// Ops in their order.
    order: Memo<Vec<NodeInfo>>,
    /// Ops computed so far, as in the address.
    at: RwSignal<f64>,
    values: RwSignal<BTreeMap<u32, Vec<f32>>>,
    playing: RwSignal<bool>,
    x: [RwSignal<f64>; 2],
    class: RwSignal<usize>,
}

impl Walk {
    pub fn new(live: Live, x: RwSignal<Vec<f32>>, class: RwSignal<usize>) -> Walk {
        let order =
            memo(move || live.nodes.with(|all| all.iter().filter(|n| !n.op.is_empty()).cloned().collect::<Vec<_>>()));
        let sliders = [0, 1].map(|k| {
            let one = RwSignal::new(x.with_untracked(|v| v.get(k).copied().map_or(0.0, f64::from)));
            effect(move || {
                let new = one.get() as f32;
                x.maybe_update(|all| match all.get_mut(k) {
                    Some(slot) if *slot != new => {
                        *slot = new;
                        true
                    }
                    _ => false,
                });
            });
            one
        });
        let form = form();
        let walk = Walk {
            live,
            layout: memo(move || live.nodes.with(|all| layout(all, form.get()))),
            order,
            // One step is taken already, so that there is something to see.
            at: route::number("step", 1.0),
            values: RwSignal::new(BTreeMap::new()),
            playing: RwSignal::new(false),
            x: sliders,
            class,
        };
        let engine = engine();
        let seen = move || {
            live.outputs.track();
            let scene = live.scene.get()?;
            let done: Vec<u32> = order.with(|o| o.iter().take(walk.done()).map(|n| n.id).collect());
            let given = live.nodes.with(|all| all.iter().filter(|n| n.op.is_empty()).map(|n| n.id).collect::<Vec<_>>());
            // Before the first run the leaves have no values.
            live.outputs.with(|o| !o.is_empty()).then(|| (scene, [given, done].concat()))
        };
        latest(seen, move |(scene, nodes)| async move {
            // A scene that is gone is asked again when it is there: its outputs change.
            if let Ok(Reply::Values { values, .. }) = engine.ask(Request::Inspect { scene, nodes: nodes.clone() }).await
            {
                walk.values.try_set(map_of(nodes.into_iter().zip(values.into_iter().map(|v| v.data))));
            }
        });
        let beat = set_interval_with_handle(
            move || {
                if walk.playing.get_untracked() {
                    walk.go(1);
                }
            },
            BEAT,
        );
        on_cleanup(move || {
            // Without a timer nothing plays, and Step still does.
            if let Ok(beat) = beat {
                beat.clear();
            }
        });
        walk
    }

    /// Ops computed so far.
    fn done(self) -> usize {
        (self.at.get().max(0.0) as usize).min(self.order.with(Vec::len))
    }

    fn go(self, by: i32) {
        let last = self.order.with_untracked(Vec::len) as f64;
        let next = (self.at.get_untracked() + f64::from(by)).clamp(0.0, last);
        self.at.set(next);
        if next == last {
            self.playing.set(false);
        }
    }

    /// The op that was computed last.
    fn current(self) -> Option<NodeInfo> {
        let done = self.done();
        self.order.with(|o| done.checked_sub(1).and_then(|k| o.get(k).cloned()))
    }

    /// Whether a node has its value.
    fn known(self, id: u32) -> bool {
        let done = self.done();
        self.order.with(|o| o.iter().position(|n| n.id == id).is_none_or(|k| k < done))
    }
}

#[component]
pub fn Graph(walk: Walk) -> impl IntoView {
    let last = move || walk.order.with(Vec::len);
    let play = move |_| {
        if walk.done() == untrack(last) {
            walk.at.set(0.0);
        }
        walk.playing.update(|p| *p = !*p);
    };
    let go = move |by: i32| {
        walk.playing.set(false);
        walk.go(by);
    };
    let label = |k: usize| derived(move || format!("x[0, {k}]"));
    view! {
        <div class="stay">
        <div class="row controls">
            <button class="primary" id="graph-step" disabled=move || walk.done() == last() on:click=move |_| go(1)>{t("Step", "单步")}</button>
            <button id="graph-back" disabled=move || walk.done() == 0 on:click=move |_| go(-1)>{t("Back", "后退")}</button>
            <button on:click=play aria-pressed=move || walk.playing.get().to_string()>{move || if walk.playing.get() { t("Pause", "暂停")() } else { t("Play", "播放")() }}</button>
            <button class="plain" disabled=move || walk.done() == 0 on:click=move |_| go(i32::MIN / 2)>{t("From the start", "回到开头")}</button>
            <button class="plain" id="graph-all" disabled=move || walk.done() == last() on:click=move |_| go(i32::MAX / 2)>{t("To the end", "直到结尾")}</button>
        </div>
        <p class="sentence" aria-live="polite"><Sentence walk /></p>
        </div>
        <Drawing walk />
        <div class="pair">
            <div>
                <Slider label=label(0) value=walk.x[0] min=-2.0 max=2.0 step=0.05 />
                <Slider label=label(1) value=walk.x[1] min=-2.0 max=2.0 step=0.05 />
            </div>
            <div class="row">
                <span class="eyebrow">{t("true class y", "真实类别 y")}</span>
                {[0, 1].map(|k| view! {
                    <button aria-pressed=move || (walk.class.get() == k).to_string() on:click=move |_| walk.class.set(k)>{k + 1}</button>
                })}
            </div>
        </div>
        <figcaption>{t("Blue: forward. Orange: gradients, each below or beside the value it belongs to. Click a number for its derivation.",
            "蓝色：前向。橙色：梯度，画在它所属的数值下方或右侧。点击任一数字，查看它的推导。")}</figcaption>
    }
}

/// What the last step did, in words.
#[component]
fn Sentence(walk: Walk) -> impl IntoView {
    move || {
        let all = walk.order.with(Vec::len);
        let Some(node) = walk.current() else {
            return t(
                "Nothing is computed yet: the numbers you see are given. Press Step.",
                "还没有计算，你看到的数字都是给定的。请按“单步”。",
            )()
            .to_string();
        };
        let names: Vec<String> = walk.live.nodes.with(|nodes| {
            let name = |i: &u32| nodes.iter().find(|n| n.id == *i).map(|n| n.name.clone());
            node.inputs.iter().filter_map(name).collect()
        });
        let reads = names.join(if lang() == Lang::En { ", " } else { "、" });
        let (k, NodeInfo { name, op, .. }) = (walk.done(), &node);
        match (lang(), names.is_empty()) {
            (Lang::En, true) => format!("{k} of {all}: {name} is a constant."),
            (Lang::En, false) => format!("{k} of {all}: {name} is computed by {op} from {reads}."),
            (Lang::Zh, true) => format!("{k} / {all}：{name} 是常数。"),
            (Lang::Zh, false) => format!("{k} / {all}：{name} 由 {op} 从 {reads} 算出。"),
        }
    }
}

#[component]
fn Drawing(walk: Walk) -> impl IntoView {
    let frame = NodeRef::<leptos::html::Div>::new();
    // Keeps the newest node in sight where the drawing is larger than the screen.
    Effect::new(move |before: Option<Option<u32>>| {
        let now = walk.current().map(|n| n.id);
        let (Some(frame), Some(id)) = (frame.get(), now) else { return now };
        let spot =
            walk.layout.with_untracked(|l| l.nodes.iter().find(|p| p.node.id == id).cloned().map(|p| (l.form, p)));
        let Some((form, p)) = spot else { return now };
        if form == Form::Wide {
            frame.set_scroll_left((p.x + p.width / 2.0 - f64::from(frame.client_width()) / 2.0) as i32);
        } else if before.is_some_and(|b| b.is_some() && b != now) {
            let height = window().inner_height().ok().and_then(|h| h.as_f64()).unwrap_or(0.0);
            let top = frame.get_bounding_client_rect().top() + p.y;
            if top < HEAD || top + p.height > height - GROUND {
                window().scroll_by_with_x_and_y(0.0, top - HEAD.max(height / 3.0));
            }
        }
        now
    });
    view! {
        <div class="scroll walk" tabindex="0" node_ref=frame role="group" aria-label=t("The graph", "计算图")>
            {move || {
                let Layout { nodes, width, height, middle, form } = walk.layout.get();
                let [x, y] = if form == Form::Wide { [[0.0, width], [middle; 2]] } else { [[middle; 2], [0.0, height]] };
                let find = |id: u32| nodes.iter().find(|p| p.node.id == id).cloned();
                let edges = nodes.iter().flat_map(|to| {
                    to.node.inputs.iter().filter_map(|i| find(*i)).map(|from| {
                        let (id, side) = (to.node.id, side(&to.node));
                        let class = move || match (walk.known(id), walk.current().is_some_and(|c| c.id == id)) {
                            (_, true) => format!("edge now {side}"),
                            (true, false) => "edge".into(),
                            (false, false) => "edge ahead".into(),
                        };
                        view! { <path class=class d=edge(&from, to) /> }
                    }).collect::<Vec<_>>()
                }).collect_view();
                view! {
                    <div class="graph" class:small=form == Form::Phone style=format!("width:{width:.0}px;height:{height:.0}px")>
                        <svg width=width height=height aria-hidden="true">
                            <line class="between" x1=x[0] x2=x[1] y1=y[0] y2=y[1] />
                            {edges}
                        </svg>
                        {nodes.into_iter().map(|p| view! { <Node walk p /> }).collect_view()}
                    </div>
                }
            }}
        </div>
    }
}

fn side(node: &NodeInfo) -> &'static str {
    if node.backward { "backward" } else { "forward" }
}

#[component]
fn Node(walk: Walk, p: Placed) -> impl IntoView {
    let id = p.node.id;
    let known = memo(move || walk.known(id));
    let current = memo(move || walk.current().is_some_and(|c| c.id == id));
    let kind = if p.node.op.is_empty() { "given" } else { side(&p.node) };
    let place = format!("left:{:.0}px;top:{:.0}px;width:{:.0}px", p.x, p.y, p.width);
    let name = StoredValue::new(p.node.name.clone());
    let cells = (0..p.rows)
        .map(|r| {
            let row = (0..p.columns).map(|c| {
                let (index, k) = (p.index(r, c), r * p.columns + c);
                let value = memo(move || {
                    walk.values.with(|all| all.get(&id).and_then(|v| v.get(k).copied()).map_or(f64::NAN, f64::from))
                });
                let ask_for = move |_| name.with_value(|n| walk.live.ask_node(id, n, index.clone()));
                let text = move || if known.get() && !value.get().is_nan() { number(value.get()) } else { "·".into() };
                view! { <button class="digit" disabled=move || !known.get() on:click=ask_for>{move || text()}</button> }
            });
            view! { <div class="digits">{row.collect_view()}</div> }
        })
        .collect_view();
    view! {
        <div class=format!("node {kind}") class:ahead=move || !known.get() class:now=move || current.get() style=place role="group" aria-label=p.node.name.clone() data-node=p.node.name.clone()>
            <span class="name">{p.node.name.clone()}</span>
            {cells}
        </div>
    }
}
