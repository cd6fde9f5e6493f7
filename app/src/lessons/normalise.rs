//! Chapter 1, normalise: flats to drag, the contours of the loss with the path of gradient
//! descent, and the statistics of the columns.

use super::Stage;
use crate::page::lang::{t, words};
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::scenes::normalise::{GRID, LEVELS, N, STEPS};
use crate::widgets::choices::Choices;
use crate::widgets::contour::contour;
use crate::widgets::curve::{Scale, Series};
use crate::widgets::format::{number, places};
use crate::widgets::live::{Live, feed};
use crate::widgets::plot::{Dot, Handle, Plot};
use crate::widgets::readout::{Readout, element};
use crate::widgets::slider::Slider;

/// Area in square metres and distance in kilometres of the flats that stay.
const FLATS: [[f32; 2]; N - 1] =
    [[38.0, 3.1], [52.0, 1.2], [47.0, 6.4], [66.0, 2.3], [58.0, 4.8], [74.0, 7.5], [83.0, 3.9]];
/// The one that the reader drags.
const LAST: [f32; 2] = [70.0, 5.2];
/// What the plane of the flats shows: area, distance.
const PLANE: [f64; 4] = [20.0, 800.0, 0.8, 50.0];
/// Learning rates on the slider, in powers of ten.
const RATES: [f64; 2] = [-6.0, 1.0];

/// The scalings as the scene numbers them.
const WAYS: [(&str, &str); 3] = [("none", "不处理"), ("min-max", "最小-最大"), ("z-score", "z-score")];

#[derive(Clone, Copy)]
struct Flats {
    live: Live,
    last: RwSignal<Vec<f32>>,
    way: RwSignal<usize>,
    /// log10 of the learning rate
    rate: RwSignal<f64>,
}

