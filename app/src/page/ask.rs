//! Ask any number: the panel that derives one number from its definition. Everything in it comes
//! from the op's cell by way of the engine; nothing is written per op.

use leptos::task::spawn_local;

use super::lang::t;
use crate::engine::client::engine;
use crate::engine::{Check, Derivation, Reference, Reply, Request, Term};
use crate::prelude::*;
use crate::widgets::format::{element, number};

/// One question: an element of a node of a scene.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    scene: u32,
    node: u32,
    name: String,
    index: Vec<usize>,
}

/// The way of questions so far; the last one is answered.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    trail: RwSignal<Vec<Question>>,
    answer: RwSignal<Option<Result<Derivation, String>>>,
    /// Goes up when a scene's values change: the panel asks again.
    pub fresh: RwSignal<u64>,
}

impl Asked {
    /// Asks for an element from a tensor on the page: a new trail.
    pub fn ask(self, scene: u32, node: u32, name: &str, index: Vec<usize>) {
        self.trail.set(vec![Question { scene, node, name: name.into(), index }]);
    }

    fn further(self, r: &Reference) {
        self.trail.update(|trail| {
            let Some(scene) = trail.last().map(|q| q.scene) else { return };
            trail.push(Question { scene, node: r.node, name: r.name.clone(), index: r.index.clone() });
        });
    }

    fn back_to(self, k: usize) {
        self.trail.update(|trail| trail.truncate(k + 1));
    }

    pub fn close(self) {
        self.trail.set(vec![]);
    }
}

#[component]
pub fn Panel() -> impl IntoView {
    let asked = expect_context::<Asked>();
    let engine = engine();
    let current = memo(move || asked.trail.with(|t| t.last().cloned()));
    effect(move || {
        asked.fresh.track();
        let Some(q) = current.get() else { return asked.answer.set(None) };
        spawn_local(async move {
            let request = Request::Explain { scene: q.scene, node: q.node, index: q.index.clone() };
            let answer = match engine.ask(request).await {
                Ok(Reply::Derivation(d)) => Ok(*d),
                Ok(_) => Err("an answer to another question".into()),
                Err(e) => Err(e),
            };
            // The reader may have gone on meanwhile.
            if current.get_untracked().as_ref() == Some(&q) {
                asked.answer.set(Some(answer));
            }
        });
    });
    let close_on_escape = window_event_listener(leptos::ev::keydown, move |event| {
        if event.key() == "Escape" {
            asked.close();
        }
    });
    on_cleanup(move || close_on_escape.remove());
    view! {
        <Show when=move || current.get().is_some()>
            <aside class="panel" id="derivation" aria-label=t("Where this number comes from", "这个数字的由来") aria-live="polite">
                <div class="panel-head">
                    <Trail />
                    <button class="plain" on:click=move |_| asked.close() aria-label=t("Close", "关闭")>"×"</button>
                </div>
                {move || match asked.answer.get() {
                    None => view! { <p class="quiet">{t("Deriving…", "推导中……")}</p> },
                    Some(Err(e)) => view! { <p role="alert">{e}</p> },
                    Some(Ok(d)) => view! { <Answer d /> },
                }}
            </aside>
        </Show>
    }
}

/// The way here, each step a way back.
#[component]
fn Trail() -> impl IntoView {
    let asked = expect_context::<Asked>();
    view! {
        <ol class="trail">
            {move || {
                let trail = asked.trail.get();
                let last = trail.len().saturating_sub(1);
                trail.into_iter().enumerate().map(|(k, q)| {
                    let label = element(&q.name, &q.index);
                    view! {
                        <li>
                            {if k == last {
                                view! { <strong>{label}</strong> }
                            } else {
                                view! { <button class="link" on:click=move |_| asked.back_to(k)>{label}</button> }
                            }}
                        </li>
                    }
                }).collect_view()
            }}
        </ol>
    }
}

