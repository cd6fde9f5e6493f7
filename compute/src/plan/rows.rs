//! Kernels that become one pass over rows.
//!
//! A group is a set of nodes that are functions of the same rows, as their cells show ([`crate::cell::rows`]):
//! reductions over a row, and what is elementwise in its columns, each read by the others at its own row only. So
//! log-softmax, the loss of each sample and the gradient of the logits are one kernel, which reads the logits once;
//! of a group only what others read is stored. No op is known by name here.
//!
//! Rows lie along the last axis. A row is the work of one thread (or workgroup), so few long rows stay apart.

use std::collections::BTreeMap;

use super::join::MOST;
use super::{Kernel, compose};
use crate::cell::cost::{cost, visit_loads};
use crate::cell::rows::{Names, Rows, Value, reduced, rows};
use crate::cell::{Cell, Idx};
use crate::graph::{Graph, NodeId};
use crate::ops::Lowering;
use crate::rewrite::{Fusion, inlined_below, reads, view_root};
use crate::tensor::DType;

/// With fewer rows than this only short ones are joined.
const FEW: usize = 8;
const SHORT: usize = 8192;

/// The longest definition that is looked into, in reads and what surrounds them.
const LONGEST: f64 = 4096.0;

struct Group {
    /// In the order of the graph.
    members: Vec<NodeId>,
    /// Shape of what has one element a row.
    row: Vec<usize>,
    columns: usize,
}

struct Finder<'a> {
    g: &'a Graph,
    stored: &'a [bool],
    fusion: &'a Fusion,
    users: Vec<Vec<NodeId>>,
}

/// Finds groups and takes away the buffers of what only their members read; returns the outputs of each.
pub(super) fn find(g: &Graph, stored: &mut [bool], fusion: &Fusion) -> Vec<Vec<NodeId>> {
    let mut users = vec![vec![]; g.nodes().len()];
    for id in g.ids() {
        g.node(id).inputs.iter().for_each(|i| users[i.index()].push(id));
    }
    let finder = Finder { g, stored, fusion, users };
    let mut groups: Vec<Group> = vec![];
    for id in g.ids().filter(|id| finder.may_join(*id)) {
        finder.place(&mut groups, id);
    }
    groups.retain(|group| group.members.len() > 1);
    let outputs: Vec<Vec<NodeId>> = groups.iter().map(|group| finder.outputs(&group.members)).collect();
    for (group, outputs) in groups.iter().zip(&outputs) {
        for id in g.ids().filter(|id| group.members.contains(&view_root(g, *id))) {
            stored[id.index()] = outputs.contains(&view_root(g, id));
        }
    }
    outputs
}

