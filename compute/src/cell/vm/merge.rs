//! Loops that are one: neighbouring axes of the output, and reductions inside one another, that the cell
//! sees only through their flat position. Longer loops are shared out in fewer and fuller blocks of lanes.

use std::collections::BTreeMap;

use super::BLOCK;
use super::lin::{Along, Atom, Lin, Lins, Tile};
use crate::cell::{Cell, Cond, Idx, Var};
use crate::sorting::map_of;

/// Every linear form whose value the program uses as it stands: flat offsets where the load is
/// proved inside, single indices where it must be checked.
fn forms(lins: &Lins, cell: &Cell, f: &mut dyn FnMut(&Lin)) {
    match cell {
        Cell::Const(_) | Cell::Local(_) => {}
        Cell::Int(i) => visit(lins, &lins.lin(i), f),
        Cell::Load(input, ix) => load(lins, *input, &ix.iter().map(|i| lins.lin(i)).collect::<Vec<_>>(), f),
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => {
            forms(lins, a, f);
            forms(lins, b, f);
        }
        Cell::Un(_, a) => forms(lins, a, f),
        Cell::If(c, a, b) => {
            cond_forms(lins, c, f);
            forms(lins, a, f);
            forms(lins, b, f);
        }
        Cell::Reduce(_, _, lo, hi, body) => {
            visit(lins, &lins.lin(lo), f);
            visit(lins, &lins.lin(hi), f);
            forms(lins, body, f);
        }
    }
}

fn cond_forms(lins: &Lins, c: &Cond, f: &mut dyn FnMut(&Lin)) {
    match c {
        Cond::Num(_, a, b) => {
            forms(lins, a, f);
            forms(lins, b, f);
        }
        Cond::Idx(_, a, b) => visit(lins, &lins.lin(a).plus(&lins.lin(b), -1), f),
        Cond::Finite(a) => forms(lins, a, f),
        Cond::And(a, b) | Cond::Or(a, b) => {
            cond_forms(lins, a, f);
            cond_forms(lins, b, f);
        }
        Cond::Not(a) => cond_forms(lins, a, f),
    }
}

fn visit(lins: &Lins, l: &Lin, f: &mut dyn FnMut(&Lin)) {
    f(l);
    for (a, _) in &l.terms {
        match a {
            Atom::Axis(_) | Atom::Var(_) => {}
            Atom::Op(_, x, y) => {
                visit(lins, x, f);
                visit(lins, y, f);
            }
            Atom::Load(input, ix) => load(lins, *input, ix, f),
            Atom::Rand(_, parts) => parts.iter().for_each(|p| visit(lins, p, f)),
        }
    }
}

fn load(lins: &Lins, input: usize, ix: &[Lin], f: &mut dyn FnMut(&Lin)) {
    let shape = lins.inputs.get(input).map_or(&[][..], |t| &t.shape);
    let proved = ix.iter().zip(shape).all(|(l, &d)| {
        let (lo, hi) = lins.interval(l);
        lo >= 0 && hi < d as i64
    });
    if proved {
        visit(lins, &lins.offset(input, ix), f);
    } else {
        ix.iter().for_each(|l| visit(lins, l, f));
    }
}

/// For each axis the last axis of the group it can be merged into: neighbours merge when every
/// form depends on them only through their flat position. Axes of length 1 stand alone.
pub(super) fn axes(lins: &Lins, cell: &Cell) -> Vec<usize> {
    let mut merged: Vec<usize> = (0..lins.dims.len()).collect();
    let long: Vec<usize> = merged.iter().copied().filter(|&k| lins.dims[k] != 1).collect();
    let mut joined = vec![true; long.len().saturating_sub(1)];
    forms(lins, cell, &mut |l| {
        for (join, pair) in joined.iter_mut().zip(long.windows(2)) {
            let (a, b) = (l.coefficient(&Atom::Axis(pair[0])), l.coefficient(&Atom::Axis(pair[1])));
            *join &= a == b * lins.dims[pair[1]];
        }
    });
    for (join, pair) in joined.iter().zip(long.windows(2)).rev() {
        if *join {
            merged[pair[0]] = merged[pair[1]];
        }
    }
    merged
}

