//! Operands that must be whole: stored ones, and inlined ones that are computed into working
//! memory first.

use super::source::{Find, numbers};
use crate::backend::cells::Fused;
use crate::backend::host::{Buffer, Place};
use crate::cell::vm::Workers;
use crate::graph::NodeId;
use crate::plan::Plan;

/// The largest operand that is computed as a whole. Larger ones have a banded form, or their
/// kernel runs as its definition.
const MOST_BYTES: usize = 64 << 20;

pub enum Operand {
    Stored(Place),
    Made(Box<Fused>, Vec<f32>),
}

impl Operand {
    /// `None` when it is too large to be made.
    pub fn new(plan: &Plan, id: NodeId, find: Find) -> Result<Option<Operand>, String> {
        if let Some(place) = find(id) {
            return Ok(place.ty.dtype.is_float().then_some(Operand::Stored(place)));
        }
        if plan.graph.ty(id).bytes() > MOST_BYTES {
            return Ok(None);
        }
        let fused = Fused::new(plan, id, find)?;
        let numbers = vec![0.0; fused.ty.numel()];
        Ok(Some(Operand::Made(Box::new(fused), numbers)))
    }

    pub fn shape(&self) -> &[usize] {
        match self {
            Operand::Stored(p) => &p.ty.shape,
            Operand::Made(f, _) => &f.ty.shape,
        }
    }

    /// Computes it, if it is not stored.
    pub fn make(&mut self, buffers: &[Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        match self {
            Operand::Stored(_) => Ok(()),
            Operand::Made(fused, out) => fused.run(buffers, None, out, workers),
        }
    }

    pub fn numbers<'a>(&'a self, buffers: &'a [Buffer<f32>]) -> Result<&'a [f32], String> {
        match self {
            Operand::Stored(place) => numbers(buffers, place),
            Operand::Made(_, out) => Ok(out),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Operand::Stored(_) => 0,
            Operand::Made(_, out) => out.len() * 4,
        }
    }
}
