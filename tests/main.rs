//! The integration tests of the workspace, in one binary: a module per part.

mod data;
mod data_mutants;
mod fetch;
mod fetch_npm;
mod file_server;
mod fusion;
mod golden;
mod gradients;
mod heap;
mod pictures;
mod plans;
mod recipe;
mod runs;
mod tidy;
mod training;
