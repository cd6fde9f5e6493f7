//! A line chart: a few series over a common axis, drawn as SVG, with its numbers as a table for
//! those who do not see it.

use super::format::number;
use crate::prelude::*;

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    /// `forward`, `backward` or `quiet`: colour and stroke.
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 24.0;
/// Points drawn of one line; more would not be seen.
const MOST: usize = 400;

/// How an axis measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// Powers of ten.
    Log,
}

impl Scale {
    pub fn of(self, v: f64) -> f64 {
        match self {
            Scale::Linear => v,
            Scale::Log => v.max(f64::MIN_POSITIVE).log10(),
        }
    }
}

/// The bounds of the drawing: given ones, or those of the points.
fn bounds(series: &[Series], fixed: [Option<f64>; 4], scales: [Scale; 2]) -> [f64; 4] {
    let mut b = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
    for (x, y) in series.iter().flat_map(|s| &s.points).filter(|p| p.0.is_finite() && p.1.is_finite()) {
        let (x, y) = (scales[0].of(*x), scales[1].of(*y));
        b = [b[0].min(x), b[1].max(x), b[2].min(y), b[3].max(y)];
    }
    for (k, f) in fixed.into_iter().enumerate() {
        if let Some(v) = f {
            b[k] = scales[k / 2].of(v);
        } else if !b[k].is_finite() {
            b[k] = (k % 2) as f64;
        }
    }
    for k in [0, 2] {
        if b[k + 1] - b[k] < 1e-9 {
            b[k + 1] = b[k] + 1.0;
        }
    }
    b
}

/// Round numbers between two, about `n` of them.
pub fn ticks(lo: f64, hi: f64, n: f64, scale: Scale) -> Vec<f64> {
    let rough = (hi - lo) / n;
    let power = 10f64.powf(rough.log10().floor());
    let mut step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    if scale == Scale::Log {
        step = step.max(1.0).round();
    }
    let first = (lo / step).ceil() as i64;
    (first..).map(|k| k as f64 * step).take_while(|v| *v <= hi + 1e-9 * step).take(20).collect()
}

fn label(v: f64, scale: Scale) -> String {
    match scale {
        Scale::Linear => number(v),
        Scale::Log => power(v.round() as i64),
    }
}

/// A power of ten.
pub fn power(v: i64) -> String {
    format!("10{}", superscript(v))
}

fn superscript(v: i64) -> String {
    let digit = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        c => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or('?'),
    };
    v.to_string().chars().map(digit).collect()
}

#[component]
pub fn Curve(
    #[prop(into)] label_x: Signal<String>,
    #[prop(into)] label_y: Signal<String>,
    #[prop(into)] series: Signal<Vec<Series>>,
    /// Bounds that do not follow the data: left, right, bottom, top.
    #[prop(default = [None; 4])]
    fixed: [Option<f64>; 4],
    #[prop(default = [Scale::Linear; 2])] scales: [Scale; 2],
    /// A place to mark: x.
    #[prop(optional, into)]
    mark: Option<Signal<Option<f64>>>,
) -> impl IntoView {
    let frame = memo(move || series.with(|s| bounds(s, fixed, scales)));
    let x_of = move |b: [f64; 4], x: f64| LEFT + (WIDTH - LEFT - 8.0) * (scales[0].of(x) - b[0]) / (b[1] - b[0]);
    let y_of = move |b: [f64; 4], y: f64| 8.0 + (HEIGHT - BOTTOM - 8.0) * (b[3] - scales[1].of(y)) / (b[3] - b[2]);
    let path = move |s: &Series, b: [f64; 4]| {
        let every = s.points.len().div_ceil(MOST).max(1);
        let last = s.points.len().saturating_sub(1);
        let mut out = String::new();
        for (k, (x, y)) in s.points.iter().enumerate() {
            if (k % every == 0 || k == last) && y.is_finite() {
                out += &format!("{}{:.1},{:.1}", if out.is_empty() { "M" } else { "L" }, x_of(b, *x), y_of(b, *y));
            }
        }
        if !out.is_empty() && !out.contains('L') {
            // A single point is seen too.
            out += "h3";
        }
        out
    };
    let summary = move || {
        series.with(|all| {
            all.iter()
                .filter_map(|s| s.points.last().map(|p| format!("{}: {}", s.name, number(p.1))))
                .collect::<Vec<_>>()
                .join(", ")
        })
    };
    view! {
        <div class="curve">
            <p class="eyebrow">{move || label_y.get()}</p>
            <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label=move || format!("{} / {}: {}", label_y.get(), label_x.get(), summary())>
                {move || {
                    let b = frame.get();
                    let undo = |v: f64, s: Scale| if s == Scale::Log { 10f64.powf(v) } else { v };
                    let horizontal = ticks(b[2], b[3], 4.0, scales[1]).into_iter().map(|v| {
                        let y = y_of(b, undo(v, scales[1]));
                        view! {
                            <line class="grid" x1=LEFT x2=WIDTH - 8.0 y1=y y2=y />
                            <text class="tick y" x=LEFT - 6.0 y=y + 4.0>{label(v, scales[1])}</text>
                        }
                    }).collect_view();
                    // Before the first point an axis has nothing to measure.
                    let some = series.with(|s| s.iter().any(|s| !s.points.is_empty()));
                    let vertical = ticks(b[0], b[1], 6.0, scales[0]).into_iter().filter(|_| some).map(|v| {
                        let x = x_of(b, undo(v, scales[0]));
                        view! { <text class="tick" x=x y=HEIGHT - 6.0>{label(v, scales[0])}</text> }
                    }).collect_view();
                    view! { {horizontal} {vertical} }
                }}
                {move || {
                    let b = frame.get();
                    series.get().into_iter().map(|s| view! { <path class=format!("line {}", s.class) d=path(&s, b) /> }).collect_view()
                }}
                {move || mark.and_then(|m| m.get()).map(|x| {
                    let at = x_of(frame.get(), x);
                    view! { <line class="mark" x1=at x2=at y1="4" y2=HEIGHT - BOTTOM /> }
                })}
            </svg>
            <p class="legend">
                {move || series.get().into_iter().map(|s| {
                    let last = s.points.last().map(|p| number(p.1)).unwrap_or_default();
                    view! { <span class=format!("key {}", s.class)>{s.name} " " <b class="num">{last}</b></span> }
                }).collect_view()}
                <span class="right">{move || label_x.get()}</span>
            </p>
        </div>
    }
}
