//! Running a compiled cell over a range of the output; the registers.

use crate::instr::{Int, Val};
use crate::program::Mode;
use crate::simd::Src;
use crate::{BLOCK, Float, Program, View};

/// The registers of one run. Grown when a program needs more, and kept.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    pub i: Vec<i64>,
    pub s: Vec<T>,
    pub l: Vec<Box<[T]>>,
    pub g: Vec<Box<[i64]>>,
    /// Which lanes are active, one for each nested branch.
    pub masks: Vec<Box<[T]>>,
    /// Values set aside by a program that writes over its input.
    pub old: Vec<T>,
    /// Buffers given back.
    free: Vec<Vec<T>>,
}

/// A program being run.
pub(crate) struct Machine<'a, T> {
    pub inputs: &'a [View<'a, T>],
    pub r: &'a mut Scratch<T>,
    /// Lanes of the block, and the range of them that is active.
    pub n: usize,
    pub lo: usize,
    pub hi: usize,
    /// How many masks are in force.
    pub masked: usize,
}

impl Program {
    /// Fills `out` with the elements from `start` on. Errors: a load outside its input, a divisor of an
    /// index that is not positive, elements that the output does not have.
    pub fn run<T: Float>(
        &self,
        inputs: &[View<T>],
        start: usize,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> Result<(), String> {
        T::run(self, inputs, start, out, scratch)
    }

    pub(crate) fn execute<T: Float>(
        &self,
        inputs: &[View<T>],
        start: usize,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> Result<(), String> {
        if start.checked_add(out.len()).is_none_or(|end| end > self.len) || inputs.len() < self.inputs {
            return Err(format!(
                "asked for elements {start}..{} of {} with {} of {} inputs",
                start.saturating_add(out.len()),
                self.len,
                inputs.len(),
                self.inputs
            ));
        }
        if out.is_empty() {
            return Ok(());
        }
        scratch.grow(self);
        let mut m = Machine { inputs, r: scratch, n: 0, lo: 0, hi: 0, masked: 0 };
        m.exec(&self.once)?;
        match self.mode {
            Mode::Element => {
                for (k, o) in out.iter_mut().enumerate() {
                    m.set_axes(&self.axes, start + k);
                    m.exec(&self.row)?;
                    *o = m.scalar(self.result)?;
                }
            }
            Mode::Flat => {
                m.exec(&self.row)?;
                for (k, part) in out.chunks_mut(BLOCK).enumerate() {
                    m.lanes(part.len());
                    m.fill_axes(&self.axes, start + k * BLOCK);
                    m.exec(&self.block)?;
                    m.store(self.result, part)?;
                }
            }
            Mode::Lines => {
                let (last, length) = self.axes.last().copied().unwrap_or((0, 1));
                let (place, line) = self.line.unwrap_or((last, length));
                let (mut done, mut ready) = (0, (0, 0));
                let mut at = start % length;
                m.set_axes(&self.axes, start);
                while done < out.len() {
                    let from = at % line;
                    let n = (line - from).min(length - at).min(out.len() - done);
                    m.lanes(n);
                    m.r.i[last as usize] = at as i64;
                    m.r.i[place as usize] = from as i64;
                    if ready != (from, n) {
                        m.exec(&self.row)?;
                        ready = (from, n);
                    }
                    m.exec(&self.block)?;
                    m.store(self.result, &mut out[done..done + n])?;
                    done += n;
                    at += n;
                    if at == length {
                        at = 0;
                        m.next_row(&self.axes);
                    }
                }
            }
            Mode::Rows => {
                let (last, length) = self.axes.last().copied().unwrap_or((0, 1));
                let mut done = 0;
                while done < out.len() {
                    let at = start + done;
                    let from = at % length;
                    let end = (done + length - from).min(out.len());
                    m.set_axes(&self.axes, at);
                    m.exec(&self.row)?;
                    for (k, part) in out[done..end].chunks_mut(BLOCK).enumerate() {
                        m.r.i[last as usize] = (from + k * BLOCK) as i64;
                        m.lanes(part.len());
                        m.exec(&self.block)?;
                        m.store(self.result, part)?;
                    }
                    done = end;
                }
            }
        }
        Ok(())
    }
}

impl<T: Float> Scratch<T> {
    /// A working buffer of `len` elements of any value; nothing is allocated once every size has
    /// been seen.
    pub fn take(&mut self, len: usize) -> Vec<T> {
        // The smallest that is large enough, else the largest, so that few are ever widened.
        let fits = (0..self.free.len()).filter(|&k| self.free[k].capacity() >= len);
        let at = fits
            .min_by_key(|&k| self.free[k].capacity())
            .or_else(|| (0..self.free.len()).max_by_key(|&k| self.free[k].capacity()));
        let mut buffer = at.map(|k| self.free.swap_remove(k)).unwrap_or_default();
        buffer.resize(len, T::ZERO);
        buffer
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Vec<T>) {
        self.free.push(buffer);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let lanes = self.l.len() + self.masks.len();
        let numbers = lanes * BLOCK + self.s.len() + self.old.len();
        let given: usize = self.free.iter().map(Vec::capacity).sum();
        (numbers + given) * size_of::<T>() + (self.g.len() * BLOCK + self.i.len()) * 8
    }

    pub fn grow(&mut self, p: &Program) {
        if self.i.len() < p.ints {
            self.i.resize(p.ints, 0);
        }
        if self.s.len() < p.nums {
            self.s.resize(p.nums, T::ZERO);
        }
        while self.l.len() < p.lanes.l {
            self.l.push(vec![T::ZERO; BLOCK].into());
        }
        while self.g.len() < p.lanes.g {
            self.g.push(vec![0; BLOCK].into());
        }
    }
}

impl<T: Float> View<'_, T> {
    pub(crate) fn number(&self, at: i64) -> Option<T> {
        let at = usize::try_from(at).ok()?;
        match self {
            View::Num(x) => x.get(at).copied(),
            View::Part(x, from) => x.get(at.checked_sub(*from)?).copied(),
            View::U32(x) => x.get(at).map(|v| T::from_i64((*v).into())),
            View::U8(x) => x.get(at).map(|v| T::from_i64((*v).into())),
        }
    }

    pub(crate) fn integer(&self, at: i64) -> Option<i64> {
        let at = usize::try_from(at).ok()?;
        match self {
            View::Num(x) => x.get(at).map(|v| v.to_f64() as i64),
            View::Part(x, from) => x.get(at.checked_sub(*from)?).map(|v| v.to_f64() as i64),
            View::U32(x) => x.get(at).map(|v| (*v).into()),
            View::U8(x) => x.get(at).map(|v| (*v).into()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            View::Num(x) => x.len(),
            View::Part(x, from) => from + x.len(),
            View::U32(x) => x.len(),
            View::U8(x) => x.len(),
        }
    }
}

pub(crate) fn outside(input: u32, at: i64, len: usize) -> String {
    format!("input {input} has {len} elements, element {at} was read")
}

impl<T: Float> Machine<'_, T> {
    pub(crate) fn lanes(&mut self, n: usize) {
        self.n = n;
        self.lo = 0;
        self.hi = n;
    }

    pub(crate) fn set_axes(&mut self, axes: &[(u32, usize)], mut flat: usize) {
        for &(r, d) in axes.iter().rev() {
            self.r.i[r as usize] = (flat % d) as i64;
            flat /= d;
        }
    }

    /// Moves on to the next row: one further along the axes before the last.
    fn next_row(&mut self, axes: &[(u32, usize)]) {
        for &(r, d) in axes.iter().rev().skip(1) {
            let index = &mut self.r.i[r as usize];
            *index += 1;
            if *index < d as i64 {
                return;
            }
            *index = 0;
        }
    }

    /// Writes the index along every axis for the lanes from `flat` on.
    pub(crate) fn fill_axes(&mut self, axes: &[(u32, usize)], flat: usize) {
        let mut step = 1;
        for &(r, d) in axes.iter().rev() {
            let (mut inner, mut index) = (flat % step, ((flat / step) % d) as i64);
            for slot in &mut self.r.g[r as usize][..self.n] {
                *slot = index;
                inner += 1;
                if inner == step {
                    inner = 0;
                    index = if index + 1 == d as i64 { 0 } else { index + 1 };
                }
            }
            step *= d;
        }
    }

    pub(crate) fn input(&self, k: u32) -> Result<&View<'_, T>, String> {
        self.inputs.get(k as usize).ok_or_else(|| format!("there is no input {k}"))
    }

