//! A compiled cell, and running it over a whole output: on all cores, or over its own input.

use crate::instr::{Instr, LaneCounts, Val};
use crate::{Float, Scratch, threads};

/// Elements of a piece of parallel work.
const PIECE: usize = 8192;

/// Terms that one core does in some ten microseconds, which is what it takes to wake another.
const LITTLE: f64 = 32_768.0;

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
    pub axes: Vec<(u32, usize)>,
    /// Elements of the output.
    pub len: usize,
    pub mode: Mode,
    /// Lines of several short rows: the register of the place in a line, and its length. The register of
    /// the last group of axes then holds the place in all rows.
    pub line: Option<(u32, usize)>,
    /// Instructions before everything, before each row, and for each block.
    pub once: Vec<Instr>,
    pub row: Vec<Instr>,
    pub block: Vec<Instr>,
    pub result: Val,
    /// Sizes of the register files.
    pub ints: usize,
    pub nums: usize,
    pub lanes: LaneCounts,
    pub inputs: usize,
    /// See [`Program::terms_per_element`].
    pub terms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
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
        // Sharing out little work costs more than it saves.
        if self.len <= piece || self.len as f64 * self.terms <= LITTLE {
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
        Workers { slots: (0..=threads::current_num_threads()).map(|_| Default::default()).collect() }
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
        let at = threads::current_thread_index().map_or(last, |k| k.min(last));
        match self.slots[at].try_lock() {
            Ok(mut s) => f(&mut s),
            // Held by a caller further up the stack (or poisoned): results never depend on it.
            Err(_) => f(&mut Scratch::default()),
        }
    }
}
