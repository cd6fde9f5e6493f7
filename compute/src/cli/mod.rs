//! cli
pub mod run_dir;
