//! From a cell to instructions: numbers. (Indices are in `index`, reductions and conditions in
//! `control`.)
//!
//! Every value is put into the outermost scope where its operands exist, so that what does not
//! depend on a loop is computed outside it; equal values are computed once. Scopes: 0 = once a
//! call, 1 = once a row of the output, 2 = once a block of lanes, then loops and branches. Where a
//! row is one block it is the other way round: what depends on the lanes alone (the columns that a
//! resize reads) is in scope 1, the rows in scope 2. What
//! may fail (a load that is not proved inside its input) never leaves the branch or the possibly
//! empty loop it stands in.

use std::collections::BTreeMap;

use super::lin::{Along, Atom, Lin, Lins, Tile};
use crate::cell::{Cell, Cond, Var, inline};
use lanes::instr::{Instr, Int, Val};

/// A number and the scope it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub val: Val,
    pub depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ScopeKind {
    /// Runs at least once whenever its parent does.
    Sure,
    /// May run never.
    Unsure,
    /// A branch; `true` when some of its lanes may be inactive one by one.
    Arm(bool),
}

pub(super) struct Scope {
    pub kind: ScopeKind,
    pub list: Vec<Instr>,
    /// Pure instructions (destination 0) and where their result is.
    known: Vec<(Instr, u32)>,
    /// Reductions and branches, names made canonical.
    cells: Vec<(Cell, Value)>,
}

impl Scope {
    pub fn new(kind: ScopeKind) -> Scope {
        Scope { kind, list: vec![], known: vec![], cells: vec![] }
    }
}

/// What the lanes run over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Over {
    /// An axis, or the group of axes that it is the last of.
    Axis(usize),
    /// The variable of a reduction.
    Var(Var),
    /// Flat positions of the output: every axis differs from lane to lane.
    All,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub over: Over,
    /// Holds the index at lane 0.
    pub base: u32,
    pub depth: usize,
}

/// What is known of a subexpression before it is compiled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Info {
    pub depth: usize,
    /// Differs from lane to lane.
    pub varies: bool,
    /// May fail.
    pub risky: bool,
    /// Contains a reduction.
    pub heavy: bool,
}

impl Info {
    pub fn or(self, o: Info) -> Info {
        Info {
            depth: self.depth.max(o.depth),
            varies: self.varies | o.varies,
            risky: self.risky | o.risky,
            heavy: self.heavy | o.heavy,
        }
    }
}

pub(super) struct Compiler<'a> {
    pub lins: Lins<'a>,
    pub scopes: Vec<Scope>,
    pub lane: Option<Lane>,
    /// The scope of axes that are the same for all lanes.
    pub axis_depth: usize,
    pub vars: BTreeMap<Var, (u32, usize)>,
    pub locals: BTreeMap<Var, Value>,
    /// Forms known to be >= 0, with the scope that knows it.
    pub facts: Vec<(usize, Lin)>,
    pub ints: u32,
    pub nums: u32,
    pub lanes: u32,
    pub glanes: u32,
}

/// Makes a new register of a file.
macro_rules! fresh {
    ($($name:ident $field:ident)*) => {$(
        pub(super) fn $name(&mut self) -> u32 {
            self.$field += 1;
            self.$field - 1
        }
    )*};
}

