//! Who computes what, and how often main memory is read for it. The counts are those of the chapter's
//! formulas for square matrices, tile by tile; nothing is multiplied here.

use wasm_bindgen::JsCast;

use crate::page::lang::{Lang, lang, t, words};
use crate::page::route;
use crate::prelude::*;
use crate::widgets::format::number;
use crate::widgets::slider::Slider;

/// Side of the three matrices.
const SIDE: usize = 24;
/// Side of an element in the drawing, and the space between the matrices.
const UNIT: f64 = 10.0;
const GAP: f64 = 14.0;
const LARGEST: usize = 12;

/// The variants as in the address.
const VARIANTS: [&str; 3] = ["naive", "shared", "registers"];
const SHARED: usize = 1;

#[derive(Clone, Copy)]
pub struct Tiling {
    variant: RwSignal<usize>,
    size: RwSignal<f64>,
    /// The element pointed at.
    at: RwSignal<(usize, usize)>,
}

impl Tiling {
    pub fn new() -> Tiling {
        Tiling {
            variant: route::choice("variant", &VARIANTS),
            size: route::number("tile", 4.0),
            at: RwSignal::new((9, 14)),
        }
    }

    /// Side of the square that shares its reads: 1 for naive.
    fn tile(self) -> usize {
        let chosen = (self.size.get().max(1.0) as usize).min(LARGEST);
        if self.variant.get() == 0 { 1 } else { chosen }
    }

    /// Side of a thread's square.
    fn thread(self) -> usize {
        if self.variant.get() == SHARED { 1 } else { self.tile() }
    }

    /// The square of side `side` with the element pointed at, cut off at the edge: row, column, height, width.
    fn square(self, side: usize) -> [usize; 4] {
        let (m, n) = self.at.get();
        let (row, column) = (m / side * side, n / side * side);
        [row, column, side.min(SIDE - row), side.min(SIDE - column)]
    }
}

/// Lines every `side` elements over a matrix.
fn grid(side: usize) -> String {
    let end = SIDE as f64 * UNIT;
    let line = |k: usize| {
        let at = (k * side) as f64 * UNIT;
        format!("M{at},0V{end}M0,{at}H{end}")
    };
    (0..=SIDE.div_ceil(side)).filter(|k| k * side <= SIDE).map(line).collect::<String>()
        + &format!("M{end},0V{end}M0,{end}H{end}")
}

#[component]
pub fn Tiles(tiling: Tiling) -> impl IntoView {
    let names = [
        t("naive", "朴素"),
        t("tile shared by a workgroup", "工作组共用的块"),
        t("tile in a thread's registers", "一个线程寄存器里的块"),
    ];
    let label = words("tile side T", "块的边长 T");
    view! {
        <div class="choices" role="group" aria-label=t("Variant", "做法")>
            {names.into_iter().enumerate().map(|(k, name)| view! {
                <button aria-pressed=move || (tiling.variant.get() == k).to_string() on:click=move |_| tiling.variant.set(k)>{name}</button>
            }).collect_view()}
        </div>
        <Show when=move || tiling.variant.get() != 0>
            <Slider label value=tiling.size min=2.0 max=LARGEST as f64 step=1.0 />
        </Show>
        <Drawing tiling />
        <Counter tiling />
        <figcaption>{t("Point at C, or focus it and use the arrow keys. Dark: what one thread computes. Light in C: the tile that shares its reads; in A and B: the rows and columns that it reads.",
            "指向 C，或选中后按方向键。深色：一个线程计算的元素。C 中的浅色：共用读数的块；A 和 B 中的浅色：它要读的行与列。")}</figcaption>
    }
}

