//! Where the nodes of a graph stand in a drawing. Wide: the forward pass in columns from left to right
//! on one line, what it is given above the column that reads it, and below each value its gradient.
//! Tall, for narrow screens: the same columns below each other, values on the left, gradients beside
//! them. Positions in pixels; nothing here computes a result.

use std::collections::BTreeMap;

use crate::engine::NodeInfo;
use compute::sorting::sorted;

const CELL: f64 = 64.0;
const SMALL_CELL: f64 = 50.0;
const LINE: f64 = 25.0;
const TITLE: f64 = 22.0;
const NARROWEST: f64 = 74.0;
const BETWEEN: f64 = 28.0;
const GAP: f64 = 14.0;

/// Which way the computation runs over the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Wide,
    Tall,
    /// Tall with small cells.
    Phone,
}

impl Form {
    fn cell(self) -> f64 {
        if self == Form::Phone { SMALL_CELL } else { CELL }
    }
}

/// A node with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub node: NodeInfo,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub rows: usize,
    pub columns: usize,
    /// Whether a vector lies in a row.
    flat: bool,
}

/// All nodes, in their order, and the size of the drawing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    pub nodes: Vec<Placed>,
    pub width: f64,
    pub height: f64,
    /// Where forward ends and backward begins: a height, or in a tall drawing a place across.
    pub middle: f64,
    pub form: Form,
}

impl Placed {
    /// The index of a cell in the node's tensor. In a wide drawing vectors and single rows stand upright.
    pub fn index(&self, row: usize, column: usize) -> Vec<usize> {
        let along = if self.flat { column } else { row };
        match self.node.shape[..] {
            [] => vec![],
            [_] => vec![along],
            [1, _] => vec![0, along],
            _ => vec![row, column],
        }
    }
}

/// Rows and columns as drawn.
fn size(shape: &[usize], flat: bool) -> (usize, usize) {
    match *shape {
        [] => (1, 1),
        [n] | [1, n] if flat => (1, n),
        [n] | [1, n] => (n, 1),
        [.., m, n] => (m, n),
    }
}

/// A node at a place.
fn placed(n: &NodeInfo, form: Form, x: f64, y: f64) -> Placed {
    let flat = form != Form::Wide;
    let (rows, columns) = size(&n.shape, flat);
    let width = (columns as f64 * form.cell()).max(NARROWEST);
    let height = rows as f64 * LINE + TITLE;
    Placed { node: n.clone(), x, y, width, height, rows, columns, flat }
}

/// The column of each node. Forward ops stand one after the other; a leaf stands before its first
/// reader, `d v` under `v`, and what only helps to compute a gradient in that gradient's column.
fn columns(nodes: &[NodeInfo]) -> BTreeMap<u32, usize> {
    let mut at: BTreeMap<u32, usize> = BTreeMap::new();
    for n in nodes.iter().filter(|n| !n.backward && !n.op.is_empty()) {
        let before = n.inputs.iter().filter_map(|i| at.get(i)).max();
        at.insert(n.id, before.map_or(1, |c| c + 1));
    }
    for n in nodes.iter().filter(|n| !n.backward && n.op.is_empty()) {
        let readers = nodes.iter().filter(|r| r.inputs.contains(&n.id)).filter_map(|r| at.get(&r.id));
        let first = readers.min().copied().unwrap_or(1);
        at.insert(n.id, first.saturating_sub(1));
    }
    for n in nodes.iter().rev().filter(|n| n.backward) {
        let of = value_of(nodes, n);
        let helped = || nodes.iter().find(|r| r.inputs.contains(&n.id)).and_then(|r| at.get(&r.id));
        let column = of.and_then(|f| at.get(&f.id)).or_else(helped).copied().unwrap_or(0);
        at.insert(n.id, column);
    }
    at
}

pub fn layout(nodes: &[NodeInfo], form: Form) -> Layout {
    if form == Form::Wide { wide(nodes) } else { tall(nodes, form) }
}

/// The value whose gradient a node is.
fn value_of<'a>(nodes: &'a [NodeInfo], n: &NodeInfo) -> Option<&'a NodeInfo> {
    n.name.strip_prefix("d ").and_then(|v| nodes.iter().find(|f| !f.backward && f.name == v))
}

