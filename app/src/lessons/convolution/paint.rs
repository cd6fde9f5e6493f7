//! A kernel over an image: both pictures, the window with its nine products, stride and padding.

use super::kernel::Kernel;
use super::{Images, Lab, Number, Range, Trouble};
use crate::page::lang::{t, words};
use crate::prelude::*;
use crate::scenes::convolution::{IMAGE, KERNEL};
use crate::widgets::matrix::Matrix;
use crate::widgets::pick::Pick;
use crate::widgets::picture::Shade;

/// The padded image with the window.
#[component]
pub fn Input(lab: Lab) -> impl IntoView {
    let label = words("image x with the window", "图像 x 与窗口");
    let rim = derived(move || lab.padding());
    view! {
        <div>
            <p class="eyebrow">{move || label.get()} " " <Range lab name="padded" /></p>
            <Pick data=lab.data("padded") shape=lab.plane("padded") shade=Shade::Grey { low: 0.0, high: 1.0 } label
                frame=lab.window() text=lab.place() on_point=lab.scrub() on_move=lab.shift() rim />
        </div>
    }
}

/// The output with the place of the window.
#[component]
pub fn Output(lab: Lab) -> impl IntoView {
    let label = words("output y", "输出 y");
    view! {
        <div>
            <p class="eyebrow">{move || label.get()} " " <Range lab name="y" /></p>
            <Pick data=lab.data("y") shape=lab.plane("y") shade=lab.reach() label frame=lab.spot() text=lab.place()
                on_point=lab.point() on_move=lab.shift() on_ask=lab.ask("y") />
        </div>
    }
}

#[component]
pub fn Paint(lab: Lab) -> impl IntoView {
    let sum = words("sum of the nine weights", "九个权重之和");
    let pixels = words("pixels in the window", "窗口内的像素");
    let products = words("times the weights", "乘以权重");
    let total = derived(move || {
        let (u, v) = lab.at.get();
        format!("{} y[{u}, {v}] =", t("their sum", "求和")())
    });
    let size = move || {
        let (s, p) = (lab.stride(), lab.padding());
        let out = lab.plane("y").get().first().map_or("…".into(), usize::to_string);
        format!("H′ = ⌊({IMAGE} + 2·{p} − {} − 1) / {s}⌋ + 1 = {out}", KERNEL - 1)
    };
    let choice = move |label: fn() -> &'static str, value: RwSignal<f64>, now: fn(Lab) -> usize, from: usize| {
        view! {
            <div class="row" role="group" aria-label=label>
                <span class="eyebrow">{label}</span>
                {(from..from + 3).map(|v| view! {
                    <button aria-pressed=move || (now(lab) == v).to_string() on:click=move |_| value.set(v as f64)>{v}</button>
                }).collect_view()}
            </div>
        }
    };
    view! {
        <div class="pictures">
            <Input lab />
            <Output lab />
        </div>
        <div class="pair">
            <div>
                <Kernel lab brushes=true />
                <Number live=lab.live name="Σ w" label=sum />
            </div>
            <div>
                {choice(|| t("stride S", "步长 S")(), lab.stride, Lab::stride, 1)}
                {choice(|| t("padding P", "填充 P")(), lab.padding, Lab::padding, 0)}
                <p class="num size" id="size">{move || size()}</p>
                <Images lab />
            </div>
        </div>
        <div class="products">
            <Matrix live=lab.live name="window" caption=pixels />
            <Matrix live=lab.live name="products" caption=products scale=2.0 />
            <Number live=lab.live name="Σ products" label=total />
        </div>
        <Trouble lab />
        <figcaption>{t("Drag the window, or focus a picture and use the arrow keys. Click a pixel of the output for its derivation. Type a weight, or take a brush and draw over the nine cells. Black is the least and white the most that this kernel can give.",
            "拖动窗口，或选中图像后按方向键。点击输出的任一像素，查看推导。权重可以直接键入，也可以选一支画笔涂在九个格子上。黑色和白色分别是这个卷积核能给出的最小值和最大值。")}</figcaption>
    }
}
