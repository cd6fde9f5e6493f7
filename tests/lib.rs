//! Shared by the integration tests, native and in the browser.

#[cfg(not(target_arch = "wasm32"))]
pub mod backends;
pub mod networks;
pub mod steps;
pub mod suite;
pub mod walk;

pub use compute::verify::{samples, tolerance};
