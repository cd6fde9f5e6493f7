//! One convolution and one linear layer: the net of many first PyTorch scripts.
//!
//! For x: [batch, channels, height, width], `conv1` keeps height and width (padding 1), so `fc1`
//! has `32 * height * width` inputs: 16 million weights at 224x224, 330 thousand at 32x32.

use super::Model;

pub const MODEL: Model = Model {
    name: "seed-cnn",
    description: "one 3x3 convolution of 32 channels, ReLU, one linear layer",
    layers: &["conv1: conv 32 kernel 3 padding 1", "relu", "flatten", "fc1: linear classes"],
};
