//! Three linear layers with ReLU between: inputs - 256 - 128 - classes.
//!
//! For x: [batch, channels, height, width], flattened; 235 thousand weights for 28x28 grey
//! images and 10 classes.

use super::Model;

pub const MODEL: Model = Model {
    name: "mlp",
    description: "linear layers of 256, 128 and one output a class, ReLU between",
    layers: &["flatten", "fc1: linear 256", "relu", "fc2: linear 128", "relu", "fc3: linear classes"],
};
