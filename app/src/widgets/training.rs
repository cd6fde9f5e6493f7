//! A training run on the page: its history as signals, and the buttons that steer it.

use leptos::task::spawn_local;

use super::alert::alert;
use super::curve::{Curve, Series};
use super::format::number;
use crate::engine::client::{Engine, engine};
use crate::engine::training::{Command, Notice, Point, Report, Scores};
use crate::engine::{Reply, Request, Values};
use crate::page::lang::{Lang, lang, remembered, t, words};
use crate::prelude::*;

/// A recorded moment: a step and the first layer's weights at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    pub step: usize,
    pub filters: Values,
}

/// Moments kept; when there are more, every second one goes.
const MOMENTS: usize = 200;
/// Steps between two scorings while training runs.
const SCORE_EVERY: usize = 40;
/// Where it is remembered whether training pauses while the page is hidden.
pub const HIDDEN: &str = "chainrule.hidden";

/// See the module's introduction. The engine holds one run; opening another ends it.
#[derive(Clone, Copy)]
pub struct Run {
    engine: Engine,
    pub report: RwSignal<Option<Report>>,
    /// (step, loss, accuracy) of each training step.
    pub points: RwSignal<Vec<(f64, f64, f64)>>,
    /// The same of each scoring of the held-out images.
    pub held_out: RwSignal<Vec<(f64, f64, f64)>>,
    pub scores: RwSignal<Option<Scores>>,
    pub moments: RwSignal<Vec<Moment>>,
    pub notices: RwSignal<Vec<Notice>>,
    pub failed: RwSignal<Option<String>>,
    pub opening: RwSignal<bool>,
    scoring: StoredValue<bool>,
    /// Training pauses while nobody sees the page.
    pub pause_hidden: RwSignal<bool>,
}

impl Run {
    pub fn new() -> Run {
        let run = Run {
            engine: engine(),
            report: RwSignal::new(None),
            points: RwSignal::new(vec![]),
            held_out: RwSignal::new(vec![]),
            scores: RwSignal::new(None),
            moments: RwSignal::new(vec![]),
            notices: RwSignal::new(vec![]),
            failed: RwSignal::new(None),
            opening: RwSignal::new(false),
            scoring: StoredValue::new(false),
            pause_hidden: RwSignal::new(remembered(HIDDEN).is_none_or(|v| v == "pause")),
        };
        run.engine.listen(move |reply| match reply {
            Reply::Training(report) => run.hear(*report),
            Reply::Failed(e) => {
                run.failed.try_set(Some(e));
            }
            _ => {}
        });
        // A page that nobody sees does not train.
        let hidden = window_event_listener(leptos::ev::visibilitychange, move |_| {
            if document().hidden() && run.running() && run.pause_hidden.get_untracked() {
                run.tell(Command::Pause);
            }
        });
        on_cleanup(move || {
            hidden.remove();
            run.engine.tell(Request::Train(Command::Pause));
        });
        run
    }

    fn hear(self, report: Report) {
        if self.report.is_disposed() {
            return;
        }
        let fresh = self.report.with_untracked(|r| r.as_ref().is_none_or(|r| r.id != report.id));
        if fresh || report.step == 0 {
            self.points.set(vec![]);
            self.held_out.set(vec![]);
            self.moments.set(vec![]);
            self.scores.set(None);
            self.notices.set(vec![]);
        }
        let step = report.step as f64;
        if self.points.with_untracked(|all| all.last().is_some_and(|p| p.0 > step)) {
            // The run went back to a checkpoint.
            self.points.update(|all| all.retain(|p| p.0 <= step));
            self.held_out.update(|all| all.retain(|p| p.0 <= step));
            self.moments.update(|all| all.retain(|m| m.step <= report.step));
        }
        let triple = |p: &Point| (p.step as f64, p.loss, p.accuracy);
        self.points.update(|all| all.extend(report.points.iter().map(triple)));
        self.held_out.update(|all| all.extend(report.held_out.iter().map(triple)));
        self.notices.update(|all| all.extend(report.notices.iter().cloned()));
        if let Some(filters) = report.tensors.first().filter(|t| t.shape.len() == 4) {
            self.moments.update(|all| {
                if all.last().is_none_or(|m| m.step != report.step) {
                    all.push(Moment { step: report.step, filters: filters.clone() });
                }
                if all.len() > MOMENTS {
                    let mut k = 0;
                    all.retain(|_| {
                        k += 1;
                        k % 2 == 1
                    });
                }
            });
        }
        if let Some(scores) = &report.scores {
            let point = (scores.step as f64, scores.loss, scores.accuracy);
            if self.held_out.with_untracked(|all| all.last().is_none_or(|p| p.0 < point.0)) {
                self.held_out.update(|all| all.push(point));
            }
            self.scores.set(Some(scores.clone()));
        }
        let last = self.held_out.with_untracked(|h| h.last().map_or(0.0, |p| p.0)) as usize;
        let due = report.step >= last + SCORE_EVERY || (!report.running && report.step > last);
        let step = report.step;
        self.report.set(Some(report));
        let fixed = self.report.with_untracked(|r| r.as_ref().is_some_and(|r| r.fixed));
        if due && step > 0 && !fixed && !self.scoring.get_value() {
            self.scoring.set_value(true);
            spawn_local(async move {
                self.send(Command::Evaluate).await;
                self.scoring.try_update_value(|s| *s = false);
            });
        }
    }

