//! A plane with lines, dots and, if wanted, one point that the reader drags by pointer or keyboard.
//! Positions on the drawing are all it works out; every number it draws comes from outside.

use wasm_bindgen::JsCast;

use super::curve::{Scale, Series};
use super::format::number;
use crate::prelude::*;

/// A dot; the class gives colour and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Dot {
    pub at: (f64, f64),
    pub class: &'static str,
}

/// The point that can be dragged.
#[derive(Clone, Copy)]
pub struct Handle {
    pub name: Signal<String>,
    pub at: Signal<Option<(f64, f64)>>,
    /// What a screen reader says for its place.
    pub text: Signal<String>,
    /// To this place, in the plane's units.
    pub put: Callback<(f64, f64)>,
    /// By so many steps to the right and up.
    pub push: Callback<(f64, f64)>,
}

const LEFT: f64 = 44.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// Bounds, scales and size: how the plane lies on the drawing.
#[derive(Clone, Copy, PartialEq)]
struct Frame {
    /// left, right, bottom, top
    bounds: [f64; 4],
    scales: [Scale; 2],
    size: (f64, f64),
}

impl Frame {
    fn share(self, axis: usize, v: f64) -> f64 {
        let s = self.scales[axis];
        let (lo, hi) = (s.of(self.bounds[2 * axis]), s.of(self.bounds[2 * axis + 1]));
        (s.of(v) - lo) / (hi - lo)
    }

    fn x(self, v: f64) -> f64 {
        LEFT + (self.size.0 - LEFT - RIGHT) * self.share(0, v)
    }

    fn y(self, v: f64) -> f64 {
        self.size.1 - BOTTOM - (self.size.1 - TOP - BOTTOM) * self.share(1, v)
    }

    /// The value at a share of an axis.
    fn value(self, axis: usize, share: f64) -> f64 {
        let s = self.scales[axis];
        let (lo, hi) = (s.of(self.bounds[2 * axis]), s.of(self.bounds[2 * axis + 1]));
        let v = lo + share.clamp(0.0, 1.0) * (hi - lo);
        if s == Scale::Log { 10f64.powf(v) } else { v }
    }

    /// The place in the plane under a place on the screen.
    fn place(self, rect: &web_sys::DomRect, x: f64, y: f64) -> (f64, f64) {
        let (u, v) = ((x - rect.left()) / rect.width() * self.size.0, (y - rect.top()) / rect.height() * self.size.1);
        let across = (u - LEFT) / (self.size.0 - LEFT - RIGHT);
        let up = (self.size.1 - BOTTOM - v) / (self.size.1 - TOP - BOTTOM);
        (self.value(0, across), self.value(1, up))
    }

    fn ticks(self, axis: usize, n: f64) -> Vec<f64> {
        let (lo, hi) = (self.bounds[2 * axis], self.bounds[2 * axis + 1]);
        match self.scales[axis] {
            Scale::Linear => super::curve::ticks(lo, hi, n, Scale::Linear),
            Scale::Log => {
                let powers = lo.log10().floor() as i32..=hi.log10().ceil() as i32;
                let all = powers.flat_map(|p| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(p)));
                all.filter(|v| (lo..=hi).contains(v)).collect()
            }
        }
    }

    /// A path through points; one that is not finite lifts the pen. The drawing ends far outside
    /// the frame, so that a line that runs away has a direction still.
    fn path(self, points: &[(f64, f64)]) -> String {
        let mut out = String::new();
        let mut down = false;
        for &(x, y) in points {
            let (x, y) = (self.x(x), self.y(y));
            if x.is_finite() && y.is_finite() {
                let (x, y) = (x.clamp(-1e5, 1e5), y.clamp(-1e5, 1e5));
                out += &format!("{}{x:.2},{y:.2}", if down { "L" } else { "M" });
                down = true;
            } else {
                down = false;
            }
        }
        out
    }
}