impl Compiler<'_> {
    fresh!(new_i ints new_s nums new_l lanes new_g glanes);

    pub(super) fn top(&self) -> usize {
        self.scopes.len() - 1
    }

    /// The innermost scope that what may fail must not leave.
    pub(super) fn barrier(&self) -> usize {
        (0..self.scopes.len()).rev().find(|&k| self.scopes[k].kind != ScopeKind::Sure).unwrap_or(0)
    }

    /// Where a value that exists from `depth` on is best computed: as far out as it saves a loop,
    /// but inside branches that no loop separates it from.
    pub(super) fn place(&self, depth: usize, risky: bool) -> usize {
        let mut at = if risky { depth.max(self.barrier()) } else { depth };
        while at < self.top() && matches!(self.scopes[at + 1].kind, ScopeKind::Arm(_)) {
            at += 1;
        }
        at
    }

    /// Emits a pure instruction, or finds the register that already holds its result. `new`
    /// makes the destination, `set` writes it into the instruction made with destination 0.
    pub(super) fn emit(
        &mut self,
        depth: usize,
        risky: bool,
        new: fn(&mut Self) -> u32,
        make: impl Fn(u32) -> Instr,
    ) -> (u32, usize) {
        let key = make(0);
        for (depth, scope) in self.scopes.iter().enumerate() {
            if let Some((_, r)) = scope.known.iter().find(|(i, _)| *i == key) {
                return (*r, depth);
            }
        }
        let at = self.place(depth, risky);
        let r = new(self);
        self.scopes[at].list.push(make(r));
        self.scopes[at].known.push((key, r));
        (r, at)
    }

    pub(super) fn push(&mut self, i: Instr) {
        let top = self.top();
        self.scopes[top].list.push(i);
    }

    /// Compiles something into scope `at`, out of sight of the scopes inside it.
    pub(super) fn within<R>(&mut self, at: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let aside = self.scopes.split_off(at + 1);
        let lane = self.lane;
        if self.lane.is_some_and(|l| l.depth > at) {
            self.lane = None;
        }
        let hidden: Vec<_> = self.facts.iter().filter(|(d, _)| *d > at).cloned().collect();
        self.facts.retain(|(d, _)| *d <= at);
        let out = f(self);
        self.facts.extend(hidden);
        self.lane = lane;
        self.scopes.extend(aside);
        out
    }

    /// Compiles a nested list.
    pub(super) fn nested<R>(&mut self, kind: ScopeKind, f: impl FnOnce(&mut Self) -> R) -> (Vec<Instr>, R) {
        self.scopes.push(Scope::new(kind));
        let out = f(self);
        let top = self.top();
        self.facts.retain(|(d, _)| *d < top);
        let list = self.scopes.pop().map(|s| s.list).unwrap_or_default();
        (list, out)
    }

    pub(super) fn number(&mut self, v: f64) -> Value {
        let (r, depth) = self.emit(0, false, Self::new_s, |d| Instr::SConst(d, v.to_bits()));
        Value { val: Val::S(r), depth }
    }

    /// What is known of a cell.
    pub(super) fn info(&self, cell: &Cell) -> Info {
        match cell {
            Cell::Const(_) => Info::default(),
            Cell::Int(i) => self.lin_info(&self.lins.lin(i)),
            Cell::Load(input, ix) => {
                let lins: Vec<Lin> = ix.iter().map(|i| self.lins.lin(i)).collect();
                let mut out = lins.iter().map(|l| self.lin_info(l)).fold(Info::default(), Info::or);
                out.risky |= !self.inside_always(*input, &lins);
                out
            }
            Cell::Local(v) => match self.locals.get(v) {
                Some(v) => Info { depth: v.depth, varies: !matches!(v.val, Val::S(_)), ..Info::default() },
                None => Info::default(),
            },
            Cell::Let(_, a, b) | Cell::Bin(_, a, b) => self.info(a).or(self.info(b)),
            Cell::Un(_, a) => self.info(a),
            Cell::If(c, a, b) => self.cond_info(c).or(self.info(a)).or(self.info(b)),
            Cell::Reduce(_, _, lo, hi, body) => {
                let bounds = self.lin_info(&self.lins.lin(lo)).or(self.lin_info(&self.lins.lin(hi)));
                Info { heavy: true, ..bounds.or(self.info(body)) }
            }
        }
    }

    pub(super) fn cond_info(&self, c: &Cond) -> Info {
        match c {
            Cond::Num(_, a, b) => self.info(a).or(self.info(b)),
            Cond::Idx(_, a, b) => self.lin_info(&self.lins.lin(a)).or(self.lin_info(&self.lins.lin(b))),
            Cond::Finite(a) => self.info(a),
            Cond::And(a, b) | Cond::Or(a, b) => self.cond_info(a).or(self.cond_info(b)),
            Cond::Not(a) => self.cond_info(a),
        }
    }

    fn lin_info(&self, l: &Lin) -> Info {
        let mut out = Info { risky: !self.lins.divides_safely(l), ..Info::default() };
        l.visit(&mut |l| {
            let tile = self.tile();
            if let Some((t, lane)) = tile {
                let depth = match self.lins.along(l, t) {
                    Along::None => 0,
                    Along::Row(_) => lane.depth,
                    Along::Flat(_) | Along::Else => self.axis_depth,
                };
                out = out.or(Info { depth, varies: depth > 0, ..Info::default() });
            }
            for (a, _) in &l.terms {
                let (depth, varies) = match a {
                    Atom::Axis(k) if tile.is_some_and(|(t, _)| [t.row, t.lane].contains(&self.lins.group(*k))) => {
                        continue;
                    }
                    Atom::Axis(k) => match self.lane {
                        Some(l) if l.over == Over::All || l.over == Over::Axis(self.lins.group(*k)) => (l.depth, true),
                        _ => (self.axis_depth, false),
                    },
                    Atom::Var(v) => match self.lane {
                        Some(l) if l.over == Over::Var(*v) => (l.depth, true),
                        _ => (self.vars.get(v).map_or(0, |(_, d)| *d), false),
                    },
                    Atom::Load(input, ix) => {
                        out.risky |= !self.inside_always(*input, ix);
                        continue;
                    }
                    _ => continue,
                };
                out = out.or(Info { depth, varies, ..Info::default() });
            }
        });
        out
    }

    /// The tile that the lanes run over.
    pub(super) fn tile(&self) -> Option<(Tile, Lane)> {
        let (t, lane) = (self.lins.tile?, self.lane?);
        (lane.over == Over::Axis(t.lane)).then_some((t, lane))
    }

    /// Whether a load is inside its input whatever the indices.
    fn inside_always(&self, input: usize, ix: &[Lin]) -> bool {
        let Some(ty) = self.lins.inputs.get(input) else { return false };
        ix.len() == ty.shape.len()
            && ix.iter().zip(&ty.shape).all(|(l, &d)| {
                let (lo, hi) = self.lins.interval(l);
                lo >= 0 && hi < d as i64
            })
    }

    /// Compiles a cell to a value.
    pub(super) fn cell(&mut self, cell: &Cell) -> Result<Value, String> {
        Ok(match cell {
            Cell::Const(v) => self.number(*v),
            Cell::Int(i) => {
                let lin = self.lins.lin(i);
                let (at, depth, risky) = self.int(&lin)?;
                match at {
                    Int::U(r) => {
                        let (s, depth) = self.emit(depth, risky, Self::new_s, |d| Instr::SInt(d, r));
                        Value { val: Val::S(s), depth }
                    }
                    _ => self.lane_value(depth, risky, |d| Instr::LInt(d, at)),
                }
            }
            Cell::Load(input, ix) => {
                let lins: Vec<Lin> = ix.iter().map(|i| self.lins.lin(i)).collect();
                let (at, depth, risky) = self.offset(*input, &lins)?;
                let input = *input as u32;
                let number = self.lins.inputs.get(input as usize).is_some_and(|t| t.dtype.is_float());
                match at {
                    Int::U(r) => {
                        let (s, depth) = self.emit(depth, risky, Self::new_s, |d| Instr::SLoad(d, input, r));
                        Value { val: Val::S(s), depth }
                    }
                    Int::A(r, 1) if number && !(risky && self.lanes_masked()) => {
                        let depth = if risky { depth.max(self.barrier()) } else { depth };
                        Value { val: Val::M(input, r), depth }
                    }
                    _ => self.lane_value(depth, risky, |d| Instr::LLoad(d, input, at)),
                }
            }
            Cell::Local(v) => *self.locals.get(v).ok_or_else(|| format!("{} is not bound", v.0))?,
            Cell::Let(v, value, body) => {
                let value = self.cell(value)?;
                self.locals.insert(*v, value);
                self.cell(body)?
            }
            Cell::Un(op, a) => {
                let a = self.cell(a)?;
                match a.val {
                    Val::S(x) => {
                        let (s, depth) = self.emit(a.depth, false, Self::new_s, |d| Instr::SUn(d, *op, x));
                        Value { val: Val::S(s), depth }
                    }
                    x => self.lane_value(a.depth, false, |d| Instr::LUn(d, *op, x)),
                }
            }
            Cell::Bin(op, a, b) => {
                let (a, b) = (self.cell(a)?, self.cell(b)?);
                let depth = a.depth.max(b.depth);
                match (a.val, b.val) {
                    (Val::S(x), Val::S(y)) => {
                        let (s, depth) = self.emit(depth, false, Self::new_s, |d| Instr::SBin(d, *op, x, y));
                        Value { val: Val::S(s), depth }
                    }
                    (x, y) => self.lane_value(depth, false, |d| Instr::LBin(d, *op, x, y)),
                }
            }
            Cell::If(c, a, b) => self.shared(cell, |s| s.branch(c, a, b))?,
            Cell::Reduce(..) => self.shared(cell, |s| s.reduce(cell))?,
        })
    }

    pub(super) fn lane_value(&mut self, depth: usize, risky: bool, make: impl Fn(u32) -> Instr) -> Value {
        let (r, depth) = self.emit(depth, risky, Self::new_l, make);
        Value { val: Val::L(r), depth }
    }

    /// Whether lanes may be inactive one by one here.
    pub(super) fn lanes_masked(&self) -> bool {
        let from = self.lane.map_or(0, |l| l.depth);
        self.scopes.iter().skip(from + 1).any(|s| s.kind == ScopeKind::Arm(true))
    }

    /// Compiles a branch or reduction in the scope it belongs to, or finds it already there.
    fn shared(&mut self, cell: &Cell, make: impl FnOnce(&mut Self) -> Result<Val, String>) -> Result<Value, String> {
        let canonical = inline::at_index(cell, &[], &mut (1 << 30));
        for scope in &self.scopes {
            if let Some((_, v)) = scope.cells.iter().find(|(c, _)| *c == canonical) {
                return Ok(*v);
            }
        }
        let info = self.info(cell);
        let at = self.place(info.depth, info.risky);
        let val = self.within(at, make)?;
        let value = Value { val, depth: at };
        self.scopes[at].cells.push((canonical, value));
        Ok(value)
    }
}
