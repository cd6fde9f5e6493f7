//! Chapter 7, convolution: a kernel to paint, the same sum as a row of a product, and the gradient
//! of the kernel.

mod gradient;
mod im2col;
mod kernel;
mod paint;

use leptos::task::spawn_local;

use super::Stage;
use crate::engine::client::engine;
use crate::engine::{Reply, Request, Values};
use crate::page::lang::t;
use crate::page::route;
use crate::prelude::*;
use crate::scenes::Spec;
use crate::scenes::convolution::{IMAGE, KERNEL, side};
use crate::widgets::alert::alert;
use crate::widgets::format::number;
use crate::widgets::live::{Live, feed};
use crate::widgets::pick::Frame;
use crate::widgets::picture::Shade;

/// The shape of a kernel with its channels.
const KERNEL_SHAPE: [usize; 4] = [1, 1, KERNEL, KERNEL];

/// What the three figures share.
#[derive(Clone, Copy)]
pub struct Lab {
    live: Live,
    w: RwSignal<Vec<f32>>,
    stride: RwSignal<f64>,
    padding: RwSignal<f64>,
    /// Which image of the sample.
    image: RwSignal<f64>,
    /// The window (u, v), inside the output.
    at: Memo<(usize, usize)>,
    wish: RwSignal<Vec<f32>>,
    target: RwSignal<usize>,
    pixels: RwSignal<Option<Values>>,
    failed: RwSignal<Option<String>>,
}

/// A whole number from the address, kept within bounds.
fn whole(v: f64, least: usize, most: usize) -> usize {
    (v.max(0.0) as usize).clamp(least, most)
}

pub fn open() -> Stage {
    let (stride, padding) = (route::number("stride", 1.0), route::number("padding", 1.0));
    let geometry = move || (whole(stride.get(), 1, 3), whole(padding.get(), 0, 2));
    let w = route::numbers("w", kernel::PRESETS[1].to_vec());
    let image = route::number("image", 0.0);
    let wish = route::numbers("at", vec![13.0, 12.0]);
    let target = route::choice("target", &["sharpen", "blur", "edge"]);
    let pixels = RwSignal::new(None::<Values>);
    let failed = RwSignal::new(None);
    let outputs = memo(move || {
        let (stride, padding) = geometry();
        side(stride, padding)
    });
    let at = memo(move || {
        let last = outputs.get().saturating_sub(1);
        wish.with(|p| (whole(p[0].into(), 0, last), whole(p[1].into(), 0, last)))
    });
    let spec = move || {
        let (stride, padding) = geometry();
        Spec::Convolution { stride, padding }
    };
    let live = Live::new(spec, move || {
        // Until the image is there the picture is black.
        let black = vec![0.0; IMAGE * IMAGE];
        let image = pixels.with(|p| p.as_ref().map_or(black, |p| p.data.clone()));
        let want = kernel::PRESETS[[2, 0, 1][target.get().min(2)]];
        let (u, v) = at.get();
        vec![
            feed("image", &[1, 1, IMAGE, IMAGE], image),
            feed("w", &KERNEL_SHAPE, w.get()),
            feed("want", &KERNEL_SHAPE, want.to_vec()),
            feed("at", &[1], vec![(u * outputs.get() + v) as f32]),
        ]
    });
    let engine = engine();
    effect(move || {
        let k = whole(image.get(), 0, 999) as u32;
        spawn_local(async move {
            match engine.ask(Request::Image(k)).await {
                Ok(Reply::Values { mut values, .. }) => {
                    pixels.try_set(values.pop());
                    failed.try_set(None);
                }
                Ok(_) => {}
                Err(e) => {
                    failed.try_set(Some(e));
                }
            }
        });
    });
    let lab = Lab { live, w, stride, padding, image, at, wish, target, pixels, failed };
    let widget = move |name: &str| {
        Some(match name {
            "paint" => view! { <paint::Paint lab /> },
            "im2col" => view! { <im2col::Rows lab /> },
            "weight-gradient" => view! { <gradient::Gradient lab /> },
            _ => return None,
        })
    };
    Stage { widget: Box::new(widget), scenes: vec![live] }
}

impl Lab {
    fn stride(self) -> usize {
        whole(self.stride.get(), 1, 3)
    }

    fn padding(self) -> usize {
        whole(self.padding.get(), 0, 2)
    }

    /// Height and width of an output `[.., height, width]`.
    fn plane(self, name: &'static str) -> Signal<Vec<usize>> {
        let live = self.live;
        derived(move || {
            let shape = live.outputs.with(|o| o.get(name).map(|v| v.shape.clone()).unwrap_or_default());
            shape.get(shape.len().saturating_sub(2)..).unwrap_or_default().to_vec()
        })
    }

