//! Runs whole tensors of a cell, in f64 (the reference) or f32: the cell is compiled to a flat
//! program that works on blocks of up to 512 output elements ("lanes").
//!
//! `Program::compile` chooses what the lanes run over, merges axes, hoists what a loop does not
//! change, and turns padding tests into ranges of lanes. `Program::run` fills any range of the
//! flat output; `run_parallel` splits the output over threads in pieces that do not depend on
//! their number, so that the bits do not either.
//!
//! Errors: a load outside its input, a divisor of an index that is not positive. Nothing is ever
//! read outside a buffer.

mod compile;
mod control;
mod cost;
mod float;
mod flow;
mod index;
mod instr;
mod lanes;
mod lin;
mod nest;
mod run;
mod simd;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use compile::{Compiler, Lane, Over, Scope, ScopeKind};
pub use float::Float;
use instr::{Instr, Val};
use lin::Lins;
pub use run::Scratch;

use super::{Cell, inline};
use crate::tensor::TensorType;

/// Most lanes of a block.
pub const BLOCK: usize = 512;

/// Longest sequential chain of additions.
const CHAIN: i64 = 1024;

/// Elements of a piece of parallel work.
const PIECE: usize = 8192;

/// Elements set aside at a time by a program that writes over its input.
const OVER: usize = 4096;

/// Most inputs of such a program.
const MOST_INPUTS: usize = 16;

