//! A picture of the reader's: from a file, dropped, or by camera; sized as the native program sizes it.

use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{HtmlCanvasElement, HtmlInputElement, HtmlVideoElement};

use super::Bench;
use crate::engine::FileData;
use crate::engine::training::{Frozen, Said};
use crate::page::lang::t;
use crate::prelude::*;
use crate::widgets::alert::alert;
use crate::widgets::camera::{Camera, shot};
use crate::widgets::classes::class_name;
use crate::widgets::files;
use crate::widgets::format::number;
use compute::sorting::sorted;

/// The number of no held-out image.
const OWN: u32 = u32::MAX;

/// Sends a picture through the network and looks at it.
pub async fn look(bench: Bench, file: FileData, invert: bool) {
    let Bench { image, chosen, .. } = bench;
    image.freeze(Frozen::Own { file, invert }).await;
    let said = |name: &str| image.outputs.try_with_untracked(|o| o.get(name).cloned()).flatten();
    let (Some(class), Some(p)) = (said("predicted"), said("probabilities")) else { return };
    let k = class.data.first().copied().unwrap_or(0.0);
    let confidence = p.data.get(k as usize).copied().unwrap_or(0.0).into();
    chosen.try_set(Some(Said { image: OWN, truth: k as u32, predicted: k as u32, confidence }));
}

#[component]
pub fn Own(bench: Bench) -> impl IntoView {
    let Bench { run, image, chosen, .. } = bench;
    // The picture, so that it can be looked at again: inverted, or at other weights.
    let picture = RwSignal::new(None::<FileData>);
    let invert = RwSignal::new(false);
    let failed = RwSignal::new(None::<String>);
    // A browser's object, so it stays on this thread.
    let filming = RwSignal::new_local(None::<Camera>);
    let video = NodeRef::<leptos::html::Video>::new();
    effect(move || {
        let (Some(file), invert) = (picture.get(), invert.get()) else { return };
        spawn_local(look(bench, file, invert));
    });
    let choose = move |event: leptos::ev::Event| {
        let Some(input) = event.target().and_then(|t| t.dyn_into::<HtmlInputElement>().ok()) else { return };
        let chosen = files::chosen(input.files());
        input.set_value("");
        spawn_local(async move {
            match files::read(&chosen).await {
                Ok(mut read) => {
                    picture.try_set(read.pop());
                    failed.try_set(None);
                }
                Err(e) => {
                    failed.try_set(Some(e));
                }
            }
        });
    };
    let film = move |_| {
        spawn_local(async move {
            let Some(element) = video.get_untracked() else { return };
            match Camera::start(element.unchecked_ref::<HtmlVideoElement>()).await {
                Ok(camera) => {
                    failed.try_set(None);
                    // A page that has moved on films nothing.
                    if let Some(Some(late)) = filming.try_set(Some(camera)) {
                        late.stop();
                    }
                }
                Err(e) => {
                    failed.try_set(Some(e));
                }
            }
        });
    };
    let stop = move || {
        if let Some(camera) = filming.try_update(Option::take).flatten() {
            camera.stop();
        }
    };
    on_cleanup(stop);
    let canvas = NodeRef::<leptos::html::Canvas>::new();
    let take = move |_| {
        spawn_local(async move {
            let (Some(video), Some(canvas)) = (video.get_untracked(), canvas.get_untracked()) else { return };
            match shot(video.unchecked_ref(), canvas.unchecked_ref::<HtmlCanvasElement>()).await {
                Ok(file) => {
                    picture.try_set(Some(file));
                }
                Err(e) => {
                    failed.try_set(Some(e));
                }
            }
        });
    };
    let none = move || run.report.with(Option::is_none);
    let filmed = move || filming.with(Option::is_some);
    let class = move |k: usize| {
        run.report.with(|r| r.as_ref().and_then(|r| r.classes.get(k).map(|c| class_name(c))).unwrap_or_default())
    };
    let own = move || chosen.with(|c| c.as_ref().is_some_and(|c| c.image == OWN));
    let said = move || {
        let p = image.get("probabilities");
        let mut all = sorted(p.into_iter().enumerate().collect(), |a, b| b.1.total_cmp(&a.1));
        all.truncate(3);
        all
    };
    view! {
        <div class="row">
            <label class="button" class:off=none>{t("Choose a picture", "选择图片")}
                <input type="file" id="own-picture" accept="image/png,image/jpeg,image/webp" disabled=none on:change=choose /></label>
            <Show when=filmed fallback=move || view! { <button id="film" disabled=none on:click=film>{t("Use the camera", "使用摄像头")}</button> }>
                <button class="primary" id="shot" on:click=take>{t("Take the picture", "拍照")}</button>
                <button on:click=move |_| stop()>{t("Stop the camera", "关闭摄像头")}</button>
            </Show>
            <label class="tick"><input type="checkbox" id="invert" prop:checked=move || invert.get()
                on:change=move |e| invert.set(event_target_checked(&e)) />{t("swap light and dark", "明暗互换")}</label>
        </div>
        <video node_ref=video class="camera" class:off=move || !filmed() autoplay playsinline muted aria-label=t("camera", "摄像头")></video>
        <canvas node_ref=canvas class="hidden"></canvas>
        {alert(failed)}
        <Show when=own>
            <p id="own-said">
                {move || said().into_iter().map(|(k, p)| view! {
                    <button class="leaf" on:click=move |_| image.ask("probabilities", vec![0, k])>{class(k)} " " <span class="num">{number(100.0 * f64::from(p))} " %"</span></button>
                }).collect_view()}
            </p>
        </Show>
        <figcaption>{t("The picture is scaled to the size the network learnt on, as the native program does it. A network names only classes that it knows. Clothes of the bundled set are light on black: swap light and dark for a photo on a white ground.",
            "图片会缩放到网络学习时的大小，做法与原生程序相同。网络只会说出它认识的类别。随附的服装图像是黑底浅色：白底照片请勾选“明暗互换”。")}</figcaption>
    }
}
