//! The CPU backend: f32 on all cores. Products and convolutions run as blocked matrix products
//! (the `gemm` crate); everything else, and whatever has no fast form, is its definition run by
//! the compiled interpreter.

mod banded;
mod blas;
mod column_sum;
mod conv;
mod conv_deep;
mod joint;
mod matmul;
mod operand;
mod pointwise;
mod pool;
mod rows;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use super::cells;
use super::host::{Host, Number, Place, Step};
use super::{Backend, BackendResult, DeviceInfo, Memory, ProgramId, Reading};
use crate::graph::NodeId;
use crate::ops::Lowering;
use crate::plan::{Kernel, Plan};
use crate::tensor::Tensor;
use joint::Joint;
use rows::RowKernel;

impl Number for f32 {
    fn kernel(
        plan: &Plan,
        kernel: &Kernel,
        place: &dyn Fn(NodeId) -> Option<Place>,
    ) -> Result<Vec<Box<dyn Step<f32>>>, String> {
        // Planned for a device that packs halves: here its definition.
        if plan.lowered(kernel) != kernel.outputs[0] {
            return cells::apart(plan, kernel, place);
        }
        let fast = match &kernel.lowering {
            Lowering::Matmul(op) => matmul::step(plan, kernel, *op, place)?,
            Lowering::Conv2d(_) | Lowering::Conv2dBackwardX(_) | Lowering::Conv2dBackwardW(_) => {
                conv::step(plan, kernel, place)
            }
            Lowering::Cells => column_sum::step(plan, kernel, place)?,
            Lowering::Pool(part) => pool::step(plan, kernel, *part, place)?,
            Lowering::View => None,
        };
        if let Some(step) = fast {
            return Ok(vec![step]);
        }
        if let Some(rows) = RowKernel::new(plan, kernel, place)? {
            return Ok(vec![Box::new(rows)]);
        }
        if let Some(joint) = Joint::new(plan, kernel, place)? {
            return Ok(vec![Box::new(joint)]);
        }
        cells::apart(plan, kernel, place)
    }
}

/// See the module's introduction.
pub struct Cpu(Host<f32>);

impl Default for Cpu {
    fn default() -> Cpu {
        Cpu::new()
    }
}

impl Cpu {
    pub fn new() -> Cpu {
        Cpu(Host::new(DeviceInfo {
            backend: "cpu",
            name: std::env::consts::ARCH.into(),
            detail: format!("{}, {} threads", instruction_set(), lanes::threads::current_num_threads()),
            max_buffer_bytes: None,
            cache_bytes: matmul::TILE * 4,
            half_bytes: 4,
        }))
    }
}

/// The widest instructions that the kernels will use.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "avx2, fma";
        }
        "sse2"
    }
    #[cfg(not(target_arch = "x86_64"))]
    if cfg!(target_feature = "simd128") {
        "simd128"
    } else if cfg!(target_arch = "aarch64") {
        "neon"
    } else {
        "portable"
    }
}

super::reference::delegate!(Cpu);