/// The last two groups of axes as lines of several rows, if that can be: rows are short, no condition asks for
/// a place, and every form is a place in the whole or in a row. (Columns of a table with numbers of their own.)
pub(super) fn tile(lins: &Lins, cell: &Cell) -> Option<Tile> {
    let mut groups: Vec<(usize, i64)> = vec![];
    for k in (0..lins.dims.len()).filter(|&k| lins.dims[k] != 1) {
        match groups.last_mut() {
            Some((last, n)) if *last == lins.group(k) => *n *= lins.dims[k],
            _ => groups.push((lins.group(k), lins.dims[k])),
        }
    }
    let &[.., (row, rows), (lane, length)] = groups.as_slice() else { return None };
    let tile = Tile { row, lane, length, rows };
    let mut fits = 2 * length <= BLOCK as i64 && !asks_for_place(cell);
    forms(lins, cell, &mut |l| fits &= lins.along(l, tile) != Along::Else);
    fits.then_some(tile)
}

/// Whether a condition anywhere in the cell compares indices.
fn asks_for_place(cell: &Cell) -> bool {
    fn condition(c: &Cond) -> bool {
        match c {
            Cond::Idx(..) => true,
            Cond::Num(_, a, b) => asks_for_place(a) || asks_for_place(b),
            Cond::Finite(a) => asks_for_place(a),
            Cond::And(a, b) | Cond::Or(a, b) => condition(a) || condition(b),
            Cond::Not(a) => condition(a),
        }
    }
    match cell {
        Cell::Const(_) | Cell::Local(_) | Cell::Int(_) | Cell::Load(..) => false,
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => asks_for_place(a) || asks_for_place(b),
        Cell::Un(_, a) => asks_for_place(a),
        Cell::If(c, a, b) => condition(c) || asks_for_place(a) || asks_for_place(b),
        Cell::Reduce(_, _, _, _, body) => asks_for_place(body),
    }
}

/// The reductions that are merged with the one just inside them: both over whole ranges, and every
/// form depends on their variables only through their flat position.
pub(super) fn reductions(lins: &Lins, cell: &Cell) -> BTreeMap<Var, Var> {
    let mut pairs: Vec<(Var, Var, i64)> = vec![];
    nested_ranges(cell, &mut pairs);
    forms(lins, cell, &mut |l| {
        pairs.retain(|(v, w, n)| l.coefficient(&Atom::Var(*v)) == l.coefficient(&Atom::Var(*w)) * n);
    });
    map_of(pairs.into_iter().map(|(v, w, _)| (v, w)))
}

/// Every pair of a reduction and one that is all of its body, both from 0 to a constant above 1; with the
/// length of the inner one.
fn nested_ranges(cell: &Cell, out: &mut Vec<(Var, Var, i64)>) {
    let of_cond = |c: &Cond, out: &mut _| visit_cells(c, &mut |cell| nested_ranges(cell, out));
    match cell {
        Cell::Const(_) | Cell::Local(_) | Cell::Int(_) | Cell::Load(..) => {}
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => {
            nested_ranges(a, out);
            nested_ranges(b, out);
        }
        Cell::Un(_, a) => nested_ranges(a, out),
        Cell::If(c, a, b) => {
            of_cond(c, out);
            nested_ranges(a, out);
            nested_ranges(b, out);
        }
        Cell::Reduce(red, v, lo, hi, body) => {
            let range = |lo: &Idx, hi: &Idx| match (lo, hi) {
                (Idx::Const(0), Idx::Const(n)) if *n > 1 => Some(*n),
                _ => None,
            };
            if let Cell::Reduce(inner, w, from, to, _) = &**body
                && let (true, Some(_), Some(n)) = (inner == red, range(lo, hi), range(from, to))
            {
                out.push((*v, *w, n));
            }
            nested_ranges(body, out);
        }
    }
}

/// The numbers that a condition compares.
fn visit_cells(c: &Cond, f: &mut dyn FnMut(&Cell)) {
    match c {
        Cond::Num(_, a, b) => {
            f(a);
            f(b);
        }
        Cond::Idx(..) => {}
        Cond::Finite(a) => f(a),
        Cond::And(a, b) | Cond::Or(a, b) => {
            visit_cells(a, f);
            visit_cells(b, f);
        }
        Cond::Not(a) => visit_cells(a, f),
    }
}
