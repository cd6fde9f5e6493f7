//! Shared by the integration tests.

pub mod backends;
pub mod networks;
pub mod samples;
pub mod tolerance;
pub mod walk;
