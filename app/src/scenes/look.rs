//! Scenes on a trained network: one image through it, with the class activation; and the whole
//! next training step.
//!
//! ```text
//! share[c, h, w] = sum(k) weight[c, k, h, w] features[k, h, w]
//! logit[c] = bias[c] + sum(h, w) share[c, h, w]
//! ```
//!
//! for a network that ends in one linear layer on flattened features: how much each place of the
//! last feature maps adds to each class.

use compute::autodiff;
use compute::graph::{Graph, NodeId};
use compute::network::{ImageShape, eval_step, images_feed, labels_feed, train_step};
use compute::ops::OpResult;
use compute::recipe::Recipe;
use compute::tensor::Tensor;

use super::Scene;

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// The network on one image (u8, `[channels, height, width]`) of the class `label`, with the given
/// weights; and the gradients of that class's loss with respect to what each layer gives.
pub fn scene(
    recipe: &Recipe,
    shape: ImageShape,
    pixels: &[u8],
    label: u32,
    mut leaves: Vec<(String, Tensor)>,
) -> Result<Scene, String> {
    let step = eval_step(recipe, shape, 1).map_err(text)?;
    let mut g = step.graph;
    g.rename(step.logits, "logits");
    g.output("logits", step.logits);
    if let Some(share) = share(&mut g, step.logits).map_err(text)? {
        g.rename(share, "share");
        g.output("share", share);
    }
    let loss = g.outputs.iter().find(|(name, _)| name == "losses").map(|(_, id)| *id);
    let loss = loss.ok_or("the evaluation has no loss")?;
    let loss = g.sum(loss, &[0]).map_err(text)?;
    g.rename(loss, "loss");
    let layers: Vec<NodeId> = step.places.iter().map(|p| p.output).collect();
    let found = autodiff::grad(&mut g, loss, &layers).map_err(text)?;
    let gradients = layers.into_iter().zip(found).collect();
    let images = Tensor::u8([1, shape.channels, shape.height, shape.width], pixels.to_vec());
    leaves.push((images_feed(1), images));
    leaves.push((labels_feed(1), Tensor::u32([1], vec![label])));
    leaves.retain(|(name, _)| g.find(name).is_some());
    Ok(Scene { graph: g, forward: Some(loss), loss: Some(loss), gradients, initial: leaves })
}

/// The share of each place, where the network ends as the module's introduction says.
fn share(g: &mut Graph, logits: NodeId) -> OpResult<Option<NodeId>> {
    let [flat, weight, ..] = g.node(logits).inputs[..] else { return Ok(None) };
    let features = match g.node(flat).op().map(|op| op.name()) {
        Some("reshape") => g.node(flat).inputs[0],
        _ => return Ok(None),
    };
    let &[1, channels, height, width] = g.shape(features) else { return Ok(None) };
    let classes = g.shape(weight)[0];
    let weight = g.reshape(weight, &[classes, channels, height, width])?;
    g.rename(weight, "weight by place");
    let terms = g.mul(weight, features)?;
    g.rename(terms, "weight × feature");
    let sum = g.sum(terms, &[1])?;
    Ok(Some(g.reshape(sum, &[classes, height, width])?))
}

/// The training step as the run would take it next. Nothing is updated: the run stays where it is.
pub fn step(
    recipe: &Recipe,
    shape: ImageShape,
    batch: usize,
    mut leaves: Vec<(String, Tensor)>,
) -> Result<Scene, String> {
    let step = train_step(recipe, shape, batch).map_err(text)?;
    let mut g = step.graph;
    let updates = std::mem::take(&mut g.updates);
    for (leaf, value) in updates {
        let name = format!("new {}", g.node(leaf).name);
        g.output(name, value);
    }
    leaves.retain(|(name, _)| g.find(name).is_some());
    let gradients = step.params.iter().copied().zip(step.grads.iter().copied()).collect();
    Ok(Scene { graph: g, forward: Some(step.loss), loss: Some(step.loss), gradients, initial: leaves })
}
