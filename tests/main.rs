//! The integration tests of the workspace, in one binary.

mod golden;
mod gradients;
mod heap;
mod recipe;
mod runs;
