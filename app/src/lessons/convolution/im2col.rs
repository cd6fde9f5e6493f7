//! The same window as a row of the patch matrix: one row times one column is one output number.

use super::paint::Input;
use super::{Lab, Trouble};
use crate::page::lang::t;
use crate::prelude::*;
use crate::scenes::convolution::KERNEL;
use crate::widgets::format::number;

/// Rows on show above and below the lit one.
const AROUND: usize = 3;
const TAPS: usize = KERNEL * KERNEL;

#[component]
pub fn Rows(lab: Lab) -> impl IntoView {
    let side = memo(move || lab.plane("y").get().first().copied().unwrap_or(0));
    let now = memo(move || {
        let (u, v) = lab.at.get();
        u * side.get() + v
    });
    let first = memo(move || {
        let count = side.get() * side.get();
        now.get().saturating_sub(AROUND).min(count.saturating_sub(2 * AROUND + 1))
    });
    let shape = move || {
        let s = side.get();
        format!("[{0} × {TAPS}] · [{TAPS} × 1] → [{0} × 1]", s * s)
    };
    let tap = |k: usize| format!("{},{}", k / KERNEL, k % KERNEL);
    view! {
        <div class="im2col">
            <Input lab />
            <p class="quiet">{t("Each window is a row of the patch matrix, each kernel a column. ", "每个窗口是图像块矩阵的一行，每个卷积核是一列。")} <span class="num shapes">{move || shape()}</span></p>
        </div>
        <div class="scroll" tabindex="0">
            <table class="patches">
                <thead>
                    <tr><th scope="row">"i, j"</th>{(0..TAPS).map(|k| view! { <th scope="col">{tap(k)}</th> }).collect_view()}<th scope="col">"y"</th></tr>
                    <tr class="weights"><th scope="row">"w"</th>{(0..TAPS).map(|k| {
                        let w = move || lab.w.with(|w| w.get(k).copied().map_or(String::new(), |v| number(v.into())));
                        view! { <td class="num">{move || w()}</td> }
                    }).collect_view()}<td></td></tr>
                </thead>
                <tbody>
                    {(0..=2 * AROUND).map(|r| {
                        let row = memo(move || first.get() + r);
                        let lit = move || row.get() == now.get();
                        let at = move || {
                            let s = side.get().max(1);
                            (row.get() / s, row.get() % s)
                        };
                        let go = move |_| {
                            let (u, v) = untrack(at);
                            lab.put(u as f64, v as f64);
                        };
                        let label = move || {
                            let (u, v) = at();
                            format!("{u}, {v}")
                        };
                        view! {
                            <tr class:lit=lit>
                                <th scope="row"><button class="link" on:click=go aria-label=move || format!("u, v = {}", label())>{move || label()}</button></th>
                                {(0..TAPS).map(|k| view! { <Cell lab name="patches" width=TAPS row k /> }).collect_view()}
                                <Cell lab name="product" width=1 row k=0 />
                            </tr>
                        }
                    }).collect_view()}
                </tbody>
                <tfoot>
                    <tr><th scope="row">{t("products", "乘积")}</th>{(0..TAPS).map(|k| {
                        let text = move || lab.live.outputs.with(|o| o.get("products").and_then(|v| v.data.get(k).copied()).map_or(String::new(), |v| number(v.into())));
                        view! { <td><button class="digit" on:click=move |_| lab.live.ask("products", vec![k / KERNEL, k % KERNEL])>{move || text()}</button></td> }
                    }).collect_view()}
                    <td><button class="digit" on:click=move |_| lab.live.ask("Σ products", vec![])>{move || lab.live.one("Σ products").map_or(String::new(), |v| number(v.into()))}</button></td></tr>
                </tfoot>
            </table>
        </div>
        <Trouble lab />
        <figcaption>{t("Move the window, or choose another row. The lit row times w, product by product, is the bottom line; its sum is the number in the last column.",
            "移动窗口，或另选一行。亮起的一行与 w 逐个相乘，就是最下面一行；它们的和就是最后一列里的那个数。")}</figcaption>
    }
}

/// A number of a matrix with `width` columns.
#[component]
fn Cell(lab: Lab, name: &'static str, width: usize, row: Memo<usize>, k: usize) -> impl IntoView {
    let text = move || {
        let at = row.get() * width + k;
        lab.live
            .outputs
            .with(|o| o.get(name).and_then(|v| v.data.get(at).copied()).map_or(String::new(), |v| number(v.into())))
    };
    view! { <td><button class="digit" on:click=move |_| lab.live.ask(name, vec![row.get_untracked(), k])>{move || text()}</button></td> }
}
