//! The chapters: one file each, one row in [`ALL`]. A chapter opens its scenes and signals once and
//! gives a view for each widget that its text names; the text is in `prose/`.

mod activations;
mod backprop;
pub mod cnn;
mod convolution;
mod cross_entropy;
pub mod lab;
mod matmul;
mod normalise;
mod softmax;

use crate::page::lang::Language;
use crate::page::lang::t;
use crate::page::{Piece, Text, chapter};
use crate::prelude::*;
use crate::widgets::kernels::Kernels;
use crate::widgets::live::Live;
use crate::widgets::predict::Predict;

/// A chapter that is open.
pub struct Stage {
    /// The view of a widget; `None` for a name it does not know.
    pub widget: Box<dyn Fn(&str) -> Option<AnyView> + Send + Sync>,
    /// The scenes whose kernels are shown at the end.
    pub scenes: Vec<Live>,
}

/// A row of the table of chapters.
pub struct Lesson {
    /// As in the address and in `prose/`.
    pub name: &'static str,
    pub open: fn() -> Stage,
}

/// All chapters in their order.
pub static ALL: &[Lesson] = &[
    Lesson { name: "normalise", open: normalise::open },
    Lesson { name: "activations", open: activations::open },
    Lesson { name: "softmax", open: softmax::open },
    Lesson { name: "cross-entropy", open: cross_entropy::open },
    Lesson { name: "backprop", open: backprop::open },
    Lesson { name: "matmul", open: matmul::open },
    Lesson { name: "convolution", open: convolution::open },
    Lesson { name: "cnn", open: cnn::open },
];

/// The text of a chapter with its widgets in their places.
#[component]
pub fn Show(lesson: &'static Lesson) -> impl IntoView {
    let language = expect_context::<Language>();
    let stage = StoredValue::new((lesson.open)());
    let scenes = stage.with_value(|s| s.scenes.clone());
    let Some(chapter) = chapter(lesson.name) else {
        return view! { <p role="alert">{format!("{} has no text", lesson.name)}</p> };
    };
    let chosen: Vec<RwSignal<Option<usize>>> = (0..chapter.count).map(|_| RwSignal::new(None)).collect();
    let text = RwSignal::new(None::<Result<Text, String>>);
    let load = move || {
        let asked = language.0.get();
        leptos::task::spawn_local(async move {
            let came = chapter.text(asked).await;
            // By now the chapter may be closed, or another language asked for.
            if language.0.try_get_untracked() == Some(asked) {
                text.try_set(Some(came));
            }
        });
    };
    effect(load);
    let pieces = move |all: Vec<Piece>| {
        let each = all.into_iter().zip(&chosen).map(|(piece, chosen)| match piece {
            Piece::Html(html) => view! { <div class="prose" inner_html=html></div> },
            Piece::Widget(name) => {
                let widget = stage.with_value(|s| (s.widget)(&name));
                let missing = || view! { <p role="alert">{format!("no widget {name}")}</p> };
                let widget = widget.unwrap_or_else(missing);
                view! { <figure class="widget" data-widget=name>{widget}</figure> }
            }
            Piece::Question { ask, answers, reveal } => {
                view! { <Predict ask answers reveal chosen=*chosen /> }
            }
        });
        each.collect_view().into_any()
    };
    view! {
        <article class="chapter" data-chapter=lesson.name>
            <h1>{move || chapter.title(language.0.get())}</h1>
            {move || match text.get() {
                None => view! { <p class="quiet" role="status">{t("Fetching the text …", "正在读取正文……")}</p> },
                Some(Ok(text)) => pieces(text.pieces),
                Some(Err(e)) => view! {
                    <p role="alert">
                        {t("The chapter's text could not be fetched", "无法读取本章正文")} " (" {e} ") "
                        <button on:click=move |_| load()>{t("Try again", "重试")}</button>
                    </p>
                },
            }}
            <Kernels scenes />
        </article>
    }
}
