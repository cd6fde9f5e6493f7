//! How the kernels of the run are cut into tiles, where WebGPU computes; and measuring it here.

use crate::engine::training::{Command, Tilings};
use crate::page::lang::{Lang, lang, t};
use crate::prelude::*;
use crate::widgets::training::Run;

#[component]
pub fn Tiles(run: Run) -> impl IntoView {
    let tilings = memo(move || run.report.with(|r| r.as_ref().and_then(|r| r.tilings)));
    let measuring = move || tilings.get().is_some_and(|t| t.under_way.is_some());
    let text = move || {
        let Tilings { measured, unlike, under_way } = tilings.get()?;
        Some(match (under_way, measured, lang()) {
            (Some((done, all)), _, Lang::En) => {
                format!("Kernels: measuring tiles, {done} of {all} classes of products.")
            }
            (Some((done, all)), _, Lang::Zh) => format!("内核：正在实测分块，{all} 类乘积已完成 {done} 类。"),
            (_, 0, Lang::En) => "Kernels: tiles by the built-in table.".into(),
            (_, 0, Lang::Zh) => "内核：按内置的表分块。".into(),
            (_, n, Lang::En) => {
                format!("Kernels: tiles measured for {n} classes of products, {unlike} unlike the table.")
            }
            (_, n, Lang::Zh) => format!("内核：{n} 类乘积的分块经过实测，其中 {unlike} 类与内置的表不同。"),
        })
    };
    view! {
        <Show when=move || tilings.get().is_some()>
            <p class="row" id="tiles">
                <span class="quiet">{move || text()}</span>
                <button class="link" on:click=move |_| run.tell(Command::Measure(!untrack(measuring)))>
                    {move || if measuring() { t("Stop", "停止")() } else { t("Measure kernels", "实测分块")() }}
                </button>
            </p>
        </Show>
    }
}
