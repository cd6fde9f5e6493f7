//! Chapter 2, a neuron and its activation: the curve with its tangent, and a row of neurons in
//! which the gradient lives or dies.

use super::Stage;
use crate::page::lang::{t, words};
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::scenes::activations::{Activation, REACH, factor, layer, product};
use crate::widgets::choices::Choices;
use crate::widgets::curve::Series;
use crate::widgets::format::number;
use crate::widgets::live::{Live, feed};
use crate::widgets::matrix::Side;
use crate::widgets::plot::{Dot, Handle, Plot};
use crate::widgets::readout::{Readout, element};
use crate::widgets::slider::Slider;

/// Neurons in the row.
const N: usize = 12;

/// The functions in the order of the text.
const ONE: [Activation; 4] = [Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Gelu];
/// The same in the order in which the row is tried out.
const ROW: [Activation; 4] = [Activation::Sigmoid, Activation::Tanh, Activation::Relu, Activation::Gelu];

fn name(f: Activation) -> &'static str {
    match f {
        Activation::Relu => "ReLU",
        Activation::Sigmoid => "Sigmoid",
        Activation::Tanh => "Tanh",
        Activation::Gelu => "GELU",
    }
}

fn names(all: [Activation; 4]) -> Vec<(&'static str, &'static str)> {
    all.map(|f| (name(f), name(f))).to_vec()
}

/// Function, weight, bias and input of a widget.
#[derive(Clone, Copy)]
struct Settings {
    f: RwSignal<usize>,
    w: RwSignal<f64>,
    b: RwSignal<f64>,
    x: RwSignal<f64>,
}

impl Settings {
    fn live(self, spec: impl Fn(usize) -> Spec + Send + Sync + 'static) -> Live {
        let one = |name: &str, v: RwSignal<f64>| feed(name, &[], vec![v.get() as f32]);
        Live::new(move || spec(self.f.get()), move || vec![one("x", self.x), one("w", self.w), one("b", self.b)])
    }
}

