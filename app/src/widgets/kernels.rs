//! The kernel on the table: for each computation of the chapter its WGSL (printed from the cell,
//! and as it runs), sizes, the time it takes here, and an editor that runs what the reader wrote
//! and compares it with the definition.

use compute::backend::gpu::nameless;
use leptos::task::spawn_local;

use super::alert::alert;
use super::format::number;
use super::live::Live;
use crate::engine::client::engine;
use crate::engine::kernels::{Form, Timing};
use crate::engine::{KernelInfo, Reply, Request, Shader};
use crate::page::lang::{Lang, lang, t};
use crate::prelude::*;

#[component]
pub fn Kernels(scenes: Vec<Live>) -> impl IntoView {
    let open = RwSignal::new(false);
    let lists = RwSignal::new(Vec::<(Live, Vec<Group>)>::new());
    let failed = RwSignal::new(None::<String>);
    let engine = engine();
    let scenes = StoredValue::new(scenes);
    effect(move || {
        let ids: Vec<(Live, Option<u32>)> = scenes.with_value(|s| s.iter().map(|l| (*l, l.scene.get())).collect());
        if !open.get() {
            return;
        }
        spawn_local(async move {
            let mut all = vec![];
            for (live, scene) in ids.into_iter().filter_map(|(l, id)| Some((l, id?))) {
                match engine.ask(Request::Kernels { scene }).await {
                    Ok(Reply::Kernels(list)) => all.push((live, once(list))),
                    Ok(_) => {}
                    Err(e) => {
                        failed.try_set(Some(e));
                    }
                }
            }
            lists.try_set(all);
        });
    });
    view! {
        <details class="kernels" on:toggle=move |e| open.set(is_open(&e))>
            <summary>{t("The kernels of this chapter", "本章所用的内核")}</summary>
            <p class="quiet">{t("What ran to compute the numbers above. Each is printed from the one definition of its operation; where speed matters a hand-written one takes its place, and both are compared with the definition in 64-bit arithmetic.",
                "上面的数字就是由这些内核算出的。每个内核都由运算的唯一定义生成；在速度要紧之处由手写内核代替，两者都与定义的 64 位结果比较。")}</p>
            {alert(failed)}
            {move || lists.get().into_iter().map(|(live, list)| {
                list.into_iter().map(|group| view! { <One live group /> }).collect_view()
            }).collect_view()}
        </details>
    }
}

/// Kernels of the same text.
#[derive(Clone)]
struct Group {
    /// The number of the first one, which stands for all.
    first: usize,
    info: KernelInfo,
    /// What each of them computes.
    labels: Vec<String>,
}

