//! The Lab: a recipe, chosen or edited, trained here; everything that a run shows.

use leptos::prelude::*;

use crate::engine::Values;
use crate::engine::training::Said;
use crate::lessons::cnn::{Cell, Confusion, Filters, Gallery};
use crate::page::lang::{lang, t};
use crate::page::route;
use crate::widgets::inside::Inside;
use crate::widgets::kernels::Kernels;
use crate::widgets::live::Live;
use crate::widgets::training::{Controls, Curves, RateSlider, Run};

/// The shipped recipes, by their place in the address.
const RECIPES: &[&str] = &["quick", "seed-cnn-32", "cnn-32", "seed-cnn-224"];

/// The text of a shipped recipe.
fn text_of(name: &str) -> String {
    compute::recipe::find_shipped(name).map(str::to_string).unwrap_or_default()
}

#[component]
pub fn Lab() -> impl IntoView {
    let run = Run::new();
    let which = route::choice("recipe", RECIPES);
    let name = move || RECIPES.get(which.get()).copied().unwrap_or("quick");
    let text = RwSignal::new(text_of(untrack(name)));
    let live = Live::empty();
    let image = Live::empty();
    let cell = RwSignal::new(Cell::Wrong);
    let chosen = RwSignal::new(None::<Said>);
    let pixels = RwSignal::new(Vec::<Values>::new());
    let build = move |_| run.open(untrack(name), &text.get_untracked(), vec![], false);
    let choose = move |event| {
        let value = event_target_value(&event);
        if let Some(k) = RECIPES.iter().position(|r| *r == value) {
            which.set(k);
            text.set(text_of(&value));
        }
    };
    let about = move || {
        run.report.with(|r| {
            r.as_ref().map(|r| {
                let [c, h, w] = r.image;
                match lang() {
                    crate::page::lang::Lang::En => format!(
                        "{} parameters, images {c}×{h}×{w}, batches of {}, {} classes",
                        r.parameters,
                        r.batch,
                        r.classes.len()
                    ),
                    crate::page::lang::Lang::Zh => format!(
                        "{} 个参数；图像 {c}×{h}×{w}；每批 {} 张；{} 类",
                        r.parameters,
                        r.batch,
                        r.classes.len()
                    ),
                }
            })
        })
    };
    view! {
        <article class="chapter lab" data-chapter="lab">
            <h1>{t("Lab", "实验室")}</h1>
            <p class="lede">{t("The recipes of the native program, in the page: the same text, the same code, the same kernels.",
                "原生程序的配方，在网页中运行：同样的文本，同样的代码，同样的内核。")}</p>
            <figure class="widget">
                <div class="row">
                    <label class="row"><span class="quiet">{t("recipe", "配方")}</span>
                        <select id="recipe" on:change=choose>
                            {RECIPES.iter().map(|r| view! { <option value=*r selected=move || name() == *r>{*r}</option> }).collect_view()}
                        </select>
                    </label>
                    <button class="primary" id="build" disabled=move || run.opening.get() on:click=build>{t("Build", "构建")}</button>
                    <span class="quiet">{about}</span>
                </div>
                <textarea class="code" id="recipe-text" rows="16" spellcheck="false" aria-label=t("recipe", "配方")
                    prop:value=move || text.get() on:input=move |e| text.set(event_target_value(&e))></textarea>
                <figcaption>{t("CIFAR-10 is not bundled: its recipes need a page opened by `chainrule serve` after `chainrule data fetch cifar10`.",
                    "CIFAR-10 未随附：相应配方需先运行 chainrule data fetch cifar10，再以 chainrule serve 打开本页。")}</figcaption>
            </figure>
            <figure class="widget"><Controls run /><Curves run /><RateSlider run /></figure>
            <h2>{t("Filters", "滤波器")}</h2>
            <figure class="widget"><Filters run /></figure>
            <h2>{t("Inside a step", "一步之内")}</h2>
            <figure class="widget"><Inside run live /></figure>
            <h2>{t("Held-out images", "留出图像")}</h2>
            <figure class="widget"><Confusion run cell /></figure>
            <figure class="widget"><Gallery run cell chosen pixels live=image /></figure>
            <Kernels scenes=vec![live, image] />
        </article>
    }
}
