//! Head and navigation, the present chapter, the explaining panel.

use super::ask::Panel;
use super::home::Home;
use super::lang::{Language, remember, remembered, t};
use super::route::router;
use crate::engine::Choice;
use crate::engine::client::engine;
use crate::lessons::lab::Lab;
use crate::lessons::{self, Lesson, Show};
use crate::prelude::*;

/// Where the chosen theme is remembered.
const THEME: &str = "chainrule.theme";

#[component]
pub fn Shell() -> impl IntoView {
    let path = router().path;
    let language = expect_context::<Language>();
    effect(move || {
        let name = path.get();
        let title = super::chapter(&name).map(|c| c.title(language.0.get()));
        document().set_title(&title.map_or("Chainrule · 链式法则".into(), |t| format!("{t} · Chainrule")));
    });
    view! {
        <a class="skip" href="#main" on:click=skip>{t("Skip to the text", "跳到正文")}</a>
        <header class="top">
            <a class="brand" href="#/">"Chainrule" <span lang="zh-CN">"链式法则"</span></a>
            <nav aria-label=t("Chapters", "章节")>
                <ol>
                    {lessons::ALL.iter().map(|lesson| view! { <Entry lesson /> }).collect_view()}
                    <li><a href="#/lab" aria-current=move || (path.get() == "lab").then_some("page")>{t("Lab", "实验室")}</a></li>
                </ol>
            </nav>
            <div class="tools">
                <button class="plain" on:click=move |_| language.set(language.0.get_untracked().other()) lang=move || language.0.get().other().tag()>
                    {t("中文", "English")}
                </button>
                <ThemeButton />
            </div>
        </header>
        <DeviceNote />
        <main id="main" tabindex="-1">
            {move || {
                let name = path.get();
                match lessons::ALL.iter().find(|l| l.name == name) {
                    Some(lesson) => view! { <Show lesson /> },
                    None if name == "lab" => view! { <Lab /> },
                    None => view! { <Home /> },
                }
            }}
        </main>
        <Panel />
        <footer>
            <p>
                {t("Every number on this page was computed in this browser; nothing you open leaves it.",
                   "本页的每个数字都在此浏览器中算出；你打开的任何内容都不会离开它。")}
                " " <span id="steps" data-steps=move || engine().steps.get()></span>
            </p>
        </footer>
    }
}

/// Moves the focus without touching the address, which belongs to the chapters.
fn skip(event: leptos::ev::MouseEvent) {
    event.prevent_default();
    if let Some(main) = document().get_element_by_id("main") {
        let _ = wasm_bindgen::JsCast::unchecked_ref::<web_sys::HtmlElement>(&main).focus();
    }
}

#[component]
fn Entry(lesson: &'static Lesson) -> impl IntoView {
    let path = router().path;
    let language = expect_context::<Language>();
    let title = move || super::chapter(lesson.name).map_or("", |c| c.title(language.0.get()));
    let current = move || (path.get() == lesson.name).then_some("page");
    view! { <li><a href=format!("#/{}", lesson.name) aria-current=current>{move || title()}</a></li> }
}

#[component]
fn ThemeButton() -> impl IntoView {
    let prefers = window().match_media("(prefers-color-scheme: dark)").ok().flatten().is_some_and(|m| m.matches());
    let dark = RwSignal::new(remembered(THEME).map_or(prefers, |t| t == "dark"));
    effect(move || {
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("data-theme", if dark.get() { "dark" } else { "light" });
        }
    });
    let flip = move |_| {
        dark.update(|d| *d = !*d);
        remember(THEME, if dark.get_untracked() { "dark" } else { "light" });
    };
    view! {
        <button class="plain" on:click=flip>
            {move || if dark.get() { t("Light", "浅色")() } else { t("Dark", "深色")() }}
        </button>
    }
}

/// What computes, quietly; and the other choice.
#[component]
fn DeviceNote() -> impl IntoView {
    let engine = engine();
    let failed = RwSignal::new(None::<String>);
    let choose = move |choice: Choice| {
        leptos::task::spawn_local(async move { failed.set(engine.choose(choice).await.err()) });
    };
    let text = move || {
        let device = engine.device.get()?;
        Some(match (device.backend.as_str(), device.webgpu, device.software) {
            ("gpu", _, false) => t("Computing on your GPU.", "正在用你的 GPU 计算。")(),
            ("gpu", _, true) => t(
                "Computing on a GPU emulated in software: slow, for a look at the kernels.",
                "正在用软件模拟的 GPU 计算：较慢，适合观察内核。",
            )(),
            (_, true, true) => t(
                "The only GPU here is emulated in software, so the CPU computes: it is faster.",
                "此处只有软件模拟的 GPU，因此用 CPU 计算，反而更快。",
            )(),
            (_, true, false) => t("Computing on the CPU.", "正在用 CPU 计算。")(),
            _ => t("This browser offers no WebGPU, so the CPU computes.", "此浏览器不支持 WebGPU，因此用 CPU 计算。")(),
        })
    };
    let other = move || {
        let device = engine.device.get()?;
        match (device.backend.as_str(), device.webgpu) {
            ("gpu", _) => Some((Choice::Cpu, t("Use the CPU", "改用 CPU")())),
            (_, true) => Some((Choice::Gpu, t("Use WebGPU", "改用 WebGPU")())),
            _ => None,
        }
    };
    view! {
        <aside class="device" aria-label=t("What computes", "计算设备")>
            <span id="device" data-backend=move || engine.device.get().map(|d| d.backend)>{move || text()}</span>
            {move || other().map(|(choice, label)| view! { <button class="link" on:click=move |_| choose(choice)>{label}</button> })}
            {move || failed.get().or(engine.lost.get()).map(|e| view! { <strong role="alert">{e}</strong> })}
        </aside>
    }
}
