//! Compiling conditions and branches.
//!
//! A branch whose condition is the same for all lanes is skipped or taken as a whole. Tests such
//! as `0 <= x + j - 1 && x + j - 1 < width` become a range of lanes, so that what they guard runs
//! over that range without masks. Other conditions are computed a lane.

use super::compile::{Compiler, ScopeKind, Value};
use super::lin::Lin;
use crate::cell::{Cell, Cmp, Cond, IdxOp};
use lanes::instr::{Bound, Instr, Int, Val};

fn inverse(op: Cmp) -> Cmp {
    match op {
        Cmp::Lt => Cmp::Ge,
        Cmp::Le => Cmp::Gt,
        Cmp::Gt => Cmp::Le,
        Cmp::Ge => Cmp::Lt,
        Cmp::Eq => Cmp::Ne,
        Cmp::Ne => Cmp::Eq,
    }
}

/// The parts that must all hold, in the order of their evaluation.
fn conjuncts(c: &Cond, out: &mut Vec<Cond>) {
    match c {
        Cond::And(a, b) => {
            conjuncts(a, out);
            conjuncts(b, out);
        }
        Cond::Not(n) => match &**n {
            Cond::Not(x) => conjuncts(x, out),
            Cond::Or(a, b) => {
                conjuncts(&Cond::Not(a.clone()), out);
                conjuncts(&Cond::Not(b.clone()), out);
            }
            Cond::Idx(op, a, b) => out.push(Cond::Idx(inverse(*op), a.clone(), b.clone())),
            _ => out.push(c.clone()),
        },
        // `(if c { 1 } else { 0 }) != 0` is how a stored mask reads once its producer is inlined.
        Cond::Num(op, x, k) => match (&**x, &**k) {
            (Cell::If(c, yes, no), Cell::Const(k)) => match (&**yes, &**no) {
                (Cell::Const(y), Cell::Const(n)) => match (op.holds(*y, *k), op.holds(*n, *k)) {
                    (true, false) => conjuncts(c, out),
                    (false, true) => conjuncts(&Cond::Not(c.clone()), out),
                    _ => out.push(Cond::Num(*op, x.clone(), Cell::Const(*k).into())),
                },
                _ => out.push(Cond::Num(*op, x.clone(), Cell::Const(*k).into())),
            },
            _ => out.push(c.clone()),
        },
        _ => out.push(c.clone()),
    }
}

/// What a condition is here.
enum Class {
    Always,
    Never,
    Uniform(u32),
    /// Lanes from a register on.
    From(u32),
    /// Lanes before a register.
    Before(u32),
    Bits(Val),
}

