//! Runs of this visit beside each other: what their recipes differ in, and how they went.

use compute::recipe::Recipe;

use crate::engine::training::Report;
use crate::page::lang::{t, words};
use crate::prelude::*;
use crate::widgets::curve::{Curve, Series};
use crate::widgets::format::number;
use crate::widgets::training::Run;
use compute::sorting::sorted;

/// (step, loss, accuracy)
type Points = Vec<(f64, f64, f64)>;

/// A run as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    id: u32,
    name: String,
    recipe: String,
    step: usize,
    parameters: usize,
    points: Points,
    held_out: Points,
    macro_f1: Option<f64>,
}

/// The runs of this visit; lives as long as the page.
#[derive(Clone, Copy)]
pub struct History(RwSignal<Vec<Past>>);

impl Default for History {
    fn default() -> History {
        History(RwSignal::new(vec![]))
    }
}

/// Runs that are remembered.
const MOST: usize = 12;

/// Keeps the history up to date with a run.
pub fn record(run: Run) {
    let History(all) = expect_context();
    effect(move || {
        let Some(r) = run.report.get() else { return };
        let (points, held_out) = (run.points.get_untracked(), run.held_out.get());
        let macro_f1 = run.scores.with_untracked(|s| s.as_ref().map(|s| s.macro_f1));
        let Report { id, name, recipe, step, parameters, .. } = r;
        let now = Past { id, name, recipe, step, parameters, points, held_out, macro_f1 };
        all.update(|all| match all.iter_mut().find(|p| p.id == id) {
            Some(old) => *old = now,
            None => {
                all.push(now);
                // What never took a step is worth no place.
                let last = all.len() - 1;
                let mut k = 0;
                all.retain(|p| {
                    k += 1;
                    p.step > 0 || k > last
                });
                if all.len() > MOST {
                    all.remove(0);
                }
            }
        });
    });
}

#[component]
pub fn Compare() -> impl IntoView {
    let History(all) = expect_context();
    let picked = [RwSignal::new(None::<u32>), RwSignal::new(None::<u32>)];
    let ids = memo(move || all.with(|a| a.iter().map(|p| (p.id, p.name.clone())).collect::<Vec<_>>()));
    // Unless the reader chose, the last two.
    let id = move |k: usize| picked[k].get().or_else(|| ids.with(|i| i.iter().rev().nth(1 - k).map(|p| p.0)));
    let past = move |k: usize| {
        let wanted = id(k);
        all.with(|a| a.iter().find(|p| Some(p.id) == wanted).cloned())
    };
    let label = move |p: &Past| format!("{} · {}", p.id, p.name);
    let choose = move |k: usize| {
        view! {
            <label class="row"><span class=if k == 0 { "key quiet" } else { "key forward" }>{["A", "B"][k]}</span>
                <select class="compared" on:change=move |e| picked[k].set(event_target_value(&e).parse().ok())>
                    {move || ids.get().into_iter().map(|(i, name)| view! {
                        <option value=i.to_string() selected=move || id(k) == Some(i)>{format!("{i} · {name}")}</option>
                    }).collect_view()}
                </select>
            </label>
        }
    };
    let series = move |which: fn(&(f64, f64, f64)) -> f64| {
        derived(move || {
            let mut out = vec![];
            for (k, class) in [(0, "quiet"), (1, "forward")] {
                if let Some(p) = past(k) {
                    // Held-out images tell more; before the first scoring there is the training batch.
                    let from = if p.held_out.is_empty() { &p.points } else { &p.held_out };
                    out.push(Series { name: label(&p), class, points: from.iter().map(|p| (p.0, which(p))).collect() });
                }
            }
            out
        })
    };
    let rows = move || -> Vec<(String, [String; 2])> {
        let (Some(a), Some(b)) = (past(0), past(1)) else { return vec![] };
        let keys = |p: &Past| Recipe::parse(&p.name, &p.recipe, &[]).map(|r| r.rows()).unwrap_or_default();
        let (left, right) = (keys(&a), keys(&b));
        let mut paths = sorted(left.iter().chain(&right).map(|r| r.0).collect(), |a, b| a.cmp(b));
        paths.dedup();
        let find = |rows: &[(&'static str, String)], path: &str| {
            rows.iter().find(|r| r.0 == path).map_or("–".to_string(), |r| r.1.clone())
        };
        let differ = paths.into_iter().map(|p| (p.to_string(), [find(&left, p), find(&right, p)]));
        let mut out: Vec<_> = differ.filter(|(_, [a, b])| a != b).collect();
        let last = |p: &Past, which: fn(&(f64, f64, f64)) -> f64| {
            p.held_out.last().map_or("–".to_string(), |x| number(which(x)))
        };
        out.extend([
            (t("steps", "步数")().to_string(), [&a, &b].map(|p| p.step.to_string())),
            (t("parameters", "参数个数")().to_string(), [&a, &b].map(|p| p.parameters.to_string())),
            (t("held-out loss", "留出损失")().to_string(), [&a, &b].map(|p| last(p, |x| x.1))),
            (t("held-out accuracy", "留出准确率")().to_string(), [&a, &b].map(|p| last(p, |x| x.2))),
            (t("macro F1", "宏平均 F1")().to_string(), [&a, &b].map(|p| p.macro_f1.map_or("–".to_string(), number))),
        ]);
        out
    };
    let steps = words("step", "步");
    let title = move |en, zh| words(en, zh);
    let two = move || ids.with(|i| i.len() >= 2);
    view! {
        <Show when=two fallback=|| view! {
            <p class="quiet">{t("Train one recipe, build another, and both stand here. The folder of a native run counts as well.",
                "训练一份配方，再构建另一份，两次训练就会并列于此。打开的原生训练文件夹也算。")}</p> }>
            <div class="row">{choose(0)} {choose(1)}</div>
            <div class="pair">
                <Curve label_x=steps label_y=title("loss", "损失") series=series(|p| p.1) fixed=[Some(0.0), None, Some(0.0), None] />
                <Curve label_x=steps label_y=title("accuracy", "准确率") series=series(|p| p.2) fixed=[Some(0.0), None, Some(0.0), Some(1.0)] />
            </div>
            <div class="scroll" tabindex="0">
                <table class="plain" id="differences">
                    <thead><tr><th scope="col">{t("differs in", "不同之处")}</th><th scope="col">"A"</th><th scope="col">"B"</th></tr></thead>
                    <tbody>
                        {move || rows().into_iter().map(|(key, [a, b])| view! {
                            <tr><th scope="row">{key}</th><td class="num">{a}</td><td class="num">{b}</td></tr>
                        }).collect_view()}
                    </tbody>
                </table>
            </div>
        </Show>
    }
}
