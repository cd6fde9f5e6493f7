//! Layers, losses and first values: what a model is built from. Everything here only adds nodes to
//! a graph or fills host tensors; nothing runs.

pub mod init;
pub mod layers;
pub mod loss;