    pub(crate) fn scalar(&self, v: Val) -> Result<T, String> {
        match v {
            Val::S(r) => Ok(self.r.s[r as usize]),
            _ => Err("a number that is the same for all lanes was expected".into()),
        }
    }

    /// An operand over the active range.
    pub(crate) fn src(&self, v: Val) -> Result<Src<'_, T>, String> {
        Ok(match v {
            Val::S(r) => Src::S(self.r.s[r as usize]),
            Val::L(r) => Src::V(&self.r.l[r as usize][self.lo..self.hi]),
            Val::M(input, base) => {
                let from = self.r.i[base as usize] + self.lo as i64;
                let view = self.input(input)?;
                let (x, skip) = match view {
                    View::Num(x) => (x, 0),
                    View::Part(x, skip) => (x, *skip),
                    _ => return Err(format!("input {input} does not hold numbers")),
                };
                let start = usize::try_from(from).ok().and_then(|f| f.checked_sub(skip));
                let part = start.and_then(|f| x.get(f..f + (self.hi - self.lo)));
                Src::V(part.ok_or_else(|| outside(input, from, view.len()))?)
            }
        })
    }

    pub(crate) fn store(&self, v: Val, out: &mut [T]) -> Result<(), String> {
        match self.src(v)? {
            Src::S(x) => out.fill(x),
            Src::V(x) => out.copy_from_slice(x),
        }
        Ok(())
    }

    pub(crate) fn int(&self, v: Int, lane: usize) -> i64 {
        match v {
            Int::U(r) => self.r.i[r as usize],
            Int::A(r, s) => self.r.i[r as usize].wrapping_add(s.wrapping_mul(lane as i64)),
            Int::G(r) => self.r.g[r as usize][lane],
        }
    }

    pub(crate) fn active(&self, lane: usize) -> bool {
        self.masked == 0 || self.r.masks[self.masked - 1][lane] != T::ZERO
    }
}