impl Compiler<'_> {
    /// `if c { a } else { b }` as a value of the current scope.
    pub(super) fn branch(&mut self, c: &Cond, a: &Cell, b: &Cell) -> Result<Val, String> {
        let (ic, ia, ib) = (self.cond_info(c), self.info(a), self.info(b));
        let varies = ic.varies | ia.varies | ib.varies;
        let easy = |i: super::compile::Info| !i.risky && !i.heavy;
        if ic.varies && !ic.risky && easy(ia) && easy(ib) && !self.is_span(c) {
            let mut parts = vec![];
            conjuncts(c, &mut parts);
            let mut bits: Option<Val> = None;
            for p in &parts {
                let v = self.bits(p)?;
                bits = Some(match bits {
                    None => v,
                    Some(w) => self.both(w, v),
                });
            }
            let (a, b) = (self.cell(a)?, self.cell(b)?);
            let depth = a.depth.max(b.depth).max(ic.depth);
            let m = bits.unwrap_or(a.val);
            return Ok(self.lane_value(depth, false, |d| Instr::LSelect(d, m, a.val, b.val)).val);
        }
        let dst = if varies { Val::L(self.new_l()) } else { Val::S(self.new_s()) };
        let not = Cond::Not(c.clone().into());
        if easy(ib) {
            self.assign_first(dst, Some(b))?;
            self.guard(c, |s| s.assign(dst, a))?;
        } else if easy(ia) {
            self.assign_first(dst, Some(a))?;
            self.guard(&not, |s| s.assign(dst, b))?;
        } else {
            self.assign_first(dst, None)?;
            self.guard(c, |s| s.assign(dst, a))?;
            self.guard(&not, |s| s.assign(dst, b))?;
        }
        Ok(dst)
    }

    /// Whether every part of a condition is the same for all lanes or a range of lanes.
    fn is_span(&self, c: &Cond) -> bool {
        let mut parts = vec![];
        conjuncts(c, &mut parts);
        parts.iter().all(|p| match p {
            Cond::Idx(Cmp::Eq | Cmp::Ne, ..) => !self.cond_info(p).varies,
            Cond::Idx(_, a, b) => {
                let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
                !d.terms.iter().any(|(t, _)| !matches!(t, super::lin::Atom::Axis(_) | super::lin::Atom::Var(_)))
            }
            _ => !self.cond_info(p).varies,
        })
    }

    fn assign_first(&mut self, dst: Val, to: Option<&Cell>) -> Result<(), String> {
        match dst {
            Val::L(d) => self.push(Instr::LFill(d, 0)),
            Val::S(d) if to.is_none() => {
                let zero = self.number(0.0);
                if let Val::S(z) = zero.val {
                    self.push(Instr::SMove(d, z));
                }
            }
            _ => {}
        }
        to.map_or(Ok(()), |cell| self.assign(dst, cell))
    }

    fn assign(&mut self, dst: Val, cell: &Cell) -> Result<(), String> {
        let v = self.cell(cell)?;
        self.push(match (dst, v.val) {
            (Val::L(d), v) => Instr::LMove(d, v),
            (Val::S(d), Val::S(v)) => Instr::SMove(d, v),
            _ => return Err("a branch that is the same for all lanes varies".into()),
        });
        Ok(())
    }

    /// Runs `body` where the condition holds.
    pub(super) fn guard(&mut self, c: &Cond, body: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let mut parts = vec![];
        conjuncts(c, &mut parts);
        self.guard_parts(&parts, body)
    }

    fn guard_parts(
        &mut self,
        parts: &[Cond],
        body: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(first) = parts.first() else { return body(self) };
        // Neighbouring ranges are one range.
        let (mut lo, mut hi, mut used) = (None, None, 0);
        let mut class = self.classify(first)?;
        let mut facts = vec![];
        while let Class::From(_) | Class::Before(_) = class {
            match class {
                Class::From(r) if lo.is_none() => lo = Some(r),
                Class::Before(r) if hi.is_none() => hi = Some(r),
                Class::From(r) => lo = lo.map(|l| self.pick(IdxOp::Max, l, r)),
                Class::Before(r) => hi = hi.map(|h| self.pick(IdxOp::Min, h, r)),
                _ => {}
            }
            self.note(&parts[used], &mut facts);
            used += 1;
            match parts.get(used) {
                // The next test may only be evaluated inside if it can fail.
                Some(next) if !self.cond_info(next).risky => class = self.classify(next)?,
                _ => break,
            }
        }
        if used > 0 {
            let (list, out) = self.nested(ScopeKind::Arm(false), |s| {
                let top = s.top();
                s.facts.extend(facts.into_iter().map(|f| (top, f)));
                s.guard_parts(&parts[used..], body)
            });
            out?;
            self.push(Instr::Masked { lo, hi, bits: None, body: list });
            return Ok(());
        }
        self.note(first, &mut facts);
        let bits = matches!(class, Class::Bits(_));
        match class {
            Class::Never => return Ok(()),
            Class::Always => return self.guard_parts(&parts[1..], body),
            _ => {}
        }
        let (list, out) = self.nested(ScopeKind::Arm(bits), |s| {
            let top = s.top();
            s.facts.extend(facts.into_iter().map(|f| (top, f)));
            s.guard_parts(&parts[1..], body)
        });
        out?;
        match class {
            Class::Uniform(cond) => self.push(Instr::If { cond, body: list }),
            Class::Bits(b) => self.push(Instr::Masked { lo: None, hi: None, bits: Some(b), body: list }),
            _ => {}
        }
        Ok(())
    }

    /// The forms that are not negative when the condition holds.
    fn note(&self, c: &Cond, facts: &mut Vec<Lin>) {
        if let Cond::Idx(op, a, b) = c {
            let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
            let n = Lin::default().plus(&d, -1);
            let minus_one = Lin::constant(-1);
            match op {
                Cmp::Ge => facts.push(d),
                Cmp::Gt => facts.push(d.plus(&minus_one, 1)),
                Cmp::Le => facts.push(n),
                Cmp::Lt => facts.push(n.plus(&minus_one, 1)),
                Cmp::Eq => facts.extend([d, n]),
                Cmp::Ne => {}
            }
        }
    }

    fn pick(&mut self, op: IdxOp, a: u32, b: u32) -> u32 {
        let top = self.top();
        self.emit(top, false, Self::new_i, |d| Instr::IOp(d, op, a, b)).0
    }

    fn classify(&mut self, c: &Cond) -> Result<Class, String> {
        if let Cond::Idx(op, a, b) = c {
            let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
            let (low, high) = self.lins.interval(&d);
            if op.holds(low, 0) && op.holds(high, 0) && !matches!(op, Cmp::Ne | Cmp::Eq) {
                return Ok(Class::Always);
            }
            if inverse(*op).holds(low, 0) && inverse(*op).holds(high, 0) && !matches!(op, Cmp::Ne | Cmp::Eq) {
                return Ok(Class::Never);
            }
            let (at, depth, risky) = self.int(&d)?;
            match at {
                Int::U(r) => {
                    let (r, _) = self.emit(depth, risky, Self::new_i, |dst| Instr::ICmp(dst, *op, r));
                    return Ok(Class::Uniform(r));
                }
                Int::A(base, stride) if !matches!(op, Cmp::Eq | Cmp::Ne) => {
                    let add = if matches!(op, Cmp::Gt | Cmp::Le) { -1 } else { 0 };
                    let lower = matches!(op, Cmp::Ge | Cmp::Gt) == (stride > 0);
                    let bound = if stride > 0 { Bound::Ceil } else { Bound::Floor };
                    let s = stride.abs();
                    let (r, _) = self.emit(depth, risky, Self::new_i, |dst| Instr::IBound { dst, bound, base, add, s });
                    return Ok(if lower { Class::From(r) } else { Class::Before(r) });
                }
                _ => return Ok(Class::Bits(self.bits(c)?)),
            }
        }
        if self.cond_info(c).varies { Ok(Class::Bits(self.bits(c)?)) } else { Ok(Class::Uniform(self.flag(c)?)) }
    }

    /// A condition that is the same for all lanes, as 0 or 1.
    fn flag(&mut self, c: &Cond) -> Result<u32, String> {
        Ok(match c {
            Cond::Num(op, a, b) => {
                let (a, b) = (self.cell(a)?, self.cell(b)?);
                let depth = a.depth.max(b.depth);
                match (a.val, b.val) {
                    (Val::S(x), Val::S(y)) => self.emit(depth, false, Self::new_i, |d| Instr::ISCmp(d, *op, x, y)).0,
                    _ => return Err("a comparison that is the same for all lanes varies".into()),
                }
            }
            Cond::Finite(a) => {
                let a = self.cell(a)?;
                match a.val {
                    Val::S(x) => self.emit(a.depth, false, Self::new_i, |d| Instr::ISFinite(d, x)).0,
                    _ => return Err("a test that is the same for all lanes varies".into()),
                }
            }
            Cond::Idx(op, a, b) => {
                let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
                let (at, depth, risky) = self.int(&d)?;
                match at {
                    Int::U(r) => self.emit(depth, risky, Self::new_i, |dst| Instr::ICmp(dst, *op, r)).0,
                    _ => return Err("an index test that is the same for all lanes varies".into()),
                }
            }
            _ => {
                // Through a number, so that a part that may fail is evaluated only if it must.
                let v = self.cell(&truth(c))?;
                let zero = self.number(0.0);
                match (v.val, zero.val) {
                    (Val::S(x), Val::S(z)) => {
                        self.emit(v.depth, false, Self::new_i, |d| Instr::ISCmp(d, Cmp::Ne, x, z)).0
                    }
                    _ => return Err("a condition that is the same for all lanes varies".into()),
                }
            }
        })
    }

    /// A condition as a number a lane, 0 or 1.
    fn bits(&mut self, c: &Cond) -> Result<Val, String> {
        let info = self.cond_info(c);
        if !info.varies {
            let r = self.flag(c)?;
            return Ok(Val::S(self.emit(info.depth, info.risky, Self::new_s, |d| Instr::SInt(d, r)).0));
        }
        Ok(match c {
            Cond::Num(op, a, b) => {
                let (a, b) = (self.cell(a)?, self.cell(b)?);
                self.lane_value(a.depth.max(b.depth), false, |d| Instr::LCmp(d, *op, a.val, b.val)).val
            }
            Cond::Finite(a) => {
                let a = self.cell(a)?;
                self.lane_value(a.depth, false, |d| Instr::LFinite(d, a.val)).val
            }
            Cond::Idx(op, a, b) => {
                let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
                let (at, depth, risky) = self.int(&d)?;
                self.lane_value(depth, risky, |dst| Instr::LCmpInt(dst, *op, at)).val
            }
            _ => self.cell(&truth(c))?.val,
        })
    }

    fn both(&mut self, a: Val, b: Val) -> Val {
        let top = self.top();
        match (a, b) {
            (Val::S(x), Val::S(y)) => {
                Val::S(self.emit(top, false, Self::new_s, |d| Instr::SBin(d, crate::cell::Bin::Mul, x, y)).0)
            }
            _ => self.lane_value(top, false, |d| Instr::LBin(d, crate::cell::Bin::Mul, a, b)).val,
        }
    }

    /// A number register that starts as `v` in the current scope and changes later.
    pub(super) fn variable_number(&mut self, v: f64) -> u32 {
        let d = self.new_s();
        if let Value { val: Val::S(r), .. } = self.number(v) {
            self.push(Instr::SMove(d, r));
        }
        d
    }
}

/// `if c { 1 } else { 0 }` with `and`, `or` and `not` written as branches.
fn truth(c: &Cond) -> Cell {
    let pick = |c: Cond, a: Cell, b: Cell| Cell::If(c.into(), a.into(), b.into());
    let (one, zero) = (Cell::Const(1.0), Cell::Const(0.0));
    match c {
        Cond::And(a, b) => pick((**a).clone(), truth(b), zero),
        Cond::Or(a, b) => pick((**a).clone(), one, truth(b)),
        Cond::Not(a) => Cell::Const(1.0) - truth(a),
        _ => pick(c.clone(), one, zero),
    }
}
