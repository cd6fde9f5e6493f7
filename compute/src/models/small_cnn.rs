//! Six 3x3 convolutions with batch norm in three stages of falling size, then a global average.
//!
//! The plan of VGG (Simonyan and Zisserman, 2014) with batch norm (Ioffe and Szegedy, 2015) in
//! place of the large linear layers: about 1.15 million weights for 3 channels and 10 classes.
//! The convolutions have no bias, because batch norm subtracts the mean that a bias would move.
//! For x: [batch, channels, height, width]; height and width at least 8.

use super::Model;

pub const MODEL: Model = Model {
    name: "small-cnn",
    description: "six 3x3 convolutions with batch norm, 64 to 256 channels, global average",
    layers: &[
        "conv1: conv 64 kernel 3 padding 1 no-bias",
        "bn1: batch-norm",
        "relu",
        "conv2: conv 64 kernel 3 padding 1 no-bias",
        "bn2: batch-norm",
        "relu",
        "max-pool 2",
        "conv3: conv 128 kernel 3 padding 1 no-bias",
        "bn3: batch-norm",
        "relu",
        "conv4: conv 128 kernel 3 padding 1 no-bias",
        "bn4: batch-norm",
        "relu",
        "max-pool 2",
        "conv5: conv 256 kernel 3 padding 1 no-bias",
        "bn5: batch-norm",
        "relu",
        "conv6: conv 256 kernel 3 padding 1 no-bias",
        "bn6: batch-norm",
        "relu",
        "max-pool 2",
        "adaptive-avg-pool 1",
        "flatten",
        "fc1: linear classes",
    ],
};
