//! A picture with a frame on it that the reader moves, by pointer or by arrow keys; a click or Enter
//! asks for the number inside.

use wasm_bindgen::JsCast;

use super::picture::{Picture, Shade};
use crate::prelude::*;

/// A rectangle on a picture, in its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Frame {
    pub row: f64,
    pub column: f64,
    pub size: f64,
}

#[component]
pub fn Pick(
    #[prop(into)] data: Signal<Vec<f32>>,
    /// `[height, width]`
    #[prop(into)]
    shape: Signal<Vec<usize>>,
    #[prop(into)] shade: Signal<Shade>,
    #[prop(into)] label: Signal<String>,
    #[prop(into)] frame: Signal<Frame>,
    /// Where the frame is, in words.
    #[prop(into)]
    text: Signal<String>,
    /// A pointer at (row, column), in pixels of the picture.
    on_point: Callback<(f64, f64)>,
    /// Arrow keys: (rows, columns).
    on_move: Callback<(i32, i32)>,
    #[prop(optional)] on_ask: Option<Callback<()>>,
    /// Width of a rim to set off from the picture inside.
    #[prop(optional, into)]
    rim: Option<Signal<usize>>,
    #[prop(optional)] backward: bool,
) -> impl IntoView {
    let area = NodeRef::<leptos::svg::Svg>::new();
    let held = RwSignal::new(false);
    // Where the pointer went down: a click asks, a drag does not.
    let start = StoredValue::new((0, 0));
    let size = move || match shape.get()[..] {
        [.., h, w] if h * w > 0 => (h as f64, w as f64),
        _ => (1.0, 1.0),
    };
    let follow = move |e: &leptos::ev::PointerEvent| {
        let Some(svg) = area.get_untracked() else { return };
        let rect = svg.unchecked_ref::<web_sys::Element>().get_bounding_client_rect();
        let (h, w) = untrack(size);
        let row = (f64::from(e.client_y()) - rect.top()) / rect.height() * h;
        let column = (f64::from(e.client_x()) - rect.left()) / rect.width() * w;
        on_point.run((row, column));
    };
    let down = move |e: leptos::ev::PointerEvent| {
        held.set(true);
        start.set_value((e.client_x(), e.client_y()));
        if let Some(svg) = area.get_untracked() {
            // A pointer that is gone already cannot be captured; then nothing is dragged.
            let _ = svg.unchecked_ref::<web_sys::Element>().set_pointer_capture(e.pointer_id());
        }
        follow(&e);
    };
    let still = move |e: &leptos::ev::MouseEvent| {
        let (x, y) = start.get_value();
        (e.client_x() - x).abs() + (e.client_y() - y).abs() < 4
    };
    let key = move |e: leptos::ev::KeyboardEvent| {
        let by = match e.key().as_str() {
            "ArrowLeft" => (0, -1),
            "ArrowRight" => (0, 1),
            "ArrowUp" => (-1, 0),
            "ArrowDown" => (1, 0),
            "PageUp" => (-5, 0),
            "PageDown" => (5, 0),
            "Home" => (0, -1000),
            "End" => (0, 1000),
            "Enter" | " " => {
                e.prevent_default();
                return on_ask.into_iter().for_each(|ask| ask.run(()));
            }
            _ => return,
        };
        e.prevent_default();
        on_move.run(by);
    };
    view! {
        <div class="pick" class:backward=backward>
            <Picture data shape shade label />
            <svg node_ref=area viewBox=move || format!("0 0 {} {}", size().1, size().0) preserveAspectRatio="none"
                tabindex="0" role="slider" aria-label=move || label.get() aria-valuetext=move || text.get()
                aria-valuemin="0" aria-valuemax=move || size().0 * size().1 aria-valuenow=move || frame.get().row * size().1 + frame.get().column
                on:keydown=key on:pointerdown=down
                on:pointermove=move |e| if held.get_untracked() { follow(&e) }
                on:pointerup=move |_| held.set(false)
                on:pointercancel=move |_| held.set(false)
                on:click=move |e| if still(&e) { on_ask.into_iter().for_each(|ask| ask.run(())) }
            >
                {move || rim.map(|r| r.get() as f64).filter(|r| *r > 0.0 && size().0.min(size().1) > 2.0 * r).map(|r| view! {
                    <rect class="rim" x=r y=r width=size().1 - 2.0 * r height=size().0 - 2.0 * r />
                })}
                <rect class="frame halo" x=move || frame.get().column y=move || frame.get().row width=move || frame.get().size height=move || frame.get().size />
                <rect class="frame" x=move || frame.get().column y=move || frame.get().row width=move || frame.get().size height=move || frame.get().size />
            </svg>
        </div>
    }
}
