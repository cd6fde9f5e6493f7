//! The first screen.

use leptos::prelude::*;

use super::lang::{Language, t};
use crate::lessons;

#[component]
pub fn Home() -> impl IntoView {
    let language = expect_context::<Language>();
    view! {
        <article class="home">
            <h1>{t("Deep learning you can see", "看得见的深度学习")}</h1>
            <p class="lede">
                {t("A network learns on this page, in your browser. Ask any of its numbers where it came from.",
                   "一个网络正在本页、在你的浏览器里学习。它的任何一个数字，你都可以追问由来。")}
            </p>
            <ol class="contents">
                {lessons::ALL.iter().map(|l| {
                    let title = move || super::chapter(l.name).map_or("", |c| c.text(language.0.get()).title);
                    view! { <li><a href=format!("#/{}", l.name)>{title}</a></li> }
                }).collect_view()}
            </ol>
        </article>
    }
}
