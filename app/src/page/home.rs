//! The first screen: a network that learns real images from the moment the page is there, and the
//! way into the chapters.

use super::lang::{Language, t};
use crate::lessons;
use crate::lessons::cnn::{Filters, QUICK};
use crate::prelude::*;
use crate::widgets::training::{Controls, Curves, Run};

/// What the first screen changes of the recipe: few images come fast, and a while of training.
const CHANGES: [&str; 3] = ["data.limit=1000", "data.validation=0.2", "train.epochs=12"];

#[component]
pub fn Home() -> impl IntoView {
    let language = expect_context::<Language>();
    let run = Run::new();
    run.open("quick", QUICK, CHANGES.map(String::from).to_vec(), true);
    view! {
        <article class="home">
            <h1>{t("Deep learning you can see", "看得见的深度学习")}</h1>
            <p class="lede">
                {t("A network is learning to tell ten kinds of clothing apart, here, in your browser. Stop it, step it, and ask any of its numbers where it came from.",
                   "一个网络正在你的浏览器里学习分辨十种衣物。你可以让它暂停、单步前进，也可以追问其中任何一个数字的由来。")}
            </p>
            <figure class="widget">
                <Controls run />
                <Curves run />
                <Filters run />
            </figure>
            <h2>{t("Chapters", "章节")}</h2>
            <ol class="contents">
                {lessons::ALL.iter().map(|l| {
                    let title = move || super::chapter(l.name).map_or("", |c| c.title(language.0.get()));
                    view! { <li><a href=format!("#/{}", l.name)>{move || title()}</a></li> }
                }).collect_view()}
                <li><a href="#/lab">{t("Lab", "实验室")}</a></li>
            </ol>
        </article>
    }
}
