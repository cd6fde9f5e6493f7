//! The backends under test. A test on the GPU backend fails where there is no Vulkan driver: a
//! green run must mean that the kernels ran.

use compute::backend::Backend;
use compute::backend::cpu::Cpu;
use compute::backend::gpu::{AdapterChoice, Gpu, Limits};
use compute::backend::reference::Reference;
use compute::rewrite::Fusion;
use compute::session::Session;

/// The f64 reference, nothing fused: the plainest answer there is.
pub fn reference() -> Session {
    Session::new(Box::new(Reference::new()), Fusion::off())
}

pub fn cpu() -> Box<dyn Backend> {
    Box::new(Cpu::new())
}

fn open_gpu(limits: Limits) -> Box<dyn Backend> {
    match pollster::block_on(Gpu::open_with(&AdapterChoice::Any, limits)) {
        Ok(gpu) => Box::new(gpu),
        Err(e) => panic!("{e}; the tests need a Vulkan driver: install mesa-vulkan-drivers (./check does)"),
    }
}

/// Any adapter, software ones too, with all it allows.
pub fn gpu() -> Box<dyn Backend> {
    open_gpu(Limits::Adapter)
}

/// Any adapter, held to what every browser grants.
pub fn gpu_with_default_limits() -> Box<dyn Backend> {
    open_gpu(Limits::WebGpuDefaults)
}

/// The two backends that train, by name.
pub fn both() -> [(&'static str, fn() -> Box<dyn Backend>); 2] {
    [("cpu", cpu), ("gpu", gpu)]
}
