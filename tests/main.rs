//! One integration test binary: a module per part.

mod alloc;
mod data;
mod data_mutants;
mod fetch;
mod fetch_npm;
mod file_server;
mod pictures;
