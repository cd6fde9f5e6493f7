//! Elementwise operands as one program over stored tensors and tiles.

use super::source::{Find, Input, MOST_INPUTS, MOST_TILES, Source};
use crate::cell::inline::{Source as Put, substitute};
use crate::cell::vm;
use crate::cell::{Cell, Cond, Idx};
use crate::graph::{NodeId, TensorType};
use crate::ops::Lowering;
use crate::plan::Plan;
use crate::rewrite::view_root;

/// Most elements of a tile that a pointwise program is compiled for.
const MOST: usize = 1 << 20;

/// An elementwise node and all elementwise nodes above it as one program over stored tensors and
/// tiles.
pub(super) fn cells(plan: &Plan, id: NodeId, find: Find) -> Option<Source> {
    let mut nodes: Vec<NodeId> = vec![];
    let mut fresh = 0;
    let cell = compose(plan, id, find, &mut nodes, &mut fresh)?;
    let mut inputs = vec![];
    for &n in &nodes {
        inputs.push(match find(n) {
            Some(place) => Input::Stored(place),
            None => Input::Tile(Source::new(plan, n, find)?),
        });
    }
    let g = &plan.graph;
    let out = g.ty(id);
    // Where no index matters a tile is one run of elements; stored inputs are copied into tiles,
    // which is cheaper than a run of the program for every piece of a band.
    let flat = TensorType::f32([MOST]);
    let whole = |i: &Input| matches!(i, Input::Tile(_)) || matches!(i, Input::Stored(p) if p.ty.dtype.is_float());
    let pointwise = own_elements(&cell, None, &out.shape) && !inputs.is_empty() && inputs.iter().all(whole);
    if pointwise {
        let tile = |i| match i {
            Input::Stored(place) => Input::Tile(Source::Stored(place)),
            other => other,
        };
        inputs = inputs.into_iter().map(tile).collect();
    }
    let tiles = inputs.iter().filter(|i| matches!(i, Input::Tile(_))).count();
    if tiles > MOST_TILES || inputs.len() > MOST_INPUTS {
        return None;
    }
    if pointwise {
        let cell = flattened(&cell);
        let types: Vec<&TensorType> = inputs.iter().map(|_| &flat).collect();
        let program = vm::compile(&cell, &flat, &types).ok()?;
        return Some(Source::Cells { program: Box::new(program), inputs, pointwise: Some(MOST) });
    }
    let types: Vec<&TensorType> = nodes.iter().map(|n| g.ty(*n)).collect();
    let program = vm::compile(&cell, out, &types).ok()?;
    Some(Source::Cells { program: Box::new(program), inputs, pointwise: None })
}

/// The cell of a node over `nodes`: stored ones, and those that are not elementwise. Between those
/// and the node every read must be at the own element.
fn compose(plan: &Plan, id: NodeId, find: Find, nodes: &mut Vec<NodeId>, fresh: &mut u32) -> Option<Cell> {
    let g = &plan.graph;
    let node = g.node(id);
    let op = node.op()?;
    let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
    let cell = op.cell(&types, &node.ty);
    let mut put = vec![];
    for (k, &input) in node.inputs.iter().enumerate() {
        let root = view_root(g, input);
        let heavy =
            |n: NodeId| !matches!(g.node(n).op().map(|op| op.lowering()), Some(Lowering::Cells | Lowering::View));
        let stored = find(input).is_some();
        if stored || heavy(root) {
            // Seen under the shape that the op reads it in: the elements are the same.
            let at = nodes.iter().position(|n| *n == input).unwrap_or_else(|| {
                nodes.push(input);
                nodes.len() - 1
            });
            let own = own_elements(&cell, Some(k), &node.ty.shape) && g.ty(input).numel() == node.ty.numel();
            if !stored && !own {
                return None;
            }
            put.push(Put::Input(at));
            continue;
        }
        let before = nodes.len();
        let inner = compose(plan, root, find, nodes, fresh)?;
        let tiles = nodes[before..].iter().any(|n| find(*n).is_none());
        if tiles && !(own_elements(&cell, Some(k), &node.ty.shape) && g.ty(input).numel() == node.ty.numel()) {
            return None;
        }
        if root == input {
            put.push(Put::Cell(inner.into()));
        } else {
            // The view: the same flat element of another shape.
            let view = crate::ops::Op::cell(
                &crate::ops::shape::Reshape { shape: g.shape(input).to_vec() },
                &[g.ty(root)],
                g.ty(input),
            );
            put.push(Put::Cell(substitute(&view, &[Put::Cell(inner.into())], fresh).into()));
        }
    }
    Some(substitute(&cell, &put, fresh))
}

/// Whether an expression reads an input (or, without one, every input) at its own element only.
/// Without an input, also whether it uses no index otherwise.
fn own_elements(cell: &Cell, input: Option<usize>, shape: &[usize]) -> bool {
    let own = |a: &Cell| own_elements(a, input, shape);
    match cell {
        Cell::Const(_) | Cell::Local(_) => true,
        Cell::Int(_) => input.is_some(),
        Cell::Reduce(_, _, _, _, body) => input.is_some() && own(body),
        Cell::Load(i, _) if input.is_some_and(|k| k != *i) => true,
        Cell::Load(_, ix) => {
            let at = |(k, i): (usize, &Idx)| *i == Idx::Axis(k) || (shape[k] == 1 && *i == Idx::Const(0));
            ix.len() == shape.len() && ix.iter().enumerate().all(at)
        }
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) => own(a) && own(b),
        Cell::Un(_, a) => own(a),
        Cell::If(c, a, b) => own_cond(c, input, shape) && own(a) && own(b),
    }
}

fn own_cond(c: &Cond, input: Option<usize>, shape: &[usize]) -> bool {
    let own = |a: &Cell| own_elements(a, input, shape);
    match c {
        Cond::Num(_, a, b) => own(a) && own(b),
        Cond::Idx(..) => input.is_some(),
        Cond::Finite(a) => own(a),
        Cond::And(a, b) | Cond::Or(a, b) => own_cond(a, input, shape) && own_cond(b, input, shape),
        Cond::Not(a) => own_cond(a, input, shape),
    }
}

/// The same expression over flat positions.
fn flattened(cell: &Cell) -> Cell {
    let (f, c) = (|x: &Cell| std::sync::Arc::new(flattened(x)), flattened_cond);
    match cell {
        Cell::Load(i, _) => Cell::Load(*i, vec![Idx::Axis(0)]),
        Cell::Let(v, a, b) => Cell::Let(*v, f(a), f(b)),
        Cell::Bin(op, a, b) => Cell::Bin(*op, f(a), f(b)),
        Cell::Un(op, a) => Cell::Un(*op, f(a)),
        Cell::If(t, a, b) => Cell::If(c(t).into(), f(a), f(b)),
        other => other.clone(),
    }
}

fn flattened_cond(cond: &Cond) -> Cond {
    let c = |x: &Cond| std::sync::Arc::new(flattened_cond(x));
    match cond {
        Cond::Num(op, a, b) => Cond::Num(*op, flattened(a).into(), flattened(b).into()),
        Cond::Finite(a) => Cond::Finite(flattened(a).into()),
        Cond::And(a, b) => Cond::And(c(a), c(b)),
        Cond::Or(a, b) => Cond::Or(c(a), c(b)),
        Cond::Not(a) => Cond::Not(c(a)),
        Cond::Idx(..) => cond.clone(),
    }
}