pub fn open() -> Stage {
    let one = Settings {
        f: route::choice("f", &["relu", "sigmoid", "tanh", "gelu"]),
        w: route::number("w", 1.0),
        b: route::number("b", 0.0),
        x: route::number("x", 1.0),
    };
    let row = Settings {
        f: route::choice("row", &["sigmoid", "tanh", "relu", "gelu"]),
        w: route::number("roww", 1.0),
        b: route::number("rowb", 0.0),
        x: route::number("rowx", 1.0),
    };
    let neuron = one.live(|f| Spec::Neuron { f: ONE[f.min(3)] });
    let chain = row.live(|f| Spec::Chain { f: ROW[f.min(3)], n: N });
    let widget = move |name: &str| {
        Some(match name {
            "neuron" => view! { <Neuron live=neuron set=one /> },
            "chain" => view! { <Chain live=chain set=row /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![neuron, chain] }
}

/// The pairs of two outputs.
fn points(live: Live, x: &str, y: &str) -> Vec<(f64, f64)> {
    live.get(x).into_iter().zip(live.get(y)).map(|(x, y)| (f64::from(x), f64::from(y))).collect()
}

/// The least range of `a` and of `f'` that is shown for a function.
fn ranges(f: Activation) -> [[f64; 2]; 2] {
    match f {
        Activation::Relu => [[-1.0, 4.0], [-0.25, 1.25]],
        Activation::Sigmoid => [[-0.25, 1.25], [-0.05, 0.3]],
        Activation::Tanh => [[-1.5, 1.5], [-0.25, 1.25]],
        Activation::Gelu => [[-1.0, 4.0], [-0.25, 1.25]],
    }
}

#[component]
fn Neuron(live: Live, set: Settings) -> impl IntoView {
    let reach = f64::from(REACH);
    let put = move |x: f64| set.x.set(((x * 20.0).round() / 20.0).clamp(-reach, reach));
    let (x, z, a) = (set.x, element(live, "z".into(), vec![]), element(live, "a".into(), vec![]));
    let slope = element(live, "∂a/∂x".into(), vec![]);
    let own = element(live, "f′(z)".into(), vec![]);
    let at = move |y: f64| y.is_finite().then(|| (x.get(), y));
    let text = move || format!("x = {}, a = {}, ∂a/∂x = {}", number(x.get()), number(a.get()), number(slope.get()));
    let handle = Handle {
        name: words("the point on the curve", "曲线上的点"),
        at: derived(move || at(a.get())),
        text: derived(text),
        put: Callback::new(move |p: (f64, f64)| put(p.0)),
        push: Callback::new(move |p: (f64, f64)| put(x.get_untracked() + 0.1 * (p.0 + p.1))),
    };
    let range = move |k: usize| ranges(ONE[set.f.get().min(3)])[k];
    let curves = move || {
        vec![
            Series { name: "a".into(), class: "forward", points: points(live, "grid", "curve") },
            Series { name: "tangent".into(), class: "backward", points: points(live, "ends", "tangent") },
        ]
    };
    let slopes = move || {
        let mut points = points(live, "grid", "slope");
        if ONE[set.f.get().min(3)] == Activation::Relu {
            // The slope jumps: nothing lies between its two values, so no line joins them.
            let jump = points.windows(2).position(|p| p[0].1 != p[1].1).map(|k| k + 1);
            jump.into_iter().for_each(|k| points.insert(k, (f64::NAN, f64::NAN)));
        }
        vec![Series { name: "slope".into(), class: "backward", points }]
    };
    let bounds = move || [-reach, reach, range(0)[0], range(0)[1]];
    let below = memo(move || {
        // Wider where the weight makes the slope larger than the function's own.
        let all = live.get("slope").into_iter().map(f64::from).filter(|v| v.is_finite());
        let [lo, hi] = all.fold(range(1), |[lo, hi], v| [lo.min(1.1 * v), hi.max(1.1 * v)]);
        [-reach, reach, lo, hi]
    });
    let dots = move || at(slope.get()).map(|at| Dot { at, class: "backward" }).into_iter().collect::<Vec<_>>();
    let label = |s: &'static str| derived(move || s.to_string());
    view! {
        <Choices label=words("f", "f") options=names(ONE) value=set.f />
        <Plot
            label=words("the output a over the input x, with the tangent", "输出 a 随输入 x 的变化，以及切线")
            label_x=label("x") label_y=words("a = f(w x + b), and the tangent", "a = f(w x + b) 与切线")
            bounds=derived(bounds) series=derived(curves) handle
        />
        <Plot
            label=words("the slope over the input x", "斜率随输入 x 的变化")
            label_x=label("x") label_y=words("the slope ∂a/∂x = f′(z) · w", "斜率 ∂a/∂x = f′(z) · w")
            bounds=derived(move || below.get()) size=(560.0, 150.0) series=derived(slopes) dots=derived(dots)
        />
        <div class="short">
            <Slider label=label("x") value=x min=-reach max=reach step=0.05 />
            <Slider label=label("w") value=set.w min=-3.0 max=3.0 step=0.05 />
            <Slider label=label("b") value=set.b min=-4.0 max=4.0 step=0.05 />
        </div>
        <div class="readouts">
            <Readout live name="z" label=label("z = w x + b") />
            <Readout live name="a" label=label("a = f(z)") />
            <Readout live name="f′(z)" label=label("∂a/∂b = f′(z)") side=Side::Backward />
            <Readout live name="∂a/∂x" label=label("∂a/∂x = f′(z) · w") side=Side::Backward />
            <Readout live name="∂a/∂w" label=label("∂a/∂w = f′(z) · x") side=Side::Backward />
        </div>
        <p class="note" aria-live="polite">{move || {
            let flat = slope.get() == 0.0 && set.w.get() != 0.0 && z.get().is_finite();
            if flat {
                t("The slope is exactly 0 here: no gradient passes.", "此处斜率恰好为 0：梯度无法通过。")()
            } else if own.get().abs() < 0.01 {
                t("Almost flat: less than a hundredth of the gradient passes.", "曲线几乎是平的：能通过的梯度不到百分之一。")()
            } else {
                ""
            }
        }}</p>
        <figcaption>{t("Drag the point, or focus it and use the arrow keys. Click a number to see where it comes from.",
            "拖动这个点，或选中后按方向键。点击任一数字，查看它的由来。")}</figcaption>
    }
}

/// The drawn part of the logarithmic axis, in powers of ten.
const POWERS: [f64; 2] = [-12.0, 6.0];

/// Where a size lies on it, in per cent; too small or 0 is its left end.
fn place(size: f64) -> f64 {
    (100.0 * (size.log10() - POWERS[0]) / (POWERS[1] - POWERS[0])).clamp(0.0, 100.0)
}

#[component]
fn Chain(live: Live, set: Settings) -> impl IntoView {
    let label = |s: &'static str| derived(move || s.to_string());
    let axis = [-10, -5, 0, 5].map(|p| {
        let text = if p == 0 { "1".into() } else { crate::widgets::curve::power(p) };
        view! { <span style=format!("left:{:.2}%", place(10f64.powi(p as i32)))>{text}</span> }
    });
    view! {
        <Choices label=words("f", "f") options=names(ROW) value=set.f />
        <div class="short">
            <Slider label=label("w") value=set.w min=-3.0 max=3.0 step=0.05 />
            <Slider label=label("b") value=set.b min=-3.0 max=3.0 step=0.05 />
            <Slider label=label("x") value=set.x min=-3.0 max=3.0 step=0.05 />
        </div>
        <table class="chain">
            <thead><tr>
                <th scope="col"><i>"k"</i></th>
                <th scope="col" class="forward">{t("output ↑", "输出 ↑")}</th>
                <th scope="col" class="backward">{t("factor", "因子")}</th>
                <th scope="col" class="backward" colspan="2">{t("product so far ↓", "累积的乘积 ↓")}</th>
            </tr></thead>
            <tbody>
                {(1..=N).rev().map(|k| view! { <ChainRow live k /> }).collect_view()}
                <tr class="axis-row" aria-hidden="true"><td colspan="3"></td><td><div class="powers">{axis.collect_view()}</div></td><td></td></tr>
            </tbody>
        </table>
        <figcaption>{t("From the output at the top back to the input at the bottom: each row multiplies one more factor into ∂a₁₂/∂a. The scale is logarithmic; the bar begins at 1 and goes left for smaller, right for larger; a hatched bar is a negative product. Click a number to see where it comes from.",
            "从最上面的输出回到最下面的输入：每一行给 ∂a₁₂/∂a 再乘上一个因子。刻度是对数的；条形从 1 开始，变小向左，变大向右；斜纹表示乘积为负。点击任一数字，查看它的由来。")}</figcaption>
    }
}

#[component]
fn ChainRow(live: Live, k: usize) -> impl IntoView {
    let at = |name: &str, k: usize| element(live, name.into(), vec![k]);
    let (value, factor_value, total) = (at("values", k - 1), at("factors", k - 1), at("products", k - 1));
    let cell = move |v: Memo<f64>, node: String, class: &'static str| {
        view! {
            <button class=format!("readout {class}") data-name=node.clone() on:click=move |_| live.ask(&node, vec![])>
                <span class="num">{move || number(v.get())}</span>
            </button>
        }
    };
    let span = move || {
        let (one, end) = (place(1.0), place(total.get().abs()));
        format!("left:{:.2}%;width:{:.2}%", one.min(end), (one - end).abs().max(0.4))
    };
    // The last factor is the first product: one node.
    let factor_node = if k == N { product(N, k - 1) } else { factor(k) };
    view! {
        <tr>
            <th scope="row">{k}</th>
            <td>{cell(value, layer(k), "forward")}</td>
            <td>{cell(factor_value, factor_node, "backward")}</td>
            <td class="track" aria-hidden="true">
                <div>
                    <span class="one" style=format!("left:{:.2}%", place(1.0))></span>
                    {move || if total.get() == 0.0 {
                        view! { <span class="dead">{t("0: no gradient", "0：没有梯度")}</span> }
                    } else {
                        view! { <span class="log" class:negative=move || total.get() < 0.0 style=span></span> }
                    }}
                </div>
            </td>
            <td>{cell(total, product(N, k - 1), "backward")}</td>
        </tr>
    }
}