fn tall(nodes: &[NodeInfo], form: Form) -> Layout {
    let at = columns(nodes);
    let lane = nodes.iter().map(|n| placed(n, form, 0.0, 0.0).width).fold(NARROWEST, f64::max);
    let (right, mut y, mut out) = (lane + BETWEEN * 0.7, 0.0, vec![]);
    let place = |n: &NodeInfo, left: f64, y: f64| {
        let mut p = placed(n, form, left, y);
        p.x += (lane - p.width) / 2.0;
        p
    };
    for c in 0..at.values().max().map_or(0, |c| c + 1) {
        let here = || nodes.iter().filter(|n| at.get(&n.id) == Some(&c));
        // What is given first, then what is computed from it.
        let values: Vec<&NodeInfo> = here().filter(|n| !n.backward).collect();
        for v in sorted(values, |a, b| b.op.is_empty().cmp(&a.op.is_empty())) {
            let gradient = here().find(|n| n.backward && value_of(nodes, n).is_some_and(|f| f.id == v.id));
            let row: Vec<Placed> =
                std::iter::once(place(v, 0.0, y)).chain(gradient.map(|g| place(g, right, y))).collect();
            y += row.iter().map(|p| p.height).fold(0.0, f64::max) + GAP;
            out.extend(row);
        }
        for n in here().filter(|n| n.backward && value_of(nodes, n).is_none()) {
            let p = place(n, right, y);
            y += p.height + GAP;
            out.push(p);
        }
    }
    let out = sorted(out, |a, b| a.node.id.cmp(&b.node.id));
    let middle = (lane + right) / 2.0;
    Layout { nodes: out, width: right + lane, height: (y - GAP).max(0.0), middle, form }
}

fn wide(nodes: &[NodeInfo]) -> Layout {
    let at = columns(nodes);
    let column = |n: &NodeInfo| at.get(&n.id).copied().unwrap_or(0);
    let count = nodes.iter().map(|n| column(n) + 1).max().unwrap_or(0);
    let boxed = |n: &NodeInfo| placed(n, Form::Wide, 0.0, 0.0);
    // On the line: the ops, and in the first column the data that come in.
    let mut line: Vec<Option<u32>> = vec![None; count];
    for n in nodes.iter().filter(|n| !n.backward && !n.op.is_empty()) {
        line[column(n)] = Some(n.id);
    }
    for n in nodes.iter().filter(|n| !n.backward) {
        line[column(n)].get_or_insert(n.id);
    }
    let on_line = |n: &NodeInfo| line[column(n)] == Some(n.id);
    let (mut left, mut lefts, mut widths) = (0.0, vec![], vec![]);
    for c in 0..count {
        let width = nodes.iter().filter(|n| column(n) == c).map(|n| boxed(n).width).fold(NARROWEST, f64::max);
        lefts.push(left);
        widths.push(width);
        left += width + BETWEEN;
    }
    let stack = |c: usize| -> f64 {
        nodes.iter().filter(|n| column(n) == c && !n.backward && !on_line(n)).map(|n| boxed(n).height + GAP).sum()
    };
    let top = (0..count).map(stack).fold(0.0, f64::max);
    let tallest = nodes.iter().filter(|n| on_line(n)).map(|n| boxed(n).height).fold(0.0, f64::max);
    let middle = top + tallest + 1.5 * GAP;
    let mut above: Vec<f64> = (0..count).map(|c| top - stack(c)).collect();
    let mut below = vec![middle + 1.5 * GAP; count];
    // The gradient of the value on the line comes first, whatever the order of computation.
    let main = |n: &NodeInfo| value_of(nodes, n).is_some_and(on_line);
    let rank = |n: &NodeInfo| (n.backward && !main(n), n.id);
    let order = sorted(nodes.iter().collect(), |a, b| rank(a).cmp(&rank(b)));
    let mut out: Vec<Placed> = vec![];
    for n in order {
        let (c, Placed { width, height, .. }) = (column(n), boxed(n));
        let y = match (n.backward, on_line(n)) {
            (false, true) => top,
            (false, false) => {
                above[c] += height + GAP;
                above[c] - height - GAP
            }
            (true, _) => {
                below[c] += height + GAP;
                below[c] - height - GAP
            }
        };
        let x = lefts[c] + (widths[c] - width) / 2.0;
        out.push(placed(n, Form::Wide, x, y));
    }
    let out = sorted(out, |a, b| a.node.id.cmp(&b.node.id));
    let height = below.into_iter().fold(middle, f64::max) - GAP;
    Layout { nodes: out, width: (left - BETWEEN).max(0.0), height, middle, form: Form::Wide }
}

/// The path of an edge between two boxes: sideways between columns, upright within one.
pub fn edge(from: &Placed, to: &Placed) -> String {
    let ((fx, fy), (tx, ty)) = (from.middle(), to.middle());
    if (fx - tx).abs() < 1.0 || (from.x < to.x + to.width && to.x < from.x + from.width) {
        let (a, b) = if fy < ty { (from.y + from.height, to.y) } else { (from.y, to.y + to.height) };
        let bend = (b - a) / 2.0;
        return format!("M{fx:.0},{a:.0}C{fx:.0},{:.0} {tx:.0},{:.0} {tx:.0},{b:.0}", a + bend, b - bend);
    }
    let (a, b) = if fx < tx { (from.x + from.width, to.x) } else { (from.x, to.x + to.width) };
    let bend = (b - a) / 2.0;
    format!("M{a:.0},{fy:.0}C{:.0},{fy:.0} {:.0},{ty:.0} {b:.0},{ty:.0}", a + bend, b - bend)
}

impl Placed {
    fn middle(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}
