//! The engine of Chainrule. An op is its cell: see `cell` and `ops`.

pub mod checkpoint;
pub mod data;
pub mod events;
pub mod metrics;
pub mod models;
pub mod recipe;
pub mod tensor;

#[cfg(feature = "cli")]
pub mod cli;
