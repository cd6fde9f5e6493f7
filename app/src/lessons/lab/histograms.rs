//! Weights and gradients of each parameter, counted.

use leptos::task::spawn_local;

use crate::engine::client::engine;
use crate::engine::training::{Bins, Command, Histogram};
use crate::engine::{Reply, Request};
use crate::page::lang::t;
use crate::prelude::*;
use crate::widgets::alert::alert;
use crate::widgets::format::number;
use crate::widgets::training::Run;

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 64.0;

#[component]
pub fn Histograms(run: Run) -> impl IntoView {
    let engine = engine();
    let all = RwSignal::new(Vec::<Histogram>::new());
    let (failed, busy, open) = (RwSignal::new(None::<String>), StoredValue::new(false), RwSignal::new(false));
    let count = move || {
        if busy.get_value() {
            return;
        }
        busy.set_value(true);
        spawn_local(async move {
            match engine.ask(Request::Train(Command::Histograms)).await {
                Ok(Reply::Histograms(found)) => {
                    all.try_set(found);
                    failed.try_set(None);
                }
                Ok(_) => {}
                Err(e) => {
                    failed.try_set(Some(e));
                }
            }
            busy.try_update_value(|b| *b = false);
        });
    };
    // With each scoring of the run, while they are open.
    let scored = memo(move || run.held_out.with(|h| h.last().map(|p| p.0 as u64)));
    let id = memo(move || run.report.with(|r| r.as_ref().map(|r| r.id)));
    effect(move || {
        let (_, known) = (scored.get(), id.get());
        if open.get() && known.is_some() {
            count();
        }
    });
    view! {
        <Show when=move || open.get() fallback=move || view! {
            <button id="count" disabled=move || id.get().is_none() on:click=move |_| open.set(true)>{t("Count them", "统计分布")}</button>
        }>
            <div class="histograms">
                {move || all.get().into_iter().map(|h| view! {
                    <section>
                        <h3 class="eyebrow"><code>{h.name.clone()}</code></h3>
                        <Bars bins=h.weights class="forward" label=format!("{}: {}", h.name, t("weights", "权重")()) />
                        <Bars bins=h.gradients class="backward" label=format!("{}: {}", h.name, t("gradients", "梯度")()) />
                    </section>
                }).collect_view()}
            </div>
            {alert(failed)}
        </Show>
        <figcaption>{t("Blue: the weights. Orange: their gradients on the first batch of this epoch. Counted anew whenever the held-out images are scored.",
            "蓝色：权重。橙色：本轮第一批上的梯度。每次评估留出图像时重新统计。")}</figcaption>
    }
}

/// One histogram, the tallest bar over the whole height.
#[component]
fn Bars(bins: Bins, class: &'static str, label: String) -> impl IntoView {
    let most = bins.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = WIDTH / bins.counts.len().max(1) as f64;
    let total: u64 = bins.counts.iter().sum();
    let path: String = bins
        .counts
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(k, n)| {
            // A count of one is still seen.
            let h = (HEIGHT * *n as f64 / most).max(1.0);
            format!("M{:.2},{HEIGHT}v-{h:.2}h{:.2}v{h:.2}z", k as f64 * step, step)
        })
        .collect();
    let bounds = format!("{} … {}", number(bins.low), number(bins.high));
    let zero = (bins.low < 0.0 && bins.high > 0.0).then(|| WIDTH * -bins.low / (bins.high - bins.low));
    view! {
        <svg class=format!("histogram {class}") viewBox=format!("0 0 {WIDTH} {}", HEIGHT + 2.0) preserveAspectRatio="none" role="img"
            data-total=total aria-label=format!("{label}: {total}, {bounds}")>
            <path d=path />
            {zero.map(|x| view! { <line x1=x x2=x y1="0" y2=HEIGHT /> })}
            <line x1="0" x2=WIDTH y1=HEIGHT y2=HEIGHT class="axis" />
        </svg>
        <p class="bounds num"><span>{number(bins.low)}</span><span>{number(bins.high)}</span></p>
    }
}
