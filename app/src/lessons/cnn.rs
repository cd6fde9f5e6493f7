//! Chapter 8, a CNN learns: the `quick` recipe in the page. Training, filters through time, the
//! confusion matrix, and why an image was taken for something else.

use leptos::task::spawn_local;

use super::Stage;
use crate::engine::Values;
use crate::engine::training::{Command, Frozen, Said};
use crate::page::lang::{Lang, lang, t, words};
use crate::page::route;
use crate::prelude::*;
use crate::widgets::classes::class_name;
use crate::widgets::format::number;
use crate::widgets::live::Live;
use crate::widgets::matrix::{Matrix, Side};
use crate::widgets::picture::{Picture, Shade};
use crate::widgets::training::{Controls, Curves, Moment, RateSlider, Run};
use compute::sorting::sorted;

/// The recipe that the native program trains first.
pub const QUICK: &str = include_str!("../../../compute/recipes/quick.toml");
/// Images in a gallery.
const GALLERY: usize = 24;

/// Which held-out images the reader looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Wrong ones, the most confident first.
    Wrong,
    /// Of a true class taken for another.
    Pair(usize, usize),
}

pub fn open() -> Stage {
    let run = Run::new();
    run.open("quick", QUICK, vec![], false);
    let cell = cell_of_address();
    let chosen = RwSignal::new(None::<Said>);
    let pixels = RwSignal::new(Vec::<Values>::new());
    let live = Live::empty();
    let widget = move |name: &str| {
        Some(match name {
            "train" => view! { <Controls run /> <Curves run /> <RateSlider run /> },
            "filters" => view! { <Filters run /> },
            "confusion" => view! { <Confusion run cell /> },
            "wrong" => view! { <Gallery run cell chosen pixels live /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![live] }
}

/// The cell of the confusion matrix in the address: `cell=6,0`.
fn cell_of_address() -> RwSignal<Cell> {
    let pair = route::numbers("cell", vec![-1.0, -1.0]);
    let [r, c] = [0, 1].map(|k| pair.with_untracked(|p| p[k]));
    let cell = RwSignal::new(if r >= 0.0 && c >= 0.0 { Cell::Pair(r as usize, c as usize) } else { Cell::Wrong });
    effect(move || {
        pair.set(match cell.get() {
            Cell::Wrong => vec![-1.0, -1.0],
            Cell::Pair(r, c) => vec![r as f32, c as f32],
        });
    });
    cell
}

/// The first layer's filters at a recorded moment.
#[component]
pub fn Filters(run: Run) -> impl IntoView {
    // `None` follows the run.
    let at = RwSignal::new(None::<usize>);
    let count = move || run.moments.with(Vec::len);
    let moment = memo(move || run.moments.with(|all| at.get().and_then(|k| all.get(k)).or(all.last()).cloned()));
    let step = move || moment.get().map_or(0, |m: Moment| m.step);
    let filters = memo(move || moment.get().map(|m| m.filters).unwrap_or_default());
    let many = memo(move || filters.with(|f| f.shape.first().copied().unwrap_or(0)));
    // One scale through all moments, so that growth is seen.
    let scale = memo(move || {
        run.moments.with(|all| all.last().map_or(1.0, |m| m.filters.data.iter().fold(1e-3f32, |s, v| s.max(v.abs()))))
    });
    let moment_text = move || match lang() {
        Lang::En => format!("step {}", step()),
        Lang::Zh => format!("第 {} 步", step()),
    };
    let scrub = move |e| {
        if let Ok(k) = event_target_value(&e).parse::<usize>() {
            at.set((k + 1 < count()).then_some(k));
        }
    };
    view! {
        <div class="filters">
            {move || (0..many.get()).map(|k| {
                let data = derived(move || filters.with(|f| {
                    let size = f.data.len() / f.shape.first().copied().unwrap_or(1).max(1);
                    f.data.get(k * size..(k + 1) * size).map(<[f32]>::to_vec).unwrap_or_default()
                }));
                let shape = derived(move || filters.with(|f| f.shape.get(1..).map(<[usize]>::to_vec).unwrap_or_default()));
                let shade = derived(move || Shade::Signed { max: scale.get() });
                let label = derived(move || format!("{} {}", t("kernel", "卷积核")(), k + 1));
                view! { <Picture data shape shade label /> }
            }).collect_view()}
        </div>
        <label class="slider">
            <span>{t("moment", "时刻")}</span>
            <input type="range" min="0" max=move || count().saturating_sub(1) step="1" id="moment"
                prop:value=move || at.get().unwrap_or_else(|| count().saturating_sub(1))
                on:input=scrub
                aria-valuetext=moment_text />
            <output>{move || moment_text()}</output>
        </label>
        <figcaption>{t("Blue adds, orange subtracts; white is zero. The slider goes back through the recorded moments.",
            "蓝色为正，橙色为负，白色为零。滑块可回到任何一个记录的时刻。")}</figcaption>
    }
}

/// In the place of what only a trained network has: the way to one.
#[component]
fn Begin(run: Run) -> impl IntoView {
    let ready = move || run.report.with(Option::is_some) && !run.opening.get();
    let running = move || run.report.with(|r| r.as_ref().is_some_and(|r| r.running));
    view! {
        <p class="row">
            <span class="quiet">{t("Nothing is known of the held-out images before the first steps of training.", "先训练几步，才知道网络怎样看留出的图像。")}</span>
            <button disabled=move || !ready() || running() on:click=move |_| run.tell(Command::Start)>
                {move || if running() { t("Training…", "正在训练……")() } else { t("Train", "训练")() }}
            </button>
        </p>
    }
}

#[component]
pub fn Confusion(run: Run, cell: RwSignal<Cell>) -> impl IntoView {
    view! {
        <Show
            when=move || run.scores.with(Option::is_some)
            fallback=move || view! { <Begin run /> }
        >
            <div class="scroll">
                <table class="confusion">
                    <caption class="quiet">{t("rows: what it is; columns: what the network says", "行：真实类别；列：网络的回答")}</caption>
                    {move || {
                        let classes = run.report.with(|r| r.as_ref().map(|r| r.classes.iter().map(|c| class_name(c)).collect::<Vec<_>>()).unwrap_or_default());
                        let matrix = run.scores.with(|s| s.as_ref().map(|s| s.confusion.clone()).unwrap_or_default());
                        let names = classes.clone();
                        view! {
                            <thead><tr><td></td>{names.into_iter().map(|c| view! { <th scope="col">{c}</th> }).collect_view()}</tr></thead>
                            <tbody>
                                {matrix.into_iter().enumerate().map(|(r, row)| {
                                    let total = row.iter().sum::<u64>().max(1);
                                    view! {
                                        <tr>
                                            <th scope="row">{classes.get(r).cloned()}</th>
                                            {row.into_iter().enumerate().map(|(c, n)| view! {
                                                <td>
                                                    <button class:off=r != c class:empty=n == 0 style=format!("--share:{}%", 100 * n / total)
                                                        aria-pressed=move || (cell.get() == Cell::Pair(r, c)).to_string()
                                                        on:click=move |_| cell.set(Cell::Pair(r, c))>{n}</button>
                                                </td>
                                            }).collect_view()}
                                        </tr>
                                    }
                                }).collect_view()}
                            </tbody>
                        }
                    }}
                </table>
            </div>
            <p class="quiet">
                {move || run.scores.with(|s| s.as_ref().map(|s| {
                    let (n, step, right, f1) = (s.said.len(), s.step, 100.0 * s.accuracy, s.macro_f1);
                    match lang() {
                        Lang::En => format!("{n} held-out images at step {step}: accuracy {right:.1}%, macro F1 {f1:.3}"),
                        Lang::Zh => format!("第 {step} 步，{n} 张留出图像：准确率 {right:.1}%，宏平均 F1 {f1:.3}"),
                    }
                }))}
            </p>
        </Show>
    }
}

#[component]
pub fn Gallery(
    run: Run,
    cell: RwSignal<Cell>,
    chosen: RwSignal<Option<Said>>,
    pixels: RwSignal<Vec<Values>>,
    live: Live,
) -> impl IntoView {
    let shown = memo(move || {
        let mut all = run.scores.with(|s| s.as_ref().map(|s| s.said.clone()).unwrap_or_default());
        let keep = |s: &Said| match cell.get() {
            Cell::Wrong => s.truth != s.predicted,
            Cell::Pair(r, c) => (s.truth as usize, s.predicted as usize) == (r, c),
        };
        all.retain(keep);
        all = sorted(all, |a, b| b.confidence.total_cmp(&a.confidence));
        all.truncate(GALLERY);
        all
    });
    effect(move || {
        let which: Vec<u32> = shown.with(|s| s.iter().map(|s| s.image).collect());
        if which.is_empty() {
            return pixels.set(vec![]);
        }
        spawn_local(async move {
            if let Some(report) = run.send(Command::Images(which)).await {
                pixels.try_set(report.tensors.into_iter().filter(|t| t.shape.len() == 3).collect());
            }
        });
    });
    let look = move |s: Said| {
        chosen.set(Some(s));
        spawn_local(async move {
            live.freeze(Frozen::Image(s.image)).await;
        });
    };
    let class = move |k: u32| {
        run.report
            .with(|r| r.as_ref().and_then(|r| r.classes.get(k as usize).map(|c| class_name(c))).unwrap_or_default())
    };
    let title = move || match cell.get() {
        Cell::Wrong => t("Wrong, the most confident first", "答错的图像，越有把握的越靠前")().to_string(),
        Cell::Pair(r, c) => format!("{} → {}", class(r as u32), class(c as u32)),
    };
    view! {
        <p class="eyebrow">{move || title()} " "
            <Show when=move || cell.get() != Cell::Wrong>
                <button class="link" on:click=move |_| cell.set(Cell::Wrong)>{t("all wrong ones", "全部答错的")}</button>
            </Show>
        </p>
        <Show when=move || shown.with(Vec::is_empty)>
            {move || if run.scores.with(Option::is_some) {
                view! { <p class="quiet">{t("None.", "没有。")}</p> }
            } else {
                view! { <Begin run /> }
            }}
        </Show>
        <ul class="gallery">
            {move || shown.get().into_iter().map(|s| {
                let key = s.image.to_string();
                let find = move || pixels.with(|all| all.iter().find(|v| v.name == key).cloned().unwrap_or_default());
                let (data, shape) = (find.clone(), find);
                let label = derived(move || match lang() {
                    Lang::En => format!("{}, taken for {}", class(s.truth), class(s.predicted)),
                    Lang::Zh => format!("{}，被认作{}", class(s.truth), class(s.predicted)),
                });
                view! {
                    <li>
                        <button aria-pressed=move || (chosen.get().map(|c| c.image) == Some(s.image)).to_string() on:click=move |_| look(s)>
                            <Picture data=derived(move || data().data) shape=derived(move || shape().shape) shade=Shade::Pixels label />
                            {move || class(s.predicted)} " " {format!("{:.0}%", 100.0 * s.confidence)}
                            <br/> <span class="quiet">{t("is: ", "实为：")} {move || class(s.truth)}</span>
                        </button>
                    </li>
                }
            }).collect_view()}
        </ul>
        <Show when=move || live.scene.get().is_some()><Why run live chosen /></Show>
    }
}

/// Why: the logits, and the places that speak for a class.
#[component]
fn Why(run: Run, live: Live, chosen: RwSignal<Option<Said>>) -> impl IntoView {
    let classes = run.report.with_untracked(|r| r.as_ref().map(|r| r.classes.clone()).unwrap_or_default());
    let caption = words("logits", "logit");
    let map = move |of: fn(&Said) -> u32| {
        let class = memo(move || chosen.get().map_or(0, |s| of(&s)) as usize);
        let part = move || live.outputs.with(|o| o.get("share").cloned().unwrap_or_default());
        let data = derived(move || {
            let v = part();
            let size = v.shape.get(1..).map_or(0, |s| s.iter().product());
            v.data.get(class.get() * size..(class.get() + 1) * size).map(<[f32]>::to_vec).unwrap_or_default()
        });
        let shape = derived(move || part().shape.get(1..).map(<[usize]>::to_vec).unwrap_or_default());
        let shade = derived(move || Shade::Signed { max: part().data.iter().fold(1e-3, |m, v| m.max(v.abs())) });
        (class, data, shape, shade)
    };
    let maps = [map(|s| s.predicted), map(|s| s.truth)];
    let names = StoredValue::new(classes);
    let name = move |k: usize| names.with_value(|n| n.get(k).map(|c| class_name(c)).unwrap_or_default());
    view! {
        <div class="why">
            {move || {
                let columns = names.with_value(|n| n.iter().map(|c| class_name(c)).collect::<Vec<_>>());
                view! { <Matrix live name="logits" caption columns side=Side::Forward scale=10.0 /> }
            }}
            <div class="maps">
                {maps.into_iter().map(|(class, data, shape, shade)| {
                    let label = derived(move || match lang() {
                        Lang::En => format!("what speaks for {}", name(class.get())),
                        Lang::Zh => format!("哪些位置支持“{}”", name(class.get())),
                    });
                    view! {
                        <div>
                            <p class="eyebrow">{move || label.get()}</p>
                            <Picture data shape shade label />
                            <Places live class data shape />
                        </div>
                    }
                }).collect_view()}
            </div>
            <figcaption>{t("Each place of the last feature maps adds its weight times its activation; blue speaks for the class, orange against it. Their sum and the bias are the logit.",
                "末层特征图的每个位置贡献“权重 × 激活”；蓝色支持该类，橙色反对。各处之和加上偏置即为 logit。")}</figcaption>
        </div>
    }
}

/// The places with the largest shares, to ask about.
#[component]
fn Places(live: Live, class: Memo<usize>, data: Signal<Vec<f32>>, shape: Signal<Vec<usize>>) -> impl IntoView {
    let top = move || {
        let width = shape.get().last().copied().unwrap_or(1).max(1);
        let mut all = sorted(data.get().into_iter().enumerate().collect(), |a, b| b.1.abs().total_cmp(&a.1.abs()));
        all.truncate(3);
        all.into_iter().map(move |(k, v)| (k / width, k % width, v))
    };
    view! {
        <p>
            {move || top().map(|(h, w, v)| view! {
                <button class="leaf" on:click=move |_| live.ask("share", vec![class.get_untracked(), h, w])>
                    {format!("[{h}, {w}]")} <span class="num">{number(f64::from(v))}</span>
                </button>
            }).collect_view()}
        </p>
    }
}