#[component]
pub fn Plot(
    /// What is drawn, for those who do not see it.
    #[prop(into)]
    label: Signal<String>,
    #[prop(into)] label_x: Signal<String>,
    #[prop(into)] label_y: Signal<String>,
    /// left, right, bottom, top
    #[prop(into)]
    bounds: Signal<[f64; 4]>,
    #[prop(default = [Scale::Linear; 2])] scales: [Scale; 2],
    #[prop(default = (560.0, 260.0))] size: (f64, f64),
    #[prop(into)] series: Signal<Vec<Series>>,
    #[prop(optional, into)] dots: Option<Signal<Vec<Dot>>>,
    #[prop(optional)] handle: Option<Handle>,
) -> impl IntoView {
    let frame = memo(move || Frame { bounds: bounds.get(), scales, size });
    let svg = NodeRef::<leptos::svg::Svg>::new();
    let held = RwSignal::new(false);
    let follow = move |event: &leptos::ev::PointerEvent| {
        let (Some(svg), Some(handle)) = (svg.get_untracked(), handle) else { return };
        let rect = svg.unchecked_ref::<web_sys::Element>().get_bounding_client_rect();
        let place = frame.get_untracked().place(&rect, f64::from(event.client_x()), f64::from(event.client_y()));
        handle.put.run(place);
    };
    let grasp = move |event: leptos::ev::PointerEvent| {
        held.set(true);
        if let Some(svg) = svg.get_untracked() {
            // A pointer that is gone already cannot be captured; then nothing is dragged.
            let _ = svg.unchecked_ref::<web_sys::Element>().set_pointer_capture(event.pointer_id());
        }
        follow(&event);
    };
    let inner = (size.0 - LEFT - RIGHT, size.1 - TOP - BOTTOM);
    let lines = move || {
        let f = frame.get();
        series
            .get()
            .into_iter()
            .map(|s| view! { <path class=format!("line {}", s.class) d=f.path(&s.points) /> })
            .collect_view()
    };
    view! {
        <div class="plot">
            <p class="eyebrow">{move || label_y.get()}</p>
            <svg node_ref=svg viewBox=format!("0 0 {} {}", size.0, size.1) role="group" aria-label=move || label.get()
                class:dragging=move || held.get()
                // A finger on the free plane scrolls the page; a mouse calls the point to it.
                on:pointerdown=move |e| if handle.is_some() && e.pointer_type() == "mouse" { e.prevent_default(); grasp(e) }
                on:pointermove=move |e| if held.get_untracked() { follow(&e) }
                on:pointerup=move |_| held.set(false)
                on:pointercancel=move |_| held.set(false)
            >
                {move || {
                    let f = frame.get();
                    let [_, _, bottom, top] = f.bounds;
                    let across = f.ticks(1, 5.0).into_iter().map(|v| view! {
                        <line class="grid" class:axis=v == 0.0 x1=LEFT x2=size.0 - RIGHT y1=f.y(v) y2=f.y(v) />
                        <text class="tick y" x=LEFT - 6.0 y=f.y(v) + 4.0>{tick(v)}</text>
                    }).collect_view();
                    let up = f.ticks(0, if size.0 > 450.0 { 8.0 } else { 5.0 }).into_iter().map(|v| view! {
                        <line class="grid" class:axis=v == 0.0 x1=f.x(v) x2=f.x(v) y1=f.y(top) y2=f.y(bottom) />
                        <text class="tick" x=f.x(v) y=size.1 - 8.0>{tick(v)}</text>
                    }).collect_view();
                    view! { {across} {up} }
                }}
                <svg x=LEFT y=TOP width=inner.0 height=inner.1 viewBox=format!("{LEFT} {TOP} {} {}", inner.0, inner.1)>
                    {move || lines()}
                    {move || dots.map(|d| {
                        let f = frame.get();
                        d.get().into_iter().filter(|d| d.at.0.is_finite() && d.at.1.is_finite()).map(|d| view! {
                            <circle class=format!("dot {}", d.class) cx=f.x(d.at.0).clamp(-1e5, 1e5) cy=f.y(d.at.1).clamp(-1e5, 1e5) r="4" />
                        }).collect_view()
                    })}
                </svg>
                {handle.map(|handle| {
                    let at = move || handle.at.get().map(|(x, y)| (frame.get().x(x), frame.get().y(y)));
                    let key = move |e: leptos::ev::KeyboardEvent| {
                        let far = if e.shift_key() { 10.0 } else { 1.0 };
                        let by = match e.key().as_str() {
                            "ArrowRight" => (far, 0.0),
                            "ArrowLeft" => (-far, 0.0),
                            "ArrowUp" => (0.0, far),
                            "ArrowDown" => (0.0, -far),
                            "PageUp" => (0.0, 10.0),
                            "PageDown" => (0.0, -10.0),
                            _ => return,
                        };
                        e.prevent_default();
                        handle.push.run(by);
                    };
                    view! {
                        <g class="point" tabindex="0" role="slider" aria-label=move || handle.name.get()
                            aria-valuemin=move || frame.get().bounds[0] aria-valuemax=move || frame.get().bounds[1]
                            aria-valuenow=move || handle.at.get().map_or(0.0, |p| p.0) aria-valuetext=move || handle.text.get()
                            visibility=move || if handle.at.get().is_none() { "hidden" } else { "visible" }
                            transform=move || at().filter(|p| p.0.is_finite() && p.1.is_finite()).map(|(x, y)| format!("translate({x:.2} {y:.2})"))
                            on:keydown=key
                            on:pointerdown=move |e| { e.prevent_default(); e.stop_propagation(); focus(&e); grasp(e) }
                        >
                            <circle class="target" r="22" />
                            <circle class="ring" r="8" />
                        </g>
                    }
                })}
            </svg>
            <p class="eyebrow below">{move || label_x.get()}</p>
        </div>
    }
}

/// A round number without the zeros that only show precision.
fn tick(v: f64) -> String {
    let text = number(v);
    let plain = text.contains('.') && !text.contains('e');
    if plain { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// The handle that was grasped takes the keys from now on.
fn focus(event: &leptos::ev::PointerEvent) {
    if let Some(element) = event.current_target().and_then(|t| t.dyn_into::<web_sys::SvgElement>().ok()) {
        let _ = element.focus();
    }
}