    pub fn running(self) -> bool {
        self.report.with_untracked(|r| r.as_ref().is_some_and(|r| r.running))
    }

    /// Sends a command and takes the report that answers it.
    pub async fn send(self, command: Command) -> Option<Report> {
        match self.engine.ask(Request::Train(command)).await {
            Ok(Reply::Training(report)) => {
                self.failed.try_set(None);
                self.hear((*report).clone());
                Some(*report)
            }
            Ok(_) => None,
            Err(e) => {
                self.failed.try_set(Some(e));
                None
            }
        }
    }

    pub fn tell(self, command: Command) {
        spawn_local(async move {
            self.send(command).await;
        });
    }

    /// Opens a run and, if asked, starts it.
    pub fn open(self, name: &str, recipe: &str, changes: Vec<String>, start: bool) {
        self.begin(Command::Open { name: name.into(), recipe: recipe.into(), changes }, start);
    }

    /// Opens a run by any of the commands that do.
    pub fn begin(self, command: Command, start: bool) {
        self.opening.set(true);
        spawn_local(async move {
            let opened = self.send(command).await.is_some();
            self.opening.try_set(false);
            if opened && start {
                self.send(Command::Start).await;
            }
        });
    }
}

/// Train, pause, step, reset; where the run is.
#[component]
pub fn Controls(run: Run) -> impl IntoView {
    let running = move || run.report.with(|r| r.as_ref().is_some_and(|r| r.running));
    let ready = move || run.report.with(Option::is_some) && !run.opening.get();
    let fixed = move || run.report.with(|r| r.as_ref().is_some_and(|r| r.fixed));
    let ended = move || run.report.with(|r| r.as_ref().is_some_and(|r| r.step >= r.total));
    let finished = move || ended() || fixed();
    let status = move || {
        if run.opening.get() {
            return lang().pick("fetching the images…", "正在取图像……").to_string();
        }
        run.report.with(|r| {
            r.as_ref().map_or(String::new(), |r| {
                let epoch = r.step as f64 / r.per_epoch.max(1) as f64;
                let speed = if r.images_per_sec > 0.0 { r.images_per_sec.round().to_string() } else { "–".into() };
                match lang() {
                    Lang::En => {
                        format!("step {} of {}, epoch {epoch:.1}, {speed} images/s", r.step, r.total)
                    }
                    Lang::Zh => {
                        format!("第 {} 步，共 {} 步；第 {epoch:.1} 轮；每秒 {speed} 张", r.step, r.total)
                    }
                }
            })
        })
    };
    let per_epoch =
        move || run.report.with_untracked(|r| r.as_ref().map_or(1, |r| r.per_epoch - r.step % r.per_epoch.max(1)));
    view! {
        <div class="row controls">
            <button class="primary" id="train" disabled=move || !ready() || finished()
                on:click=move |_| run.tell(if untrack(running) { Command::Pause } else { Command::Start })>
                {move || if running() { t("Pause", "暂停")() } else { t("Train", "训练")() }}
            </button>
            <button id="step" disabled=move || !ready() || finished() on:click=move |_| run.tell(Command::Step(1))>{t("Step", "单步")}</button>
            <button disabled=move || !ready() || finished() on:click=move |_| run.tell(Command::Step(per_epoch()))>{t("One epoch", "一轮")}</button>
            <Show when=move || ended() && !fixed()>
                <button id="extend" on:click=move |_| run.tell(Command::Extend)>{t("One epoch more", "加一轮")}</button>
            </Show>
            <button id="reset" disabled=move || !ready() on:click=move |_| run.tell(Command::Reset)>{t("Reset", "重置")}</button>
            <span class="quiet" id="run-status" data-step=move || run.report.with(|r| r.as_ref().map_or(0, |r| r.step))>{move || status()}</span>
        </div>
        {move || run.notices.get().into_iter().map(|n| view! { <p class="notice" role="status">{told(&n)}</p> }).collect_view()}
        {alert(run.failed)}
    }
}

