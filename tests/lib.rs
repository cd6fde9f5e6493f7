//! Shared by the integration tests.

pub mod samples;
pub mod walk;
