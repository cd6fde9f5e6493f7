//! The integration tests of the workspace, in one binary: a module per part.

mod commands;
mod data;
mod data_mutants;
mod explanations;
mod fetch;
mod fetch_npm;
mod file_server;
mod fusion;
mod golden;
mod gradients;
mod heap;
mod kernels;
mod pictures;
mod plans;
mod recipe;
mod resume;
mod runs;
mod serve;
mod serve_client;
mod serve_lan;
mod serve_life;
mod shaders;
mod steady;
mod tidy;
mod training;
