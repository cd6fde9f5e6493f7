//! Where one number comes from: the definition of its op, the numbers substituted, the terms of
//! its sums, and links to the elements that were read. Derived from the cell alone; gradients and
//! optimiser values are nodes like any other, so they explain themselves the same way.
//!
//! The caller supplies values (of any backend, or of `Session::inspect`); nothing is computed
//! here but the one element, in f64.

use std::collections::BTreeSet;

use crate::cell::eval::{Env, Inputs, eval_in, idx};
use crate::cell::print::{MathMl, Names, Style, Text, equation, expression};
use crate::cell::{Bin, Cell, Idx, Red, inline};
use crate::graph::{Graph, NodeId, TensorType};
use crate::sorting::sorted;
use crate::tensor::strides;

/// An element of a tensor: where a leaf of a derivation leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub node: NodeId,
    pub index: Vec<usize>,
    pub value: f64,
}

/// One term of the outermost sum (or the whole, where there is none).
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub value: f64,
    /// The term with numbers in place of names.
    pub text: String,
    pub reads: Vec<Reference>,
}

/// The terms that are not shown: how many, and what they come to by the same reduction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Folded {
    pub count: usize,
    pub value: f64,
}

/// The derivation of one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivation {
    pub node: NodeId,
    pub index: Vec<usize>,
    /// What the definition gives, in f64, from the values read.
    pub value: f64,
    /// `y[m, n] = ...`
    pub formula: String,
    /// The same in MathML.
    pub mathml: String,
    /// The value outside the sum: a bias, say, with the sum as `Σ`.
    pub frame: String,
    /// Terms, largest first in absolute value, at most as many as were asked for. Empty for a leaf.
    pub terms: Vec<Term>,
    /// The rest of a long sum.
    pub folded: Option<Folded>,
    /// How terms combine.
    pub reduction: Option<Red>,
    /// Every element read, each once.
    pub reads: Vec<Reference>,
}

/// Explains element `index` of `node` with at most `most` terms in full. `values` gives elements of
/// the node's inputs. Errors: an index outside the tensor, or whatever `values` reports.
pub fn explain(
    g: &Graph,
    node: NodeId,
    index: &[usize],
    most: usize,
    values: &mut dyn FnMut(NodeId, &[usize]) -> Result<f64, String>,
) -> Result<Derivation, String> {
    let n = g.node(node);
    let shape = &n.ty.shape;
    if index.len() != shape.len() || index.iter().zip(shape).any(|(i, d)| i >= d) {
        return Err(format!("{} {shape:?} has no element {index:?}", n.name));
    }
    let Some(op) = n.op() else {
        let value = values(node, index)?;
        return Ok(Derivation {
            node,
            index: index.to_vec(),
            value,
            formula: format!("{} is given, not computed", n.name),
            mathml: String::new(),
            frame: Text.number(value),
            terms: vec![],
            folded: None,
            reduction: None,
            reads: vec![],
        });
    };
    let types: Vec<&TensorType> = n.inputs.iter().map(|i| g.ty(*i)).collect();
    let cell = op.cell(&types, &n.ty);
    let names = Names::new(&op.operands(), &op.axes(), shape.len());
    let axes: Vec<i64> = index.iter().map(|&i| i as i64).collect();
    let mut reader = Reader { g, inputs: &n.inputs, values, seen: Seen::default() };
    let value = eval_in(&cell, &axes, &mut Env::default(), &mut reader)?;
    let reads = std::mem::take(&mut reader.seen).all;
    let (mut frame, mut reduction, mut folded) = (String::new(), None, None);
    let mut terms = vec![];
    match split(&cell) {
        Some((red, sum)) => {
            let mut all = vec![];
            collect(&sum, &axes, &mut Env::default(), red, &mut reader, &mut all)?;
            let mut all = sorted(all, |a, b| b.value.abs().total_cmp(&a.value.abs()));
            let rest_of = all.get(most..).unwrap_or_default();
            if !rest_of.is_empty() {
                let value = rest_of.iter().fold(red.identity(), |sum, t| red.combine(sum, t.value));
                folded = Some(Folded { count: rest_of.len(), value });
            }
            all.truncate(most);
            for mut t in all {
                terms.push(term(t.cell, &axes, &mut t.env, &mut reader)?);
            }
            reduction = Some(red);
            frame = substituted(&rest(&cell, &sum), &axes, &Env::default(), &mut reader)?;
        }
        None => terms.push(term(&cell, &axes, &mut Env::default(), &mut reader)?),
    }
    Ok(Derivation {
        node,
        index: index.to_vec(),
        value,
        formula: equation(&Text, "y", &cell, &names, shape.len()),
        mathml: equation(&MathMl, "y", &cell, &names, shape.len()),
        frame,
        terms,
        folded,
        reduction,
        reads,
    })
}

/// Elements in the order of their first read.
#[derive(Default)]
struct Seen {
    all: Vec<Reference>,
    known: BTreeSet<(NodeId, Vec<usize>)>,
}

/// Reads inputs and remembers what was read, each element once.
struct Reader<'a> {
    g: &'a Graph,
    inputs: &'a [NodeId],
    values: &'a mut dyn FnMut(NodeId, &[usize]) -> Result<f64, String>,
    seen: Seen,
}

