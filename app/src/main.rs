//! The page. For now it shows one thing: that the engine runs in this browser, and on what.

use compute::backend::gpu;
use leptos::prelude::*;
use wasm_bindgen_futures::spawn_local;

/// What the search for an adapter came to.
#[derive(Clone, PartialEq)]
enum Found {
    Looking,
    Adapter(String),
    None,
}

#[component]
fn App() -> impl IntoView {
    let (found, set_found) = signal(Found::Looking);
    spawn_local(async move {
        let first = gpu::adapters().await.into_iter().next();
        set_found.set(first.map_or(Found::None, |a| Found::Adapter(a.summary)));
    });
    view! {
        <main>
            <h1>"Chainrule " <span lang="zh">"链式法则"</span></h1>
            <p>"Deep learning you can see." <br/> <span lang="zh">"看得见的深度学习。"</span></p>
            <p id="adapter">
                {move || match found.get() {
                    Found::Looking => "Looking for a GPU… 正在寻找 GPU……".to_string(),
                    Found::Adapter(name) => format!("WebGPU: {name}"),
                    Found::None => {
                        "No WebGPU here: the CPU will compute. 此浏览器没有 WebGPU，将用 CPU 计算。".to_string()
                    }
                }}
            </p>
        </main>
    }
}

fn main() {
    leptos::mount::mount_to_body(App);
}
