//! Gradients measured: the difference quotient of a weight for steps from 1e-8 to 1, in 64-bit and
//! 32-bit arithmetic, against the gradient that the graph computed. The only arithmetic here is the
//! distance between the two.

use crate::engine::client::{Engine, engine};
use crate::engine::{Reply, Request};
use crate::page::lang::{t, words};
use crate::page::route;
use crate::prelude::*;
use crate::widgets::alert::alert;
use crate::widgets::curve::{Curve, Scale, Series};
use crate::widgets::format::number;
use crate::widgets::latest::latest;
use crate::widgets::live::Live;
use crate::widgets::slider::Slider;

/// The weights and biases, as in the address.
const WEIGHTS: [&str; 17] = [
    "w1-0-0", "w1-0-1", "w1-1-0", "w1-1-1", "w1-2-0", "w1-2-1", "b1-0", "b1-1", "b1-2", "w2-0-0", "w2-0-1", "w2-0-2",
    "w2-1-0", "w2-1-1", "w2-1-2", "b2-0", "b2-1",
];
/// Smallest and largest step as powers of ten, and points a decade.
const RANGE: [i32; 2] = [-8, 0];
const A_DECADE: i32 = 6;

/// What one arithmetic measured.
#[derive(Clone, Debug, Default, PartialEq)]
struct Measure {
    /// The gradient at the weight, in 64 bit.
    analytic: f64,
    /// (step, quotient)
    slopes: Vec<(f64, f64)>,
}

impl Measure {
    /// (step, distance from the gradient)
    fn errors(&self) -> Vec<(f64, f64)> {
        self.slopes.iter().map(|(e, slope)| (*e, (slope - self.analytic).abs())).collect()
    }
}

/// See the module's introduction. Index 0 is 64 bit, 1 is 32 bit.
#[derive(Clone, Copy)]
pub struct Probe {
    live: Live,
    weight: RwSignal<usize>,
    /// log10 of the step.
    power: RwSignal<f64>,
    curves: RwSignal<[Measure; 2]>,
    here: RwSignal<[Measure; 2]>,
    failed: RwSignal<Option<String>>,
}

/// The name of a weight and its index.
fn element(word: &str) -> (&str, Vec<usize>) {
    let mut parts = word.split('-');
    let name = parts.next().unwrap_or_default();
    (name, parts.filter_map(|p| p.parse().ok()).collect())
}

async fn measure(
    engine: Engine,
    scene: u32,
    node: u32,
    index: &[usize],
    steps: &[f64],
) -> Result<[Measure; 2], String> {
    let mut out = [Measure::default(), Measure::default()];
    for (k, single) in [false, true].into_iter().enumerate() {
        let request = Request::Slopes { scene, node, index: index.to_vec(), steps: steps.to_vec(), single };
        match engine.ask(request).await? {
            Reply::Slopes { analytic, slopes } => {
                out[k] = Measure { analytic, slopes: steps.iter().copied().zip(slopes).collect() };
            }
            _ => return Err("an answer to another question".into()),
        }
    }
    Ok(out)
}

impl Probe {
    pub fn new(live: Live) -> Probe {
        let probe = Probe {
            live,
            weight: route::choice("of", &WEIGHTS),
            power: route::number("e", -3.0),
            curves: RwSignal::default(),
            here: RwSignal::default(),
            failed: RwSignal::new(None),
        };
        let engine = engine();
        // The gradient asked for; again whenever the values change.
        let target = move || {
            let (name, index) = element(WEIGHTS[probe.weight.get()]);
            let scene = live.scene.get()?;
            live.outputs.with(|o| !o.is_empty()).then_some(())?;
            Some((scene, live.node(&format!("d {name}"))?.id, index))
        };
        let answer = move |result: Result<[Measure; 2], String>, into: RwSignal<[Measure; 2]>| match result {
            Ok(both) => {
                into.try_set(both);
                probe.failed.try_set(None);
            }
            // A scene that is being opened anew is asked again when its values are there.
            Err(e) => {
                probe.failed.try_set(Some(e));
            }
        };
        latest(target, move |(scene, node, index)| async move {
            let steps: Vec<f64> = (RANGE[0] * A_DECADE..=RANGE[1] * A_DECADE)
                .map(|k| 10f64.powf(f64::from(k) / f64::from(A_DECADE)))
                .collect();
            answer(measure(engine, scene, node, &index, &steps).await, probe.curves);
        });
        latest(
            move || Some((target()?, 10f64.powf(probe.power.get()))),
            move |((scene, node, index), e)| async move {
                answer(measure(engine, scene, node, &index, &[e]).await, probe.here);
            },
        );
        probe
    }
}

