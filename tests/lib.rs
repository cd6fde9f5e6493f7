//! Shared by the integration tests.

pub mod samples;
pub mod tolerance;
pub mod walk;
