//! Parts that chapters are made of.

pub mod alert;
pub mod bars;
pub mod camera;
pub mod choices;
pub mod classes;
pub mod columns;
pub mod contour;
pub mod curve;
pub mod files;
pub mod format;
pub mod inside;
pub mod kernels;
pub mod latest;
pub mod live;
pub mod matrix;
pub mod pick;
pub mod picture;
pub mod plot;
pub mod predict;
pub mod readout;
pub mod slider;
pub mod training;