#[component]
fn Drawing(tiling: Tiling) -> impl IntoView {
    let area = NodeRef::<leptos::svg::Rect>::new();
    let point = move |e: leptos::ev::PointerEvent| {
        let Some(c) = area.get_untracked() else { return };
        let rect = c.unchecked_ref::<web_sys::Element>().get_bounding_client_rect();
        let of = |at: f64, size: f64| ((at / size * SIDE as f64).max(0.0) as usize).min(SIDE - 1);
        tiling.at.set((
            of(f64::from(e.client_y()) - rect.top(), rect.height()),
            of(f64::from(e.client_x()) - rect.left(), rect.width()),
        ));
    };
    let key = move |e: leptos::ev::KeyboardEvent| {
        let (m, n) = tiling.at.get_untracked();
        let next = match e.key().as_str() {
            "ArrowLeft" => (m, n.saturating_sub(1)),
            "ArrowRight" => (m, (n + 1).min(SIDE - 1)),
            "ArrowUp" => (m.saturating_sub(1), n),
            "ArrowDown" => ((m + 1).min(SIDE - 1), n),
            _ => return,
        };
        e.prevent_default();
        tiling.at.set(next);
    };
    let size = SIDE as f64 * UNIT;
    let far = size + GAP;
    let fill = |class: &'static str, of: Memo<[f64; 4]>| {
        view! {
            <rect class=class x=move || of.get()[1] * UNIT y=move || of.get()[0] * UNIT width=move || of.get()[3] * UNIT height=move || of.get()[2] * UNIT />
        }
    };
    let whole = SIDE as f64;
    let tile = memo(move || tiling.square(tiling.tile()).map(|v| v as f64));
    let thread = memo(move || tiling.square(tiling.thread()).map(|v| v as f64));
    let rows = memo(move || [tile.get()[0], 0.0, tile.get()[2], whole]);
    let columns = memo(move || [0.0, tile.get()[1], whole, tile.get()[3]]);
    let own_row = memo(move || [thread.get()[0], 0.0, thread.get()[2], whole]);
    let own_column = memo(move || [0.0, thread.get()[1], whole, thread.get()[3]]);
    let threads = move || grid(tiling.thread());
    // Every element a tile of its own needs no heavy lines.
    let tiles = move || grid(if tiling.tile() == 1 { SIDE } else { tiling.tile() });
    view! {
        <svg class="tiles" viewBox=format!("-2 -16 {} {}", far + size + 20.0, far + size + 18.0)>
            <g transform=format!("translate(0 {far})")>
                {fill("soft", rows)} {fill("own", own_row)} <path class="outline" d=grid(SIDE) /> <text x=size / 2.0 y="-4">"A"</text>
            </g>
            <g transform=format!("translate({far} 0)")>
                {fill("soft", columns)} {fill("own", own_column)} <path class="outline" d=grid(SIDE) /> <text x=size / 2.0 y="-4">"B"</text>
            </g>
            <g transform=format!("translate({far} {far})") class="c">
                {fill("soft", tile)} {fill("full", thread)}
                <path class="thin" d=threads /> <path class="outline" d=tiles /> <text x=size + 5.0 y=size / 2.0>"C"</text>
                <rect node_ref=area class="target" width=size height=size tabindex="0" role="slider" aria-label=t("element of C", "C 的元素")
                    aria-valuemin="0" aria-valuemax=SIDE * SIDE - 1 aria-valuenow=move || tiling.at.get().0 * SIDE + tiling.at.get().1
                    aria-valuetext=move || format!("C[{}, {}]", tiling.at.get().0, tiling.at.get().1)
                    on:pointermove=point on:pointerdown=point on:keydown=key />
            </g>
        </svg>
    }
}

/// Counts by the formulas of the chapter.
#[component]
fn Counter(tiling: Tiling) -> impl IntoView {
    let counts = memo(move || {
        let side = tiling.tile();
        let across = SIDE.div_ceil(side);
        let reads = across * across * 2 * side * SIDE;
        (side, across, reads)
    });
    let per_output = move || counts.get().2 as f64 / (SIDE * SIDE) as f64;
    let formula = move || (2 * SIDE) as f64 / counts.get().0 as f64;
    let whole = move || SIDE.is_multiple_of(counts.get().0);
    let who = move || {
        let (side, across, _) = counts.get();
        let (thread, squares) = (tiling.thread(), across * across);
        match (lang(), tiling.variant.get()) {
            (Lang::En, SHARED) => format!("{squares} workgroups of {} threads, one output each", side * side),
            (Lang::Zh, SHARED) => format!("{squares} 个工作组，每组 {} 个线程，每个线程一个输出", side * side),
            (Lang::En, 0) => format!("{squares} threads, one output each"),
            (Lang::Zh, 0) => format!("{squares} 个线程，每个线程一个输出"),
            (Lang::En, _) => format!("{squares} threads, {} sums in the registers of each", thread * thread),
            (Lang::Zh, _) => format!("{squares} 个线程，每个线程的寄存器里有 {} 个和", thread * thread),
        }
    };
    view! {
        <dl class="count num" aria-live="polite" id="count">
            <dt>{t("who computes", "由谁计算")}</dt><dd>{move || who()}</dd>
            <dt>{t("reads of main memory", "从主存读取")}</dt>
            <dd>{move || { let (side, across, reads) = counts.get(); format!("{across}² · 2 · {side} · {SIDE} = {reads}") }}</dd>
            <dt>{t("reads per output", "每个输出的读取次数")}</dt>
            <dd><output>{move || number(per_output())}</output> {move || format!(" = {} / {SIDE}²", counts.get().2)}</dd>
            <dt>{t("by the formula", "按公式")}</dt>
            <dd>{move || if counts.get().0 == 1 { format!("2K = {}", 2 * SIDE) } else { format!("2K / T = {} / {} = {}", 2 * SIDE, counts.get().0, number(formula())) }}
                <Show when=move || !whole()>" " <span class="quiet">{t("(the tiles at the edge are partly empty)", "（边缘的块有一部分是空的）")}</span></Show>
            </dd>
        </dl>
    }
}
