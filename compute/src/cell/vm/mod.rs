//! Runs whole tensors of a cell, in f64 (the reference) or f32: the cell is compiled to a flat
//! program that works on blocks of up to 512 output elements ("lanes").
//!
//! `Program::compile` chooses what the lanes run over, merges axes, hoists what a loop does not
//! change, and turns padding tests into ranges of lanes. `Program::run` fills any range of the
//! flat output; `run_parallel` splits the output over threads in pieces that do not depend on
//! their number, so that the bits do not either.
//!
//! Errors: a load outside its input, a divisor of an index that is not positive. Nothing is ever
//! read outside a buffer.

mod compile;
mod control;
mod cost;
mod index;
mod lin;
mod merge;
mod nest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use compile::{Compiler, Lane, Over, Scope, ScopeKind};
use lanes::instr::{self, Instr};
use lanes::program::Mode;
pub use lanes::{BLOCK, Float, Program, Scratch, View, Workers};
use lin::Lins;

use super::{Cell, inline};
use crate::tensor::TensorType;

/// Longest sequential chain of additions.
const CHAIN: i64 = 1024;

/// Compiles a cell for an output and inputs of these types. Errors: names that are not bound,
/// loads with the wrong number of axes.
pub fn compile(cell: &Cell, output: &TensorType, inputs: &[&TensorType]) -> Result<Program, String> {
    // Unique names, so that facts about variables can be kept by name.
    let cell = inline::at_index(cell, &[], &mut 0);
    let dims: Vec<i64> = output.shape.iter().map(|&d| d as i64).collect();
    let rank = dims.len();
    let mut lins = Lins {
        dims,
        inputs,
        ranges: BTreeMap::new(),
        merged: (0..rank).collect(),
        joined: BTreeMap::new(),
        tile: None,
    };
    lins.bind_ranges(&cell);
    lins.merged = merge::axes(&lins, &cell);
    lins.joined = merge::reductions(&lins, &cell);
    let mut axes: Vec<(u32, usize)> = vec![];
    for (k, &d) in output.shape.iter().enumerate().filter(|(_, d)| **d != 1) {
        let last = lins.group(k) as u32;
        match axes.last_mut() {
            Some((g, n)) if *g == last => *n *= d,
            _ => axes.push((last, d)),
        }
    }
    let last = axes.last().map(|&(k, n)| (k as usize, n));
    let tile = merge::tile(&lins, &cell);
    let over = cost::lanes(&lins, &cell, last, tile, output.numel());
    let terms = terms(&lins, &cell);
    let mode = match over {
        None => Mode::Element,
        Some(Over::All) => Mode::Flat,
        _ if last.is_some_and(|(_, n)| n <= BLOCK) => Mode::Lines,
        _ => Mode::Rows,
    };
    let mut line = None;
    if let (Some(Over::Axis(_)), Mode::Lines) = (over, mode)
        && let Some(t) = tile
    {
        lins.tile = tile;
        axes.pop();
        let whole = (t.length * t.rows) as usize;
        axes.iter_mut().filter(|(k, _)| *k == t.row as u32).for_each(|(_, n)| *n = whole);
        line = Some((t.lane as u32, t.line()));
    }
    let registers = rank as u32;
    let mut c = Compiler {
        lins,
        scopes: vec![Scope::new(ScopeKind::Sure), Scope::new(ScopeKind::Sure)],
        lane: None,
        axis_depth: 1,
        vars: BTreeMap::new(),
        locals: BTreeMap::new(),
        facts: vec![],
        ints: registers,
        nums: 0,
        lanes: 0,
        glanes: registers,
    };
    if let Some(over) = over {
        c.scopes.push(Scope::new(ScopeKind::Sure));
        let base = match over {
            Over::Axis(k) => k as u32,
            _ => 0,
        };
        let swapped = mode == Mode::Lines;
        c.axis_depth = if swapped { 2 } else { 1 };
        c.lane = Some(Lane { over, base, depth: if swapped { 1 } else { 2 } });
    }
    let mut result = c.cell(&cell)?.val;
    let mut lists: Vec<Vec<Instr>> = c.scopes.into_iter().map(|s| s.list).collect();
    let lanes = instr::allocate(&mut lists, registers, &mut result);
    let mut lists = lists.into_iter();
    let mut next = || lists.next().unwrap_or_default();
    Ok(Program {
        axes,
        len: output.numel(),
        mode,
        line,
        once: next(),
        row: next(),
        block: next(),
        result,
        ints: c.ints as usize,
        nums: c.nums as usize,
        lanes,
        inputs: inputs.len(),
        terms,
    })
}

fn terms(lins: &Lins, cell: &Cell) -> f64 {
    match cell {
        Cell::Const(_) | Cell::Int(_) | Cell::Load(..) | Cell::Local(_) => 1.0,
        Cell::Un(_, a) => terms(lins, a),
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) | Cell::If(_, a, b) => terms(lins, a).max(terms(lins, b)),
        Cell::Reduce(_, v, _, _, body) => {
            let (lo, hi) = lins.ranges.get(v).copied().unwrap_or((0, 0));
            (hi - lo + 1).max(1) as f64 * terms(lins, body)
        }
    }
}
