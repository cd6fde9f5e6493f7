//! Substitution: a producer's definition put in the place of the loads that read it, and the
//! renumbering of inputs that goes with it. This is fusion, on the level where it is one line of
//! algebra: `Load(i, index)` becomes the producer's cell with its axes replaced by `index`.

use std::sync::Arc;

use super::{Cell, Cond, Idx, RandKey, Var};

/// What becomes of the reads of one input.
#[derive(Clone, Debug)]
pub enum Source {
    /// Still a load, of another input number.
    Input(usize),
    /// The producer's cell, already written in terms of the new inputs.
    Cell(Arc<Cell>),
}

/// Rewrites a cell; `fresh` numbers the copies of bound names so that none is captured.
pub struct Inliner<'a> {
    sources: &'a [Source],
    fresh: &'a mut u32,
}

/// `cell` with every read of input `i` replaced by `sources[i]`.
pub fn substitute(cell: &Cell, sources: &[Source], fresh: &mut u32) -> Cell {
    Inliner { sources, fresh }.cell(cell, &Scope { axes: None, names: Vec::new() })
}

/// `cell` as seen from another element: its axes replaced, its bound names renewed.
pub fn at_index(cell: &Cell, axes: &[Idx], fresh: &mut u32) -> Cell {
    Inliner { sources: &[], fresh }.cell(cell, &Scope { axes: Some(axes), names: Vec::new() })
}

#[derive(Clone)]
struct Scope<'s> {
    /// What the axes stand for; `None` leaves them.
    axes: Option<&'s [Idx]>,
    names: Vec<(Var, Var)>,
}

impl Scope<'_> {
    fn name(&self, v: Var) -> Var {
        self.names.iter().rev().find(|(old, _)| *old == v).map_or(v, |(_, new)| *new)
    }
}

impl Inliner<'_> {
    fn bound<'s>(&mut self, v: Var, scope: &Scope<'s>) -> (Var, Scope<'s>) {
        *self.fresh += 1;
        let new = Var(v.0, *self.fresh);
        let mut inner = scope.clone();
        inner.names.push((v, new));
        (new, inner)
    }

    fn cell(&mut self, cell: &Cell, s: &Scope) -> Cell {
        match cell {
            Cell::Const(v) => Cell::Const(*v),
            Cell::Int(i) => Cell::Int(self.idx(i, s)),
            Cell::Local(v) => Cell::Local(s.name(*v)),
            Cell::Load(input, ix) => {
                let ix: Vec<Idx> = ix.iter().map(|i| self.idx(i, s)).collect();
                match self.sources.get(*input).cloned() {
                    None => Cell::Load(*input, ix),
                    Some(Source::Input(new)) => Cell::Load(new, ix),
                    Some(Source::Cell(producer)) => at_index(&producer, &ix, self.fresh),
                }
            }
            Cell::Let(v, value, body) => {
                let value = self.cell(value, s);
                let (new, inner) = self.bound(*v, s);
                Cell::Let(new, Arc::new(value), Arc::new(self.cell(body, &inner)))
            }
            Cell::Un(op, x) => Cell::Un(*op, Arc::new(self.cell(x, s))),
            Cell::Bin(op, a, b) => Cell::Bin(*op, Arc::new(self.cell(a, s)), Arc::new(self.cell(b, s))),
            Cell::If(c, a, b) => {
                Cell::If(Arc::new(self.cond(c, s)), Arc::new(self.cell(a, s)), Arc::new(self.cell(b, s)))
            }
            Cell::Reduce(red, v, lo, hi, body) => {
                let (lo, hi) = (self.idx(lo, s), self.idx(hi, s));
                let (new, inner) = self.bound(*v, s);
                Cell::Reduce(*red, new, lo, hi, Arc::new(self.cell(body, &inner)))
            }
        }
    }

    fn cond(&mut self, c: &Cond, s: &Scope) -> Cond {
        match c {
            Cond::Num(op, a, b) => Cond::Num(*op, Arc::new(self.cell(a, s)), Arc::new(self.cell(b, s))),
            Cond::Idx(op, a, b) => Cond::Idx(*op, self.idx(a, s), self.idx(b, s)),
            Cond::Finite(x) => Cond::Finite(Arc::new(self.cell(x, s))),
            Cond::And(a, b) => self.cond(a, s).and(self.cond(b, s)),
            Cond::Or(a, b) => self.cond(a, s).or(self.cond(b, s)),
            Cond::Not(a) => self.cond(a, s).negate(),
        }
    }

    fn idx(&mut self, i: &Idx, s: &Scope) -> Idx {
        match i {
            Idx::Axis(k) => s.axes.and_then(|a| a.get(*k)).cloned().unwrap_or(Idx::Axis(*k)),
            Idx::Var(v) => Idx::Var(s.name(*v)),
            Idx::Const(c) => Idx::Const(*c),
            Idx::Bin(op, a, b) => {
                let (a, b) = (self.idx(a, s), self.idx(b, s));
                use super::IdxOp::*;
                match op {
                    Add => a + b,
                    Sub => a - b,
                    Mul => a * b,
                    Div => a / b,
                    Mod => a % b,
                    Min => a.min(b),
                    Max => a.max(b),
                }
            }
            Idx::Load(input, ix) => {
                let ix: Vec<Idx> = ix.iter().map(|i| self.idx(i, s)).collect();
                let new = match self.sources.get(*input) {
                    // Integer inputs are leaves or materialised nodes: see `rewrite`.
                    Some(Source::Input(new)) => *new,
                    _ => *input,
                };
                Idx::Load(new, ix)
            }
            Idx::Rand(r) => Idx::Rand(Arc::new(RandKey {
                key: r.key,
                seed: self.idx(&r.seed, s),
                step: self.idx(&r.step, s),
                counter: self.idx(&r.counter, s),
            })),
        }
    }
}
