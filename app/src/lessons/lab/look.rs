//! One image through the network: what each layer gives for it, and the gradient of the loss there.

use leptos::task::spawn_local;

use super::Bench;
use crate::engine::client::engine;
use crate::engine::{NodeInfo, Reply, Request, Values};
use crate::page::lang::t;
use crate::prelude::*;
use crate::widgets::classes::class_name;
use crate::widgets::format::number;
use crate::widgets::inside::{Place, Tensors};
use crate::widgets::live::feed;
use crate::widgets::picture::{Picture, Shade};

/// Channels of a layer that are shown.
const CHANNELS: usize = 16;

/// A layer: its node, its gradient's, and their values.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    node: NodeInfo,
    gradient: u32,
    values: Values,
    slopes: Values,
}

#[component]
pub fn Layers(bench: Bench) -> impl IntoView {
    let engine = engine();
    let Bench { run, image, chosen, .. } = bench;
    let layers = RwSignal::new(Vec::<Layer>::new());
    let place = RwSignal::new(Place::default());
    let target = RwSignal::new(None::<u32>);
    // The class whose loss is derived: the true one, or the one that the network says.
    effect(move || target.set(chosen.get().map(|c| c.truth)));
    effect(move || {
        let (Some(scene), Some(label)) = (image.scene.get(), target.get()) else { return };
        let nodes = image.nodes.get_untracked();
        let pairs: Vec<(NodeInfo, u32)> = image
            .gradients
            .get_untracked()
            .into_iter()
            .filter_map(|(n, d)| Some((nodes.iter().find(|i| i.id == n)?.clone(), d)))
            .collect();
        spawn_local(async move {
            image.run(vec![feed("labels[1]", &[1], vec![label as f32])]).await;
            let ids = pairs.iter().flat_map(|(n, d)| [n.id, *d]).collect();
            let Ok(Reply::Values { values, .. }) = engine.ask(Request::Inspect { scene, nodes: ids }).await else {
                return;
            };
            let mut values = values.into_iter();
            let mut found = vec![];
            for (node, gradient) in pairs {
                if let (Some(v), Some(d)) = (values.next(), values.next()) {
                    found.push(Layer { node, gradient, values: v, slopes: d });
                }
            }
            if let Some(first) = found.first() {
                place.try_set(Place { node: first.node.id, ..Place::default() });
            }
            layers.try_set(found);
        });
    });
    let classes = move || run.report.with(|r| r.as_ref().map(|r| r.classes.clone()).unwrap_or_default());
    let choose = move |e| target.set(event_target_value(&e).parse().ok());
    view! {
        <Show when=move || !layers.with(Vec::is_empty)
            fallback=|| view! { <p class="quiet">{t("Choose a held-out image or a picture of your own above.", "请先在上方选择一张留出图像或自己的图片。")}</p> }>
            <label class="row"><span class="quiet">{t("gradient of the loss for the class", "对此类别损失的梯度")}</span>
                <select id="target" on:change=choose>
                    {move || classes().into_iter().enumerate().map(|(k, c)| view! {
                        <option value=k.to_string() selected=move || target.get() == Some(k as u32)>{class_name(&c)}</option>
                    }).collect_view()}
                </select>
            </label>
            <div class="layers">
                {move || layers.get().into_iter().map(|layer| view! { <Row layer place /> }).collect_view()}
            </div>
            <Tensors live=image place />
            <figcaption>{t("Each layer's channels for this image, and under them the gradient of the loss with respect to each: blue positive, orange negative, each row on a scale of its own. Click a channel to see its numbers, click a number to see where it comes from.",
                "此图像在各层的通道，下方是损失对它们的梯度：蓝正橙负，各行自有标尺。点击通道可看数字，点击数字可看由来。")}</figcaption>
        </Show>
    }
}

/// The channels of a value `[1, channels, height, width]`; a flat one `[1, n]` is one row of pixels.
fn channels(v: &Values) -> Vec<(Vec<usize>, Vec<f32>)> {
    match v.shape[..] {
        [1, c, h, w] => (0..c.min(CHANNELS))
            .map(|k| (vec![h, w], v.data.get(k * h * w..(k + 1) * h * w).map(<[f32]>::to_vec).unwrap_or_default()))
            .collect(),
        [1, n] => vec![(vec![1, n], v.data.clone())],
        _ => vec![],
    }
}

#[component]
fn Row(layer: Layer, place: RwSignal<Place>) -> impl IntoView {
    let shape: Vec<String> = layer.node.shape.iter().skip(1).map(usize::to_string).collect();
    let largest = |v: &Values| v.data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scales = [largest(&layer.values), largest(&layer.slopes)].map(|m| format!("±{}", number(m.into())));
    let strip = |v: Values, node: u32, class: &'static str, name: String| {
        let max = largest(&v).max(1e-12);
        let flat = v.shape.len() == 2;
        let pictures = channels(&v).into_iter().enumerate().map(move |(k, (shape, data))| {
            let label = format!("{name}, {k}");
            view! {
                <button class="channel" data-node=node on:click=move |_| place.set(Place { node, lead: k, ..Place::default() })>
                    <Picture data=data shape=shape shade=Shade::Signed { max } label=label />
                </button>
            }
        });
        view! { <div class=format!("strip {class}") class:flat=flat>{pictures.collect_view()}</div> }
    };
    let (name, back) = (layer.node.name.clone(), format!("∂L/∂{}", layer.node.name));
    let values = strip(layer.values, layer.node.id, "forward", name.clone());
    let slopes = strip(layer.slopes, layer.gradient, "backward", back);
    let [of_values, of_slopes] = scales;
    view! {
        <section data-layer=name.clone()>
            <h3 class="eyebrow"><code>{name.clone()}</code> " " <span class="quiet">{shape.join("×")}</span>
                <span class="num forward">{of_values}</span> <span class="num backward">"∂ " {of_slopes}</span></h3>
            {values} {slopes}
        </section>
    }
}
