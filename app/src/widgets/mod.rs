//! Parts that chapters are made of.

pub mod bars;
pub mod choices;
pub mod columns;
pub mod contour;
pub mod curve;
pub mod format;
pub mod inside;
pub mod kernels;
pub mod live;
pub mod matrix;
pub mod picture;
pub mod plot;
pub mod predict;
pub mod readout;
pub mod slider;
pub mod training;
