//! Constants out of sums: `sum(k) c x[k]` is `c sum(k) x[k]`, `sum(k) x[k] / c` is `sum(k) x[k] / c`, and
//! `sum(k) -x[k]` is `-sum(k) x[k]`.
//!
//! And `sum(k) (x[k] - mean x)` is 0.
//!
//! The gradients of batch norm ask for four sums over the same images that differ by factors of a channel;
//! written so, two of them are equal nodes and are computed once. What is a constant is read from the cells.

use std::sync::Arc;

use super::Interned;
use crate::cell::{Bin, Cell, Idx, Red, Un};
use crate::graph::{Graph, Kind, Node, NodeId, TensorType};
use crate::ops::Op;
use crate::ops::shape::Full;

/// The axes that a cell sums its first input over, all others kept as they are; `None` for other cells.
fn summed_axes(cell: &Cell) -> Option<Vec<usize>> {
    let (mut vars, mut body) = (vec![], cell);
    while let Cell::Reduce(Red::Sum, v, Idx::Const(0), Idx::Const(_), inner) = body {
        vars.push(*v);
        body = inner;
    }
    let Cell::Load(0, at) = body else { return None };
    let mut axes = vec![];
    for (k, i) in at.iter().enumerate() {
        match i {
            Idx::Var(v) if vars.contains(v) => axes.push(k),
            Idx::Axis(a) if *a == k => {}
            _ => return None,
        }
    }
    (!axes.is_empty() && axes.len() == vars.len()).then_some(axes)
}

/// Whether an index stays where it is along the axes.
fn constant(at: &[Idx], axes: &[usize]) -> bool {
    at.iter().all(|i| matches!(i, Idx::Const(_)) || matches!(i, Idx::Axis(a) if !axes.contains(a)))
}

/// What a node repeats along the axes, if it does nothing else.
fn repeated(g: &Graph, id: NodeId, axes: &[usize]) -> Option<NodeId> {
    let node = g.node(id);
    let [source] = node.inputs[..] else { return None };
    match cell_of(g, node.op()?, &node.inputs, &node.ty) {
        Cell::Load(0, at) if constant(&at, axes) => Some(source),
        _ => None,
    }
}

fn cell_of(g: &Graph, op: &Arc<dyn Op>, inputs: &[NodeId], ty: &TensorType) -> Cell {
    let types: Vec<&TensorType> = inputs.iter().map(|i| g.ty(*i)).collect();
    op.cell(&types, ty)
}

/// A node as a linear function of one of its inputs along the axes: the op, its inputs with constants as they
/// are before they are repeated, and which inputs stand for what varies.
struct Linear {
    op: Node,
    inputs: Vec<NodeId>,
    varies: Vec<usize>,
}

impl Linear {
    fn new(g: &Graph, id: NodeId, axes: &[usize]) -> Option<Linear> {
        let node = g.node(id);
        let cell = cell_of(g, node.op()?, &node.inputs, &node.ty);
        let repeats = |k: usize| repeated(g, node.inputs[k], axes);
        let is_constant = |k: usize, at: &[Idx]| constant(at, axes) || repeats(k).is_some();
        let varies = match &cell {
            Cell::Un(Un::Neg, x) if matches!(**x, Cell::Load(0, _)) => vec![0],
            Cell::Bin(op, a, b) => match (op, &**a, &**b) {
                (Bin::Mul | Bin::Div, Cell::Load(0, _), Cell::Load(1, at)) if is_constant(1, at) => vec![0],
                (Bin::Mul, Cell::Load(0, at), Cell::Load(1, _)) if is_constant(0, at) => vec![1],
                (Bin::Add, Cell::Load(0, _), Cell::Load(1, _)) if node.inputs[0] == node.inputs[1] => vec![0, 1],
                _ => return None,
            },
            _ => return None,
        };
        let inputs = (0..node.inputs.len())
            .map(|k| if varies.contains(&k) { None } else { repeats(k) }.unwrap_or(node.inputs[k]))
            .collect();
        let out = Linear { op: node.clone(), inputs, varies };
        (g.shape(out.of()) == node.ty.shape).then_some(out)
    }

