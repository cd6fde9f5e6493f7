//! What one element costs: arithmetic by kind and reads by input, counted from the definition.
//! Bounds that are not constant count as four turns.

use std::sync::Arc;

use super::{Bin, Cell, Cond, Idx, Un};

/// Counts for one output element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Additions, multiplications, comparisons.
    pub flops: f64,
    /// exp, log, tanh, erf, pow, random bits.
    pub transcendentals: f64,
    /// Reads of each input.
    pub loads: Vec<f64>,
    /// Whether the definition reduces over a range.
    pub reduces: bool,
}

impl Cost {
    /// One number to compare: a transcendental counts as ten.
    pub fn weight(&self) -> f64 {
        self.flops + 10.0 * self.transcendentals
    }
}

/// Counts a cell of an op with that many inputs.
pub fn cost(cell: &Cell, inputs: usize) -> Cost {
    let mut total = Cost { loads: vec![0.0; inputs], ..Cost::default() };
    walk(cell, 1.0, &mut total);
    total
}

fn walk(cell: &Cell, times: f64, c: &mut Cost) {
    match cell {
        Cell::Const(_) | Cell::Local(_) => {}
        Cell::Int(i) => index(i, times, c),
        Cell::Load(input, ix) => {
            if let Some(n) = c.loads.get_mut(*input) {
                *n += times;
            }
            ix.iter().for_each(|i| index(i, times, c));
        }
        Cell::Let(_, value, body) => {
            walk(value, times, c);
            walk(body, times, c);
        }
        Cell::Un(op, x) => {
            match op {
                Un::Exp | Un::Log | Un::Tanh | Un::Erf => c.transcendentals += times,
                Un::Neg | Un::Sqrt | Un::Abs | Un::Floor | Un::Half => c.flops += times,
            }
            walk(x, times, c);
        }
        Cell::Bin(op, a, b) => {
            match op {
                Bin::Pow => c.transcendentals += 2.0 * times,
                _ => c.flops += times,
            }
            walk(a, times, c);
            walk(b, times, c);
        }
        Cell::If(cond, a, b) => {
            condition(cond, times, c);
            // Branches of a guard: the common one is the dear one.
            walk(a, times, c);
            walk(b, times, c);
        }
        Cell::Reduce(_, _, lo, hi, body) => {
            c.reduces = true;
            let turns = match (lo, hi) {
                (Idx::Const(lo), Idx::Const(hi)) => (hi - lo).max(0) as f64,
                _ => 4.0,
            };
            c.flops += times * turns;
            walk(body, times * turns, c);
        }
    }
}

fn condition(cond: &Cond, times: f64, c: &mut Cost) {
    match cond {
        Cond::Num(_, a, b) => {
            c.flops += times;
            walk(a, times, c);
            walk(b, times, c);
        }
        // Integer arithmetic is not counted: bounds tests and addresses are every kernel's.
        Cond::Idx(_, a, b) => {
            index(a, times, c);
            index(b, times, c);
        }
        Cond::Finite(x) => walk(x, times, c),
        Cond::And(a, b) | Cond::Or(a, b) => {
            condition(a, times, c);
            condition(b, times, c);
        }
        Cond::Not(a) => condition(a, times, c),
    }
}

fn index(i: &Idx, times: f64, c: &mut Cost) {
    match i {
        Idx::Axis(_) | Idx::Var(_) | Idx::Const(_) => {}
        Idx::Bin(_, a, b) => {
            index(a, times, c);
            index(b, times, c);
        }
        Idx::Load(input, ix) => {
            if let Some(n) = c.loads.get_mut(*input) {
                *n += times;
            }
            ix.iter().for_each(|i| index(i, times, c));
        }
        Idx::Rand(r) => {
            c.transcendentals += times;
            for part in [&r.seed, &r.step, &r.counter] {
                index(part, times, c);
            }
        }
    }
}

/// Whether the cell is elementwise: no reduction, and every read at the element's own place along
/// each axis, or at a constant one (broadcasting).
pub fn is_elementwise(cell: &Cell) -> bool {
    let plain = |i: &Idx| matches!(i, Idx::Axis(_) | Idx::Const(_));
    match cell {
        Cell::Const(_) | Cell::Local(_) => true,
        Cell::Int(i) => plain(i),
        Cell::Load(_, ix) => ix.iter().all(plain),
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => is_elementwise(a) && is_elementwise(b),
        Cell::Un(_, x) => is_elementwise(x),
        Cell::If(c, a, b) => condition_is_elementwise(c) && is_elementwise(a) && is_elementwise(b),
        Cell::Reduce(..) => false,
    }
}

fn condition_is_elementwise(c: &Cond) -> bool {
    match c {
        Cond::Num(_, a, b) => is_elementwise(a) && is_elementwise(b),
        Cond::Idx(..) => false,
        Cond::Finite(x) => is_elementwise(x),
        Cond::And(a, b) | Cond::Or(a, b) => condition_is_elementwise(a) && condition_is_elementwise(b),
        Cond::Not(a) => condition_is_elementwise(a),
    }
}

