//! What the lanes run over: a choice that only affects speed.
//!
//! Costs are rough nanoseconds: a scalar instruction 3, a lane of contiguous work 0.3, a gathered
//! lane 2. They need only rank the choices, which differ by factors.

use super::BLOCK;
use super::compile::Over;
use super::lin::{Atom, Lin, Lins, Tile};
use crate::cell::{Cell, Cond, Idx, Var};

/// Time of one lane when `over` has `lanes` lanes; what does not vary is shared by them.
struct Estimate<'a, 'b> {
    lins: &'a Lins<'b>,
    over: Option<Over>,
    lanes: f64,
}

const STEP: f64 = 3.0;

impl Estimate<'_, '_> {
    fn moves(&self, a: &Atom) -> bool {
        match (self.over, a) {
            (Some(Over::All), Atom::Axis(_)) => true,
            (Some(Over::Axis(k)), Atom::Axis(x)) => k == self.lins.group(*x),
            (Some(Over::Var(v)), Atom::Var(x)) => v == *x,
            _ => false,
        }
    }

    fn varies(&self, l: &Lin) -> bool {
        l.any(&|a| self.moves(a))
    }

    /// Of reading an input at a flat offset.
    fn load(&self, offset: &Lin) -> f64 {
        if !self.varies(offset) {
            return STEP / self.lanes;
        }
        let direct: Vec<_> = offset.terms.iter().filter(|(a, _)| self.moves(a) && self.lins.carries(a)).collect();
        let hidden = offset.terms.iter().any(|(a, _)| !self.moves(a) && Lin::atom(a.clone()).any(&|b| self.moves(b)));
        match direct.as_slice() {
            [(_, k)] if !hidden && self.over != Some(Over::All) => STEP / self.lanes + if *k == 1 { 0.3 } else { 1.2 },
            _ => 2.5 + STEP / self.lanes,
        }
    }

    fn cell_varies(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Const(_) | Cell::Local(_) => false,
            Cell::Int(i) => self.varies(&self.lins.lin(i)),
            Cell::Load(_, ix) => ix.iter().any(|i| self.varies(&self.lins.lin(i))),
            Cell::Let(_, a, b) | Cell::Bin(_, a, b) => self.cell_varies(a) || self.cell_varies(b),
            Cell::Un(_, a) => self.cell_varies(a),
            Cell::If(c, a, b) => self.cond_varies(c) || self.cell_varies(a) || self.cell_varies(b),
            Cell::Reduce(_, _, lo, hi, body) => {
                self.varies(&self.lins.lin(lo)) || self.varies(&self.lins.lin(hi)) || self.cell_varies(body)
            }
        }
    }

    fn cond_varies(&self, c: &Cond) -> bool {
        match c {
            Cond::Num(_, a, b) => self.cell_varies(a) || self.cell_varies(b),
            Cond::Idx(_, a, b) => self.varies(&self.lins.lin(a)) || self.varies(&self.lins.lin(b)),
            Cond::Finite(a) => self.cell_varies(a),
            Cond::And(a, b) | Cond::Or(a, b) => self.cond_varies(a) || self.cond_varies(b),
            Cond::Not(a) => self.cond_varies(a),
        }
    }

    fn step(&self, varies: bool) -> f64 {
        if varies { 0.3 + STEP / self.lanes } else { STEP / self.lanes }
    }

    fn int(&self, i: &Idx) -> f64 {
        let lin = self.lins.lin(i);
        let affine = lin.terms.iter().all(|(a, _)| matches!(a, Atom::Axis(_) | Atom::Var(_)));
        self.step(self.varies(&lin)) * if affine { 1.0 } else { 6.0 }
    }

    fn cell(&self, cell: &Cell) -> f64 {
        match cell {
            Cell::Const(_) | Cell::Local(_) => 0.0,
            Cell::Int(i) => self.int(i),
            Cell::Load(input, ix) => {
                let lins: Vec<Lin> = ix.iter().map(|i| self.lins.lin(i)).collect();
                self.load(&self.lins.offset(*input, &lins))
            }
            Cell::Let(_, a, b) => self.cell(a) + self.cell(b),
            Cell::Bin(_, a, b) => self.cell(a) + self.cell(b) + self.step(self.cell_varies(cell)),
            Cell::Un(_, a) => self.cell(a) + 3.0 * self.step(self.cell_varies(cell)),
            Cell::If(c, a, b) => self.cond(c) + self.cell(a) + self.cell(b) + self.step(self.cell_varies(cell)),
            Cell::Reduce(..) if self.over.is_some() && !self.cell_varies(cell) => {
                scalar_cost(self.lins, cell) / self.lanes
            }
            Cell::Reduce(_, v, _, _, body) if self.lins.joined.contains_key(v) => self.cell(body),
            Cell::Reduce(_, v, lo, hi, body) => {
                let bounds = self.varies(&self.lins.lin(lo)) || self.varies(&self.lins.lin(hi));
                let test = if bounds { 1.0 + 2.0 * STEP / self.lanes } else { STEP / self.lanes };
                let n = self.lins.rounds(*v) as f64;
                match self.over {
                    // The blocks of a lane loop: an instruction each, lanes by themselves.
                    Some(Over::Var(w)) if w == *v => n * self.cell(body),
                    _ => n * (self.cell(body) + test),
                }
            }
        }
    }

    fn cond(&self, c: &Cond) -> f64 {
        match c {
            Cond::Num(_, a, b) => self.cell(a) + self.cell(b) + self.step(self.cond_varies(c)),
            Cond::Idx(_, a, b) => {
                let d = self.lins.lin(a).plus(&self.lins.lin(b), -1);
                let affine = d.terms.iter().all(|(a, _)| matches!(a, Atom::Axis(_) | Atom::Var(_)));
                let easy = affine && self.over != Some(Over::All);
                if easy || !self.varies(&d) { STEP / self.lanes } else { 2.0 + 6.0 * STEP / self.lanes }
            }
            Cond::Finite(a) => self.cell(a) + self.step(self.cond_varies(c)),
            Cond::And(a, b) | Cond::Or(a, b) => self.cond(a) + self.cond(b),
            Cond::Not(a) => self.cond(a),
        }
    }
}

