//! What the printer asks of a cell before it prints it: free names, whether it is trivial, and a
//! text that is the same for cells that differ only in the names they bind. It moves and shares
//! reductions by these.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::cell::{Cell, Cond, Idx, Un, Var};

/// Adds the names that `c` uses and does not bind.
pub fn cell(c: &Cell, bound: &mut Vec<Var>, out: &mut BTreeSet<Var>) {
    match c {
        Cell::Const(_) => {}
        Cell::Int(i) => idx(i, bound, out),
        Cell::Load(_, ix) => ix.iter().for_each(|i| idx(i, bound, out)),
        Cell::Local(v) => note(*v, bound, out),
        Cell::Let(v, value, body) => {
            cell(value, bound, out);
            bound.push(*v);
            cell(body, bound, out);
            bound.pop();
        }
        Cell::Un(_, x) => cell(x, bound, out),
        Cell::Bin(_, a, b) => {
            cell(a, bound, out);
            cell(b, bound, out);
        }
        Cell::If(c, a, b) => {
            cond(c, bound, out);
            cell(a, bound, out);
            cell(b, bound, out);
        }
        Cell::Reduce(_, v, lo, hi, body) => {
            idx(lo, bound, out);
            idx(hi, bound, out);
            bound.push(*v);
            cell(body, bound, out);
            bound.pop();
        }
    }
}

fn note(v: Var, bound: &[Var], out: &mut BTreeSet<Var>) {
    if !bound.contains(&v) {
        out.insert(v);
    }
}

fn idx(i: &Idx, bound: &mut Vec<Var>, out: &mut BTreeSet<Var>) {
    match i {
        Idx::Axis(_) | Idx::Const(_) => {}
        Idx::Var(v) => note(*v, bound, out),
        Idx::Bin(_, a, b) => {
            idx(a, bound, out);
            idx(b, bound, out);
        }
        Idx::Load(_, ix) => ix.iter().for_each(|i| idx(i, bound, out)),
        Idx::Rand(r) => [&r.seed, &r.step, &r.counter].into_iter().for_each(|i| idx(i, bound, out)),
    }
}

fn cond(c: &Cond, bound: &mut Vec<Var>, out: &mut BTreeSet<Var>) {
    match c {
        Cond::Num(_, a, b) => {
            cell(a, bound, out);
            cell(b, bound, out);
        }
        Cond::Idx(_, a, b) => {
            idx(a, bound, out);
            idx(b, bound, out);
        }
        Cond::Finite(x) => cell(x, bound, out),
        Cond::And(a, b) | Cond::Or(a, b) => {
            cond(a, bound, out);
            cond(b, bound, out);
        }
        Cond::Not(a) => cond(a, bound, out),
    }
}

/// Writes `c` with its bound names numbered by depth.
pub fn canonical(c: &Cell, bound: &mut Vec<Var>, out: &mut String) {
    match c {
        Cell::Const(v) => push(out, &format!("{:x}", v.to_bits())),
        Cell::Int(i) => canonical_idx(i, bound, out),
        Cell::Load(n, ix) => {
            push(out, &format!("[{n}"));
            ix.iter().for_each(|i| canonical_idx(i, bound, out));
            push(out, "]");
        }
        Cell::Local(v) => push(out, &name(*v, bound)),
        Cell::Let(v, value, body) => {
            push(out, "let");
            canonical(value, bound, out);
            bound.push(*v);
            canonical(body, bound, out);
            bound.pop();
        }
        Cell::Un(op, x) => {
            push(out, &format!("{op:?}"));
            canonical(x, bound, out);
        }
        Cell::Bin(op, a, b) => {
            push(out, &format!("{op:?}"));
            canonical(a, bound, out);
            canonical(b, bound, out);
        }
        Cell::If(c, a, b) => {
            push(out, "if");
            canonical_cond(c, bound, out);
            canonical(a, bound, out);
            canonical(b, bound, out);
        }
        Cell::Reduce(red, v, lo, hi, body) => {
            push(out, &format!("over{red:?}"));
            canonical_idx(lo, bound, out);
            canonical_idx(hi, bound, out);
            bound.push(*v);
            canonical(body, bound, out);
            bound.pop();
        }
    }
}

fn push(out: &mut String, text: &str) {
    let _ = write!(out, " {text}");
}

fn name(v: Var, bound: &[Var]) -> String {
    match bound.iter().rposition(|b| *b == v) {
        Some(k) => format!("#{k}"),
        None => format!("{}.{}", v.0, v.1),
    }
}

fn canonical_idx(i: &Idx, bound: &mut Vec<Var>, out: &mut String) {
    match i {
        Idx::Axis(k) => push(out, &format!("i{k}")),
        Idx::Const(c) => push(out, &c.to_string()),
        Idx::Var(v) => push(out, &name(*v, bound)),
        Idx::Bin(op, a, b) => {
            push(out, &format!("{op:?}"));
            canonical_idx(a, bound, out);
            canonical_idx(b, bound, out);
        }
        Idx::Load(n, ix) => {
            push(out, &format!("<{n}"));
            ix.iter().for_each(|i| canonical_idx(i, bound, out));
            push(out, ">");
        }
        Idx::Rand(r) => {
            push(out, &format!("rand{}", r.key));
            [&r.seed, &r.step, &r.counter].into_iter().for_each(|i| canonical_idx(i, bound, out));
        }
    }
}

fn canonical_cond(c: &Cond, bound: &mut Vec<Var>, out: &mut String) {
    match c {
        Cond::Num(op, a, b) => {
            push(out, &format!("{op:?}"));
            canonical(a, bound, out);
            canonical(b, bound, out);
        }
        Cond::Idx(op, a, b) => {
            push(out, &format!("{op:?}"));
            canonical_idx(a, bound, out);
            canonical_idx(b, bound, out);
        }
        Cond::Finite(x) => {
            push(out, "finite");
            canonical(x, bound, out);
        }
        Cond::And(a, b) | Cond::Or(a, b) => {
            push(out, if matches!(c, Cond::And(..)) { "and" } else { "or" });
            canonical_cond(a, bound, out);
            canonical_cond(b, bound, out);
        }
        Cond::Not(a) => {
            push(out, "not");
            canonical_cond(a, bound, out);
        }
    }
}

/// Whether evaluating costs next to nothing and reads nothing, so that `select` may evaluate it.
pub(super) fn trivial(c: &Cell) -> bool {
    match c {
        Cell::Const(_) | Cell::Local(_) => true,
        Cell::Int(i) => plain(i),
        Cell::Un(Un::Neg, x) => trivial(x),
        _ => false,
    }
}

fn plain(i: &Idx) -> bool {
    match i {
        Idx::Axis(_) | Idx::Var(_) | Idx::Const(_) => true,
        Idx::Bin(_, a, b) => plain(a) && plain(b),
        Idx::Load(..) | Idx::Rand(_) => false,
    }
}
