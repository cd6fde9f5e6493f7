//! Kernels run by the interpreter: the fused definition, element for element.

use super::host::{Buffer, Place, Step};
use crate::cell::vm::{self, Float, Program, View, Workers};
use crate::graph::{NodeId, TensorType};
use crate::plan::{Kernel, Plan};
use crate::tensor::DType;

/// A node computed by the interpreter: its fused cell over stored tensors.
pub struct Fused {
    program: Program,
    sources: Vec<Place>,
    pub ty: TensorType,
}

/// Most tensors that a kernel reads.
pub const MOST_SOURCES: usize = 32;

impl Fused {
    /// The definition of a node with everything that is not stored put in.
    pub fn new(plan: &Plan, node: NodeId, place: &dyn Fn(NodeId) -> Option<Place>) -> Result<Fused, String> {
        let (cell, nodes) = plan.fused_cell(node);
        let lost = |id: NodeId| format!("{} is not stored", plan.graph.node(id).name);
        let sources: Vec<Place> =
            nodes.iter().map(|id| place(*id).ok_or_else(|| lost(*id))).collect::<Result<_, _>>()?;
        if sources.len() > MOST_SOURCES {
            return Err(format!("it reads {} tensors, {MOST_SOURCES} are possible", sources.len()));
        }
        let ty = plan.graph.ty(node).clone();
        let types: Vec<&TensorType> = sources.iter().map(|p| &p.ty).collect();
        let program = vm::compile(&cell, &ty, &types)?;
        Ok(Fused { program, sources, ty })
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The stored tensors that it reads.
    pub fn sources(&self) -> &[Place] {
        &self.sources
    }

    /// The source that is stored in a buffer.
    pub fn source_in(&self, buffer: usize) -> Option<usize> {
        self.sources.iter().position(|s| s.buffer == buffer)
    }

    /// Computes all elements; source `own` is what `out` holds.
    pub fn run<T: Float>(
        &self,
        buffers: &[Buffer<T>],
        own: Option<usize>,
        out: &mut [T],
        workers: &Workers<T>,
    ) -> Result<(), String> {
        let empty = Buffer::default();
        let mut views = [View::Num(&[][..]); MOST_SOURCES];
        for (k, (view, s)) in views.iter_mut().zip(&self.sources).enumerate() {
            *view = if own == Some(k) { empty.view(&s.ty) } else { buffers[s.buffer].view(&s.ty) };
        }
        self.program.run_parallel(&views[..self.sources.len()], own, out, workers)
    }
}

/// A kernel run by the interpreter, its outputs one after the other.
pub fn apart<T: Float>(
    plan: &Plan,
    kernel: &Kernel,
    place: &dyn Fn(NodeId) -> Option<Place>,
) -> Result<Vec<Box<dyn Step<T>>>, String> {
    let one = |id: &NodeId| -> Result<Box<dyn Step<T>>, String> { Ok(Box::new(Cells::new(plan, kernel, *id, place)?)) };
    kernel.outputs.iter().map(one).collect()
}

/// A kernel run by the interpreter, element for element.
pub struct Cells<T> {
    fused: Fused,
    buffer: usize,
    /// The source whose buffer the output takes over.
    own: Option<usize>,
    /// For outputs that are not numbers.
    numbers: Vec<T>,
}

impl<T: Float> Cells<T> {
    /// The fused definition of one output of a kernel.
    pub fn new(
        plan: &Plan,
        kernel: &Kernel,
        output: NodeId,
        place: &dyn Fn(NodeId) -> Option<Place>,
    ) -> Result<Cells<T>, String> {
        let fused = Fused::new(plan, output, place)?;
        let lost = || format!("{} is not stored", plan.graph.node(output).name);
        let buffer = place(output).ok_or_else(lost)?.buffer;
        let own = fused.source_in(buffer);
        if own.is_some() && !kernel.in_place.iter().any(|(o, _)| *o == output) {
            return Err("it would read what it writes".into());
        }
        let numbers = if fused.ty.dtype.is_float() { vec![] } else { vec![T::ZERO; fused.ty.numel()] };
        Ok(Cells { fused, buffer, own, numbers })
    }
}

impl<T: Float> Step<T> for Cells<T> {
    fn run(&mut self, buffers: &mut [Buffer<T>], workers: &Workers<T>) -> Result<(), String> {
        let n = self.fused.ty.numel();
        let mut target = std::mem::take(&mut buffers[self.buffer]);
        let result = match self.fused.ty.dtype {
            DType::F32 | DType::F16 => self.fused.run(buffers, self.own, &mut target.num[..n], workers),
            dtype => self.fused.run(buffers, None, &mut self.numbers, workers).map(|()| {
                let numbers = self.numbers.iter().map(|x| x.to_f64());
                if dtype == DType::U32 {
                    target.u32.iter_mut().zip(numbers).for_each(|(d, x)| *d = x as u32);
                } else {
                    target.u8.iter_mut().zip(numbers).for_each(|(d, x)| *d = x as u8);
                }
            }),
        };
        buffers[self.buffer] = target;
        result
    }

    fn bytes(&self) -> usize {
        self.numbers.len() * size_of::<T>()
    }
}