/// Whether the cell follows from the values at its own element and from single values, without the
/// element's index: a function of numbers, which may be applied to four at a time.
pub fn is_pointwise(cell: &Cell, inputs: &[&[usize]], output: &[usize]) -> bool {
    let own = |ix: &[Idx]| ix.iter().enumerate().all(|(k, i)| *i == Idx::Axis(k));
    let again = |c: &Cell| is_pointwise(c, inputs, output);
    match cell {
        Cell::Const(_) | Cell::Local(_) | Cell::Int(Idx::Const(_)) => true,
        Cell::Int(_) | Cell::Reduce(..) => false,
        Cell::Load(n, ix) => {
            let Some(shape) = inputs.get(*n) else { return false };
            let single = shape.iter().all(|d| *d == 1) && ix.iter().all(|i| *i == Idx::Const(0));
            single || (own(ix) && *shape == output)
        }
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => again(a) && again(b),
        Cell::Un(_, x) => again(x),
        Cell::If(c, a, b) => condition_is_pointwise(c, inputs, output) && again(a) && again(b),
    }
}

fn condition_is_pointwise(c: &Cond, inputs: &[&[usize]], output: &[usize]) -> bool {
    let again = |c: &Cond| condition_is_pointwise(c, inputs, output);
    match c {
        Cond::Num(_, a, b) => is_pointwise(a, inputs, output) && is_pointwise(b, inputs, output),
        Cond::Idx(..) => false,
        Cond::Finite(x) => is_pointwise(x, inputs, output),
        Cond::And(a, b) | Cond::Or(a, b) => again(a) && again(b),
        Cond::Not(a) => again(a),
    }
}

/// Whether every read of `input` is at the element's own index: such an op may write its result
/// over that input.
pub fn reads_only_own_element(cell: &Cell, input: usize) -> bool {
    let own = |ix: &[Idx]| ix.iter().enumerate().all(|(k, i)| *i == Idx::Axis(k));
    match cell {
        Cell::Const(_) | Cell::Local(_) => true,
        Cell::Int(i) => !mentions(i, input),
        Cell::Load(n, ix) => (*n != input || own(ix)) && ix.iter().all(|i| !mentions(i, input)),
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => both(a, b, input),
        Cell::Un(_, x) => reads_only_own_element(x, input),
        Cell::If(c, a, b) => cond_own(c, input) && both(a, b, input),
        Cell::Reduce(_, _, lo, hi, body) => {
            !mentions(lo, input) && !mentions(hi, input) && reads_only_own_element(body, input)
        }
    }
}

fn both(a: &Arc<Cell>, b: &Arc<Cell>, input: usize) -> bool {
    reads_only_own_element(a, input) && reads_only_own_element(b, input)
}

fn cond_own(c: &Cond, input: usize) -> bool {
    match c {
        Cond::Num(_, a, b) => both(a, b, input),
        Cond::Idx(_, a, b) => !mentions(a, input) && !mentions(b, input),
        Cond::Finite(x) => reads_only_own_element(x, input),
        Cond::And(a, b) | Cond::Or(a, b) => cond_own(a, input) && cond_own(b, input),
        Cond::Not(a) => cond_own(a, input),
    }
}

fn mentions(i: &Idx, input: usize) -> bool {
    match i {
        Idx::Axis(_) | Idx::Var(_) | Idx::Const(_) => false,
        Idx::Bin(_, a, b) => mentions(a, input) || mentions(b, input),
        Idx::Load(n, ix) => *n == input || ix.iter().any(|i| mentions(i, input)),
        Idx::Rand(r) => [&r.seed, &r.step, &r.counter].into_iter().any(|i| mentions(i, input)),
    }
}

/// Every read of a cell, of numbers and of indices: the input and where.
pub fn visit_loads(c: &Cell, f: &mut dyn FnMut(usize, &[Idx])) {
    match c {
        Cell::Const(_) | Cell::Local(_) => {}
        Cell::Int(i) => visit_index(i, f),
        Cell::Load(input, ix) => {
            f(*input, ix);
            ix.iter().for_each(|i| visit_index(i, f));
        }
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => {
            visit_loads(a, f);
            visit_loads(b, f);
        }
        Cell::Un(_, x) => visit_loads(x, f),
        Cell::If(c, a, b) => {
            visit_condition(c, f);
            visit_loads(a, f);
            visit_loads(b, f);
        }
        Cell::Reduce(_, _, lo, hi, body) => {
            visit_index(lo, f);
            visit_index(hi, f);
            visit_loads(body, f);
        }
    }
}

fn visit_condition(c: &Cond, f: &mut dyn FnMut(usize, &[Idx])) {
    match c {
        Cond::Num(_, a, b) => {
            visit_loads(a, f);
            visit_loads(b, f);
        }
        Cond::Idx(_, a, b) => {
            visit_index(a, f);
            visit_index(b, f);
        }
        Cond::Finite(x) => visit_loads(x, f),
        Cond::And(a, b) | Cond::Or(a, b) => {
            visit_condition(a, f);
            visit_condition(b, f);
        }
        Cond::Not(a) => visit_condition(a, f),
    }
}

fn visit_index(i: &Idx, f: &mut dyn FnMut(usize, &[Idx])) {
    match i {
        Idx::Axis(_) | Idx::Var(_) | Idx::Const(_) => {}
        Idx::Bin(_, a, b) => {
            visit_index(a, f);
            visit_index(b, f);
        }
        Idx::Load(input, ix) => {
            f(*input, ix);
            ix.iter().for_each(|i| visit_index(i, f));
        }
        Idx::Rand(r) => [&r.seed, &r.step, &r.counter].into_iter().for_each(|i| visit_index(i, f)),
    }
}
