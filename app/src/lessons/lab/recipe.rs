//! The recipe as text and as a form, each following the other. The form is the engine's table of keys.

use compute::recipe::edit::{self, Field};
use compute::recipe::keys::Type;
use compute::recipe::{Recipe, find_shipped, shipped};

use super::{Bench, words};
use crate::page::lang::{lang, t};
use crate::page::route::router;
use crate::prelude::*;

/// Tables of the form with the paths of their keys.
type Groups = Vec<(&'static str, Vec<&'static str>)>;

/// Where the address keeps the recipe's name and, if it was edited, its text.
const NAME: &str = "recipe";
const TEXT: &str = "text";
/// What the page opens with.
const FIRST: &str = "quick";
/// The recipe is edited freely; this is its name then.
const OWN: &str = "own";

fn text_of(name: &str) -> String {
    find_shipped(name).map(str::to_string).unwrap_or_default()
}

/// The recipe that the address names, or the first; and the address follows it.
pub fn start() -> (RwSignal<String>, RwSignal<String>) {
    let router = router();
    let asked = router.get(NAME).filter(|n| find_shipped(n).is_some() || n == OWN);
    let name = RwSignal::new(asked.unwrap_or_else(|| FIRST.into()));
    let text = RwSignal::new(router.get(TEXT).unwrap_or_else(|| text_of(&name.get_untracked())));
    effect(move || {
        let (name, text) = (name.get(), text.get());
        router.set(TEXT, (text != text_of(&name)).then_some(text));
        router.set(NAME, (name != FIRST).then_some(name));
    });
    (name, text)
}

#[component]
pub fn Editor(bench: Bench) -> impl IntoView {
    let Bench { run, name, text, .. } = bench;
    let fields = memo(move || edit::fields(&name.get(), &text.get()).map_err(|e| e.to_string()));
    let trouble = RwSignal::new(None::<String>);
    let set = Callback::new(move |(path, value): (&'static str, String)| {
        match edit::set(&name.get_untracked(), &text.get_untracked(), path, &value) {
            Ok(changed) => {
                trouble.set(None);
                text.set(changed);
            }
            Err(e) => trouble.set(Some(e.to_string())),
        }
    });
    let build = move |_| run.open(&name.get_untracked(), &text.get_untracked(), vec![], false);
    let choose = move |event| {
        let value = event_target_value(&event);
        if find_shipped(&value).is_some() {
            text.set(text_of(&value));
        }
        name.set(value);
    };
    let groups = Memo::new(move |old: Option<&Groups>| {
        let mut out = Groups::new();
        let paths = fields.with(|f| f.as_ref().ok().map(|f| f.iter().map(|f| f.key.path).collect::<Vec<_>>()));
        // While the text is broken the form stays as it was.
        let Some(paths) = paths else { return old.cloned().unwrap_or_default() };
        for path in paths {
            let table = path.split_once('.').map_or("", |(table, _)| table);
            match out.last_mut().filter(|(t, _)| *t == table) {
                Some((_, all)) => all.push(path),
                None => out.push((table, vec![path])),
            }
        }
        out
    });
    let error = memo(move || Recipe::parse(&name.get(), &text.get(), &[]).err().map(|e| e.to_string()));
    view! {
        <div class="row">
            <label class="row"><span class="quiet">{t("recipe", "配方")}</span>
                <select id="recipe" on:change=choose prop:value=move || name.get()>
                    {shipped().iter().map(|(n, ..)| view! { <option value=*n>{*n}</option> }).collect_view()}
                    <option value=OWN>{t("your own", "自己的")}</option>
                </select>
            </label>
            <button class="primary" id="build" disabled=move || run.opening.get() || error.with(Option::is_some) on:click=build>{t("Build", "构建")}</button>
        </div>
        <div class="recipe">
            <textarea class="code" id="recipe-text" rows="22" spellcheck="false" aria-label=t("the recipe's text", "配方文本")
                prop:value=move || text.get() on:input=move |e| text.set(event_target_value(&e))></textarea>
            <form id="recipe-form" on:submit=move |e| e.prevent_default()>
                <For each=move || groups.get() key=|g| g.clone() let((table, paths))>
                    <fieldset>
                        <legend>{move || words::table(table, lang())}</legend>
                        {paths.into_iter().map(|path| view! { <Entry fields path set /> }).collect_view()}
                    </fieldset>
                </For>
            </form>
        </div>
        {move || error.get().or(trouble.get()).map(|e| view! { <p role="alert" id="recipe-error">{e}</p> })}
        <figcaption>{t("Text and form are one recipe: a change in either appears in the other. Grey values are defaults.",
            "文本与表单是同一份配方：改动任何一边，另一边随之变化。灰色的值是默认值。")}</figcaption>
    }
}