#[component]
fn Answer(d: Derivation) -> impl IntoView {
    let side = if d.node.backward { "backward" } else { "forward" };
    let leaf = d.node.op.is_empty();
    let sum = match d.reduction.as_deref() {
        Some("max") => t("the largest of these", "取其中最大者"),
        Some("min") => t("the smallest of these", "取其中最小者"),
        _ => t("the sum of these", "以下各项之和"),
    };
    let reduced = d.reduction.is_some();
    let folded = d.folded;
    view! {
        <div class=format!("answer {side}") data-value=d.device.to_string() data-derived=d.value.to_string() data-node=d.node.id.to_string()>
            <p class="value">
                <span class="name">{element(&d.node.name, &d.index)}</span> " = " <output>{number(d.device)}</output>
            </p>
            {if leaf {
                view! { <p class="quiet">{t("Given, not computed: data, a weight, or what you set.", "给定而非算出：数据、权重，或由你设置。")}</p> }
            } else {
                view! {
                    <p class="quiet">{t("The definition of ", "定义：")} <code>{d.node.op.clone()}</code></p>
                    <div class="formula scroll" tabindex="0" inner_html=d.mathml.clone()></div>
                    {reduced.then(|| view! {
                        <p class="frame"><code>{d.frame.clone()}</code> <span class="quiet">", Σ " {sum}</span></p>
                    })}
                    <Terms terms=d.terms.clone() folded total=d.total reduced />
                }
            }}
            {d.check.clone().map(|check| view! { <NumericCheck check analytic=d.value /> })}
        </div>
    }
}

#[component]
fn Terms(terms: Vec<Term>, folded: Option<(usize, f64)>, total: f64, reduced: bool) -> impl IntoView {
    let largest = terms.iter().map(|t| t.value.abs()).fold(f64::MIN_POSITIVE, f64::max);
    view! {
        <table class="terms">
            <thead class="hidden"><tr><th>{t("term", "项")}</th><th>{t("value", "值")}</th><th>{t("read from", "读自")}</th></tr></thead>
            <tbody>
                {terms.into_iter().map(|term| {
                    let share = 100.0 * term.value.abs() / largest;
                    view! {
                        <tr>
                            <td><code>{term.text}</code></td>
                            <td class="num"><span class="bar" class:negative={term.value < 0.0} style=format!("--share:{share:.0}%")></span>{number(term.value)}</td>
                            <td>{term.reads.into_iter().map(|r| view! { <Leaf r /> }).collect_view()}</td>
                        </tr>
                    }
                }).collect_view()}
                {folded.map(|(count, value)| view! {
                    <tr class="quiet">
                        <td>{format!("{count} ")} {t("smaller terms", "个较小的项")}</td>
                        <td class="num">{number(value)}</td>
                        <td></td>
                    </tr>
                })}
            </tbody>
            {reduced.then(|| view! { <tfoot><tr><td>"Σ"</td><td class="num">{number(total)}</td><td></td></tr></tfoot> })}
        </table>
    }
}

/// An element that was read: a link onward.
#[component]
fn Leaf(r: Reference) -> impl IntoView {
    let asked = expect_context::<Asked>();
    let label = element(&r.name, &r.index);
    let value = number(r.value);
    view! {
        <button class="leaf" data-node=r.node.to_string() on:click=move |_| asked.further(&r)>
            {label} <span class="num">{value}</span>
        </button>
    }
}

/// Beside a gradient: what a small change of the number does to the loss.
#[component]
fn NumericCheck(check: Check, analytic: f64) -> impl IntoView {
    let difference = (check.slope - analytic).abs();
    view! {
        <div class="check">
            <p class="quiet">{t("The numerical check, in 64-bit arithmetic:", "数值检验（64 位运算）：")}</p>
            <p>
                <code>{format!("(L({} + {:e}) − L({} − {:e})) / {:e}", check.of, check.e, check.of, check.e, 2.0 * check.e)}</code>
                " = " <output>{number(check.slope)}</output>
            </p>
            <p class="quiet">{t("It differs from the derivation by ", "与推导之差：")} {format!("{difference:.1e}")}</p>
        </div>
    }
}
