//! Instructions on registers with a value for each lane, masks included.

use crate::instr::{Int, Val};
use crate::kinds::{Cmp, IdxOp, Red};
use crate::run::{Machine, outside};
use crate::simd::{self, Src};
use crate::{Float, View};

impl<T: Float> Machine<'_, T> {
    /// Computes a lane register from its operands, over the active range.
    pub(crate) fn lane_op(
        &mut self,
        d: u32,
        f: impl FnOnce(&Self, &mut [T]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut dst = std::mem::take(&mut self.r.l[d as usize]);
        let out = f(self, &mut dst[self.lo..self.hi]);
        self.r.l[d as usize] = dst;
        out
    }

    /// `d = a + k x`, with a loop for each kind of operand that compiles to vector code.
    pub(crate) fn g_mul_add(&mut self, d: u32, a: Int, x: Int, k: i64) {
        let mut dst = std::mem::take(&mut self.r.g[d as usize]);
        let out = &mut dst[self.lo..self.hi];
        let lanes = |r: u32| &self.r.g[r as usize][self.lo..self.hi];
        match (a, x) {
            (Int::U(a), Int::G(x)) => {
                let a = self.r.i[a as usize];
                out.iter_mut().zip(lanes(x)).for_each(|(o, x)| *o = a.wrapping_add(x.wrapping_mul(k)));
            }
            (Int::G(a), Int::G(x)) => {
                let both = lanes(a).iter().zip(lanes(x));
                out.iter_mut().zip(both).for_each(|(o, (a, x))| *o = a.wrapping_add(x.wrapping_mul(k)));
            }
            _ => {
                for (lane, o) in (self.lo..).zip(out) {
                    *o = self.int(a, lane).wrapping_add(self.int(x, lane).wrapping_mul(k));
                }
            }
        }
        self.r.g[d as usize] = dst;
    }

    /// 1 where `a op 0` holds, else 0. What rises or falls from lane to lane is not compared lane by lane: it is 0 in one
    /// of them at most, and changes sign once.
    pub(crate) fn compare_int(&self, op: Cmp, a: Int, out: &mut [T]) -> Result<(), String> {
        let truth = |yes: bool| if yes { T::ONE } else { T::ZERO };
        let holds = |lane: usize| op.holds(self.int(a, lane), 0);
        match (a, op) {
            (Int::U(_), _) => out.fill(truth(holds(self.lo))),
            (Int::A(r, by), Cmp::Eq | Cmp::Ne) if by != 0 => {
                out.fill(truth(op == Cmp::Ne));
                let at = self.r.i[r as usize].wrapping_neg();
                let lane = usize::try_from(at / by).ok().and_then(|l| l.checked_sub(self.lo));
                if let Some(o) = lane.filter(|_| at % by == 0).and_then(|l| out.get_mut(l)) {
                    *o = truth(op == Cmp::Eq);
                }
            }
            (Int::A(..), Cmp::Lt | Cmp::Le | Cmp::Gt | Cmp::Ge) if !out.is_empty() => {
                let first = holds(self.lo);
                let (mut low, mut high) = (0, out.len());
                while low < high {
                    let middle = low + (high - low) / 2;
                    if holds(self.lo + middle) == first { low = middle + 1 } else { high = middle }
                }
                out[..low].fill(truth(first));
                out[low..].fill(truth(!first));
            }
            _ => (self.lo..).zip(out).for_each(|(lane, o)| *o = truth(holds(lane))),
        }
        Ok(())
    }

    /// `d = floor(a / b)` or `a mod b`, b a power of two.
    pub(crate) fn g_shift(&mut self, d: u32, op: IdxOp, a: Int, b: i64) {
        let mut dst = std::mem::take(&mut self.r.g[d as usize]);
        let out = &mut dst[self.lo..self.hi];
        match a {
            Int::G(a) => out.copy_from_slice(&self.r.g[a as usize][self.lo..self.hi]),
            _ => (self.lo..).zip(out.iter_mut()).for_each(|(lane, o)| *o = self.int(a, lane)),
        }
        // Shifts and masks floor, as the definition does.
        match op {
            IdxOp::Div => out.iter_mut().for_each(|o| *o >>= b.trailing_zeros()),
            _ => out.iter_mut().for_each(|o| *o &= b - 1),
        }
        self.r.g[d as usize] = dst;
    }

    pub(crate) fn g_op(
        &mut self,
        d: u32,
        mut f: impl FnMut(&Self, usize) -> Result<i64, String>,
    ) -> Result<(), String> {
        let mut dst = std::mem::take(&mut self.r.g[d as usize]);
        let mut out = Ok(());
        for lane in self.lo..self.hi {
            match f(self, lane) {
                Ok(v) => dst[lane] = v,
                Err(_) if !self.active(lane) => dst[lane] = 0,
                Err(e) => out = Err(e),
            }
        }
        self.r.g[d as usize] = dst;
        out
    }

    pub(crate) fn check(&self, input: u32, axis: u32, dim: i64, at: Int) -> Result<(), String> {
        let bad = |v: i64| v < 0 || v >= dim;
        let fault = match at {
            _ if self.lo >= self.hi && !matches!(at, Int::U(_)) => None,
            Int::U(r) => Some(self.r.i[r as usize]).filter(|v| bad(*v)),
            Int::A(..) if self.masked == 0 => {
                [self.int(at, self.lo), self.int(at, self.hi - 1)].into_iter().find(|v| bad(*v))
            }
            _ => (self.lo..self.hi).filter(|&l| self.active(l)).map(|l| self.int(at, l)).find(|v| bad(*v)),
        };
        match fault {
            None => Ok(()),
            Some(v) => Err(format!("input {input} has length {dim} along axis {axis}, index {v} was read")),
        }
    }

    pub(crate) fn gather(&mut self, d: u32, input: u32, at: Int) -> Result<(), String> {
        self.lane_op(d, |m, out| {
            let view = m.input(input)?;
            let mut fault = None;
            // One loop for each element type and kind of index, so that each stays tight.
            match (view, at) {
                (View::Num(x), Int::G(g)) => {
                    for (o, &k) in out.iter_mut().zip(&m.r.g[g as usize][m.lo..m.hi]) {
                        match x.get(k as usize) {
                            Some(v) => *o = *v,
                            None => fault = Some(k),
                        }
                    }
                }
                (View::U8(x), Int::G(g)) => {
                    for (o, &k) in out.iter_mut().zip(&m.r.g[g as usize][m.lo..m.hi]) {
                        match x.get(k as usize) {
                            Some(v) => *o = T::from_u8(*v),
                            None => fault = Some(k),
                        }
                    }
                }
                (View::U8(x), Int::A(r, 1)) if m.masked == 0 => {
                    let from = m.r.i[r as usize] + m.lo as i64;
                    match usize::try_from(from).ok().and_then(|f| x.get(f..f + out.len())) {
                        Some(x) => out.iter_mut().zip(x).for_each(|(o, &v)| *o = T::from_u8(v)),
                        None => fault = Some(from),
                    }
                }
                (View::Num(x), Int::A(r, s)) => {
                    let from = m.r.i[r as usize];
                    for (lane, o) in (m.lo..).zip(out.iter_mut()) {
                        let k = from.wrapping_add(s.wrapping_mul(lane as i64));
                        match x.get(k as usize) {
                            Some(v) => *o = *v,
                            None => fault = Some(k),
                        }
                    }
                }
                _ => {
                    for (lane, o) in (m.lo..).zip(out.iter_mut()) {
                        let k = m.int(at, lane);
                        match view.number(k) {
                            Some(v) => *o = v,
                            None => fault = Some(k),
                        }
                    }
                }
            }
            // Under a mask an inactive lane may point anywhere; an active one may not.
            if fault.is_some() && m.masked > 0 {
                fault = (m.lo..m.hi)
                    .filter(|&l| m.active(l))
                    .map(|l| m.int(at, l))
                    .find(|&k| k < 0 || k as usize >= view.len());
            }
            fault.map_or(Ok(()), |k| Err(outside(input, k, view.len())))
        })
    }

    pub(crate) fn acc(&mut self, d: u32, red: Red, a: Val) -> Result<(), String> {
        self.lane_op(d, |m, out| {
            let a = m.src(a)?;
            if m.masked == 0 {
                simd::fold(red, out, a);
            } else {
                let mask = &m.r.masks[m.masked - 1][m.lo..m.hi];
                for (lane, o) in out.iter_mut().enumerate() {
                    if mask[lane] != T::ZERO {
                        simd::fold(red, std::slice::from_mut(o), Src::S(pick(a, lane)));
                    }
                }
            }
            Ok(())
        })
    }

    pub(crate) fn mul_acc(&mut self, d: u32, a: Val, b: Val) -> Result<(), String> {
        self.lane_op(d, |m, out| {
            let (a, b) = (m.src(a)?, m.src(b)?);
            if m.masked == 0 {
                simd::mul_acc(out, a, b);
            } else {
                let mask = &m.r.masks[m.masked - 1][m.lo..m.hi];
                for (lane, o) in out.iter_mut().enumerate() {
                    if mask[lane] != T::ZERO {
                        *o = *o + pick(a, lane) * pick(b, lane);
                    }
                }
            }
            Ok(())
        })
    }
}

/// The operand's value in a lane.
pub(crate) fn pick<T: Float>(s: Src<T>, lane: usize) -> T {
    match s {
        Src::S(x) => x,
        Src::V(x) => x[lane],
    }
}