/// A notice in the language of the page.
fn told(notice: &Notice) -> String {
    match (notice, lang()) {
        (Notice::Recovered { why, step, backend }, Lang::En) => format!(
            "The device failed ({why}). Nothing before step {step} is lost: training went on from there on the {backend}."
        ),
        (Notice::Recovered { why, step, backend }, Lang::Zh) => {
            format!("计算设备失效（{why}）。第 {step} 步之前的内容没有丢失：已从该处改用 {backend} 继续训练。")
        }
        (Notice::Parts { images, why }, Lang::En) => {
            format!(
                "A batch is taken in parts of {images} images, whose gradients are added: as a whole it does not fit ({why})."
            )
        }
        (Notice::Parts { images, why }, Lang::Zh) => {
            format!("整批数据超出设备的限制，因此每次取 {images} 张图片分批计算，再把梯度相加（{why}）。")
        }
        (Notice::Fallback { why }, Lang::En) => format!("WebGPU could not hold this run, so the CPU computes ({why})."),
        (Notice::Fallback { why }, Lang::Zh) => format!("WebGPU 无法承担这次训练，已改用 CPU 计算（{why}）。"),
        (Notice::NoData { why }, Lang::En) => {
            format!("This run's images are not here, so it can be looked into and not trained further: {why}.")
        }
        (Notice::NoData { why }, Lang::Zh) => {
            format!("这次训练所用的图像不在此处，因此只能查看，不能继续训练：{why}。")
        }
        (Notice::OtherTilings { why }, Lang::En) => format!(
            "The tiles that were measured for this run are not used here ({why}). It is cut by the built-in table and goes on, but perhaps not to the same bits."
        ),
        (Notice::OtherTilings { why }, Lang::Zh) => {
            format!("为这次训练实测的分块在此处不适用（{why}）。已改用内置的表，训练可以继续，但结果未必逐位相同。")
        }
    }
}

/// Loss and accuracy of training and held-out images.
#[component]
pub fn Curves(run: Run) -> impl IntoView {
    let trained = t("training batch", "训练批次");
    let kept = t("held out", "留出");
    let pick = move |which: fn(&(f64, f64, f64)) -> f64| {
        derived(move || {
            let line = |v: &Vec<(f64, f64, f64)>| v.iter().map(|p| (p.0, which(p))).collect::<Vec<_>>();
            vec![
                Series { name: trained().into(), class: "quiet", points: run.points.with(line) },
                Series { name: kept().into(), class: "forward", points: run.held_out.with(line) },
            ]
        })
    };
    let steps = words("step", "步");
    view! {
        <div class="pair">
            <Curve label_x=steps label_y=words("loss", "损失") series=pick(|p| p.1) fixed=[Some(0.0), None, Some(0.0), None] />
            <Curve label_x=steps label_y=words("accuracy", "准确率") series=pick(|p| p.2) fixed=[Some(0.0), None, Some(0.0), Some(1.0)] />
        </div>
    }
}

/// The learning rate as a factor on the recipe's, on a scale of powers of two.
#[component]
pub fn RateSlider(run: Run) -> impl IntoView {
    let exponent = RwSignal::new(0.0f64);
    Effect::new(move |before: Option<f64>| {
        let e = exponent.get();
        if before.is_some_and(|b| b != e) {
            run.tell(Command::Rate(2f64.powf(e)));
        }
        e
    });
    let rate = move || run.report.with(|r| r.as_ref().map(|r| r.rate));
    let rate = move || rate().map_or_else(|| "–".into(), number);
    view! {
        <label class="slider">
            <span>{t("learning rate", "学习率")}</span>
            <input type="range" min="-5" max="6" step="0.5" prop:value=move || exponent.get()
                on:input=move |e| if let Ok(v) = event_target_value(&e).parse() { exponent.set(v) }
                aria-valuetext=rate />
            <output>{rate}</output>
        </label>
    }
}
