//! Chapter 3, softmax: bars to drag, the Jacobian, and what happens without the maximum.

use super::Stage;
use crate::page::lang::{t, words};
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::widgets::bars::{Bars, DragBars};
use crate::widgets::live::{Live, feed};
use crate::widgets::matrix::{Matrix, Side};
use crate::widgets::slider::Slider;

/// Classes on show.
const N: usize = 4;

pub fn open() -> Stage {
    let logits = route::numbers("a", vec![2.0, 1.0, 0.0, -1.0]);
    let c = route::number("c", 0.0);
    let live = Live::new(
        || Spec::Softmax { n: N },
        move || vec![feed("logits", &[1, N], logits.get()), feed("c", &[], vec![c.get() as f32])],
    );
    // The logit that was moved last.
    let moved = RwSignal::new(None::<usize>);
    let widget = move |name: &str| {
        Some(match name {
            "bars" => view! { <Logits live logits moved /> },
            "jacobian" => view! { <Jacobian live logits moved /> },
            "overflow" => view! { <Overflow live c /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![live] }
}

fn labels(letter: &str) -> Vec<String> {
    (1..=N).map(|k| format!("{letter}{}", subscript(k))).collect()
}

/// A small number as a subscript.
fn subscript(k: usize) -> char {
    char::from_u32(0x2080 + k as u32).unwrap_or('?')
}

#[component]
fn Logits(live: Live, logits: RwSignal<Vec<f32>>, moved: RwSignal<Option<usize>>) -> impl IntoView {
    let p = derived(move || live.get("p"));
    view! {
        <div class="pair">
            <DragBars label=words("logits a", "logit a") names=labels("a") values=logits min=-5.0 max=5.0 moved />
            <Bars label=words("probabilities p", "概率 p") names=labels("p") values=p max=1.0 on_ask=Callback::new(move |k| live.ask("p", vec![0, k])) />
        </div>
        <figcaption>{t("Drag a bar, or focus it and use the arrow keys. Click a probability to see where it comes from.",
            "拖动一根条形，或选中后按方向键。点击任一概率，查看它的由来。")}</figcaption>
    }
}

#[component]
fn Jacobian(live: Live, logits: RwSignal<Vec<f32>>, moved: RwSignal<Option<usize>>) -> impl IntoView {
    let caption = words("J[i, j] = ∂pᵢ/∂aⱼ", "J[i, j] = ∂pᵢ/∂aⱼ");
    let below = words("column sums", "各列之和");
    view! {
        <div class="beside">
            <DragBars label=words("logits a", "logit a") names=labels("a") values=logits min=-5.0 max=5.0 moved />
            <div>
                <Matrix live name="J" side=Side::Backward caption rows=labels("p") columns=labels("a") scale=0.25 lit=derived(move || moved.get()) />
                <Matrix live name="column sums" side=Side::Backward caption=below rows=vec!["Σ".into()] scale=0.25 lit=derived(move || moved.get()) />
            </div>
        </div>
        <figcaption>{t("Drag a bar: the lit column is the logit you moved last, and says how each probability answers to it. The sums are 0 up to rounding.",
            "拖动一根条形：亮起的一列对应你最后移动的 logit，表示各个概率对它的反应。各列之和为 0，只差舍入误差。")}</figcaption>
    }
}

#[component]
fn Overflow(live: Live, c: RwSignal<f64>) -> impl IntoView {
    let label = words("c, added to every logit", "c，加到每个 logit 上");
    let stable = words("softmax with the maximum subtracted", "减去最大值的 softmax");
    let naive = words("exp(a) / Σ exp(a), as written", "照原式计算 exp(a) / Σ exp(a)");
    view! {
        <Slider label value=c min=-120.0 max=120.0 step=1.0 />
        <Matrix live name="p" caption=stable columns=labels("p") />
        <Matrix live name="naive" caption=naive columns=labels("p") />
    }
}
