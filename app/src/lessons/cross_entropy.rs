//! Chapter 4, cross-entropy: the curve of -log p, the gradient p - y, and squared error beside it.

use super::Stage;
use crate::page::lang::{t, words};
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::scenes::cross_entropy::{LEAST, Loss};
use crate::widgets::bars::DragBars;
use crate::widgets::choices::Choices;
use crate::widgets::columns::Columns;
use crate::widgets::curve::Series;
use crate::widgets::format::{number, subscript};
use crate::widgets::live::{Live, feed};
use crate::widgets::matrix::Side;
use crate::widgets::plot::{Handle, Plot};
use crate::widgets::readout::{Readout, element};

/// Classes on show.
const N: usize = 3;

/// What the reader sets for the losses of the logits, and what follows.
#[derive(Clone, Copy)]
struct Classes {
    logits: RwSignal<Vec<f32>>,
    truth: RwSignal<usize>,
    entropy: Live,
    squared: Live,
}

pub fn open() -> Stage {
    let p = route::number("p", 0.5);
    let curve = Live::new(|| Spec::Likelihood, move || vec![feed("p", &[], vec![p.get() as f32])]);
    let logits = route::numbers("a", vec![2.0, 1.0, 0.0]);
    let truth = route::choice_or("true", &["1", "2", "3"], 1);
    let live = move |loss: Loss| {
        Live::new(
            move || Spec::Classes { loss, n: N },
            move || vec![feed("logits", &[1, N], logits.get()), feed("label", &[1], vec![truth.get() as f32])],
        )
    };
    let classes = Classes { logits, truth, entropy: live(Loss::CrossEntropy), squared: live(Loss::Squared) };
    let widget = move |name: &str| {
        Some(match name {
            "loss" => view! { <Likelihood live=curve p /> },
            "gradient" => view! { <Gradient classes /> },
            "squared" => view! { <Squared classes /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![curve, classes.entropy, classes.squared] }
}

#[component]
fn Likelihood(live: Live, p: RwSignal<f64>) -> impl IntoView {
    let put = move |v: f64| p.set(((v * 1000.0).round() / 1000.0).clamp(f64::from(LEAST), 1.0));
    let loss = element(live, "loss".into(), vec![]);
    let push = move |by: f64| {
        // Below one in a hundred a step is a tenth as long, so that the steep end can be walked.
        let now = p.get_untracked();
        let step = if now < 0.01 || (now <= 0.0101 && by < 0.0) { 0.001 } else { 0.01 };
        put(now + step * by);
    };
    let handle = Handle {
        name: words("the probability of the true class", "真实类别的概率"),
        at: derived(move || loss.get().is_finite().then(|| (p.get(), loss.get()))),
        text: derived(move || format!("p = {}, −log p = {}", number(p.get()), number(loss.get()))),
        put: Callback::new(move |at: (f64, f64)| put(at.0)),
        push: Callback::new(move |by: (f64, f64)| push(by.0 - by.1)),
    };
    let pairs = move |x: &str, y: &str| {
        live.get(x).into_iter().zip(live.get(y)).map(|(x, y)| (f64::from(x), f64::from(y))).collect()
    };
    let series = move || {
        vec![
            Series { name: "loss".into(), class: "forward", points: pairs("grid", "curve") },
            Series { name: "slope".into(), class: "backward", points: pairs("ends", "tangent") },
        ]
    };
    let label = |s: &'static str| derived(move || s.to_string());
    view! {
        <Plot
            label=words("the loss over the probability of the true class", "损失随真实类别概率的变化")
            label_x=words("p of the true class", "真实类别的概率 p") label_y=words("loss −log p, and its tangent", "损失 −log p 与切线")
            bounds=derived(|| [0.0, 1.0, 0.0, 7.0]) series=derived(series) handle size=(560.0, 300.0)
        />
        <div class="readouts">
            <span class="readout"><span class="name">"p"</span><span class="num">{move || number(p.get())}</span></span>
            <Readout live name="loss" node="−log p" label=label("L = −log p") />
            <Readout live name="slope" label=label("∂L/∂p = −1/p") side=Side::Backward />
        </div>
        <figcaption>{t("Drag the point, or focus it and use the arrow keys: up the curve, down the probability. Below 0.01 the steps are ten times as fine. The left end is p = 0.001.",
            "拖动这个点，或选中后按方向键：向上即沿曲线上行，概率变小。0.01 以下步长缩为十分之一。左端为 p = 0.001。")}</figcaption>
    }
}

fn labels(letter: &str) -> Vec<String> {
    (1..=N).map(|k| format!("{letter}{}", subscript(k))).collect()
}

/// The true class to choose.
#[component]
fn Truth(classes: Classes) -> impl IntoView {
    view! { <Choices label=words("true class", "真实类别") options=vec![("1", "1"), ("2", "2"), ("3", "3")] value=classes.truth /> }
}

#[component]
fn Gradient(classes: Classes) -> impl IntoView {
    let live = classes.entropy;
    let moved = RwSignal::new(None::<usize>);
    view! {
        <Truth classes />
        <div class="trio">
            <DragBars label=words("logits a", "logit a") names=labels("a") values=classes.logits min=-6.0 max=6.0 moved />
            <Columns live name="p" label=words("probabilities p", "概率 p") names=labels("p") range=[0.0, 1.0] lit=classes.truth />
            <Columns live name="∂L/∂a" label=words("gradient p − y", "梯度 p − y") names=labels("a") range=[-1.0, 1.0] side=Side::Backward lit=classes.truth />
        </div>
        <div class="readouts">
            <Readout live name="loss" label=words("loss L", "损失 L") />
            <Readout live name="truth" node="p of the true class" label=words("p of the true class", "真实类别的 p") />
            <Readout live name="sum" node="sum of the gradient" label=words("sum of the gradient", "梯度之和") side=Side::Backward />
        </div>
        <figcaption>{t("The framed class is the true one. Click an orange bar to see its two parts.",
            "带框的是真实类别。点击橙色的条形，查看它的两个部分。")}</figcaption>
    }
}

#[component]
fn Squared(classes: Classes) -> impl IntoView {
    let moved = RwSignal::new(None::<usize>);
    view! {
        <Truth classes />
        <div class="trio">
            <DragBars label=words("logits a", "logit a") names=labels("a") values=classes.logits min=-6.0 max=6.0 moved />
            <Columns live=classes.entropy name="∂L/∂a" label=words("gradient of cross-entropy", "交叉熵的梯度") names=labels("a") range=[-1.0, 1.0] side=Side::Backward lit=classes.truth />
            <Columns live=classes.squared name="∂E/∂a" label=words("gradient of squared error", "平方误差的梯度") names=labels("a") range=[-1.0, 1.0] side=Side::Backward lit=classes.truth />
        </div>
        <div class="readouts">
            <Readout live=classes.squared name="truth" node="p of the true class" label=words("p of the true class", "真实类别的 p") />
            <Readout live=classes.entropy name="loss" label=words("cross-entropy L", "交叉熵 L") />
            <Readout live=classes.squared name="loss" label=words("squared error E", "平方误差 E") />
        </div>
        <figcaption>{t("The same logits as above. Both gradients have one scale.",
            "与上面是同一组 logit。两个梯度用同一刻度。")}</figcaption>
    }
}
