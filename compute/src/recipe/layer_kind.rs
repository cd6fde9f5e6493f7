//! The kinds of layer a recipe can describe, with every argument explicit.
//!
//! Plain data: `layer_table` has the words for them, other modules build them.

use serde::Serialize;

/// What a layer does, with every argument explicit. Argument names follow PyTorch's layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    Conv {
        out: usize,
        /// Height and width.
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
        dilation: usize,
        groups: usize,
        bias: bool,
    },
    Linear {
        out: Out,
        bias: bool,
    },
    Relu,
    /// The exact GELU, `x * Phi(x)`.
    Gelu,
    /// Its tanh approximation.
    GeluTanh,
    Silu,
    Tanh,
    Sigmoid,
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    AvgPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    /// Averages to `out` by `out` whatever the input size.
    AdaptiveAvgPool {
        out: usize,
    },
    BatchNorm {
        eps: f64,
        momentum: f64,
    },
    Dropout {
        p: f64,
    },
    Flatten,
}

/// The outputs of a linear layer: a number, or as many as the data set has classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Out {
    Classes,
    N(usize),
}

impl Out {
    /// The number of outputs, given the data set's classes.
    pub fn resolve(self, classes: usize) -> usize {
        match self {
            Out::Classes => classes,
            Out::N(n) => n,
        }
    }
}
