//! Executing one instruction.

use crate::instr::{Bound, Instr, Int};
use crate::kinds::IdxOp;
use crate::lane::pick;
use crate::rand;
use crate::run::{Machine, outside};
use crate::simd::{self, Src};
use crate::{BLOCK, Float};

impl<T: Float> Machine<'_, T> {
    pub(crate) fn exec(&mut self, list: &[Instr]) -> Result<(), String> {
        for instr in list {
            self.step(instr)?;
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, instr: &Instr) -> Result<(), String> {
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

    pub(crate) fn rare(&mut self, instr: &Instr) -> Result<(), String> {
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
            Instr::GOp(d, op, a, Int::U(b)) if power_of_two(*op, self.r.i[*b as usize]) => {
                self.g_shift(*d, *op, *a, self.r.i[*b as usize]);
            }
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
            Instr::LCmpInt(d, op, a) => return self.lane_op(*d, |m, out| m.compare_int(*op, *a, out)),
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
}

/// Whether an operator is a division whose result shifts and masks give as well.
fn power_of_two(op: IdxOp, b: i64) -> bool {
    matches!(op, IdxOp::Div | IdxOp::Mod) && b > 0 && b & (b - 1) == 0
}

fn divisor(op: IdxOp, a: i64, b: i64) -> String {
    format!("{a} {op:?} {b}: the divisor must be positive")
}