impl Inputs for Reader<'_> {
    fn load(&mut self, input: usize, index: &[i64]) -> Result<f64, String> {
        let node = *self.inputs.get(input).ok_or_else(|| format!("there is no input {input}"))?;
        let shape = self.g.shape(node);
        let at: Option<Vec<usize>> = index.iter().map(|&i| usize::try_from(i).ok()).collect();
        let at = at
            .filter(|at| at.len() == shape.len() && at.iter().zip(shape).all(|(i, d)| i < d))
            .ok_or_else(|| format!("{} {shape:?} has no element {index:?}", self.g.node(node).name))?;
        let value = (self.values)(node, &at)?;
        if self.seen.known.insert((node, at.clone())) {
            self.seen.all.push(Reference { node, index: at, value });
        }
        Ok(value)
    }
}

/// The outermost reduction of a cell, if its terms can be shown: at the top or inside `+ - * /`.
fn split(cell: &Cell) -> Option<(Red, Cell)> {
    match cell {
        Cell::Reduce(red, ..) => Some((*red, cell.clone())),
        Cell::Bin(Bin::Add | Bin::Sub | Bin::Mul | Bin::Div, a, b) => split(a).or_else(|| split(b)),
        _ => None,
    }
}

/// The cell with its outermost reduction replaced by the name `Σ`.
fn rest(cell: &Cell, sum: &Cell) -> Cell {
    if cell == sum {
        return Cell::Local(crate::cell::var("Σ"));
    }
    match cell {
        Cell::Bin(op, a, b) if split(a).is_some() => Cell::Bin(*op, rest(a, sum).into(), b.clone()),
        Cell::Bin(op, a, b) => Cell::Bin(*op, a.clone(), rest(b, sum).into()),
        other => other.clone(),
    }
}

/// A term by its value and the indices it stands for.
struct Found<'a> {
    value: f64,
    cell: &'a Cell,
    env: Env,
}

/// The terms of nested reductions of one kind, flattened.
fn collect<'a>(
    cell: &'a Cell,
    axes: &[i64],
    env: &mut Env,
    red: Red,
    reader: &mut Reader,
    out: &mut Vec<Found<'a>>,
) -> Result<(), String> {
    match cell {
        Cell::Reduce(r, v, lo, hi, body) if *r == red => {
            let (lo, hi) = (idx(lo, axes, env, reader)?, idx(hi, axes, env, reader)?);
            for k in lo..hi {
                collect(body, axes, &mut env.with_int(*v, k), red, reader, out)?;
            }
            Ok(())
        }
        other => {
            let value = eval_in(other, axes, env, reader)?;
            reader.seen = Seen::default();
            out.push(Found { value, cell: other, env: env.clone() });
            Ok(())
        }
    }
}

fn term(cell: &Cell, axes: &[i64], env: &mut Env, reader: &mut Reader) -> Result<Term, String> {
    reader.seen = Seen::default();
    let value = eval_in(cell, axes, env, reader)?;
    let reads = std::mem::take(&mut reader.seen).all;
    let text = substituted(cell, axes, env, reader)?;
    Ok(Term { value, text, reads })
}

/// The cell printed with the numbers that stand for its loads and indices.
fn substituted(cell: &Cell, axes: &[i64], env: &Env, reader: &mut Reader) -> Result<String, String> {
    let at: Vec<Idx> = axes.iter().map(|&a| Idx::Const(a)).collect();
    let mut fresh = 0;
    let fixed = inline::at_index(cell, &at, &mut fresh);
    let live = numbers(&fixed, &mut env.clone(), reader)?;
    Ok(expression(&Text, &live, &Names::default()))
}

/// Replaces every load and index that can be decided by its number; guards by the branch taken.
fn numbers(cell: &Cell, env: &mut Env, reader: &mut Reader) -> Result<Cell, String> {
    Ok(match cell {
        Cell::Load(..) | Cell::Int(_) => match eval_in(cell, &[], env, reader) {
            Ok(v) => Cell::Const(v),
            // Inside a reduction that stays folded its variable has no value.
            Err(_) => cell.clone(),
        },
        Cell::Un(op, x) => Cell::Un(*op, numbers(x, env, reader)?.into()),
        Cell::Bin(op, a, b) => Cell::Bin(*op, numbers(a, env, reader)?.into(), numbers(b, env, reader)?.into()),
        Cell::If(c, a, b) => match crate::cell::eval::holds(c, &[], env, reader) {
            Ok(true) => numbers(a, env, reader)?,
            Ok(false) => numbers(b, env, reader)?,
            Err(_) => cell.clone(),
        },
        Cell::Let(v, value, body) => {
            let bound = eval_in(value, &[], env, reader)?;
            numbers(body, &mut env.with_num(*v, bound), reader)?
        }
        Cell::Local(_) => match eval_in(cell, &[], env, reader) {
            Ok(v) => Cell::Const(v),
            Err(_) => cell.clone(),
        },
        Cell::Reduce(..) => Cell::Const(eval_in(cell, &[], env, reader)?),
        Cell::Const(_) => cell.clone(),
    })
}

/// The flat row-major position of an element.
pub fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(strides(shape)).map(|(i, s)| i * s).sum()
}