/// Each text once, in the order of its first run.
fn once(list: Vec<KernelInfo>) -> Vec<Group> {
    let mut groups: Vec<(String, Group)> = vec![];
    for (first, info) in list.into_iter().enumerate() {
        let all = info.naive.iter().chain(&info.fast);
        let key = all.fold(format!("{:?} {:?}", info.shape, info.inlined), |key, s| key + &nameless(&s.code));
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, group)) => group.labels.push(info.label),
            None => groups.push((key, Group { first, labels: vec![info.label.clone()], info })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Whether the `<details>` that an event comes from is open.
fn is_open(event: &leptos::ev::Event) -> bool {
    event_target::<web_sys::Element>(event).has_attribute("open")
}

/// One kernel, and how often it ran.
#[component]
fn One(live: Live, group: Group) -> impl IntoView {
    let Group { first: k, info, labels } = group;
    let engine = engine();
    let other = info.other.as_ref().map(|o| o.0);
    let own = if info.naive == info.fast { Form::Naive } else { Form::Own };
    let form = RwSignal::new(own);
    let info = StoredValue::new(info);
    let code_of =
        move |form: Form| info.with_value(|i| shaders_of(i, form).first().map(|s| s.code.clone()).unwrap_or_default());
    let text = RwSignal::new(code_of(own));
    let timing = RwSignal::new(None::<Result<Timing, String>>);
    let before = RwSignal::new(None::<f64>);
    let busy = RwSignal::new(false);
    let edited = move || text.get() != code_of(form.get());
    // Edited text and another device's form run on WebGPU only.
    let needs_gpu = move || edited() || Some(form.get()) == other;
    let measure = move |_| {
        let Some(scene) = live.scene.get_untracked() else { return };
        let code = untrack(edited).then(|| text.get_untracked());
        let (changed, form) = (code.is_some(), form.get_untracked());
        busy.set(true);
        spawn_local(async move {
            let result = match engine.ask(Request::Time { scene, kernel: k, form, code }).await {
                Ok(Reply::Timed(t)) => Ok(t),
                Ok(_) => Err("an answer to another question".into()),
                Err(e) => Err(e),
            };
            if let (false, Ok(t)) = (changed, &result) {
                before.try_set(t.ms);
            }
            timing.try_set(Some(result));
            busy.try_set(false);
        });
    };
    let choose = move |to: Form| {
        form.set(to);
        text.set(code_of(to));
        timing.set(None);
    };
    let head = info.with_value(|i| {
        let shape: Vec<String> = i.shape.iter().map(usize::to_string).collect();
        let inside = if i.inlined.is_empty() { String::new() } else { format!(" ⊃ {}", i.inlined.join(", ")) };
        let label = if i.label == i.op { i.op.clone() } else { format!("{} = {}", i.label, i.op) };
        (format!("{label}{inside}"), format!("[{}]", shape.join(", ")), i.flops, i.bytes)
    });
    let groups = move || {
        let line = |s: &Shader| format!("{} {:?}", s.entry, s.groups);
        info.with_value(|i| shaders_of(i, form.get()).iter().map(line).collect::<Vec<_>>().join("; "))
    };
    let mut forms = vec![(Form::Naive, t("from the definition", "由定义生成"))];
    if own == Form::Own {
        forms.push((Form::Own, t("as it runs here", "在此实际运行")));
    }
    if let Some(other) = other {
        forms.push((other, t("as on other devices", "用于其他设备")));
    }
    let webgpu = move || engine.device.get().is_some_and(|d| d.webgpu);
    view! {
        <details class="kernel" data-kernel=head.0.clone()>
            <summary><code>{head.0.clone()}</code> <small>{head.1} " " {number(head.2)} " FLOP" {t(", ", "，")} {number(head.3 as f64)} " B" <Times labels=labels.clone() /></small></summary>
            {(labels.len() > 1).then(|| view! { <p class="quiet">{t("computes ", "计算：")} <code>{some(&labels)}</code></p> })}
            <p class="quiet">{t("entry point and workgroups: ", "入口与工作组：")} <code>{move || groups()}</code></p>
            {(forms.len() > 1).then(|| view! {
                <div class="choices" role="group" aria-label=t("Variant", "版本")>
                    {forms.into_iter().map(|(f, label)| view! {
                        <button aria-pressed=move || (form.get() == f).to_string() on:click=move |_| choose(f)>{label}</button>
                    }).collect_view()}
                </div>
            })}
            <textarea class="code" spellcheck="false" rows="14" aria-label="WGSL" prop:value=move || text.get() on:input=move |e| text.set(event_target_value(&e))></textarea>
            <div class="row">
                <button on:click=measure disabled=move || busy.get() || (needs_gpu() && !webgpu())>
                    {move || if edited() { t("Run the edited text", "运行修改后的代码")() } else { t("Measure", "测量")() }}
                </button>
                <Show when=edited>
                    <button class="plain" on:click=move |_| text.set(untrack(|| code_of(form.get())))>{t("Undo the edits", "撤销修改")}</button>
                </Show>
                <Show when=move || !webgpu()>
                    <span class="quiet">{t("WGSL runs on WebGPU only, which this browser lacks.", "WGSL 只能在 WebGPU 上运行，此浏览器不支持。")}</span>
                </Show>
            </div>
            <div aria-live="polite" class="timing">
                {move || timing.get().map(|result| match result {
                    Err(e) => view! { <p role="alert">{e}</p> },
                    Ok(timing) => view! { <Outcome timing before=before.get() /> },
                })}
            </div>
        </details>
    }
}

/// How often a text ran, if more than once.
#[component]
fn Times(labels: Vec<String>) -> impl IntoView {
    let n = labels.len();
    (n > 1).then_some(move || match lang() {
        Lang::En => format!(", runs {n} times"),
        Lang::Zh => format!("，运行 {n} 次"),
    })
}

/// A few names of many.
fn some(labels: &[String]) -> String {
    match labels {
        [first, second, .., last] if labels.len() > 4 => format!("{first}, {second}, …, {last}"),
        _ => labels.join(", "),
    }
}

/// The dispatches of a form.
fn shaders_of(info: &KernelInfo, form: Form) -> &[Shader] {
    match (&info.other, form) {
        (_, Form::Naive) => &info.naive,
        (Some((other, shaders)), f) if *other == f => shaders,
        _ => &info.fast,
    }
}

/// Time, agreement, and what the compiler said.
#[component]
fn Outcome(timing: Timing, before: Option<f64>) -> impl IntoView {
    let agrees = timing.error <= 1e-4 * timing.scale.max(1e-6);
    let time = timing.ms.map(|ms| {
        let ratio = before.filter(|b| *b > 0.0).map(|b| format!(" ({:.2} ×)", ms / b));
        format!("{:.4} ms{} · {}", ms, ratio.unwrap_or_default(), timing.backend)
    });
    let ran = timing.ms.is_some();
    view! {
        {time.map(|text| view! { <p><output>{text}</output></p> })}
        {ran.then(|| view! {
            <p class:wrong=!agrees>
                {if agrees { t("agrees with the definition; largest difference ", "与定义一致；最大误差 ") } else { t("differs from the definition by up to ", "与定义不符；最大误差 ") }}
                {format!("{:.1e}", timing.error)}
            </p>
        })}
        {(!timing.messages.is_empty()).then(|| view! {
            <ul class="messages">
                {timing.messages.into_iter().map(|(line, m)| view! {
                    <li>{(line > 0).then(|| format!("{line}: "))} {m}</li>
                }).collect_view()}
            </ul>
        })}
    }
}
