//! The nine weights: to type into, to paint on, or from a preset.

use super::Lab;
use crate::page::lang::t;
use crate::prelude::*;
use crate::scenes::convolution::KERNEL;

/// Blur (sums to 1), edge (sums to 0), sharpen (sums to 1), row by row.
pub const PRESETS: [[f32; 9]; 3] = [
    [0.0625, 0.125, 0.0625, 0.125, 0.25, 0.125, 0.0625, 0.125, 0.0625],
    [0.0, -1.0, 0.0, -1.0, 4.0, -1.0, 0.0, -1.0, 0.0],
    [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0],
];
/// What a brush can put down.
const BRUSHES: [f32; 4] = [-1.0, 0.0, 1.0, 2.0];

/// The nine values; `brushes` adds presets and brushes.
#[component]
pub fn Kernel(lab: Lab, #[prop(optional)] brushes: bool) -> impl IntoView {
    let brush = RwSignal::new(None::<f32>);
    let put = move |k: usize, v: f32| {
        lab.w.maybe_update(|w| match w.get_mut(k) {
            Some(slot) if v.is_finite() && *slot != v => {
                *slot = v;
                true
            }
            _ => false,
        });
    };
    let paint = move |k: usize| {
        if let Some(v) = brush.get_untracked() {
            put(k, v);
        }
    };
    let down = move |e: leptos::ev::PointerEvent, k: usize| {
        if brush.get_untracked().is_none() {
            return;
        }
        e.prevent_default();
        // A finger is captured by the cell it touched first; let go, so that it paints the others.
        let _ = event_target::<web_sys::Element>(&e).release_pointer_capture(e.pointer_id());
        paint(k);
    };
    let cells = (0..KERNEL * KERNEL)
        .map(|k| {
            let value = memo(move || lab.w.with(|w| w.get(k).copied().unwrap_or(0.0)));
            let label = format!("w[{}, {}]", k / KERNEL, k % KERNEL);
            let share = move || format!("--share:{:.0}%", (100.0 * value.get().abs() / 5.0).min(100.0));
            view! {
                <input type="number" step="0.1" aria-label=label data-tap=k.to_string() class:negative=move || value.get() < 0.0 style=share
                    prop:value=move || value.get().to_string()
                    on:change=move |e| if let Ok(v) = event_target_value(&e).parse() { put(k, v) }
                    on:input=move |e| if let Ok(v) = event_target_value(&e).parse() { put(k, v) }
                    on:pointerdown=move |e| down(e, k)
                    on:pointerenter=move |e| if e.buttons() & 1 == 1 { paint(k) }
                />
            }
        })
        .collect_view();
    let names = [t("blur", "模糊"), t("edge", "边缘"), t("sharpen", "锐化")];
    view! {
        <div class="kernel-edit">
            <div class="nine" class:painting=move || brush.get().is_some() role="group" aria-label=t("kernel w", "卷积核 w")>{cells}</div>
            {brushes.then(|| view! {
                <div>
                    <div class="choices" role="group" aria-label=t("Presets", "预设")>
                        {names.into_iter().zip(PRESETS).map(|(name, values)| view! {
                            <button aria-pressed=move || lab.w.with(|w| w[..] == values).to_string() on:click=move |_| lab.w.set(values.to_vec())>{name}</button>
                        }).collect_view()}
                    </div>
                    <div class="choices" role="group" aria-label=t("Brush", "画笔")>
                        <span class="eyebrow">{t("brush", "画笔")}</span>
                        {BRUSHES.map(|v| {
                            let on = move || brush.get() == Some(v);
                            view! {
                                <button aria-pressed=move || on().to_string() on:click=move |_| brush.set((!untrack(on)).then_some(v))>
                                    {crate::widgets::format::number(v.into())}
                                </button>
                            }
                        })}
                    </div>
                </div>
            })}
        </div>
    }
}