pub fn open() -> Stage {
    let last = route::numbers("flat", LAST.to_vec());
    let way = route::choice("way", &["none", "min-max", "z-score"]);
    let rate = route::number("lr", -4.0);
    let rows = move || FLATS.into_iter().flatten().chain(last.get()).collect::<Vec<f32>>();
    let live = Live::new(
        || Spec::Normalise,
        move || vec![feed("x", &[N, 2], rows()), feed("rate", &[], vec![10f64.powf(rate.get()) as f32])],
    );
    let flats = Flats { live, last, way, rate };
    let widget = move |name: &str| {
        Some(match name {
            "contours" => view! { <Contours flats /> },
            "statistics" => view! { <Statistics flats /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![live] }
}

/// The part of an output that belongs to the chosen scaling.
fn part(flats: Flats, name: &str) -> Vec<f32> {
    let all = flats.live.get(name);
    let size = all.len() / WAYS.len();
    all.get(flats.way.get() * size..(flats.way.get() + 1) * size).map(<[f32]>::to_vec).unwrap_or_default()
}

#[component]
fn Contours(flats: Flats) -> impl IntoView {
    let label = |s: &'static str| derived(move || s.to_string());
    view! {
        <Choices label=words("scaling", "缩放方式") options=WAYS.to_vec() value=flats.way />
        <div class="pair">
            <Plane flats />
            <Surface flats />
        </div>
        <Rate flats />
        <div class="scroll">
            <table class="numbers">
                <thead><tr>
                    <td></td>
                    {["λmin", "λmax", "κ", "2/λmax"].map(|h| view! { <th scope="col">{h}</th> }).collect_view()}
                </tr></thead>
                <tbody>
                    {WAYS.into_iter().enumerate().map(|(k, (en, zh))| view! {
                        <tr class:chosen=move || flats.way.get() == k>
                            <th scope="row">{t(en, zh)}</th>
                            {["λmin", "λmax", "κ", "2/λmax"].map(|name| view! {
                                <td><Readout live=flats.live name index=vec![k, 0, 0] label=label("") /></td>
                            }).collect_view()}
                        </tr>
                    }).collect_view()}
                </tbody>
            </table>
        </div>
        <Strips flats />
        <figcaption>{t("Drag the ringed flat, or focus it and use the arrow keys (with Shift ten times as far). Both axes of the plane are logarithmic, to leave room for an outlier. The path in orange takes 40 steps from w\u{a0}=\u{a0}0. κ is λmax/λmin.",
            "拖动带圈的那一套，或选中后按方向键（按住 Shift 为十倍）。左图两轴都是对数刻度，好给离群点留出地方。橙色路径从 w\u{a0}=\u{a0}0 出发，走 40 步。κ 是 λmax/λmin。")}</figcaption>
    }
}

/// The flats; the last one can be dragged.
#[component]
fn Plane(flats: Flats) -> impl IntoView {
    let last = flats.last;
    let at = move || last.with(|v| (f64::from(v[0]), f64::from(v[1])));
    let put = move |(area, distance): (f64, f64)| {
        let area = area.round().clamp(PLANE[0], 700.0);
        let distance = ((distance * 10.0).round() / 10.0).clamp(1.0, 45.0);
        last.set(vec![area as f32, distance as f32]);
    };
    let push = move |(right, up): (f64, f64)| {
        let (area, distance) = untrack(at);
        // A step is about a fiftieth of what there is, and never less than the rounding.
        put((area + right * (area / 50.0).round().max(1.0), distance + up * (distance / 50.0).max(0.1)));
    };
    let handle = Handle {
        name: words("the eighth flat", "第八套公寓"),
        at: derived(move || Some(at())),
        text: derived(move || format!("{} m², {} km", number(at().0), number(at().1))),
        put: Callback::new(put),
        push: Callback::new(push),
    };
    let dots = FLATS.map(|[a, d]| Dot { at: (f64::from(a), f64::from(d)), class: "forward" }).to_vec();
    view! {
        <div>
            <Plot
                label=words("the flats: area and distance", "各套公寓：面积与距离")
                label_x=words("area x₁, m²", "面积 x₁，m²") label_y=words("distance x₂, km", "距离 x₂，km")
                bounds=derived(|| PLANE) scales=[Scale::Log; 2] size=(340.0, 340.0)
                series=derived(Vec::new) dots=derived(move || dots.clone()) handle
            />
            <p class="note">
                {move || format!("{} m², {} km ", number(at().0), number(at().1))}
                <button class="link" disabled=move || last.get() == LAST on:click=move |_| last.set(LAST.to_vec())>{t("put it back", "放回原处")}</button>
            </p>
        </div>
    }
}

/// The contours of the loss and the path across them.
#[component]
fn Surface(flats: Flats) -> impl IntoView {
    let frame = memo(move || {
        let (centre, reach) = (part(flats, "w*"), part(flats, "reach"));
        match (&centre[..], &reach[..]) {
            ([a, b], [r]) if a.is_finite() && b.is_finite() && *r > 0.0 => {
                let [a, b, r] = [*a, *b, *r].map(f64::from);
                [a - r, a + r, b - r, b + r]
            }
            _ => [-1.0, 1.0, -1.0, 1.0],
        }
    });
    let lines = memo(move || {
        let (values, levels) = (part(flats, "surface"), part(flats, "levels"));
        let [left, right, bottom, top] = frame.get();
        let place = |(c, r): (f64, f64)| {
            let share = |k: f64| k / (GRID - 1) as f64;
            (left + share(c) * (right - left), bottom + share(r) * (top - bottom))
        };
        let line = |level: &f32| contour(&values, GRID, *level).into_iter().map(place).collect::<Vec<_>>();
        levels.iter().take(LEVELS).map(line).collect::<Vec<_>>()
    });
    let path = memo(move || {
        let all = part(flats, "path");
        all.chunks_exact(2).map(|w| (f64::from(w[0]), f64::from(w[1]))).collect::<Vec<_>>()
    });
    let series = move || {
        let contours = lines.get().into_iter().map(|points| Series { name: "level".into(), class: "contour", points });
        contours.chain([Series { name: "path".into(), class: "backward", points: path.get() }]).collect::<Vec<_>>()
    };
    let dots = move || {
        let best = part(flats, "w*");
        let centre = best.first().zip(best.get(1)).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let steps = path.get().into_iter().map(|at| Dot { at, class: "backward step" });
        steps.chain(centre.map(|at| Dot { at, class: "best" })).collect::<Vec<_>>()
    };
    let (limit, rate) = (memo(move || part(flats, "2/λmax").first().copied().map(f64::from)), flats.rate);
    let verdict = move || match limit.get() {
        Some(limit) if 10f64.powf(rate.get()) >= limit => {
            t("η is beyond 2/λmax: the path breaks out.", "η 超过了 2/λmax：路径发散。")()
        }
        Some(_) => t("η is below 2/λmax: the path comes closer.", "η 小于 2/λmax：路径逐渐靠近。")(),
        None => "",
    };
    let end = move |way: usize| {
        let label = words("loss after 40 steps", "40 步后的损失");
        view! { <Readout live=flats.live name="loss along the path" index=vec![way, STEPS, 0] label /> }
    };
    let least = move |way: usize| {
        view! { <Readout live=flats.live name="least loss" index=vec![way, 0, 0] label=words("least", "最小值") /> }
    };
    view! {
        <div class="surface">
            <Plot
                label=words("contours of the loss over the two weights, and the path of gradient descent", "损失随两个权重变化的等高线，以及梯度下降的路径")
                label_x=derived(|| "w₁".to_string()) label_y=words("w₂; contours of the loss", "w₂；损失的等高线")
                bounds=derived(move || frame.get()) size=(340.0, 340.0) series=derived(series) dots=derived(dots)
            />
            <p class="note" aria-live="polite">{move || verdict()}</p>
            <div class="readouts">{move || (end(flats.way.get()), least(flats.way.get()))}</div>
        </div>
    }
}

/// The learning rate, with the limit marked below it.
#[component]
fn Rate(flats: Flats) -> impl IntoView {
    let live = flats.live;
    let limit = move || part(flats, "2/λmax").first().copied().map_or(f64::NAN, f64::from);
    let best = memo(move || part(flats, "2/(λmin + λmax)").first().copied().map_or(f64::NAN, f64::from));
    let share = move || ((limit().log10() - RATES[0]) / (RATES[1] - RATES[0])).clamp(0.0, 1.0);
    view! {
        <div class="short rate">
            <Slider label=words("η", "η") value=flats.rate min=RATES[0] max=RATES[1] step=0.01
                show=Callback::new(|v: f64| number(10f64.powf(v))) />
            <div class="slider" aria-hidden="true">
                <span></span>
                <div class="limit"><i style=move || format!("left:calc(8px + (100% - 16px) * {:.4})", share())>"▲"</i></div>
                <output></output>
            </div>
            <div class="readouts">
                {move || { let k = flats.way.get(); view! {
                    <Readout live name="2/λmax" index=vec![k, 0, 0] label=words("▲ 2/λmax", "▲ 2/λmax") />
                    <Readout live name="2/(λmin + λmax)" index=vec![k, 0, 0] label=words("best rate 2/(λmin + λmax)", "最佳学习率 2/(λmin + λmax)") />
                }}}
                <button class="link" on:click=move |_| {
                    let v = best.get_untracked();
                    if v.is_finite() && v > 0.0 { flats.rate.set(v.log10()) }
                }>{t("use the best rate", "采用最佳学习率")}</button>
            </div>
        </div>
    }
}

/// The two columns as the model sees them.
#[component]
fn Strips(flats: Flats) -> impl IntoView {
    let values = memo(move || part(flats, "inputs"));
    let range = move |column: usize| match flats.way.get() {
        1 => [0.0, 1.0],
        2 => [-2.7, 2.7],
        _ => [0.0, values.get().chunks_exact(2).map(|r| f64::from(r[column])).fold(1.0, f64::max)],
    };
    let strip = move |column: usize, name: Signal<String>| {
        let dots = move || {
            let [lo, hi] = range(column);
            values
                .get()
                .chunks_exact(2)
                .enumerate()
                .map(|(n, r)| {
                    let x = 10.0 + 480.0 * (f64::from(r[column]) - lo) / (hi - lo);
                    let class = if n == N - 1 { "dot last" } else { "dot forward" };
                    view! { <circle class=class cx=x cy="10" r=if n == N - 1 { 6.0 } else { 4.0 } /> }
                })
                .collect_view()
        };
        view! {
            <div class="strip">
                <span>{move || name.get()}</span><b class="num">{move || number(range(column)[0])}</b>
                <svg viewBox="0 0 500 20" aria-hidden="true"><line class="axis" x1="10" x2="490" y1="10" y2="10" />{move || dots()}</svg>
                <b class="num">{move || number(range(column)[1])}</b>
            </div>
        }
    };
    view! {
        <div class="strips">
            <p class="eyebrow">{t("the columns as the model gets them, in the table below by number", "模型实际得到的两列；数值见下文的表")}</p>
            {strip(0, words("area", "面积"))} {strip(1, words("distance", "距离"))}
        </div>
    }
}

/// Data, scaled data, and what the scalings took from the columns.
#[component]
fn Statistics(flats: Flats) -> impl IntoView {
    let live = flats.live;
    let none = derived(String::new);
    let cell = move |name: &'static str, n: usize, j: usize| {
        // Scaled values are compared with each other; data and statistics stand as they are.
        let own = matches!(name, "min-max" | "z");
        let shared = memo(move || own.then(|| places(&live.get(name))).flatten());
        view! { <td><Readout live name index=vec![n, j] label=none shared /></td> }
    };
    let pair = move |name: &'static str, n: usize| view! { {cell(name, n, 0)} {cell(name, n, 1)} };
    let rows = (0..N).map(|n| {
        view! {
            <tr class:chosen=n == N - 1>
                <th scope="row">{n + 1} {(n == N - 1).then_some(" ◯")}</th>
                {pair("x", n)} {cell("rent", n, 0)} {pair("min-max", n)} {pair("z", n)}
            </tr>
        }
    });
    let (area, distance) = (t("area", "面积"), t("distance", "距离"));
    let heads = move || view! { <th scope="col">{area}</th> <th scope="col">{distance}</th> };
    let below = ["min", "max", "mean", "std"].map(|name| {
        let text = match name {
            "min" => t("min", "最小值"),
            "max" => t("max", "最大值"),
            "mean" => t("mean", "均值"),
            _ => t("std", "标准差"),
        };
        view! { <tr class="stat"><th scope="row">{text}</th> {pair(name, 0)} <td colspan="5"></td></tr> }
    });
    let spread = element(live, "std".into(), vec![0, 0]);
    view! {
        <div class="scroll" tabindex="0">
            <table class="numbers">
                <thead>
                    <tr><td></td><th colspan="2" scope="colgroup"><i>"x"</i></th><th scope="colgroup"><i>"y"</i></th><th colspan="2" scope="colgroup">{t("min-max", "最小-最大")}</th><th colspan="2" scope="colgroup">"z-score"</th></tr>
                    <tr><td></td>{heads()}<th scope="col">{t("rent", "租金")}</th>{heads()}{heads()}</tr>
                </thead>
                <tbody>{rows.collect_view()}{below.collect_view()}</tbody>
            </table>
        </div>
        <p class="note">{move || if spread.get() == 0.0 { t("A column has no spread.", "有一列没有差异。")() } else { "" }}</p>
    }
}
