//! Index expressions as sums of integer multiples: `sum_k coefficient_k * atom_k + constant`,
//! with the interval each can lie in. In this form the stride of a load along any axis is one
//! look-up, `(64 y + x) / 64` becomes `y`, and most loads are proved inside their input once and
//! for all.

use std::collections::BTreeMap;

use crate::cell::{Cell, Cond, Idx, IdxOp, RandKey, Var};
use crate::tensor::TensorType;
use crate::tensor::{DType, strides};

/// What an index expression is a sum of.
#[derive(Clone, Debug, PartialEq)]
pub enum Atom {
    Axis(usize),
    Var(Var),
    Op(IdxOp, Box<Lin>, Box<Lin>),
    /// An element of an integer input, with the index along every axis.
    Load(usize, Vec<Lin>),
    /// Key, then seed, step and counter.
    Rand(u32, Box<[Lin; 3]>),
}

/// `sum coefficient * atom + c`; no coefficient is 0 and no atom comes twice.
#[derive(Clone, Debug, Default)]
pub struct Lin {
    pub terms: Vec<(Atom, i64)>,
    pub c: i64,
}

impl PartialEq for Lin {
    fn eq(&self, other: &Lin) -> bool {
        self.c == other.c
            && self.terms.len() == other.terms.len()
            && self.terms.iter().all(|(a, k)| other.coefficient(a) == *k)
    }
}

impl Lin {
    pub fn constant(c: i64) -> Lin {
        Lin { terms: vec![], c }
    }

    pub fn atom(a: Atom) -> Lin {
        Lin { terms: vec![(a, 1)], c: 0 }
    }

    /// The value of an expression without atoms.
    pub fn as_const(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.c)
    }

    pub fn coefficient(&self, a: &Atom) -> i64 {
        self.terms.iter().find(|(b, _)| a == b).map_or(0, |(_, k)| *k)
    }

    /// `self + k * other`
    pub fn plus(mut self, other: &Lin, k: i64) -> Lin {
        self.c = self.c.wrapping_add(other.c.wrapping_mul(k));
        for (a, m) in &other.terms {
            let m = m.wrapping_mul(k);
            match self.terms.iter_mut().find(|(b, _)| a == b) {
                Some((_, n)) => *n = n.wrapping_add(m),
                None => self.terms.push((a.clone(), m)),
            }
        }
        self.terms.retain(|(_, k)| *k != 0);
        self
    }

    /// Every linear form inside, this one included.
    pub fn visit(&self, f: &mut dyn FnMut(&Lin)) {
        f(self);
        for (a, _) in &self.terms {
            match a {
                Atom::Axis(_) | Atom::Var(_) => {}
                Atom::Op(_, x, y) => {
                    x.visit(f);
                    y.visit(f);
                }
                Atom::Load(_, ix) => ix.iter().for_each(|i| i.visit(f)),
                Atom::Rand(_, parts) => parts.iter().for_each(|i| i.visit(f)),
            }
        }
    }

    /// Whether any atom, however deep, satisfies `f`.
    pub fn any(&self, f: &dyn Fn(&Atom) -> bool) -> bool {
        let mut hit = false;
        self.visit(&mut |l| hit |= l.terms.iter().any(|(a, _)| f(a)));
        hit
    }
}

/// What is known about axes, variables and inputs while building linear forms.
pub struct Lins<'a> {
    /// Length of every output axis.
    pub dims: Vec<i64>,
    pub inputs: &'a [&'a TensorType],
    /// Smallest and largest value of each bound variable.
    pub ranges: BTreeMap<Var, (i64, i64)>,
    /// For each axis the last axis of its group: neighbouring axes that every form sees only
    /// through their flat position, which is then the value of the last one.
    pub merged: Vec<usize>,
    /// The same of reductions: each variable that is merged into that of the reduction just inside it.
    pub joined: BTreeMap<Var, Var>,
    /// Where lanes run over several rows at once.
    pub tile: Option<Tile>,
}

/// The last two groups of axes taken as one line of lanes: every form is a place along it, or the same for all
/// rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// The last axes of the two groups.
    pub row: usize,
    pub lane: usize,
    /// Length of a row, and rows.
    pub length: i64,
    pub rows: i64,
}

impl Tile {
    /// Lanes of a line: of as many rows as fill a block.
    pub fn line(&self) -> usize {
        ((super::BLOCK as i64 / self.length).min(self.rows) * self.length) as usize
    }
}

