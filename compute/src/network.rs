//! From a recipe to graphs: the training step and the evaluation of a batch, both over the same
//! named parameters. Only adds nodes; nothing is computed here.
//!
//! Feeds of a batch of n: `images[n]` u8 `[n, channels, height, width]`, `labels[n]` u32 `[n]`,
//! `rng` u32 `[2]` = (seed, step), and the optimiser's scalars. The size stands in the name
//! because the last batch of an epoch is a program of its own. Where all images lie on the device
//! ([`Source::Resident`]), a batch is named instead of written: `rows[n]` u32 `[n]`.
//!
//! With `train.precision = "mixed"` the training step rounds to f16 what products and convolutions read (weights and
//! inputs, and gradients on the way back) and what they make, where another layer follows; all else, the loss and the
//! weights that are kept among it, is f32. PyTorch's autocast rounds the same, and the output of every layer besides.
//! The loss is scaled ([`optim::scale`]). Evaluation is f32.

pub mod parts;
mod seam;

use seam::{Seam, gradients};

use crate::graph::{Graph, NodeId, TensorType};
use crate::nn::{layers, loss};
use crate::ops::conv2d::Geometry;
use crate::ops::elementwise::{Binary, Unary};
use crate::ops::pool::Window;
use crate::ops::{Lowering, OpError, OpResult};
use crate::optim::Optim;
use crate::optim::scale::Scale;
use crate::recipe::{Layer, LayerKind, Loss, OptimizerKind, Precision, Recipe};
use crate::tensor::{DType, Tensor};

/// How many past values of loss and hits stay on the device.
pub const RING: usize = 256;

/// What the images of a data set look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub classes: usize,
}

/// A layer that cannot be built on what comes before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("layer `{layer}` on {shape:?}: {source}")]
    Layer { layer: String, shape: Vec<usize>, source: OpError },
    #[error("the model ends in {got:?}; {classes} classes need [batch, {classes}]: end with `linear classes`")]
    Output { got: Vec<usize>, classes: usize },
    #[error("data.normalize has {got} channels, the images have {channels}")]
    Normalize { got: usize, channels: usize },
    #[error("train.class_weights has {got} numbers, the data set {classes} classes")]
    Weights { got: usize, classes: usize },
    #[error(transparent)]
    Op(#[from] OpError),
}

/// One layer's place in the graph, for `summary` and for the reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub layer: String,
    pub output: NodeId,
}

/// A training step.
#[derive(Clone, Debug)]
pub struct TrainStep {
    pub graph: Graph,
    pub loss: NodeId,
    pub logits: NodeId,
    pub params: Vec<NodeId>,
    /// Gradients in the order of `params`, before clipping; of the loss itself, whatever its scale.
    pub grads: Vec<NodeId>,
    pub places: Vec<Place>,
}

/// The evaluation of one batch: outputs `predicted` u32 `[n]` and `losses` `[n]`.
#[derive(Clone, Debug)]
pub struct EvalStep {
    pub graph: Graph,
    pub logits: NodeId,
    pub probabilities: NodeId,
    pub places: Vec<Place>,
}

/// The feeds of a batch of `n`.
pub fn images_feed(n: usize) -> String {
    format!("images[{n}]")
}

/// See [`images_feed`].
pub fn rows_feed(n: usize) -> String {
    format!("rows[{n}]")
}

/// The leaf of one part of the images that lie on the device.
pub fn part_feed(part: usize) -> String {
    format!("data.images.{part}")
}

/// Where a training step's images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Each batch is written.
    #[default]
    Fed,
    /// All lie on the device, in parts of so many images; a batch is rows of them.
    Resident(Vec<usize>),
}

/// See [`images_feed`].
pub fn labels_feed(n: usize) -> String {
    format!("labels[{n}]")
}

struct Builder<'a> {
    g: Graph,
    recipe: &'a Recipe,
    shape: ImageShape,
    source: &'a Source,
    rng: NodeId,
    train: bool,
    /// Products and convolutions read f16.
    mixed: bool,
    places: Vec<Place>,
}

