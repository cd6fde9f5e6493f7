//! Scenes: the graphs behind the chapters. One file each; each only adds nodes with the engine's
//! ops. What a chapter shows are values of these nodes, computed by a session in the worker; no
//! number is computed in the page.

pub mod activations;
mod backprop;
pub mod convolution;
pub mod cross_entropy;
pub mod look;
pub mod matmul;
pub mod normalise;
mod softmax;

use compute::graph::{Graph, NodeId};
use compute::ops::OpResult;
use compute::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// A graph with what the reader may ask of it.
#[derive(Default)]
pub struct Scene {
    pub graph: Graph,
    /// The last node of the forward pass: later ones are shown as backward.
    pub forward: Option<NodeId>,
    pub loss: Option<NodeId>,
    /// (node, its gradient of the loss)
    pub gradients: Vec<(NodeId, NodeId)>,
    /// Leaves that have a value from the start.
    pub initial: Vec<(String, Tensor)>,
}

/// Which scene, with its sizes. Travels to the worker, which builds it there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Spec {
    /// Flats, and the loss of their rent under three scalings.
    Normalise,
    /// One neuron with the function `f`, its curve and tangent.
    Neuron { f: activations::Activation },
    /// A row of `n` equal neurons.
    Chain { f: activations::Activation, n: usize },
    /// Softmax of `n` logits, its Jacobian, and the naive form that overflows.
    Softmax { n: usize },
    /// The loss -log p as a function of p.
    Likelihood,
    /// A loss of `n` logits and its gradient.
    Classes { loss: cross_entropy::Loss, n: usize },
    /// A two-layer net on one sample with its backward pass.
    Backprop,
    /// A 3 by 3 convolution of one image, as a sum over windows and as a product, with its gradients.
    Convolution { stride: usize, padding: usize },
    /// A product small enough to show every element.
    Cells,
    /// A square product of side `n`, to measure.
    Product { n: usize },
}

impl Spec {
    /// Builds the graph. Errors: an op's complaint about its inputs.
    pub fn build(&self) -> Result<Scene, String> {
        let made: OpResult<Scene> = match self {
            Spec::Normalise => normalise::scene(),
            Spec::Neuron { f } => activations::neuron(*f),
            Spec::Chain { f, n } => activations::chain(*f, *n),
            Spec::Softmax { n } => softmax::scene(*n),
            Spec::Likelihood => cross_entropy::likelihood(),
            Spec::Classes { loss, n } => cross_entropy::classes(*loss, *n),
            Spec::Backprop => backprop::scene(),
            Spec::Cells => matmul::cells(),
            Spec::Product { n } => matmul::product(*n),
            Spec::Convolution { stride, padding } => convolution::scene(*stride, *padding),
        };
        made.map_err(|e| e.to_string())
    }
}