/// The elements of an input.
#[derive(Clone, Copy, Debug)]
pub enum View<'a, T> {
    Num(&'a [T]),
    /// The elements from an offset on; no others may be read.
    Part(&'a [T], usize),
    U32(&'a [u32]),
    U8(&'a [u8]),
}

/// A compiled cell.
#[derive(Clone, Debug)]
pub struct Program {
    /// Groups of output axes in order: the register of each, and its length.
    axes: Vec<(u32, usize)>,
    len: usize,
    mode: Mode,
    once: Vec<Instr>,
    row: Vec<Instr>,
    block: Vec<Instr>,
    result: Val,
    ints: usize,
    nums: usize,
    lanes: instr::LaneCounts,
    inputs: usize,
    terms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Lanes along the last group of axes.
    Rows,
    /// The same with rows of one block: `row` is what depends on the lanes alone.
    Lines,
    /// Lanes over flat positions.
    Flat,
    /// One element after the other.
    Element,
}

impl Program {
    /// Compiles a cell for an output and inputs of these types. Errors: names that are not bound,
    /// loads with the wrong number of axes.
    pub fn compile(cell: &Cell, output: &TensorType, inputs: &[&TensorType]) -> Result<Program, String> {
        // Unique names, so that facts about variables can be kept by name.
        let cell = inline::at_index(cell, &[], &mut 0);
        let dims: Vec<i64> = output.shape.iter().map(|&d| d as i64).collect();
        let rank = dims.len();
        let mut lins = Lins { dims, inputs, ranges: BTreeMap::new(), merged: (0..rank).collect() };
        lins.bind_ranges(&cell);
        lins.merged = cost::merge(&lins, &cell);
        let mut axes: Vec<(u32, usize)> = vec![];
        for (k, &d) in output.shape.iter().enumerate().filter(|(_, d)| **d != 1) {
            let last = lins.group(k) as u32;
            match axes.last_mut() {
                Some((g, n)) if *g == last => *n *= d,
                _ => axes.push((last, d)),
            }
        }
        let last = axes.last().map(|&(k, n)| (k as usize, n));
        let over = cost::lanes(&lins, &cell, last, output.numel());
        let terms = terms(&lins, &cell);
        let mode = match over {
            None => Mode::Element,
            Some(Over::All) => Mode::Flat,
            _ if last.is_some_and(|(_, n)| n <= BLOCK) => Mode::Lines,
            _ => Mode::Rows,
        };
        let registers = rank as u32;
        let mut c = Compiler {
            lins,
            scopes: vec![Scope::new(ScopeKind::Sure), Scope::new(ScopeKind::Sure)],
            lane: None,
            axis_depth: 1,
            vars: BTreeMap::new(),
            locals: BTreeMap::new(),
            facts: vec![],
            ints: registers,
            nums: 0,
            lanes: 0,
            glanes: registers,
        };
        if let Some(over) = over {
            c.scopes.push(Scope::new(ScopeKind::Sure));
            let base = match over {
                Over::Axis(k) => k as u32,
                _ => 0,
            };
            let swapped = mode == Mode::Lines;
            c.axis_depth = if swapped { 2 } else { 1 };
            c.lane = Some(Lane { over, base, depth: if swapped { 1 } else { 2 } });
        }
        let mut result = c.cell(&cell)?.val;
        let mut lists: Vec<Vec<Instr>> = c.scopes.into_iter().map(|s| s.list).collect();
        let lanes = instr::allocate(&mut lists, registers, &mut result);
        let mut lists = lists.into_iter();
        let mut next = || lists.next().unwrap_or_default();
        Ok(Program {
            axes,
            len: output.numel(),
            mode,
            once: next(),
            row: next(),
            block: next(),
            result,
            ints: c.ints as usize,
            nums: c.nums as usize,
            lanes,
            inputs: inputs.len(),
            terms,
        })
    }

    /// Innermost terms of the reductions for one output element (1 without reductions): what a
    /// cost per element can be judged by.
    pub fn terms_per_element(&self) -> f64 {
        self.terms
    }

    /// Number of output elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills all of `out`, on all cores. With `own`, that input is what `out` holds before: the
    /// program must read it at the element it writes only. Nothing is allocated once `workers`
    /// are warm.
    pub fn run_parallel<T: Float>(
        &self,
        inputs: &[View<T>],
        own: Option<usize>,
        out: &mut [T],
        workers: &Workers<T>,
    ) -> Result<(), String> {
        use crate::threads::prelude::*;
        // Cheap programs get long pieces; the cut depends on the program alone.
        let piece = (4 * PIECE) as f64 / self.terms.max(1.0).sqrt();
        // At least a dozen pieces, or the last one leaves cores idle.
        let piece = (piece as usize).min(self.len / 12).clamp(64, 4 * PIECE).next_multiple_of(64);
        let work = |(k, part): (usize, &mut [T])| {
            workers.with(|s| match own {
                None => self.run(inputs, k * piece, part, s),
                Some(own) => self.run_over(inputs, own, k * piece, part, s),
            })
        };
        if self.len <= piece {
            return work((0, out));
        }
        out.par_chunks_mut(piece).enumerate().try_for_each(work)
    }

    /// [`Program::run`] over the old values: they are set aside piece by piece.
    fn run_over<T: Float>(
        &self,
        inputs: &[View<T>],
        own: usize,
        start: usize,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> Result<(), String> {
        if inputs.len() > MOST_INPUTS || own >= inputs.len() {
            return Err(format!("{} inputs are too many to write over one", inputs.len()));
        }
        let mut old = std::mem::take(&mut scratch.old);
        old.resize(OVER.max(old.len()), T::ZERO);
        let mut result = Ok(());
        for (k, part) in out.chunks_mut(OVER).enumerate() {
            let from = start + k * OVER;
            old[..part.len()].copy_from_slice(part);
            let mut views = [View::Num(&[][..]); MOST_INPUTS];
            views[..inputs.len()].copy_from_slice(inputs);
            views[own] = View::Part(&old[..part.len()], from);
            result = self.run(&views[..inputs.len()], from, part, scratch);
            if result.is_err() {
                break;
            }
        }
        scratch.old = old;
        result
    }
}

/// One scratch per thread of the pool.
pub struct Workers<T> {
    slots: Vec<std::sync::Mutex<Scratch<T>>>,
}

impl<T: Float> Default for Workers<T> {
    fn default() -> Self {
        // One more than the pool has: for a caller from outside it.
        Workers { slots: (0..=crate::threads::current_num_threads()).map(|_| Default::default()).collect() }
    }
}

impl<T: Float> Workers<T> {
    /// Bytes held by all scratches that no thread is using.
    pub fn bytes(&self) -> usize {
        self.slots.iter().filter_map(|s| s.try_lock().ok().map(|s| s.bytes())).sum()
    }

    /// Calls `f` with the scratch of this thread.
    pub fn with<R>(&self, f: impl FnOnce(&mut Scratch<T>) -> R) -> R {
        let last = self.slots.len() - 1;
        let at = crate::threads::current_thread_index().map_or(last, |k| k.min(last));
        match self.slots[at].try_lock() {
            Ok(mut s) => f(&mut s),
            // Held by a caller further up the stack (or poisoned): results never depend on it.
            Err(_) => f(&mut Scratch::default()),
        }
    }
}

fn terms(lins: &Lins, cell: &Cell) -> f64 {
    match cell {
        Cell::Const(_) | Cell::Int(_) | Cell::Load(..) | Cell::Local(_) => 1.0,
        Cell::Un(_, a) => terms(lins, a),
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) | Cell::If(_, a, b) => terms(lins, a).max(terms(lins, b)),
        Cell::Reduce(_, v, _, _, body) => {
            let (lo, hi) = lins.ranges.get(v).copied().unwrap_or((0, 0));
            (hi - lo + 1).max(1) as f64 * terms(lins, body)
        }
    }
}