/// The variables of a nest of equal reductions.
fn nest(cell: &Cell, vars: &mut Vec<Var>) {
    match cell {
        Cell::Reduce(red, v, _, _, body) => {
            vars.push(*v);
            let inner = match &**body {
                Cell::If(_, yes, _) => yes,
                other => other,
            };
            if matches!(inner, Cell::Reduce(r, ..) if r == red) {
                nest(inner, vars);
            }
        }
        Cell::If(_, yes, _) => nest(yes, vars),
        _ => {}
    }
}

/// The time of a reduction that is the same for all lanes, and how it is best vectorised.
fn best(lins: &Lins, cell: &Cell) -> (f64, Option<(Var, i64)>) {
    let scalar = Estimate { lins, over: None, lanes: 1.0 }.cell(cell);
    let mut out = (scalar, None);
    let mut vars = vec![];
    nest(cell, &mut vars);
    for v in vars.into_iter().filter(|v| !lins.joined.contains_key(v)) {
        let n = lins.rounds(v) as f64;
        let lanes = n.min(BLOCK as f64);
        let e = Estimate { lins, over: Some(Over::Var(v)), lanes };
        if !e.cell_varies(cell) {
            continue;
        }
        // The accumulator is cleared and folded once.
        let cost = e.cell(cell) + 30.0 + 0.3 * lanes;
        if cost < out.0 {
            out = (cost, Some((v, n as i64)));
        }
    }
    out
}

fn scalar_cost(lins: &Lins, cell: &Cell) -> f64 {
    best(lins, cell).0
}

/// Which variable of a reduction becomes the lanes, with the largest number of them.
pub(super) fn best_variable(lins: &Lins, cell: &Cell) -> Option<(Var, i64)> {
    best(lins, cell).1
}

/// What the lanes of the whole program run over: the last group of axes (given with its length; with a tile
/// several rows of it), flat positions, or nothing, when every element is a reduction of its own.
pub(super) fn lanes(
    lins: &Lins,
    cell: &Cell,
    last: Option<(usize, usize)>,
    tile: Option<Tile>,
    elements: usize,
) -> Option<Over> {
    let mut options = vec![(element_cost(lins, cell), None)];
    if let Some((k, length)) = last {
        let length = tile.map_or(length, |t| t.line());
        let lanes = (length as f64).min(BLOCK as f64);
        let e = Estimate { lins, over: Some(Over::Axis(k)), lanes };
        options.push((e.cell(cell) + 20.0 / lanes, Some(Over::Axis(k))));
    }
    let lanes = (elements.max(1) as f64).min(BLOCK as f64);
    let e = Estimate { lins, over: Some(Over::All), lanes };
    options.push((e.cell(cell) + 4.0, Some(Over::All)));
    options.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).and_then(|o| o.1)
}

/// The time of one element by itself: its reductions vectorised each.
fn element_cost(lins: &Lins, cell: &Cell) -> f64 {
    let inner = match cell {
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) | Cell::If(_, a, b) => element_cost(lins, a) + element_cost(lins, b),
        Cell::Un(_, a) => STEP + element_cost(lins, a),
        Cell::Reduce(..) => scalar_cost(lins, cell),
        _ => Estimate { lins, over: None, lanes: 1.0 }.cell(cell),
    };
    20.0 + inner
}
