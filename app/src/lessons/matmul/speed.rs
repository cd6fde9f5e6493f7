//! Every variant of a square product measured on this device, with its distance from the definition.

use leptos::task::spawn_local;

use crate::engine::client::engine;
use crate::engine::kernels::{Form, Timing};
use crate::engine::{Reply, Request};
use crate::page::lang::t;
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::widgets::alert::alert;
use crate::widgets::format::number;
use crate::widgets::live::Live;

/// Sides on offer, as in the address.
const SIZES: [&str; 3] = ["64", "256", "512"];
const FORMS: [Form; 4] = [Form::GpuNaive, Form::Shared, Form::Registers, Form::Cpu];

/// A measurement of each form, as far as they go.
#[derive(Clone, Copy)]
pub struct Race {
    live: Live,
    size: RwSignal<usize>,
    results: RwSignal<[Option<Result<Timing, String>>; 4]>,
    /// The form that runs now.
    running: RwSignal<Option<usize>>,
    stop: RwSignal<bool>,
}

impl Race {
    pub fn new() -> Race {
        let size = route::choice("n", &SIZES);
        let live = Live::new(move || Spec::Product { n: side(size.get()) }, Vec::new);
        let race = Race {
            live,
            size,
            results: RwSignal::new([const { None }; 4]),
            running: RwSignal::new(None),
            stop: RwSignal::new(false),
        };
        // Another size: what was measured is of the past.
        effect(move || {
            size.track();
            race.stop.set(true);
            race.results.set([const { None }; 4]);
        });
        race
    }

    pub fn live(self) -> Live {
        self.live
    }

    /// Measures one form after the other, until all are done or the reader stops.
    fn start(self) {
        let Some(scene) = self.live.scene.get_untracked() else { return };
        let engine = engine();
        let gpu = engine.device.get_untracked().is_some_and(|d| d.webgpu);
        self.stop.set(false);
        self.results.set([const { None }; 4]);
        self.running.set(Some(0));
        spawn_local(async move {
            for (k, form) in FORMS.into_iter().enumerate() {
                if form != Form::Cpu && !gpu {
                    continue;
                }
                self.running.try_set(Some(k));
                let result = match engine.ask(Request::Time { scene, kernel: 0, form, code: None }).await {
                    Ok(Reply::Timed(timing)) => Ok(timing),
                    Ok(_) => Err("an answer to another question".into()),
                    Err(e) => Err(e),
                };
                // The page may be gone, or another size chosen: then nobody waits for the rest.
                if self.stop.try_get_untracked() != Some(false) {
                    break;
                }
                self.results.try_update(|all| all[k] = Some(result));
            }
            self.running.try_set(None);
        });
    }
}

fn side(k: usize) -> usize {
    SIZES.get(k).and_then(|s| s.parse().ok()).unwrap_or(64)
}

/// Billions of floating-point operations a second, by the chapter's formula.
fn gflops(n: usize, ms: f64) -> f64 {
    2.0 * (n as f64).powi(3) / (ms * 1e-3 * 1e9)
}

