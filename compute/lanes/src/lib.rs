//! The innermost loops of the engine's CPU backends, which run for every element: compiled cells over
//! blocks of lanes ([`program`], [`run`]), small matrix products for operands in cache ([`micro`]), and the
//! numbers and operators that they are about. A package of its own so that the page, where every byte is
//! downloaded, can have these loops compiled for speed and all else for size.

pub mod float;
mod flow;
pub mod half;
pub mod instr;
pub mod kinds;
mod lane;
#[cfg(target_arch = "x86_64")]
mod machine;
pub mod micro;
pub mod program;
pub mod rand;
pub mod rows;
mod run;
mod simd;
mod step;
mod strides;
pub mod threads;
pub mod vector;

pub use float::Float;
pub use program::{Program, View, Workers};
pub use run::Scratch;
pub use simd::{NOWHERE, keep_larger};
pub use strides::Strides;

/// Most lanes of a block: a register is 4 KiB, and some of them stay in the nearest cache. Half as many cost elementwise
/// kernels of large tensors 15 to 30 % more (measured 2026-11-27, Zen 5).
pub const BLOCK: usize = 1024;
