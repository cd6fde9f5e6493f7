//! The binary's side: files, arguments, progress bars.

pub mod cache;
pub mod fetch;
pub mod load;
pub mod run_dir;
