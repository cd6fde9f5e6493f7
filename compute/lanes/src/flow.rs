//! Loops, partial sums and masks.

use crate::instr::{Flush, Instr, Val};
use crate::kinds::{Cmp, Red};
use crate::run::Machine;
use crate::simd::{self, Src};
use crate::{BLOCK, Float};

impl<T: Float> Machine<'_, T> {
    pub(crate) fn clear(&mut self, v: Val, red: Red) {
        let zero = T::from_f64(red.identity());
        match v {
            Val::S(r) => self.r.s[r as usize] = zero,
            Val::L(r) => self.r.l[r as usize].fill(zero),
            Val::M(..) => {}
        }
    }

    /// Adds the partial sums to the total and clears them.
    pub(crate) fn flush(&mut self, f: Flush) {
        match (f.part, f.total) {
            (Val::S(p), Val::S(t)) => {
                let p = self.r.s[p as usize];
                simd::fold(f.red, std::slice::from_mut(&mut self.r.s[t as usize]), Src::S(p));
            }
            (Val::L(p), Val::L(t)) => {
                let mut total = std::mem::take(&mut self.r.l[t as usize]);
                simd::fold(f.red, &mut total, Src::V(&self.r.l[p as usize]));
                self.r.l[t as usize] = total;
            }
            _ => {}
        }
        self.clear(f.part, f.red);
    }

    pub(crate) fn rounds(
        &mut self,
        var: u32,
        lo: u32,
        hi: u32,
        flush: Option<Flush>,
        body: &[Instr],
    ) -> Result<(), String> {
        let (lo, hi) = (self.r.i[lo as usize], self.r.i[hi as usize]);
        let mut left = flush.map_or(i64::MAX, |f| f.every);
        if let Some(f) = flush {
            self.clear(f.part, f.red);
        }
        for k in lo..hi {
            self.r.i[var as usize] = k;
            self.exec(body)?;
            left -= 1;
            if left == 0
                && let Some(f) = flush
            {
                self.flush(f);
                left = f.every;
            }
        }
        if let Some(f) = flush {
            self.flush(f);
        }
        Ok(())
    }

    pub(crate) fn blocks(
        &mut self,
        base: u32,
        lo: u32,
        hi: u32,
        flush: Option<Flush>,
        body: &[Instr],
    ) -> Result<(), String> {
        let (lo, hi) = (self.r.i[lo as usize], self.r.i[hi as usize]);
        let outer = (self.n, self.lo, self.hi, self.masked);
        self.masked = 0;
        let mut left = flush.map_or(i64::MAX, |f| f.every);
        if let Some(f) = flush {
            self.clear(f.part, f.red);
        }
        let mut at = lo;
        while at < hi {
            self.r.i[base as usize] = at;
            self.lanes((hi - at).min(BLOCK as i64) as usize);
            self.exec(body)?;
            at += BLOCK as i64;
            left -= 1;
            if left == 0
                && let Some(f) = flush
            {
                self.flush(f);
                left = f.every;
            }
        }
        if let Some(f) = flush {
            self.flush(f);
        }
        (self.n, self.lo, self.hi, self.masked) = outer;
        Ok(())
    }

    pub(crate) fn masked(
        &mut self,
        lo: Option<u32>,
        hi: Option<u32>,
        bits: Option<Val>,
        body: &[Instr],
    ) -> Result<(), String> {
        let outer = (self.lo, self.hi, self.masked);
        let (from, to) = (self.lo as i64, self.hi as i64);
        if let Some(r) = lo {
            self.lo = self.r.i[r as usize].clamp(from, to) as usize;
        }
        if let Some(r) = hi {
            self.hi = self.r.i[r as usize].clamp(self.lo as i64, to) as usize;
        }
        let mut any = self.lo < self.hi;
        if any && let Some(v) = bits {
            if self.r.masks.len() <= self.masked {
                self.r.masks.push(vec![T::ZERO; BLOCK].into());
            }
            let mut mask = std::mem::take(&mut self.r.masks[self.masked]);
            let part = &mut mask[self.lo..self.hi];
            let before = self.masked.checked_sub(1).map(|k| Src::V(&self.r.masks[k][self.lo..self.hi]));
            let filled = self.src(v).map(|src| match before {
                Some(b) => simd::binary(crate::kinds::Bin::Mul, part, src, b),
                None => simd::compare(Cmp::Ne, part, src, Src::S(T::ZERO)),
            });
            any = part.iter().any(|x| *x != T::ZERO);
            self.r.masks[self.masked] = mask;
            self.masked += 1;
            filled?;
        }
        let out = if any { self.exec(body) } else { Ok(()) };
        (self.lo, self.hi, self.masked) = outer;
        out
    }
}
