//! Compiling reductions.
//!
//! `sum(c) sum(i) sum(j) body` is one nest with one accumulator. When the body differs from lane
//! to lane the nest is scalar loops around blocks of lanes; when it does not, one of its variables
//! becomes the lanes and the accumulator is folded at the end, in a fixed order. Long chains of
//! additions are cut at 1,024 by partial sums.

use super::compile::{Compiler, Lane, Over, ScopeKind};
use super::lin::Lin;
use super::{BLOCK, CHAIN, cost};
use crate::cell::{Bin, Cell, Cmp, Cond, Idx, Red, Var};
use lanes::instr::{Flush, Instr, Int, Val};

impl Compiler<'_> {
    /// A reduction as a value of the current scope.
    pub(super) fn reduce(&mut self, cell: &Cell) -> Result<Val, String> {
        let Cell::Reduce(red, ..) = cell else { return Err("not a reduction".into()) };
        if self.info(cell).varies {
            let acc = self.new_l();
            self.push(Instr::LFill(acc, red.identity().to_bits()));
            self.accumulate(Val::L(acc), *red, cell, None)?;
            return Ok(Val::L(acc));
        }
        match cost::best_variable(&self.lins, cell) {
            None => {
                let acc = self.variable_number(red.identity());
                self.accumulate(Val::S(acc), *red, cell, None)?;
                Ok(Val::S(acc))
            }
            Some((over, length)) => {
                let acc = self.new_l();
                self.push(Instr::LFill(acc, red.identity().to_bits()));
                self.accumulate(Val::L(acc), *red, cell, Some(over))?;
                let dst = self.new_s();
                self.push(Instr::SReduce(dst, *red, acc, length.clamp(1, BLOCK as i64) as u32));
                Ok(Val::S(dst))
            }
        }
    }

    /// Longest chain of additions to one accumulator.
    fn chain(&self, red: Red, cell: &Cell, over: Option<Var>) -> i64 {
        match cell {
            Cell::Reduce(r, v, _, _, body) if *r == red => {
                let inner = self.chain(red, body, over);
                let rounds = self.rounds(*v, over);
                if inner.saturating_mul(rounds) > CHAIN {
                    let every = (CHAIN / inner).max(1);
                    rounds.div_euclid(every) + 1
                } else {
                    inner * rounds
                }
            }
            Cell::If(_, yes, _) => self.chain(red, yes, over),
            Cell::Let(_, _, body) => self.chain(red, body, over),
            _ => 1,
        }
    }

    fn rounds(&self, v: Var, over: Option<Var>) -> i64 {
        let n = self.lins.rounds(v);
        if over == Some(v) { (n + BLOCK as i64 - 1) / BLOCK as i64 } else { n }
    }

    fn accumulate(&mut self, acc: Val, red: Red, cell: &Cell, over: Option<Var>) -> Result<(), String> {
        match cell {
            Cell::Reduce(r, v, _, _, body) if *r == red && self.lins.joined.contains_key(v) => {
                self.accumulate(acc, red, body, over)
            }
            Cell::Reduce(r, v, lo, hi, body) if *r == red => {
                let (low, mut high) = (self.lins.lin(lo), self.lins.lin(hi));
                if self.lins.joined.values().any(|inner| inner == v) {
                    high = Lin::constant(self.lins.rounds(*v));
                }
                let ((a, _, _), (b, _, _)) = (self.int(&low)?, self.int(&high)?);
                let (Int::U(a), Int::U(b)) = (a, b) else {
                    return self.varying_bounds(acc, cell, over);
                };
                self.rounds_of(acc, red, *v, (a, b), body, over)
            }
            Cell::If(c, yes, no) if **no == Cell::Const(red.identity()) => {
                self.guard(c, |s| s.accumulate(acc, red, yes, over))
            }
            Cell::Let(v, value, body) => {
                let value = self.cell(value)?;
                self.locals.insert(*v, value);
                self.accumulate(acc, red, body, over)
            }
            Cell::Bin(Bin::Mul, a, b) if red == Red::Sum => {
                let (a, b) = (self.cell(a)?, self.cell(b)?);
                self.push(match (acc, a.val, b.val) {
                    (Val::S(d), Val::S(x), Val::S(y)) => Instr::SMulAcc(d, x, y),
                    (Val::L(d), x, y) => Instr::LMulAcc(d, x, y),
                    _ => return Err("a sum that is the same for all lanes varies".into()),
                });
                Ok(())
            }
            _ => {
                let v = self.cell(cell)?;
                self.push(match (acc, v.val) {
                    (Val::S(d), Val::S(x)) => Instr::SAcc(d, red, x),
                    (Val::L(d), x) => Instr::LAcc(d, red, x),
                    _ => return Err("a reduction that is the same for all lanes varies".into()),
                });
                Ok(())
            }
        }
    }

    fn rounds_of(
        &mut self,
        acc: Val,
        red: Red,
        v: Var,
        (lo, hi): (u32, u32),
        body: &Cell,
        over: Option<Var>,
    ) -> Result<(), String> {
        let inner = self.chain(red, body, over);
        let long = red == Red::Sum && inner.saturating_mul(self.rounds(v, over)) > CHAIN;
        let flush = long.then(|| {
            let part = match acc {
                Val::S(_) => Val::S(self.new_s()),
                _ => Val::L(self.new_l()),
            };
            Flush { red, part, total: acc, every: (CHAIN / inner).max(1) }
        });
        let target = flush.map_or(acc, |f| f.part);
        let var = self.new_i();
        let kind = if self.always_runs(lo, hi) { ScopeKind::Sure } else { ScopeKind::Unsure };
        let lanes = over == Some(v);
        let outer = self.lane;
        let depth = self.scopes.len();
        if lanes {
            self.lane = Some(Lane { over: Over::Var(v), base: var, depth });
        } else {
            self.vars.insert(v, (var, depth));
        }
        let (list, out) = self.nested(kind, |s| s.accumulate(target, red, body, over));
        self.lane = outer;
        out?;
        self.push(if lanes {
            Instr::LaneLoop { base: var, lo, hi, flush, body: list }
        } else {
            Instr::Loop { var, lo, hi, flush, body: list }
        });
        Ok(())
    }

    /// Whether constant bounds leave at least one round.
    fn always_runs(&self, lo: u32, hi: u32) -> bool {
        let value = |r: u32| {
            self.scopes.iter().flat_map(|s| &s.list).find_map(|i| match i {
                Instr::IConst(d, c) if *d == r => Some(*c),
                _ => None,
            })
        };
        matches!((value(lo), value(hi)), (Some(a), Some(b)) if a < b)
    }

    /// Bounds that differ from lane to lane: the whole range with a test a lane.
    fn varying_bounds(&mut self, acc: Val, cell: &Cell, over: Option<Var>) -> Result<(), String> {
        let Cell::Reduce(red, v, lo, hi, body) = cell else { return Err("not a reduction".into()) };
        let low = self.lins.interval(&self.lins.lin(lo)).0;
        let high = self.lins.interval(&self.lins.lin(hi)).1;
        let test = Cond::Idx(Cmp::Ge, Idx::Var(*v), lo.clone()).and(Cond::Idx(Cmp::Lt, Idx::Var(*v), hi.clone()));
        let inside = Cell::If(test.into(), body.clone(), Cell::Const(red.identity()).into());
        let (a, b) = (self.int_const(low), self.int_const(high));
        self.rounds_of(acc, *red, *v, (a, b), &inside, over)
    }
}