impl Builder<'_> {
    /// Images as u8 to what the first layer sees: crop and flip, resize, normalise.
    fn input(&mut self, n: usize) -> Result<NodeId, ModelError> {
        let ImageShape { channels, height, width, .. } = self.shape;
        let g = &mut self.g;
        g.set_scope("input");
        let images = |n| TensorType::u8([n, channels, height, width]);
        let mut x = match self.source {
            Source::Fed => g.feed(&images_feed(n), images(n)),
            Source::Resident(parts) => {
                let parts: Vec<NodeId> =
                    parts.iter().enumerate().map(|(k, &count)| g.feed(&part_feed(k), images(count))).collect();
                let rows = g.feed(&rows_feed(n), TensorType::u32([n]));
                g.gather_parts(&parts, rows)?
            }
        };
        let augment = &self.recipe.augment;
        if self.train && (augment.crop_padding > 0 || augment.flip) {
            x = g.crop_flip(x, self.rng, augment.crop_padding, augment.flip, "input.augment")?;
        }
        if let Some(side) = self.recipe.data.resize.filter(|s| [*s, *s] != [height, width]) {
            x = g.unary(Unary::ToF32, x)?;
            x = g.bilinear_resize(x, [side, side])?;
        }
        let (mean, std) = match &self.recipe.data.normalize {
            None => (vec![0.0; channels], vec![1.0; channels]),
            Some(n) => (n.mean.clone(), n.std.clone()),
        };
        if mean.len() != channels || std.len() != channels {
            return Err(ModelError::Normalize { got: mean.len(), channels });
        }
        let single = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let x = g.normalize(x, &single(mean), &single(std))?;
        g.set_scope("");
        g.rename(x, "input");
        self.places.push(Place { layer: "input".into(), output: x });
        Ok(x)
    }

    fn layers(&mut self, mut x: NodeId) -> Result<NodeId, ModelError> {
        for layer in &self.recipe.model.layers {
            self.g.set_scope(&layer.name);
            let shape = self.g.shape(x).to_vec();
            if self.mixed {
                x = self.input_of(layer, x)?;
            }
            x = self.layer(layer, x).map_err(|source| ModelError::Layer { layer: layer.to_string(), shape, source })?;
            self.g.set_scope("");
            self.g.rename(x, layer.name.clone());
            self.places.push(Place { layer: layer.to_string(), output: x });
        }
        if self.g.ty(x).dtype == DType::F16 {
            x = self.g.unary(Unary::ToF32, x)?;
        }
        let (got, classes) = (self.g.shape(x).to_vec(), self.shape.classes);
        if got.len() == 2 && got[1] == classes { Ok(x) } else { Err(ModelError::Output { got, classes }) }
    }

    /// What a layer reads in mixed precision: f16 if it is a product, or if one made it.
    fn input_of(&mut self, layer: &Layer, x: NodeId) -> OpResult<NodeId> {
        let g = &mut self.g;
        let node = g.node(x);
        let made = matches!(node.op().map(|op| op.lowering()), Some(Lowering::Matmul(_) | Lowering::Conv2d(_)));
        let name = if made { format!("{}.half", node.name) } else { format!("{}.input.half", layer.name) };
        let multiplies = matches!(layer.kind, LayerKind::Conv { .. } | LayerKind::Linear { .. });
        if g.ty(x).dtype == DType::F16 || !(made || multiplies) {
            return Ok(x);
        }
        let half = g.half(x)?;
        g.rename(half, name);
        Ok(half)
    }

    fn layer(&mut self, layer: &Layer, x: NodeId) -> OpResult<NodeId> {
        let (g, name) = (&mut self.g, &layer.name);
        match &layer.kind {
            LayerKind::Conv { out, kernel, stride, padding, dilation, groups, bias } => {
                let geometry = Geometry {
                    stride: [*stride; 2],
                    padding: [*padding; 2],
                    dilation: [*dilation; 2],
                    groups: *groups,
                };
                layers::conv2d(g, x, name, *out, *kernel, geometry, *bias)
            }
            LayerKind::Linear { out, bias } => layers::linear(g, x, name, out.resolve(self.shape.classes), *bias),
            LayerKind::Relu => g.unary(Unary::Relu, x),
            LayerKind::Gelu => g.unary(Unary::Gelu, x),
            LayerKind::GeluTanh => g.unary(Unary::GeluTanh, x),
            LayerKind::Silu => g.unary(Unary::Silu, x),
            LayerKind::Tanh => g.unary(Unary::Tanh, x),
            LayerKind::Sigmoid => g.unary(Unary::Sigmoid, x),
            LayerKind::MaxPool { kernel, stride, padding } => g.max_pool(x, window(*kernel, *stride, *padding)),
            LayerKind::AvgPool { kernel, stride, padding } => g.avg_pool(x, window(*kernel, *stride, *padding)),
            LayerKind::AdaptiveAvgPool { out } => g.adaptive_avg_pool(x, [*out; 2]),
            LayerKind::BatchNorm { eps, momentum } => layers::batch_norm(g, x, name, *momentum, *eps, self.train),
            LayerKind::Dropout { p } if self.train => layers::dropout(g, x, *p, name, self.rng),
            LayerKind::Dropout { .. } => Ok(x),
            LayerKind::Flatten => g.flatten(x),
        }
    }

    /// The loss of a batch as a scalar.
    fn loss(&mut self, logits: NodeId, labels: NodeId) -> Result<NodeId, ModelError> {
        let (g, classes) = (&mut self.g, self.shape.classes);
        g.set_scope("loss");
        let value = match &self.recipe.train.loss {
            Loss::CrossEntropy { label_smoothing, class_weights } => {
                let weights = match class_weights {
                    None => None,
                    Some(w) if w.len() != classes => return Err(ModelError::Weights { got: w.len(), classes }),
                    Some(w) => {
                        let values = w.iter().map(|x| *x as f32).collect();
                        Some(g.constant("loss.class_weights", Tensor::f32([classes], values)))
                    }
                };
                loss::cross_entropy(g, logits, labels, *label_smoothing, weights)?
            }
            Loss::Mse => {
                let target = g.one_hot(labels, classes)?;
                loss::mse(g, logits, target)?
            }
            Loss::Bce => {
                let target = g.one_hot(labels, classes)?;
                loss::bce_with_logits(g, logits, target)?
            }
        };
        g.set_scope("");
        g.rename(value, "loss");
        Ok(value)
    }
}

fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] }
}

fn builder<'a>(recipe: &'a Recipe, shape: ImageShape, source: &'a Source, train: bool) -> Builder<'a> {
    let mut g = Graph::new();
    let rng = g.feed("rng", TensorType::u32([2]));
    let mixed = train && recipe.train.precision == Precision::Mixed;
    Builder { g, recipe, shape, source, rng, train, mixed, places: vec![] }
}

/// The training step for batches of `n` images that are written.
pub fn train_step(recipe: &Recipe, shape: ImageShape, n: usize) -> Result<TrainStep, ModelError> {
    train_step_from(&Source::Fed, recipe, shape, n)
}

/// A batch up to its loss.
struct Forward {
    g: Graph,
    rng: NodeId,
    mixed: bool,
    places: Vec<Place>,
    logits: NodeId,
    labels: NodeId,
    loss: NodeId,
}

fn forward(source: &Source, recipe: &Recipe, shape: ImageShape, n: usize) -> Result<Forward, ModelError> {
    let mut b = builder(recipe, shape, source, true);
    let x = b.input(n)?;
    let logits = b.layers(x)?;
    let labels = b.g.feed(&labels_feed(n), TensorType::u32([n]));
    let loss = b.loss(logits, labels)?;
    let Builder { g, rng, mixed, places, .. } = b;
    Ok(Forward { g, rng, mixed, places, logits, labels, loss })
}

/// The training step for batches of `n` images.
pub fn train_step_from(source: &Source, recipe: &Recipe, shape: ImageShape, n: usize) -> Result<TrainStep, ModelError> {
    let Forward { mut g, rng, mixed, places, logits, labels, loss } = forward(source, recipe, shape, n)?;
    let params = g.params();
    let scale = mixed.then(|| Scale::new(&mut g));
    let (scaled, grads) = gradients(&mut g, loss, &params, scale.as_ref())?;
    g.set_scope("metrics");
    let hits = loss::correct(&mut g, logits, labels)?;
    g.set_scope("");
    let seam = Seam { params: params.clone(), scaled, grads: grads.clone(), loss, hits, rng, scale };
    seam.update(&mut g, recipe)?;
    Ok(TrainStep { graph: g, loss, logits, params, grads, places })
}

/// The evaluation of a batch of `n` images.
pub fn eval_step(recipe: &Recipe, shape: ImageShape, n: usize) -> Result<EvalStep, ModelError> {
    let mut b = builder(recipe, shape, &Source::Fed, false);
    let x = b.input(n)?;
    let logits = b.layers(x)?;
    let Builder { mut g, places, .. } = b;
    let labels = g.feed(&labels_feed(n), TensorType::u32([n]));
    let predicted = g.add(crate::ops::reduce::ArgMax { axis: 1 }, &[logits])?;
    let log = g.log_softmax(logits, 1)?;
    let hot = g.one_hot(labels, shape.classes)?;
    let picked = g.binary(Binary::Mul, log, hot)?;
    let sum = g.sum(picked, &[1])?;
    let losses = g.neg(sum)?;
    let losses = g.reshape(losses, &[n])?;
    let probabilities = g.unary(Unary::Exp, log)?;
    g.output("predicted", predicted);
    g.output("losses", losses);
    g.output("probabilities", probabilities);
    Ok(EvalStep { graph: g, logits, probabilities, places })
}

/// The recipe's optimiser in the words of `optim`.
pub fn optimizer(recipe: &Recipe) -> Optim {
    let weight_decay = recipe.optimizer.weight_decay;
    match recipe.optimizer.kind {
        OptimizerKind::Sgd { momentum, nesterov } => Optim::Sgd { momentum, nesterov, weight_decay },
        OptimizerKind::RmsProp { alpha, eps, momentum } => Optim::RmsProp { alpha, eps, momentum, weight_decay },
        OptimizerKind::Adam { betas: [beta1, beta2], eps } => Optim::Adam { beta1, beta2, eps, weight_decay },
        OptimizerKind::AdamW { betas: [beta1, beta2], eps } => Optim::AdamW { beta1, beta2, eps, weight_decay },
    }
}
