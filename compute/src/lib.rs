//! The engine of Chainrule. An op is its cell: see `cell` and `ops`.

pub mod cell;
pub mod checkpoint;
pub mod data;
pub mod events;
pub mod graph;
pub mod metrics;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod recipe;
pub mod tensor;

#[cfg(feature = "cli")]
pub mod cli;
