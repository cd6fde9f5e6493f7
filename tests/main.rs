//! The one integration test binary.

mod runs;
