//! The integration tests of the workspace, in one binary: a module per part.

mod commands;
mod data;
mod data_mutants;
mod direct;
mod explanations;
mod fetch;
mod fetch_npm;
mod file_server;
#[path = "../app/src/widgets/format.rs"]
#[allow(dead_code, reason = "the page calls it; here its unit tests run, which need no browser")]
mod format;
mod fusion;
mod golden;
mod gradients;
mod heap;
mod kernels;
mod mixed;
mod parts;
mod pictures;
mod plans;
mod recipe;
mod resume;
mod rows;
mod runs;
mod serve;
mod serve_client;
mod serve_lan;
mod serve_life;
mod shaders;
mod steady;
mod tidy;
mod training;
mod trials;
mod tuning;
