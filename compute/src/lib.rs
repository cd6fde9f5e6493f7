//! The engine of Chainrule. An op is its cell: see `cell` and `ops`.

pub mod autodiff;
pub mod backend;
pub mod cell;
pub mod checkpoint;
pub mod checksum;
pub mod data;
pub mod difference;
pub mod events;
pub mod explain;
pub mod graph;
pub mod metrics;
pub mod models;
pub mod network;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod recipe;
pub mod rewrite;
pub mod session;
pub mod sorting;
pub mod tensor;
pub mod train;
pub mod verify;

#[cfg(feature = "cli")]
pub mod cli;
