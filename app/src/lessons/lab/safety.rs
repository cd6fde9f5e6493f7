//! What happens when nobody looks and when something fails: pausing, checkpoints, the browser's storage.

use leptos::task::spawn_local;

use crate::engine::client::engine;
use crate::engine::training::Command;
use crate::engine::{Reply, Request};
use crate::page::lang::{Lang, lang, remember, remembered, t};
use crate::prelude::*;
use crate::widgets::alert::alert;
use crate::widgets::training::{HIDDEN, Run};

/// Where it is remembered that checkpoints are kept in the browser's storage.
const KEEP: &str = "chainrule.keep";

#[component]
pub fn Safety(run: Run) -> impl IntoView {
    let engine = engine();
    let keep = RwSignal::new(remembered(KEEP).is_some_and(|v| v == "yes"));
    let kept = RwSignal::new(None::<String>);
    let failed = RwSignal::new(None::<String>);
    let look = move || {
        spawn_local(async move {
            if let Ok(Reply::File(file)) = engine.ask(Request::Train(Command::Kept)).await {
                kept.try_set(Some(file.name).filter(|n| !n.is_empty()));
            }
        });
    };
    look();
    effect(move || {
        let on = keep.get();
        remember(KEEP, if on { "yes" } else { "no" });
        spawn_local(async move {
            failed.try_set(engine.ask(Request::Train(Command::Keep(on))).await.err());
            look();
        });
    });
    // A pause, and every single step, writes a checkpoint.
    let paused =
        memo(move || run.report.with(|r| r.as_ref().map(|r| (r.id, r.running, if r.running { 0 } else { r.step }))));
    effect(move || {
        if paused.get().is_some_and(|(_, running, _)| !running) && keep.get_untracked() {
            look();
        }
    });
    let forget = move |_| {
        spawn_local(async move {
            failed.try_set(engine.ask(Request::Train(Command::Forget)).await.err());
            look();
        });
    };
    let hide = move |e| {
        let pause = event_target_checked(&e);
        run.pause_hidden.set(pause);
        remember(HIDDEN, if pause { "pause" } else { "go on" });
    };
    let age = move || {
        let age = run.report.with(|r| r.as_ref().and_then(|r| r.checkpoint_age))?;
        Some(match lang() {
            Lang::En => format!("Last checkpoint {age:.0} s ago, in memory."),
            Lang::Zh => format!("上一个检查点在 {age:.0} 秒前，存于内存。"),
        })
    };
    view! {
        <div class="row safety">
            <label class="tick"><input type="checkbox" id="pause-hidden" prop:checked=move || run.pause_hidden.get() on:change=hide />
                {t("pause while the page is hidden", "页面隐藏时暂停")}</label>
            <label class="tick"><input type="checkbox" id="keep" prop:checked=move || keep.get() on:change=move |e| keep.set(event_target_checked(&e)) />
                {t("also keep checkpoints in this browser", "检查点也保存在此浏览器中")}</label>
            <span class="quiet">{move || age()}</span>
        </div>
        {move || kept.get().map(|label| view! {
            <p class="row" id="kept">
                <span class="quiet">{t("Kept here:", "已保存：")} " " {label}</span>
                <button id="open-kept" on:click=move |_| run.begin(Command::OpenKept, false)>{t("Open it", "打开")}</button>
                <button class="link" on:click=forget>{t("Forget it", "删除")}</button>
            </p>
        })}
        {alert(failed)}
    }
}