#[component]
pub fn Measured(probe: Probe) -> impl IntoView {
    let series = derived(move || {
        let line = |k: usize, name: &str, class: &'static str| {
            // An error of exactly 0 has no place on a log axis.
            let points = probe.curves.with(|c| c[k].errors().into_iter().filter(|p| p.1 > 0.0).collect());
            Series { name: name.into(), class, points }
        };
        vec![line(1, "f32", "dashed"), line(0, "f64", "backward")]
    });
    let mark = derived(move || Some(10f64.powf(probe.power.get())));
    let show = Callback::new(|power: f64| format!("{:.1e}", 10f64.powf(power)).replace('-', "−"));
    let step = words("step e", "步长 e");
    let error = words("error of the quotient", "差商的误差");
    let ask = move |_| {
        let (name, index) = element(WEIGHTS[probe.weight.get_untracked()]);
        probe.live.ask(&format!("d {name}"), index);
    };
    let analytic = memo(move || probe.here.with(|h| h[0].analytic));
    let silent =
        move || probe.curves.with(|c| c.iter().all(|m| !m.slopes.is_empty() && m.errors().iter().all(|p| p.1 == 0.0)));
    view! {
        <div class="row controls">
            <label class="row">
                <span>{t("weight", "权重")}</span>
                <select id="weight" on:change=move |e| if let Ok(k) = event_target_value(&e).parse() { probe.weight.set(k) }>
                    {WEIGHTS.iter().enumerate().map(|(k, word)| {
                        let (name, index) = element(word);
                        let chosen = move || probe.weight.get() == k;
                        view! { <option value=k.to_string() selected=chosen>{crate::widgets::format::element(name, &index)}</option> }
                    }).collect_view()}
                </select>
            </label>
            <span>{t("its gradient by the graph:", "计算图给出的梯度：")}</span>
            <button class="cell backward" id="analytic" on:click=ask>{move || number(analytic.get())}</button>
        </div>
        <Slider label=step value=probe.power min=-8.0 max=0.0 step=0.05 show />
        <Curve label_x=step label_y=error series scales=[Scale::Log; 2] fixed=[Some(1e-8), Some(1.0), None, None] mark />
        <Show when=silent>
            <p class="quiet">{t("For this sample the loss does not answer to this weight at all: gradient, quotients and errors are exactly 0, and a log axis has no place for 0.",
                "对这个样本，损失对这个权重毫无反应：梯度、差商和误差都恰好是 0，而对数轴上没有 0 的位置。")}</p>
        </Show>
        <div class="scroll">
            <table class="measured">
                <thead><tr>
                    <th scope="col">{t("format", "格式")}</th>
                    <th scope="col">"(L(w+e) − L(w−e)) / 2e"</th>
                    <th scope="col">{t("error", "误差")}</th>
                    <th scope="col">{t("least error on the curve", "曲线上的最小误差")}</th>
                </tr></thead>
                <tbody>{[(0, "f64"), (1, "f32")].map(|(k, name)| view! { <Format probe k name /> })}</tbody>
            </table>
        </div>
        {alert(probe.failed)}
        <figcaption>{t("The dotted line is the step you chose. Both formats are measured against the gradient in 64-bit arithmetic.",
            "虚竖线是你选的步长。两种格式都与 64 位运算得到的梯度比较。")}</figcaption>
    }
}

/// A row of the table: what one arithmetic gives at the chosen step, and where it is at its best.
#[component]
fn Format(probe: Probe, k: usize, name: &'static str) -> impl IntoView {
    let scientific = |v: f64| if v == 0.0 { "0".into() } else { format!("{v:.1e}").replace('-', "−") };
    let slope = move || probe.here.with(|h| h[k].slopes.first().map_or(String::new(), |p| number(p.1)));
    let error = move || probe.here.with(|h| h[k].errors().first().map_or(String::new(), |p| scientific(p.1)));
    let least = move || {
        let all = probe.curves.with(|c| c[k].errors());
        let least = all.into_iter().filter(|p| p.1.is_finite()).min_by(|a, b| a.1.total_cmp(&b.1));
        least.map_or(String::new(), |(e, err)| format!("{} (e = {})", scientific(err), scientific(e)))
    };
    view! {
        <tr data-format=name>
            <th scope="row">{name}</th>
            <td class="num">{move || slope()}</td>
            <td class="num">{move || error()}</td>
            <td class="num">{move || least()}</td>
        </tr>
    }
}
