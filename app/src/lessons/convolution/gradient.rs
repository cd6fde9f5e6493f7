//! The gradient of the nine weights, for a target image; and a step against it.

use super::kernel::Kernel;
use super::paint::Output;
use super::{Lab, Number, Range, Trouble};
use crate::page::lang::{t, words};
use crate::prelude::*;
use crate::widgets::matrix::{Matrix, Side};
use crate::widgets::pick::Pick;
use crate::widgets::picture::Shade;

#[component]
pub fn Gradient(lab: Lab) -> impl IntoView {
    // Steps still to take; each waits for the values of the one before.
    let left = RwSignal::new(0u32);
    let step = move || {
        let next = untrack(|| lab.live.get("w next"));
        if next.len() == 9 {
            lab.w.set(next);
        }
    };
    effect(move || {
        lab.live.outputs.track();
        if left.get_untracked() > 0 {
            left.update(|n| *n -= 1);
            step();
        }
    });
    let many = move |_| {
        left.set(19);
        step();
    };
    let want = words("target t", "目标 t");
    let upstream = words("upstream gradient dy", "上游梯度 dy");
    let caption = words("dw, the gradient of the kernel", "dw，卷积核的梯度");
    let loss = words("loss L =", "损失 L =");
    // Grey is 0, and the full scale is the largest entry.
    let signed = derived(move || {
        let most = lab.live.get("d y").iter().fold(1e-9f32, |m, v| m.max(v.abs()));
        Shade::Grey { low: -most, high: most }
    });
    let targets = [t("sharpen", "锐化"), t("blur", "模糊"), t("edge", "边缘")];
    view! {
        <div class="row" role="group" aria-label=t("Target", "目标")>
            <span class="eyebrow">{t("the target is what this kernel gives:", "目标图像由这个卷积核得到：")}</span>
            {targets.into_iter().enumerate().map(|(k, name)| view! {
                <button aria-pressed=move || (lab.target.get() == k).to_string() on:click=move |_| lab.target.set(k)>{name}</button>
            }).collect_view()}
        </div>
        <div class="pictures three">
            <Output lab />
            <div>
                <p class="eyebrow">{move || want.get()} " " <Range lab name="t" /></p>
                <Pick data=lab.data("t") shape=lab.plane("t") shade=lab.reach() label=want frame=lab.spot() text=lab.place()
                    on_point=lab.point() on_move=lab.shift() on_ask=lab.ask("t") />
            </div>
            <div>
                <p class="eyebrow">{move || upstream.get()} " " <Range lab name="d y" /></p>
                <Pick data=lab.data("d y") shape=lab.plane("d y") shade=signed label=upstream frame=lab.spot() text=lab.place()
                    on_point=lab.point() on_move=lab.shift() on_ask=lab.ask("d y") backward=true />
            </div>
        </div>
        <div class="products">
            <div>
                <p class="eyebrow">{t("kernel w", "卷积核 w")}</p>
                <Kernel lab />
            </div>
            <Matrix live=lab.live name="d w" side=Side::Backward caption scale=0.5 />
            <div>
                <Number live=lab.live name="L" label=loss />
                <div class="row steps">
                    <button id="descend" on:click=move |_| step()>{t("One step against the gradient", "逆着梯度走一步")}</button>
                    <button id="descend-many" on:click=many disabled=move || left.get() != 0>{t("20 steps", "走 20 步")}</button>
                </div>
                <small class="quiet">"w ← w − 0.2 · dw"</small>
            </div>
        </div>
        <Trouble lab />
        <figcaption>{t("In dy grey is 0, lighter is above and darker below. Each entry of dw is a sum over all positions; click it for its terms and the numerical check.",
            "dy 中灰色是 0，越亮越大于 0，越暗越小于 0。dw 的每个数都是对所有位置的求和；点击它，查看各项与数值检验。")}</figcaption>
    }
}