#[component]
pub fn Speed(race: Race) -> impl IntoView {
    let busy = move || race.running.get().is_some();
    let ready = move || race.live.scene.get().is_some();
    let gpu = move || engine().device.get().is_some_and(|d| d.webgpu);
    let software = move || engine().device.get().is_some_and(|d| d.software);
    let best = memo(move || {
        let n = side(race.size.get());
        race.results.with(|all| {
            let speeds =
                all.iter().flatten().flatten().filter_map(|r| r.ms).filter(|ms| *ms > 0.0).map(|ms| gflops(n, ms));
            speeds.fold(0.0, f64::max)
        })
    });
    let names = [
        (t("naive", "朴素"), "WebGPU"),
        (t("tile shared in workgroup memory", "在工作组内存里共用的块"), "WebGPU"),
        (t("tile in registers", "放在寄存器里的块"), "WebGPU"),
        (t("register tiles in SIMD", "SIMD 寄存器块"), "CPU"),
    ];
    view! {
        <div class="row controls">
            <span class="eyebrow">{t("side of the matrices", "矩阵的边长")}</span>
            {SIZES.iter().enumerate().map(|(k, name)| view! {
                <button aria-pressed=move || (race.size.get() == k).to_string() on:click=move |_| race.size.set(k)>{*name}</button>
            }).collect_view()}
            <button class="primary" id="race" disabled=move || busy() || !ready() on:click=move |_| race.start()>{t("Measure", "测量")}</button>
            <Show when=busy>
                <button on:click=move |_| race.stop.set(true) disabled=move || race.stop.get()>{t("Stop after this one", "测完这一种就停")}</button>
            </Show>
            <span class="quiet" aria-live="polite">{move || race.running.get().map(|k| format!("{} {} / {}", t("measuring", "正在测量")(), k + 1, FORMS.len()))}</span>
        </div>
        <div class="scroll">
            <table class="measured race">
                <thead><tr>
                    <th scope="col">{t("variant", "做法")}</th>
                    <th scope="col">{t("runs on", "运行于")}</th>
                    <th scope="col">{t("ms", "毫秒")}</th>
                    <th scope="col">"GFLOP/s"</th>
                    <th scope="col">{t("largest difference from the definition", "与定义的最大误差")}</th>
                </tr></thead>
                <tbody>
                    {names.into_iter().enumerate().map(|(k, (name, on))| view! { <Row race k name on best gpu=derived(gpu) /> }).collect_view()}
                </tbody>
            </table>
        </div>
        <Show when=software>
            <p class="quiet">{t("WebGPU is run by the CPU here, as in the question above.", "这里的 WebGPU 由 CPU 运行，正是上面那个问题里的情形。")}</p>
        </Show>
        {alert(race.live.failed)}
        <figcaption>{t("Each kernel runs alone, again and again: the best of three measurements. The large size takes some seconds, most of them for the definition in 64-bit arithmetic.",
            "每个内核单独反复运行，取三次测量中最好的一次。大尺寸要等几秒，时间主要花在按定义做 64 位运算上。")}</figcaption>
    }
}

/// One variant.
#[component]
fn Row(
    race: Race,
    k: usize,
    name: impl Fn() -> &'static str + Copy + Send + Sync + 'static,
    on: &'static str,
    best: Memo<f64>,
    gpu: Signal<bool>,
) -> impl IntoView {
    let here = move || on == "CPU" || gpu.get();
    let result = memo(move || race.results.with(|all| all[k].clone()));
    let ms = move || match result.get() {
        Some(Ok(timing)) => timing.ms.map_or("–".into(), number),
        _ if race.running.get() == Some(k) => "…".into(),
        _ => "–".into(),
    };
    let speed = move || {
        let n = side(race.size.get());
        result.get().and_then(Result::ok).and_then(|r| r.ms).filter(|ms| *ms > 0.0).map(|ms| gflops(n, ms))
    };
    let share =
        move || format!("--share:{:.0}%", speed().map_or(0.0, |v| 100.0 * v / best.get().max(f64::MIN_POSITIVE)));
    let note = move || match result.get() {
        Some(Ok(timing)) if timing.ms.is_some() => format!("{:.1e}", timing.error).replace('-', "−"),
        Some(Ok(timing)) => timing.messages.into_iter().map(|m| m.1).collect::<Vec<_>>().join("; "),
        Some(Err(e)) => e,
        None if !here() => t("no WebGPU in this browser", "此浏览器没有 WebGPU")().into(),
        None => String::new(),
    };
    view! {
        <tr data-form=k.to_string()>
            <th scope="row">{name}</th>
            <td>{on}</td>
            <td class="num">{move || ms()}</td>
            <td class="num speed">{move || speed().map(number)} <span class="bar" style=share></span></td>
            <td class="num">{move || note()}</td>
        </tr>
    }
}
