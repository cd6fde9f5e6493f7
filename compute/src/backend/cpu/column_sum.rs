//! `y[0, n] = sum(m) x[m, n]`: the gradient of a bias. As defined, each element walks down a column; here
//! rows are added as rows, in runs that do not depend on the number of threads.

use super::matmul::combine;
use super::operand::Operand;
use super::source::Find;
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::Workers;
use crate::cell::{Cell, Idx, Red};
use crate::graph::TensorType;
use crate::plan::{Kernel, Plan};
use lanes::rows;
use lanes::threads::prelude::*;

/// Rows that are added in f32 one after the other.
const CHAIN: usize = 128;

/// The largest operand that is made for its sum alone.
const MOST_BYTES: usize = 4 << 20;

/// The fast form of a kernel, if its definition is such a sum.
pub fn step(plan: &Plan, kernel: &Kernel, find: Find) -> Result<Option<Box<dyn Step<f32>>>, String> {
    let [id] = kernel.outputs[..] else { return Ok(None) };
    let node = plan.graph.node(id);
    let Some(op) = node.op() else { return Ok(None) };
    let types: Vec<&TensorType> = node.inputs.iter().map(|i| plan.graph.ty(*i)).collect();
    let [x] = types[..] else { return Ok(None) };
    let &[m, n] = x.shape.as_slice() else { return Ok(None) };
    let small = x.bytes() <= MOST_BYTES;
    if !small || m < 2 || !sums_columns(&op.cell(&types, &node.ty), m) {
        return Ok(None);
    }
    let (Some(x), Some(out)) = (Operand::new(plan, node.inputs[0], find)?, find(id)) else { return Ok(None) };
    let parts = vec![0.0; m.div_ceil(CHAIN) * n];
    Ok(Some(Box::new(ColumnSum { x, out, n, parts })))
}

/// Whether a definition over `[m, n]` is `sum(r in 0..m) x[r, axis 1]`.
fn sums_columns(cell: &Cell, m: usize) -> bool {
    let Cell::Reduce(Red::Sum, r, Idx::Const(0), Idx::Const(to), body) = cell else { return false };
    let Cell::Load(0, at) = &**body else { return false };
    *to == m as i64 && *at == [Idx::Var(*r), Idx::Axis(1)]
}

struct ColumnSum {
    x: Operand,
    out: Place,
    n: usize,
    /// The sums of each run of rows.
    parts: Vec<f32>,
}

impl Step<f32> for ColumnSum {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        self.x.make(buffers, workers)?;
        let (x, n) = (self.x.numbers(buffers)?, self.n);
        let sum = |(part, lines): (&mut [f32], &[f32])| {
            part.fill(0.0);
            lines.chunks_exact(n).for_each(|line| rows::add(part, line));
        };
        // A run is too little to be shared out unless there are many.
        let runs = self.parts.chunks_exact_mut(n).zip(x.chunks(CHAIN * n));
        if x.len() < 1 << 16 {
            runs.for_each(sum);
        } else {
            self.parts.par_chunks_exact_mut(n).enumerate().for_each(|(k, part)| {
                let from = k * CHAIN * n;
                sum((part, &x[from..x.len().min(from + CHAIN * n)]));
            });
        }
        combine(&self.parts, &mut buffers[self.out.buffer].num[..n]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.x.bytes() + self.parts.len() * 4
    }
}
