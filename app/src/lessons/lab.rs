//! The Lab: a recipe, chosen or edited, trained here; everything that a run shows; runs that were begun
//! elsewhere, and runs to go on with elsewhere.

mod compare;
mod files;
mod histograms;
mod look;
mod own;
mod recipe;
mod safety;
mod tilings;
mod words;

use crate::engine::Values;
use crate::engine::training::Said;
use crate::lessons::cnn::{Cell, Confusion, Filters, Gallery};
use crate::page::lang::{Lang, lang, t};
use crate::prelude::*;
use crate::widgets::inside::Inside;
use crate::widgets::kernels::Kernels;
use crate::widgets::live::Live;
use crate::widgets::training::{Controls, Curves, RateSlider, Run};

pub use compare::History;

/// What the parts of the Lab share.
#[derive(Clone, Copy)]
pub struct Bench {
    pub run: Run,
    /// What errors call the recipe.
    pub name: RwSignal<String>,
    /// Its text, as edited.
    pub text: RwSignal<String>,
    /// One image through the network.
    pub image: Live,
    /// The image that is looked at.
    pub chosen: RwSignal<Option<Said>>,
}

#[component]
pub fn Lab() -> impl IntoView {
    let run = Run::new();
    let (name, text) = recipe::start();
    let bench = Bench { run, name, text, image: Live::empty(), chosen: RwSignal::new(None) };
    let live = Live::empty();
    let cell = RwSignal::new(Cell::Wrong);
    let pixels = RwSignal::new(Vec::<Values>::new());
    compare::record(run);
    let image = bench.image;
    let about = move || {
        run.report.with(|r| {
            r.as_ref().map(|r| {
                let [c, h, w] = r.image;
                let (n, b, k) = (r.parameters, r.batch, r.classes.len());
                match lang() {
                    Lang::En => format!("{n} parameters, images {c}×{h}×{w}, batches of {b}, {k} classes"),
                    Lang::Zh => format!("{n} 个参数；图像 {c}×{h}×{w}；每批 {b} 张；{k} 类"),
                }
            })
        })
    };
    view! {
        <article class="chapter lab" data-chapter="lab">
            <h1>{t("Lab", "实验室")}</h1>
            <p class="lede">{t("The recipes of the native program, in the page: the same text, the same code, the same kernels.",
                "原生程序的配方，在网页中运行：同样的文本，同样的代码，同样的内核。")}</p>
            <figure class="widget" data-widget="recipe"><recipe::Editor bench /></figure>
            <figure class="widget" data-widget="files"><files::Files bench /></figure>
            <h2>{t("Training", "训练")}</h2>
            <figure class="widget" data-widget="train">
                <p class="quiet" id="about">{move || about()}</p>
                <Controls run /><Curves run /><RateSlider run /><safety::Safety run /><tilings::Tiles run />
            </figure>
            <h2>{t("Filters", "滤波器")}</h2>
            <figure class="widget" data-widget="filters"><Filters run /></figure>
            <h2>{t("Weights and gradients", "权重与梯度")}</h2>
            <figure class="widget" data-widget="histograms"><histograms::Histograms run /></figure>
            <h2>{t("Inside a step", "一步之内")}</h2>
            <figure class="widget" data-widget="inside"><Inside run live /></figure>
            <h2>{t("Held-out images", "留出图像")}</h2>
            <figure class="widget" data-widget="confusion"><Confusion run cell /></figure>
            <figure class="widget" data-widget="wrong"><Gallery run cell chosen=bench.chosen pixels live=image /></figure>
            <h2>{t("A picture of your own", "你自己的图片")}</h2>
            <figure class="widget" data-widget="own"><own::Own bench /></figure>
            <h2>{t("Layer by layer", "逐层查看")}</h2>
            <figure class="widget" data-widget="layers"><look::Layers bench /></figure>
            <h2>{t("Compare two runs", "比较两次训练")}</h2>
            <figure class="widget" data-widget="compare"><compare::Compare /></figure>
            <Kernels scenes=vec![live, image] />
        </article>
    }
}
