//! The integration tests of the workspace, in one binary.

mod heap;
mod recipe;
mod runs;