/// How a form depends on a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Along {
    /// Not at all.
    None,
    /// By the place in all rows, times this.
    Flat(i64),
    /// By the place in a row, times this.
    Row(i64),
    /// In another way.
    Else,
}

/// An interval that says nothing. Small enough to be added up without overflow.
const ANY: (i64, i64) = (-(1 << 60), 1 << 60);

fn clamp(lo: i128, hi: i128) -> (i64, i64) {
    (lo.clamp(ANY.0.into(), ANY.1.into()) as i64, hi.clamp(ANY.0.into(), ANY.1.into()) as i64)
}

impl Lins<'_> {
    /// Registers the range of every variable bound in `cell`. Bound names must be unique.
    pub fn bind_ranges(&mut self, cell: &Cell) {
        match cell {
            Cell::Const(_) | Cell::Int(_) | Cell::Load(..) | Cell::Local(_) => {}
            Cell::Let(_, a, b) | Cell::Bin(_, a, b) => {
                self.bind_ranges(a);
                self.bind_ranges(b);
            }
            Cell::Un(_, a) => self.bind_ranges(a),
            Cell::If(c, a, b) => {
                self.bind_ranges_in(c);
                self.bind_ranges(a);
                self.bind_ranges(b);
            }
            Cell::Reduce(_, v, lo, hi, body) => {
                let (lo, hi) = (self.interval(&self.lin(lo)).0, self.interval(&self.lin(hi)).1);
                self.ranges.insert(*v, (lo, (hi - 1).max(lo)));
                self.bind_ranges(body);
            }
        }
    }

    fn bind_ranges_in(&mut self, c: &Cond) {
        match c {
            Cond::Num(_, a, b) => {
                self.bind_ranges(a);
                self.bind_ranges(b);
            }
            Cond::Idx(..) => {}
            Cond::Finite(a) => self.bind_ranges(a),
            Cond::And(a, b) | Cond::Or(a, b) => {
                self.bind_ranges_in(a);
                self.bind_ranges_in(b);
            }
            Cond::Not(a) => self.bind_ranges_in(a),
        }
    }

    /// The last axis of the group of an axis.
    pub fn group(&self, axis: usize) -> usize {
        self.merged.get(axis).copied().unwrap_or(axis)
    }

    /// See [`Along`].
    pub fn along(&self, l: &Lin, t: Tile) -> Along {
        match (l.coefficient(&Atom::Axis(t.row)), l.coefficient(&Atom::Axis(t.lane))) {
            (0, 0) => Along::None,
            (0, k) => Along::Row(k),
            (j, k) if j == k * t.length => Along::Flat(k),
            _ => Along::Else,
        }
    }

    /// Whether an atom carries the flat position of its group, or has none.
    pub fn carries(&self, a: &Atom) -> bool {
        match a {
            Atom::Axis(k) => self.group(*k) == *k,
            Atom::Var(v) => !self.joined.contains_key(v),
            _ => true,
        }
    }

    /// Values that a variable takes, at most: all those of its group for the innermost one, 1 for the others.
    pub fn rounds(&self, v: Var) -> i64 {
        let own = |v: &Var| self.ranges.get(v).map_or(1, |(lo, hi)| (hi - lo + 1).max(1));
        if self.joined.contains_key(&v) {
            return 1;
        }
        let (mut n, mut last) = (own(&v), v);
        while let Some((outer, _)) = self.joined.iter().find(|(_, inner)| **inner == last) {
            n *= own(outer);
            last = *outer;
        }
        n
    }

    /// The linear form of an index.
    pub fn lin(&self, i: &Idx) -> Lin {
        match i {
            Idx::Axis(k) if self.dims.get(*k) == Some(&1) => Lin::constant(0),
            Idx::Axis(k) => Lin::atom(Atom::Axis(*k)),
            Idx::Var(v) => match self.ranges.get(v) {
                Some((lo, hi)) if lo == hi => Lin::constant(*lo),
                _ => Lin::atom(Atom::Var(*v)),
            },
            Idx::Const(c) => Lin::constant(*c),
            Idx::Bin(op, a, b) => self.bin(*op, self.lin(a), self.lin(b)),
            Idx::Load(input, ix) => Lin::atom(Atom::Load(*input, ix.iter().map(|i| self.lin(i)).collect())),
            Idx::Rand(r) => {
                let RandKey { key, seed, step, counter } = &**r;
                Lin::atom(Atom::Rand(*key, Box::new([self.lin(seed), self.lin(step), self.lin(counter)])))
            }
        }
    }

    fn bin(&self, op: IdxOp, a: Lin, b: Lin) -> Lin {
        match (op, a.as_const(), b.as_const()) {
            (IdxOp::Add, ..) => return a.plus(&b, 1),
            (IdxOp::Sub, ..) => return a.plus(&b, -1),
            (IdxOp::Mul, Some(k), _) => return Lin::default().plus(&b, k),
            (IdxOp::Mul, _, Some(k)) => return Lin::default().plus(&a, k),
            (IdxOp::Div | IdxOp::Mod, _, Some(k)) if k > 0 => {
                // a = k q + r; exact when r lies in 0..k, and still a smaller dividend otherwise.
                let (mut q, mut r) = (Lin::constant(a.c.div_euclid(k)), Lin::constant(a.c.rem_euclid(k)));
                for (atom, m) in &a.terms {
                    if m % k == 0 {
                        q.terms.push((atom.clone(), m / k));
                    } else {
                        r.terms.push((atom.clone(), *m));
                    }
                }
                let (lo, hi) = self.interval(&r);
                if lo >= 0 && hi < k {
                    return if op == IdxOp::Div { q } else { r };
                }
                let rest = Lin::atom(Atom::Op(op, Box::new(r), Box::new(b)));
                return if op == IdxOp::Div { q.plus(&rest, 1) } else { rest };
            }
            (IdxOp::Min | IdxOp::Max, ..) => {
                let (lo, hi) = self.interval(&a.clone().plus(&b, -1));
                if lo >= 0 {
                    return if op == IdxOp::Min { b } else { a };
                }
                if hi <= 0 {
                    return if op == IdxOp::Min { a } else { b };
                }
            }
            _ => {}
        }
        Lin::atom(Atom::Op(op, Box::new(a), Box::new(b)))
    }

    /// Smallest and largest value the form can take.
    pub fn interval(&self, l: &Lin) -> (i64, i64) {
        let (mut lo, mut hi) = (i128::from(l.c), i128::from(l.c));
        for (a, k) in &l.terms {
            let (x, y) = self.atom_interval(a);
            let (x, y) = (i128::from(x) * i128::from(*k), i128::from(y) * i128::from(*k));
            lo += x.min(y);
            hi += x.max(y);
        }
        clamp(lo, hi)
    }

    fn atom_interval(&self, a: &Atom) -> (i64, i64) {
        match a {
            Atom::Axis(k) => (0, (self.dims.get(*k).copied().unwrap_or(1) - 1).max(0)),
            Atom::Var(v) => self.ranges.get(v).copied().unwrap_or(ANY),
            Atom::Load(input, _) => match self.inputs.get(*input).map(|t| t.dtype) {
                Some(DType::U8) => (0, 255),
                Some(DType::U32) => (0, u32::MAX.into()),
                _ => ANY,
            },
            Atom::Rand(..) => (0, (1 << 24) - 1),
            Atom::Op(op, a, b) => {
                let ((al, ah), (bl, bh)) = (self.interval(a), self.interval(b));
                let corners = |f: &dyn Fn(i128, i128) -> i128| {
                    let all = [(al, bl), (al, bh), (ah, bl), (ah, bh)].map(|(x, y)| f(x.into(), y.into()));
                    clamp(*all.iter().min().unwrap_or(&0), *all.iter().max().unwrap_or(&0))
                };
                match op {
                    IdxOp::Min => (al.min(bl), ah.min(bh)),
                    IdxOp::Max => (al.max(bl), ah.max(bh)),
                    IdxOp::Mul => corners(&|x, y| x * y),
                    IdxOp::Div if bl > 0 => corners(&|x, y| x.div_euclid(y)),
                    IdxOp::Mod if bl > 0 && al >= 0 => (0, (bh - 1).min(ah)),
                    IdxOp::Mod if bl > 0 => (0, bh - 1),
                    _ => ANY,
                }
            }
        }
    }

    /// Whether the divisor of every division inside is surely positive.
    pub fn divides_safely(&self, l: &Lin) -> bool {
        !l.any(&|a| matches!(a, Atom::Op(IdxOp::Div | IdxOp::Mod, _, b) if self.interval(b).0 <= 0))
    }

    /// The flat element offset of a load, from its index along every axis.
    pub fn offset(&self, input: usize, ix: &[Lin]) -> Lin {
        let shape = self.inputs.get(input).map_or(&[][..], |t| &t.shape);
        let mut flat = Lin::default();
        for (i, s) in ix.iter().zip(strides(shape)) {
            flat = flat.plus(i, s as i64);
        }
        flat
    }
}
