//! The plan as a table for people.

use std::fmt;

use super::Plan;
use crate::graph::TensorType;
use crate::rewrite::is_constant;
use crate::tensor::DType;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = &self.graph;
        writeln!(
            f,
            "{:>4}  {:<34} {:<22} {:>9} {:>10} {:>7}  reads; computed inside",
            "#", "kernel", "shape", "MFLOP", "bytes", "buffer"
        )?;
        for (k, kernel) in self.kernels.iter().enumerate() {
            let name = |id: &crate::graph::NodeId| g.node(*id).name.clone();
            let id = kernel.main();
            let op = g.node(id).op().map_or("", |op| op.name());
            let label = if name(&id).ends_with(op) { name(&id) } else { format!("{} = {op}", name(&id)) };
            let place = match self.storage[id.index()] {
                Some(b) if kernel.in_place.iter().any(|(o, _)| *o == id) => format!("={}", b.0),
                Some(b) => b.0.to_string(),
                None => String::new(),
            };
            write!(
                f,
                "{k:>4}  {label:<34} {:<22} {:>9.2} {:>10} {place:>7}  {}",
                shape(g.ty(id)),
                kernel.flops / 1e6,
                bytes(kernel.bytes),
                kernel.reads.iter().map(name).collect::<Vec<_>>().join(", "),
            )?;
            if !kernel.inlined.is_empty() {
                let ops: Vec<&str> =
                    kernel.inlined.iter().filter_map(|n| g.node(*n).op()).map(|op| op.name()).collect();
                write!(f, "; {}", ops.join(", "))?;
            }
            for also in kernel.outputs.iter().filter(|o| **o != id) {
                write!(f, "; also {}", name(also))?;
            }
            if self.together.iter().any(|t| t.kernels.contains(&k) && t.kernels.start != k) {
                write!(f, "; alike the one above")?;
            }
            writeln!(f)?;
        }
        let leaves: usize =
            self.buffers.iter().filter(|b| b.leaf.is_some_and(|l| !is_constant(g, l))).map(|b| b.bytes).sum();
        let steps: usize = self.buffers.iter().filter(|b| b.leaf.is_none()).map(|b| b.bytes).sum();
        let largest = self.buffers.iter().map(|b| b.bytes).max().unwrap_or(0);
        writeln!(
            f,
            "{} kernels ({} where kernels alike are one), {:.3} GFLOP a step; {} buffers: {} of parameters, state and batch, {} of the step's values; \
             peak {}, largest buffer {}",
            self.kernels.len(),
            self.dispatches(),
            self.flops() / 1e9,
            self.buffers.len(),
            bytes(leaves),
            bytes(steps),
            bytes(self.peak_bytes()),
            bytes(largest),
        )
    }
}

/// A shape, with its type where that is not f32.
fn shape(ty: &TensorType) -> String {
    if ty.dtype == DType::F32 { format!("{:?}", ty.shape) } else { ty.to_string() }
}

/// Bytes with a unit, in powers of 1,024.
pub fn bytes(n: usize) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}
