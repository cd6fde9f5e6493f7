//! One integration test binary: a module per part.

mod alloc;
mod data;
mod data_mutants;
mod fetch;
mod file_server;
mod pictures;
