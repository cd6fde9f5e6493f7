//! Parts that chapters are made of.

pub mod bars;
pub mod curve;
pub mod format;
pub mod kernels;
pub mod latest;
pub mod live;
pub mod matrix;
pub mod pick;
pub mod picture;
pub mod predict;
pub mod slider;
pub mod training;
