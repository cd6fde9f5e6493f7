//! Opening and saving: recipes, weights, folders of runs, folders of pictures.

use compute::recipe::edit;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::HtmlInputElement;

use super::{Bench, own};
use crate::engine::client::engine;
use crate::engine::training::{Command, Pictures};
use crate::engine::{FileData, Reply, Request};
use crate::page::lang::{Lang, Language, lang, t};
use crate::prelude::*;
use crate::widgets::alert::alert;
use crate::widgets::files::{self, Chosen, Purpose};

/// A file of this name and text.
fn text_file(name: &str, text: &str) -> FileData {
    FileData { name: name.into(), bytes: text.as_bytes().to_vec() }
}

#[component]
pub fn Files(bench: Bench) -> impl IntoView {
    let engine = engine();
    // Read where no owner is: after files were.
    let Language(language) = expect_context();
    let Bench { run, name, text, .. } = bench;
    let failed = RwSignal::new(None::<String>);
    let pictures = RwSignal::new(None::<Pictures>);
    let over = RwSignal::new(false);
    let open = move |chosen: Vec<Chosen>| async move {
        let paths: Vec<&str> = chosen.iter().map(|c| c.path.as_str()).collect();
        let Some(purpose) = files::purpose(&paths) else {
            let seen = paths.first().copied().unwrap_or("nothing");
            return Err(match language.get_untracked() {
                Lang::En => format!("{seen}: neither a recipe, weights, a run's folder nor pictures"),
                Lang::Zh => format!("{seen}：不是配方、权重、训练文件夹，也不是图片"),
            });
        };
        let wanted: Vec<Chosen> =
            chosen.into_iter().filter(|c| purpose != Purpose::Run || files::is_of_run(&c.path)).collect();
        let mut read = files::read(&wanted).await?;
        let first = read.first().map(|f| f.name.clone()).unwrap_or_default();
        match purpose {
            Purpose::Run => {
                let label = first.split('/').next().unwrap_or_default().trim_end_matches(".zip").to_string();
                run.begin(Command::OpenRun { name: label, files: read }, false);
            }
            Purpose::Recipe => {
                let bytes = read.pop().map(|f| f.bytes).unwrap_or_default();
                let content = String::from_utf8(bytes).map_err(|_| format!("{first} is not text"))?;
                name.set("own".into());
                text.set(content);
            }
            Purpose::Weights => {
                if let Some(file) = read.pop() {
                    run.send(Command::LoadWeights(file)).await;
                }
            }
            Purpose::Pictures => match engine.ask(Request::Train(Command::Pictures(read))).await? {
                Reply::Folder(found) => {
                    // The recipe says so too: a saved one, or a link, tells what it was trained on.
                    let root = first.split('/').next().unwrap_or_default();
                    let named = edit::set(&name.get_untracked(), &text.get_untracked(), "data.set", "folder")
                        .and_then(|t| edit::set(&name.get_untracked(), &t, "data.root", root));
                    text.set(named.map_err(|e| e.to_string())?);
                    pictures.set(Some(found));
                }
                _ => return Err("an answer to another question".into()),
            },
            Purpose::Picture => {
                if let Some(file) = read.pop() {
                    own::look(bench, file, false).await;
                }
            }
        }
        Ok(())
    };
    let take = move |chosen: Vec<Chosen>| {
        spawn_local(async move {
            failed.try_set(open(chosen).await.err());
        });
    };
    let from_input = move |event: leptos::ev::Event| {
        let Some(input) = event.target().and_then(|t| t.dyn_into::<HtmlInputElement>().ok()) else { return };
        let chosen = files::chosen(input.files());
        // So that the same file can be chosen again.
        input.set_value("");
        if !chosen.is_empty() {
            take(chosen);
        }
    };
    let drop = move |event: leptos::ev::DragEvent| {
        event.prevent_default();
        over.set(false);
        let found = files::dropped(event.data_transfer());
        spawn_local(async move { take(found.await) });
    };
    let save = move |command: Command| {
        spawn_local(async move {
            let saved = match engine.ask(Request::Train(command)).await {
                Ok(Reply::File(file)) => files::save(&file),
                Ok(_) => Err("an answer to another question".into()),
                Err(e) => Err(e),
            };
            failed.try_set(saved.err());
        });
    };
    let save_recipe = move |_| {
        let name = format!("{}.toml", name.get_untracked());
        failed.set(files::save(&text_file(&name, &text.get_untracked())).err());
    };
    let none = move || run.report.with(Option::is_none);
    let found = move || {
        pictures.get().map(|p| match lang() {
            Lang::En => format!(
                "{} classes, {} pictures to train on and {} to test; {} other files. The recipe names them now: build it.",
                p.classes.len(), p.train, p.test, p.skipped
            ),
            Lang::Zh => format!(
                "{} 类，{} 张用于训练，{} 张用于测试；另有 {} 个其他文件。配方已指向它们，可以构建了。",
                p.classes.len(), p.train, p.test, p.skipped
            ),
        })
    };
    view! {
        <div class="drop" class:over=move || over.get()
            on:dragover=move |e| { e.prevent_default(); over.set(true) } on:dragleave=move |_| over.set(false) on:drop=drop>
            <p>{t("Drop here, or open: a recipe, weights, a saved run, the folder of a run or of pictures sorted by class. They are read in this page and leave it for nowhere.",
                "拖到此处或打开：配方、权重、保存的训练、训练文件夹，或按类别分好的图片文件夹。它们只在本页读取，不会传到任何地方。")}</p>
            <div class="row">
                <label class="button">{t("Open files", "打开文件")}<input type="file" id="open-files" multiple on:change=from_input /></label>
                <label class="button">{t("Open a folder", "打开文件夹")}<input type="file" id="open-folder" prop:webkitdirectory=true multiple on:change=from_input /></label>
                <button id="save-run" disabled=none on:click=move |_| save(Command::SaveRun)>{t("Save the run", "保存训练")}</button>
                <button id="save-weights" disabled=none on:click=move |_| save(Command::SaveWeights)>{t("Save the weights", "保存权重")}</button>
                <button id="save-recipe" on:click=save_recipe>{t("Save the recipe", "保存配方")}</button>
            </div>
            {move || found().map(|f| view! { <p class="quiet" id="pictures">{f}</p> })}
            {alert(failed)}
        </div>
        <figcaption>{t("A saved run is an archive: unpack it, and the native program goes on with it, the optimiser's state included:",
            "保存的训练是一个压缩包：解压后，原生程序可以接着训练，优化器的状态也在其中：")}
            " " <code>"chainrule train --resume FOLDER"</code> {t(". The folder of any native run opens here.", "。原生程序的训练文件夹也可在此打开。")}</figcaption>
    }
}