    /// What varies.
    fn of(&self) -> NodeId {
        self.inputs[self.varies[0]]
    }

    /// The function of another value, of this type.
    fn apply(self, out: &mut Interned, x: NodeId, ty: &TensorType, name: &str) -> Option<NodeId> {
        let mut inputs = self.inputs;
        self.varies.iter().for_each(|&k| inputs[k] = x);
        let types: Vec<&TensorType> = inputs.iter().map(|i| out.graph.ty(*i)).collect();
        (self.op.op()?.infer(&types).ok()? == *ty).then_some(())?;
        Some(out.intern(Node { kind: self.op.kind, inputs, ty: ty.clone(), name: name.into() }))
    }
}

/// A node that equals `node`, a sum of terms, with the constants of its terms outside; `None` where it has none.
pub(super) fn factored(out: &mut Interned, node: &Node) -> Option<NodeId> {
    let [input] = node.inputs[..] else { return None };
    let axes = summed_axes(&cell_of(&out.graph, node.op()?, &node.inputs, &node.ty))?;
    if is_deviation(&out.graph, input, &axes) {
        let zero = Full { value: 0.0, shape: node.ty.shape.clone() };
        let zero = Node { kind: Kind::Op(Arc::new(zero)), inputs: vec![], ..node.clone() };
        return Some(out.intern(zero));
    }
    let (term, outside) = match Linear::new(&out.graph, input, &axes) {
        Some(linear) => (linear.of(), linear),
        None => factor_of(out, input, &axes)?,
    };
    let inner = Node { inputs: vec![term], ..node.clone() };
    // What is left may have constants of its own.
    let inner = match factored(out, &inner) {
        Some(found) => found,
        None => out.intern(inner),
    };
    outside.apply(out, inner, &node.ty, &node.name)
}

/// Whether a node is a tensor less its own mean along the axes.
fn is_deviation(g: &Graph, id: NodeId, axes: &[usize]) -> bool {
    let node = g.node(id);
    let ([x, mean], Some(op)) = (&node.inputs[..], node.op()) else { return false };
    let subtracts = matches!(cell_of(g, op, &node.inputs, &node.ty), Cell::Bin(Bin::Sub, a, b) if loads(&a, &b));
    let from = g.node(*mean);
    let (Some(op), true, true) = (from.op(), subtracts && g.shape(*x) == node.ty.shape, from.inputs == [*x]) else {
        return false;
    };
    let count: usize = axes.iter().map(|a| node.ty.shape[*a]).product();
    match cell_of(g, op, &from.inputs, &from.ty) {
        Cell::Bin(Bin::Div, sum, n) => {
            summed_axes(&sum).is_some_and(|own| own == axes) && *n == Cell::Const(count as f64)
        }
        _ => false,
    }
}

/// A product or quotient one of whose factors is a linear function: the same of what that is a function of.
fn factor_of(out: &mut Interned, id: NodeId, axes: &[usize]) -> Option<(NodeId, Linear)> {
    let node = out.graph.node(id).clone();
    let last = match cell_of(&out.graph, node.op()?, &node.inputs, &node.ty) {
        Cell::Bin(Bin::Mul, a, b) if loads(&a, &b) => 2,
        Cell::Bin(Bin::Div, a, b) if loads(&a, &b) => 1,
        _ => return None,
    };
    let whole = |k: &usize| out.graph.shape(node.inputs[*k]) == node.ty.shape;
    let linear = |k: usize| Some((k, Linear::new(&out.graph, node.inputs[k], axes)?));
    let (k, linear) = (0..last).filter(whole).find_map(linear)?;
    // A factor twice over is not pulled out of one of its places.
    if node.inputs.iter().filter(|i| **i == node.inputs[k]).count() > 1 {
        return None;
    }
    let mut inputs = node.inputs.clone();
    inputs[k] = linear.of();
    Some((out.intern(Node { inputs, ..node }), linear))
}

fn loads(a: &Cell, b: &Cell) -> bool {
    matches!((a, b), (Cell::Load(0, _), Cell::Load(1, _)))
}
