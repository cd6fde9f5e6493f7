//! Executing a compiled cell.

use super::instr::{Bound, Flush, Instr, Int, Val};
use super::simd::{self, Src};
use super::{BLOCK, Float, Mode, Program, View};
use crate::cell::{Cmp, Red, rand};

/// The registers of one run. Grown when a program needs more, and kept.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    i: Vec<i64>,
    s: Vec<T>,
    l: Vec<Box<[T]>>,
    g: Vec<Box<[i64]>>,
    /// Which lanes are active, one for each nested branch.
    masks: Vec<Box<[T]>>,
    /// Values set aside by a program that writes over its input.
    pub(super) old: Vec<T>,
    /// Buffers given back.
    free: Vec<Vec<T>>,
}

struct Machine<'a, T> {
    inputs: &'a [View<'a, T>],
    r: &'a mut Scratch<T>,
    /// Lanes of the block, and the range of them that is active.
    n: usize,
    lo: usize,
    hi: usize,
    /// How many masks are in force.
    masked: usize,
}

impl Program {
    /// Fills `out` with the elements from `start` on. Errors: see the module.
    pub fn run<T: Float>(
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
                let (mut done, mut ready) = (0, (0, 0));
                while done < out.len() {
                    let from = (start + done) % length;
                    let n = (length - from).min(out.len() - done);
                    m.lanes(n);
                    m.set_axes(&self.axes, start + done);
                    m.r.i[last as usize] = from as i64;
                    if ready != (from, n) {
                        m.exec(&self.row)?;
                        ready = (from, n);
                    }
                    m.exec(&self.block)?;
                    m.store(self.result, &mut out[done..done + n])?;
                    done += n;
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

    fn grow(&mut self, p: &Program) {
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
    fn number(&self, at: i64) -> Option<T> {
        let at = usize::try_from(at).ok()?;
        match self {
            View::Num(x) => x.get(at).copied(),
            View::Part(x, from) => x.get(at.checked_sub(*from)?).copied(),
            View::U32(x) => x.get(at).map(|v| T::from_i64((*v).into())),
            View::U8(x) => x.get(at).map(|v| T::from_i64((*v).into())),
        }
    }

    fn integer(&self, at: i64) -> Option<i64> {
        let at = usize::try_from(at).ok()?;
        match self {
            View::Num(x) => x.get(at).map(|v| v.to_f64() as i64),
            View::Part(x, from) => x.get(at.checked_sub(*from)?).map(|v| v.to_f64() as i64),
            View::U32(x) => x.get(at).map(|v| (*v).into()),
            View::U8(x) => x.get(at).map(|v| (*v).into()),
        }
    }

    fn len(&self) -> usize {
        match self {
            View::Num(x) => x.len(),
            View::Part(x, from) => from + x.len(),
            View::U32(x) => x.len(),
            View::U8(x) => x.len(),
        }
    }
}

fn outside(input: u32, at: i64, len: usize) -> String {
    format!("input {input} has {len} elements, element {at} was read")
}

impl<T: Float> Machine<'_, T> {
    fn lanes(&mut self, n: usize) {
        self.n = n;
        self.lo = 0;
        self.hi = n;
    }

    fn set_axes(&mut self, axes: &[(u32, usize)], mut flat: usize) {
        for &(r, d) in axes.iter().rev() {
            self.r.i[r as usize] = (flat % d) as i64;
            flat /= d;
        }
    }

    /// Writes the index along every axis for the lanes from `flat` on.
    fn fill_axes(&mut self, axes: &[(u32, usize)], flat: usize) {
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

    fn input(&self, k: u32) -> Result<&View<'_, T>, String> {
        self.inputs.get(k as usize).ok_or_else(|| format!("there is no input {k}"))
    }

    fn scalar(&self, v: Val) -> Result<T, String> {
        match v {
            Val::S(r) => Ok(self.r.s[r as usize]),
            _ => Err("a number that is the same for all lanes was expected".into()),
        }
    }

    /// An operand over the active range.
    fn src(&self, v: Val) -> Result<Src<'_, T>, String> {
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

    fn store(&self, v: Val, out: &mut [T]) -> Result<(), String> {
        match self.src(v)? {
            Src::S(x) => out.fill(x),
            Src::V(x) => out.copy_from_slice(x),
        }
        Ok(())
    }

    fn int(&self, v: Int, lane: usize) -> i64 {
        match v {
            Int::U(r) => self.r.i[r as usize],
            Int::A(r, s) => self.r.i[r as usize].wrapping_add(s.wrapping_mul(lane as i64)),
            Int::G(r) => self.r.g[r as usize][lane],
        }
    }

    fn active(&self, lane: usize) -> bool {
        self.masked == 0 || self.r.masks[self.masked - 1][lane] != T::ZERO
    }

    fn exec(&mut self, list: &[Instr]) -> Result<(), String> {
        for instr in list {
            self.step(instr)?;
        }
        Ok(())
    }

    /// Computes a lane register from its operands, over the active range.
    fn lane_op(&mut self, d: u32, f: impl FnOnce(&Self, &mut [T]) -> Result<(), String>) -> Result<(), String> {
        let mut dst = std::mem::take(&mut self.r.l[d as usize]);
        let out = f(self, &mut dst[self.lo..self.hi]);
        self.r.l[d as usize] = dst;
        out
    }

    /// `d = a + k x`, with a loop for each kind of operand that compiles to vector code.
    fn g_mul_add(&mut self, d: u32, a: Int, x: Int, k: i64) {
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

    fn g_op(&mut self, d: u32, mut f: impl FnMut(&Self, usize) -> Result<i64, String>) -> Result<(), String> {
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

    fn step(&mut self, instr: &Instr) -> Result<(), String> {
        match instr {
            Instr::IConst(d, c) => self.r.i[*d as usize] = *c,
            Instr::IMulAdd(d, a, x, k) => {
                let v = self.r.i[*a as usize].wrapping_add(self.r.i[*x as usize].wrapping_mul(*k));
                self.r.i[*d as usize] = v;
            }
            Instr::SLoad(d, input, at) => {
                let at = self.r.i[*at as usize];
                let view = self.input(*input)?;
                let v = view.number(at).ok_or_else(|| outside(*input, at, view.len()))?;
                self.r.s[*d as usize] = v;
            }
            Instr::LMulAcc(d, a, b) => return self.mul_acc(*d, *a, *b),
            Instr::LBin(d, op, a, b) => {
                return self.lane_op(*d, |m, out| {
                    simd::binary(*op, out, m.src(*a)?, m.src(*b)?);
                    Ok(())
                });
            }
            Instr::LUn(d, op, a) => {
                return self.lane_op(*d, |m, out| {
                    simd::unary(*op, out, m.src(*a)?);
                    Ok(())
                });
            }
            Instr::LAcc(d, red, a) => return self.acc(*d, *red, *a),
            Instr::LSelect(d, c, a, b) => {
                return self.lane_op(*d, |m, out| {
                    match m.src(*c)? {
                        Src::V(c) => simd::select(out, c, m.src(*a)?, m.src(*b)?),
                        Src::S(c) => match m.src(if c != T::ZERO { *a } else { *b })? {
                            Src::S(x) => out.fill(x),
                            Src::V(x) => out.copy_from_slice(x),
                        },
                    }
                    Ok(())
                });
            }
            Instr::LCmp(d, op, a, b) => {
                return self.lane_op(*d, |m, out| {
                    simd::compare(*op, out, m.src(*a)?, m.src(*b)?);
                    Ok(())
                });
            }
            Instr::LFill(d, bits) => self.r.l[*d as usize].fill(T::from_f64(f64::from_bits(*bits))),
            Instr::Loop { var, lo, hi, flush, body } => return self.rounds(*var, *lo, *hi, *flush, body),
            Instr::LaneLoop { base, lo, hi, flush, body } => return self.blocks(*base, *lo, *hi, *flush, body),
            Instr::If { cond, body } => {
                if self.r.i[*cond as usize] != 0 {
                    return self.exec(body);
                }
            }
            Instr::Masked { lo, hi, bits, body } => return self.masked(*lo, *hi, *bits, body),
            other => return self.rare(other),
        }
        Ok(())
    }

    fn rare(&mut self, instr: &Instr) -> Result<(), String> {
        match instr {
            Instr::IOp(d, op, a, b) => {
                let (a, b) = (self.r.i[*a as usize], self.r.i[*b as usize]);
                self.r.i[*d as usize] = op.apply(a, b).ok_or_else(|| divisor(*op, a, b))?;
            }
            Instr::ICmp(d, op, x) => self.r.i[*d as usize] = i64::from(op.holds(self.r.i[*x as usize], 0)),
            Instr::ILoad(d, input, at) => {
                let at = self.r.i[*at as usize];
                let view = self.input(*input)?;
                let v = view.integer(at).ok_or_else(|| outside(*input, at, view.len()))?;
                self.r.i[*d as usize] = v;
            }
            Instr::IRand(d, key, [a, b, c]) => {
                let part = |r: &u32| self.r.i[*r as usize] as u32;
                let v = rand::bits(*key, part(a), part(b), part(c));
                self.r.i[*d as usize] = v.into();
            }
            Instr::IBound { dst, bound, base, add, s } => {
                let q = self.r.i[*base as usize].wrapping_add(*add).div_euclid((*s).max(1));
                self.r.i[*dst as usize] = match bound {
                    Bound::Ceil => q.wrapping_neg(),
                    Bound::Floor => q.wrapping_add(1),
                };
            }
            Instr::ISCmp(d, op, a, b) => {
                self.r.i[*d as usize] = i64::from(op.holds(self.r.s[*a as usize], self.r.s[*b as usize]));
            }
            Instr::ISFinite(d, a) => self.r.i[*d as usize] = i64::from(self.r.s[*a as usize].finite()),
            Instr::GOp(d, op, a, b) => {
                return self.g_op(*d, |m, lane| {
                    let (a, b) = (m.int(*a, lane), m.int(*b, lane));
                    op.apply(a, b).ok_or_else(|| divisor(*op, a, b))
                });
            }
            Instr::GMulAdd(d, a, x, k) => self.g_mul_add(*d, *a, *x, *k),
            Instr::GLoad(d, input, at) => {
                return self.g_op(*d, |m, lane| {
                    let (at, view) = (m.int(*at, lane), m.input(*input)?);
                    view.integer(at).ok_or_else(|| outside(*input, at, view.len()))
                });
            }
            Instr::GRand(d, key, parts) => {
                return self.g_op(*d, |m, lane| {
                    let [a, b, c] = parts.map(|p| m.int(p, lane) as u32);
                    Ok(rand::bits(*key, a, b, c).into())
                });
            }
            Instr::SConst(d, bits) => self.r.s[*d as usize] = T::from_f64(f64::from_bits(*bits)),
            Instr::SInt(d, a) => self.r.s[*d as usize] = T::from_i64(self.r.i[*a as usize]),
            Instr::SUn(d, op, a) => {
                let mut out = [T::ZERO];
                simd::unary(*op, &mut out, Src::S(self.r.s[*a as usize]));
                self.r.s[*d as usize] = out[0];
            }
            Instr::SBin(d, op, a, b) => {
                let mut out = [T::ZERO];
                simd::binary(*op, &mut out, Src::S(self.r.s[*a as usize]), Src::S(self.r.s[*b as usize]));
                self.r.s[*d as usize] = out[0];
            }
            Instr::SMove(d, a) => self.r.s[*d as usize] = self.r.s[*a as usize],
            Instr::SAcc(d, red, a) => {
                let a = self.r.s[*a as usize];
                let slot = &mut self.r.s[*d as usize];
                simd::fold(*red, std::slice::from_mut(slot), Src::S(a));
            }
            Instr::SMulAcc(d, a, b) => {
                let p = self.r.s[*a as usize] * self.r.s[*b as usize];
                self.r.s[*d as usize] = self.r.s[*d as usize] + p;
            }
            Instr::LInt(d, a) => {
                return self.lane_op(*d, |m, out| {
                    for (lane, o) in (m.lo..).zip(out) {
                        *o = T::from_i64(m.int(*a, lane));
                    }
                    Ok(())
                });
            }
            Instr::LLoad(d, input, at) => return self.gather(*d, *input, *at),
            Instr::LCmpInt(d, op, a) => {
                return self.lane_op(*d, |m, out| {
                    for (lane, o) in (m.lo..).zip(out) {
                        *o = if op.holds(m.int(*a, lane), 0) { T::ONE } else { T::ZERO };
                    }
                    Ok(())
                });
            }
            Instr::LFinite(d, a) => {
                return self.lane_op(*d, |m, out| {
                    let one = |x: T| if x.finite() { T::ONE } else { T::ZERO };
                    match m.src(*a)? {
                        Src::S(x) => out.fill(one(x)),
                        Src::V(x) => out.iter_mut().zip(x).for_each(|(o, &x)| *o = one(x)),
                    }
                    Ok(())
                });
            }
            Instr::LMove(d, a) => {
                return self.lane_op(*d, |m, out| {
                    match (m.src(*a)?, m.masked) {
                        (Src::S(x), 0) => out.fill(x),
                        (Src::V(x), 0) => out.copy_from_slice(x),
                        (x, k) => {
                            let mask = &m.r.masks[k - 1][m.lo..m.hi];
                            for (lane, o) in out.iter_mut().enumerate() {
                                if mask[lane] != T::ZERO {
                                    *o = pick(x, lane);
                                }
                            }
                        }
                    }
                    Ok(())
                });
            }
            Instr::SReduce(d, red, l, n) => {
                self.r.s[*d as usize] = simd::reduce(*red, &mut self.r.l[*l as usize][..(*n as usize).min(BLOCK)]);
            }
            Instr::Check { input, axis, dim, at } => return self.check(*input, *axis, *dim, *at),
            _ => return Err("an instruction has no meaning".into()),
        }
        Ok(())
    }

    fn check(&self, input: u32, axis: u32, dim: i64, at: Int) -> Result<(), String> {
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

    fn gather(&mut self, d: u32, input: u32, at: Int) -> Result<(), String> {
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
                            Some(v) => *o = T::from_i64((*v).into()),
                            None => fault = Some(k),
                        }
                    }
                }
                (View::U8(x), Int::A(r, 1)) if m.masked == 0 => {
                    let from = m.r.i[r as usize] + m.lo as i64;
                    match usize::try_from(from).ok().and_then(|f| x.get(f..f + out.len())) {
                        Some(x) => out.iter_mut().zip(x).for_each(|(o, &v)| *o = T::from_i64(v.into())),
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

    fn acc(&mut self, d: u32, red: Red, a: Val) -> Result<(), String> {
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

    fn mul_acc(&mut self, d: u32, a: Val, b: Val) -> Result<(), String> {
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

    fn clear(&mut self, v: Val, red: Red) {
        let zero = T::from_f64(red.identity());
        match v {
            Val::S(r) => self.r.s[r as usize] = zero,
            Val::L(r) => self.r.l[r as usize].fill(zero),
            Val::M(..) => {}
        }
    }

    /// Adds the partial sums to the total and clears them.
    fn flush(&mut self, f: Flush) {
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

    fn rounds(&mut self, var: u32, lo: u32, hi: u32, flush: Option<Flush>, body: &[Instr]) -> Result<(), String> {
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

    fn blocks(&mut self, base: u32, lo: u32, hi: u32, flush: Option<Flush>, body: &[Instr]) -> Result<(), String> {
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

    fn masked(&mut self, lo: Option<u32>, hi: Option<u32>, bits: Option<Val>, body: &[Instr]) -> Result<(), String> {
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
                Some(b) => simd::binary(crate::cell::Bin::Mul, part, src, b),
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

fn pick<T: Float>(s: Src<T>, lane: usize) -> T {
    match s {
        Src::S(x) => x,
        Src::V(x) => x[lane],
    }
}

fn divisor(op: crate::cell::IdxOp, a: i64, b: i64) -> String {
    format!("{a} {op:?} {b}: the divisor must be positive")
}