    fn data(self, name: &'static str) -> Signal<Vec<f32>> {
        derived(move || self.live.get(name))
    }

    /// The window in the padded image.
    fn window(self) -> Signal<Frame> {
        derived(move || {
            let ((u, v), s) = (self.at.get(), self.stride());
            Frame { row: (u * s) as f64, column: (v * s) as f64, size: KERNEL as f64 }
        })
    }

    /// The window's place in the output.
    fn spot(self) -> Signal<Frame> {
        derived(move || {
            let (u, v) = self.at.get();
            Frame { row: u as f64, column: v as f64, size: 1.0 }
        })
    }

    fn put(self, u: f64, v: f64) {
        self.wish.set(vec![u.max(0.0) as f32, v.max(0.0) as f32]);
    }

    /// A pointer in the padded image: its window.
    fn scrub(self) -> Callback<(f64, f64)> {
        Callback::new(move |(row, column): (f64, f64)| {
            let s = untrack(|| self.stride()) as f64;
            let middle = KERNEL as f64 / 2.0;
            self.put(((row - middle) / s).round(), ((column - middle) / s).round());
        })
    }

    /// A pointer in the output.
    fn point(self) -> Callback<(f64, f64)> {
        Callback::new(move |(row, column): (f64, f64)| self.put(row.floor(), column.floor()))
    }

    fn shift(self) -> Callback<(i32, i32)> {
        Callback::new(move |(du, dv): (i32, i32)| {
            let (u, v) = self.at.get_untracked();
            self.put(u as f64 + f64::from(du), v as f64 + f64::from(dv));
        })
    }

    /// Asks for the element of a plane at the window.
    fn ask(self, name: &'static str) -> Callback<()> {
        Callback::new(move |()| {
            let (u, v) = self.at.get_untracked();
            self.live.ask(name, vec![0, 0, u, v]);
        })
    }

    fn place(self) -> Signal<String> {
        derived(move || {
            let (u, v) = self.at.get();
            format!("u = {u}, v = {v}")
        })
    }

    /// Black and white for everything that this kernel can give.
    fn reach(self) -> Signal<Shade> {
        derived(move || {
            let of = |name: &str| self.live.one(name).unwrap_or(0.0);
            Shade::Grey { low: of("lowest"), high: of("highest").max(of("lowest") + 1e-3) }
        })
    }
}

/// A single output that can be asked, with its name.
#[component]
fn Number(
    live: Live,
    name: &'static str,
    #[prop(into)] label: Signal<String>,
    #[prop(optional)] backward: bool,
) -> impl IntoView {
    let text = move || live.one(name).map_or("…".into(), |v| number(v.into()));
    view! {
        <span class="one" class:backward=backward>
            <span class="quiet">{move || label.get()}</span>
            <button class="cell" data-name=name on:click=move |_| live.ask(name, vec![])>{move || text()}</button>
        </span>
    }
}

/// Shape and range under a picture.
#[component]
fn Range(lab: Lab, name: &'static str) -> impl IntoView {
    let text = move || {
        let (shape, data) = (lab.plane(name).get(), lab.live.get(name));
        let (lo, hi) = data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        if data.is_empty() {
            String::new()
        } else {
            format!("{}, {} … {}", shape.join(" × "), number(lo.into()), number(hi.into()))
        }
    };
    view! { <small class="num" data-range=name>{move || text()}</small> }
}

/// What went wrong with the image or the scene.
#[component]
fn Trouble(lab: Lab) -> impl IntoView {
    alert(derived(move || lab.failed.get().or(lab.live.failed.get())))
}

/// Another image of the sample.
#[component]
fn Images(lab: Lab) -> impl IntoView {
    let go = move |by: f64| lab.image.update(|k| *k = (k.max(0.0) + by).rem_euclid(1000.0).floor());
    view! {
        <div class="row">
            <button on:click=move |_| go(-1.0) aria-label=t("Previous image", "上一幅图像")>"‹"</button>
            <button id="next-image" on:click=move |_| go(1.0) aria-label=t("Next image", "下一幅图像")>"›"</button>
            <small class="quiet">{t("image ", "图像 ")} {move || whole(lab.image.get(), 0, 999)} {t(" of Fashion-MNIST", "（Fashion-MNIST）")}</small>
            <Show when=move || lab.pixels.with(Option::is_none)><small class="quiet">{t("is being fetched…", "正在取来……")}</small></Show>
        </div>
    }
}