/// One key of the form.
#[component]
fn Entry(
    fields: Memo<Result<Vec<Field>, String>>,
    path: &'static str,
    set: Callback<(&'static str, String)>,
) -> impl IntoView {
    let find = move || fields.with(|f| f.as_ref().ok().and_then(|f| f.iter().find(|f| f.key.path == path).cloned()));
    let last = Memo::new(move |old: Option<&Option<Field>>| find().or_else(|| old.cloned().flatten()));
    let value = move || last.with(|f| f.as_ref().map(|f| f.value.clone()).unwrap_or_default());
    let given = move || last.with(|f| f.as_ref().is_some_and(|f| f.given));
    let Some(key) = last.get_untracked().map(|f| f.key) else { return ().into_any() };
    let change = move |e: leptos::ev::Event| set.run((path, event_target_value(&e)));
    let options = |words: Vec<&'static str>, empty: bool| {
        let empty = empty.then(|| view! { <option value="">"–"</option> });
        view! { {empty} {words.into_iter().map(|w| view! { <option value=w>{w}</option> }).collect_view()} }
    };
    let choice = move |words: Vec<&'static str>, empty: bool| {
        view! { <select name=path prop:value=value on:change=change>{options(words, empty)}</select> }
    };
    let input = match key.ty {
        Type::Word(words) => choice(words.to_vec(), false),
        Type::Model => choice(compute::models::MODELS.iter().map(|m| m.name).collect(), true),
        Type::Flag => view! {
            <input type="checkbox" name=path prop:checked=move || value() == "true"
                on:change=move |e| set.run((path, event_target_checked(&e).to_string())) />
        },
        Type::Layers => view! { <Layers value=derived(value) path set /> },
        _ => {
            let digits = !matches!(key.ty, Type::Text);
            view! {
                <input type="text" name=path class:num=digits inputmode=if digits { "decimal" } else { "text" }
                    prop:value=value on:change=change placeholder="–" />
            }
        }
    };
    let name = path.rsplit('.').next().unwrap_or(path);
    view! {
        <label class="entry" class:default=move || !given() class:wide=matches!(key.ty, Type::Layers)>
            <code>{name}</code> {input}
            <small>{move || words::meaning(path, lang()).map_or_else(|| key.meaning.replace('`', ""), str::to_string)}</small>
        </label>
    }
}

/// The layers, a line each, and a list of what can be added.
#[component]
fn Layers(value: Signal<String>, path: &'static str, set: Callback<(&'static str, String)>) -> impl IntoView {
    let rows = move || value.with(|v| v.lines().count().max(2) + 1);
    let add = move |event| {
        let line = event_target_value(&event);
        if line.is_empty() {
            return;
        }
        let mut lines: Vec<String> = value.get_untracked().lines().map(str::to_string).collect();
        // The last layer gives the classes: what is added comes before it.
        let at = lines.len().saturating_sub(1);
        lines.insert(at, line);
        set.run((path, lines.join("\n")));
    };
    view! {
        <textarea class="code" name=path rows=rows spellcheck="false" prop:value=move || value.get()
            on:change=move |e| set.run((path, event_target_value(&e)))></textarea>
        <select id="add-layer" aria-label=t("add a layer", "添加一层") on:change=add prop:value="">
            <option value="">{t("add a layer…", "添加一层……")}</option>
            {edit::layer_lines().into_iter().map(|l| view! { <option value=l.clone()>{l.clone()}</option> }).collect_view()}
        </select>
    }
}