impl Finder<'_> {
    /// Stored numbers that have no fast form and are no new states.
    fn may_join(&self, id: NodeId) -> bool {
        let node = self.g.node(id);
        let cells = node.op().is_some_and(|op| op.lowering() == Lowering::Cells);
        let new = self.g.updates.iter().any(|(_, v)| *v == id);
        cells && !new && self.stored[id.index()] && node.ty.dtype == DType::F32 && node.ty.numel() > 0
    }

    /// Adds a node to the groups whose rows it is a function of, which become one, or begins one.
    fn place(&self, groups: &mut Vec<Group>, id: NodeId) {
        let read: Vec<NodeId> = reads(self.g, self.stored, id);
        let mut near: Vec<usize> = (0..groups.len()).filter(|&k| self.is_near(&groups[k], id, &read)).collect();
        near.retain(|&k| {
            let together = merged(&[&groups[k]], id);
            self.fits(&together, &groups[k].row, groups[k].columns)
        });
        // All at once if that can be, else the latest.
        let near = match near.as_slice() {
            [] => return groups.extend(self.alone(id)),
            &[first, .., last] => {
                let same = near
                    .iter()
                    .all(|&k| (&groups[k].row, groups[k].columns) == (&groups[first].row, groups[first].columns));
                let all: Vec<&Group> = near.iter().map(|&k| &groups[k]).collect();
                let fits = same && self.fits(&merged(&all, id), &all[0].row, all[0].columns);
                if fits { near } else { vec![last] }
            }
            &[one] => vec![one],
        };
        let all: Vec<&Group> = near.iter().map(|&k| &groups[k]).collect();
        let group = Group { members: merged(&all, id), row: all[0].row.clone(), columns: all[0].columns };
        let mut k = 0;
        groups.retain(|_| {
            k += 1;
            !near.contains(&(k - 1))
        });
        groups.push(group);
    }

    /// A group of one node that reduces its rows.
    fn alone(&self, id: NodeId) -> Option<Group> {
        let shape = self.g.shape(id);
        let mut row = shape.to_vec();
        let last = row.last_mut()?;
        let own = std::mem::replace(last, 1);
        // What picks one column of a row reduces it too.
        let reduced = reduced(&self.composed(id, &[])?.0)?;
        let columns = if own == 1 { reduced } else { own };
        self.as_rows(id, &[], columns)?;
        let rows: usize = row.iter().product();
        let worth = rows >= FEW || columns <= SHORT;
        worth.then(|| Group { members: vec![id], row, columns })
    }

    /// Whether a node has the rows of a group, and reads them or what the group reads.
    fn is_near(&self, group: &Group, id: NodeId, read: &[NodeId]) -> bool {
        let shape = self.g.shape(id);
        let [rest @ .., last] = shape else { return false };
        if shape.len() != group.row.len() || *rest != group.row[..rest.len()] || (*last != 1 && *last != group.columns)
        {
            return false;
        }
        let whole = |n: NodeId| self.g.shape(n).split_last().is_some_and(|(l, r)| *l == group.columns && r == rest);
        let theirs = |n: &NodeId| group.members.iter().any(|m| reads(self.g, self.stored, *m).contains(n));
        read.iter().any(|n| group.members.contains(n) || (whole(*n) && theirs(n)))
    }

    /// Whether the last of these nodes may join the others.
    fn fits(&self, members: &[NodeId], row: &[usize], columns: usize) -> bool {
        let Some(&id) = members.last() else { return false };
        debug_assert_eq!(self.g.shape(id).len(), row.len());
        let outputs = self.outputs(members);
        let outside = self.reads_of(members);
        outputs.len() <= MOST
            && outputs.len() + outside.len() <= self.fusion.max_reads + 1
            && self.reads_own_rows(id, members)
            && !self.comes_back(&outside, members)
            && self.as_rows(id, members, columns).is_some()
    }

    /// Members that others read, or that are outputs of the graph.
    fn outputs(&self, members: &[NodeId]) -> Vec<NodeId> {
        let shown = |id: NodeId| self.g.outputs.iter().any(|(_, o)| *o == id);
        let needed = |m: &NodeId| {
            let mut todo = vec![*m];
            while let Some(n) = todo.pop() {
                if shown(n) {
                    return true;
                }
                for &user in &self.users[n.index()] {
                    let kernel = self.stored[user.index()] && view_root(self.g, user) == user;
                    if !kernel {
                        todo.push(user);
                    } else if !members.contains(&user) {
                        return true;
                    }
                }
            }
            false
        };
        members.iter().copied().filter(needed).collect()
    }

    /// What members read of others.
    fn reads_of(&self, members: &[NodeId]) -> Vec<NodeId> {
        let all = members.iter().flat_map(|m| reads(self.g, self.stored, *m)).map(|r| view_root(self.g, r));
        let mut out: Vec<NodeId> = all.filter(|r| !members.contains(r)).collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Whether a node reads the members at its own row, none of them for a test of equality.
    fn reads_own_rows(&self, id: NodeId, members: &[NodeId]) -> bool {
        let tested = |n: NodeId| {
            let node = self.g.node(n);
            let stored = node.op().map(|op| op.stored_operands()).unwrap_or_default();
            let member = |k: usize| node.inputs.get(k).is_some_and(|i| members.contains(&view_root(self.g, *i)));
            stored.into_iter().any(member)
        };
        if tested(id) || inlined_below(self.g, self.stored, id).into_iter().any(tested) {
            return false;
        }
        let Some((cell, sources)) = self.composed(id, &[]) else { return false };
        let mut own = true;
        visit_loads(&cell, &mut |input, ix| {
            let source = sources[input];
            if members.contains(&view_root(self.g, source)) {
                let at_row =
                    |(k, i): (usize, &Idx)| *i == Idx::Axis(k) || (*i == Idx::Const(0) && self.g.shape(id)[k] == 1);
                own &= members.contains(&source) && ix.len() == self.g.shape(id).len();
                own &= ix.iter().enumerate().take(ix.len().saturating_sub(1)).all(at_row);
            }
        });
        own
    }

    /// Whether something outside lies between members: joined, they would wait for themselves.
    fn comes_back(&self, outside: &[NodeId], members: &[NodeId]) -> bool {
        let mut todo = outside.to_vec();
        let mut seen = vec![false; self.g.nodes().len()];
        while let Some(n) = todo.pop() {
            for &i in &self.g.node(n).inputs {
                if members.contains(&i) {
                    return true;
                }
                if !std::mem::replace(&mut seen[i.index()], true) {
                    todo.push(i);
                }
            }
        }
        false
    }

    /// A node's definition with members put in; `None` if it becomes too long.
    fn composed(&self, id: NodeId, members: &[NodeId]) -> Option<(Cell, Vec<NodeId>)> {
        let stored = |n: NodeId| self.stored[n.index()] && !members.contains(&view_root(self.g, n));
        let mut known = BTreeMap::new();
        if self.length(id, &stored, &mut known) > LONGEST {
            return None;
        }
        let mut sources = vec![];
        let cell = compose(self.g, &stored, id, &mut sources, &mut 0);
        Some((cell, sources))
    }

    /// How long a definition is, every read a copy of what it reads.
    fn length(&self, id: NodeId, stored: &dyn Fn(NodeId) -> bool, known: &mut BTreeMap<NodeId, f64>) -> f64 {
        if let Some(n) = known.get(&id) {
            return *n;
        }
        let node = self.g.node(id);
        let mut total = 1.0;
        if let Some(op) = node.op() {
            let types: Vec<_> = node.inputs.iter().map(|i| self.g.ty(*i)).collect();
            visit_loads(&op.cell(&types, &node.ty), &mut |input, _| {
                let of = node.inputs[input];
                total += if stored(of) { 1.0 } else { self.length(of, stored, known) };
            });
        }
        known.insert(id, total);
        total
    }

    fn as_rows(&self, id: NodeId, members: &[NodeId], columns: usize) -> Option<Rows> {
        let (cell, sources) = self.composed(id, members)?;
        let shapes: Vec<&[usize]> = sources.iter().map(|s| self.g.shape(*s)).collect();
        let shape = self.g.shape(id);
        rows(&[(cell, shape)], &shapes, shape.len().checked_sub(1)?, columns, Names::Reductions)
    }
}

/// The members of groups and one node more, which is the last.
fn merged(groups: &[&Group], id: NodeId) -> Vec<NodeId> {
    let mut members: Vec<NodeId> = groups.iter().flat_map(|group| group.members.iter().copied()).collect();
    members.sort_unstable();
    members.push(id);
    members
}

/// Makes one kernel of the outputs of each group.
pub(super) fn join(
    g: &Graph,
    fusion: &Fusion,
    stored: &[bool],
    groups: &[Vec<NodeId>],
    kernels: Vec<Kernel>,
) -> Vec<Kernel> {
    let mut out: Vec<Kernel> = vec![];
    for kernel in kernels {
        let group = groups.iter().find(|group| group.contains(&kernel.outputs[0]));
        match (group, out.iter_mut().find(|k| group.is_some_and(|group| group.contains(&k.outputs[0])))) {
            (Some(_), Some(to)) => super::join::add(g, fusion, to, kernel),
            _ => out.push(kernel),
        }
    }
    for kernel in out.iter_mut().filter(|k| groups.iter().any(|group| group.contains(&k.outputs[0]))) {
        kernel.flops = flops(g, stored, &kernel.outputs).unwrap_or(kernel.flops);
    }
    out
}

/// Operations of a kernel of rows: each value once a row, each of its terms once a column.
fn flops(g: &Graph, stored: &[bool], outputs: &[NodeId]) -> Option<f64> {
    let (mut sources, mut fresh) = (vec![], 0);
    let within = |n: NodeId| stored[n.index()] && !outputs.contains(&n);
    let cells: Vec<(Cell, &[usize])> =
        outputs.iter().map(|o| (compose(g, &within, *o, &mut sources, &mut fresh), g.shape(*o))).collect();
    let shapes: Vec<&[usize]> = sources.iter().map(|s| g.shape(*s)).collect();
    let found = crate::cell::rows::find(&cells, &shapes, Names::All)?;
    let weight = |c: &Cell| cost(c, 0).weight();
    let values = found.values.iter().map(|(_, v)| match v {
        Value::Reduce(_, body) => (1.0 + weight(body)) * found.columns as f64,
        Value::Number(c) => weight(c),
        Value::Index(_) => 0.0,
    });
    let count = |shape: &[usize], axis: usize| shape.iter().product::<usize>() as f64 / shape[axis] as f64;
    let rows = count(cells[0].1, found.axis);
    let ends = found.outputs.iter().zip(&cells).map(|((c, _), (_, shape))| weight(c) * shape[found.axis] as f64);
    Some(rows * (values.sum::<f64>() + ends.sum::<f64>()))
}
