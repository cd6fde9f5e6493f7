//! The order of kernels, and which new states are written over the old ones.
//!
//! Kernels run in the order of their nodes, except that a kernel that overwrites a state runs
//! after every other reader of it. If that cannot be (a later value needs the old state), the new
//! state gets a buffer of its own and is copied when the step is over.

use super::Kernel;
use crate::cell::cost::reads_only_own_element;
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::Lowering;
use crate::rewrite::view_root;
use crate::sorting::map_of;

/// Ordered kernels, and for each new state written in place: (value, leaf).
pub(super) fn schedule(g: &Graph, stored: &[bool], mut kernels: Vec<Kernel>) -> (Vec<Kernel>, Vec<(NodeId, NodeId)>) {
    let maker = map_of(kernels.iter().enumerate().flat_map(|(k, kernel)| kernel.outputs.iter().map(move |o| (*o, k))));
    let reads: Vec<Vec<NodeId>> = kernels.iter().map(|k| k.reads.iter().map(|r| view_root(g, *r)).collect()).collect();
    // before[k]: kernels that must precede kernel k.
    let mut before: Vec<Vec<usize>> =
        reads.iter().map(|r| r.iter().filter_map(|n| maker.get(n).copied()).collect()).collect();
    let mut order = topological(&before).unwrap_or_else(|| (0..kernels.len()).collect());
    let mut in_place = vec![];
    for &(leaf, value) in &g.updates {
        let Some(&k) = maker.get(&value) else { continue };
        let taken = in_place.iter().any(|(v, _)| *v == value) || kernels[k].outputs.len() > 1;
        if taken || !own_element_only(g, stored, &kernels[k], leaf) {
            continue;
        }
        let readers: Vec<usize> = (0..kernels.len()).filter(|&r| r != k && reads[r].contains(&leaf)).collect();
        let mut tried = before.clone();
        tried[k].extend(readers);
        if let Some(found) = topological(&tried) {
            (before, order) = (tried, found);
            in_place.push((value, leaf));
            kernels[k].in_place = Some(leaf);
        }
    }
    let mut slots: Vec<Option<Kernel>> = kernels.into_iter().map(Some).collect();
    (order.into_iter().filter_map(|k| slots[k].take()).collect(), in_place)
}

/// Whether a kernel reads `leaf` only at the element it writes, through every inlined node.
fn own_element_only(g: &Graph, stored: &[bool], kernel: &Kernel, leaf: NodeId) -> bool {
    let id = kernel.outputs[0];
    if kernel.lowering != Lowering::Cells || g.ty(id) != g.ty(leaf) {
        return false;
    }
    let reaches = |n: NodeId| crate::rewrite::reads(g, stored, n).iter().any(|r| view_root(g, *r) == leaf);
    let mut chain = vec![id];
    while let Some(n) = chain.pop() {
        let node = g.node(n);
        let Some(op) = node.op() else { return false };
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
        let cell = op.cell(&types, &node.ty);
        for (k, &input) in node.inputs.iter().enumerate() {
            let direct = stored[input.index()] && view_root(g, input) == leaf;
            let through = !stored[input.index()] && reaches(input);
            if (direct && input != leaf) || ((direct || through) && !reads_only_own_element(&cell, k)) {
                return false;
            }
            if through {
                chain.push(input);
            }
        }
    }
    true
}

/// Kahn's order, smallest number first; `None` on a cycle.
fn topological(before: &[Vec<usize>]) -> Option<Vec<usize>> {
    let n = before.len();
    let mut after: Vec<Vec<usize>> = vec![vec![]; n];
    let mut waits = vec![0usize; n];
    for (k, b) in before.iter().enumerate() {
        for &p in b {
            after[p].push(k);
            waits[k] += 1;
        }
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..n).filter(|&k| waits[k] == 0).collect();
    let mut order = Vec::with_capacity(n);
    while let Some(k) = ready.pop_first() {
        order.push(k);
        for &next in &after[k] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.insert(next);
            }
        }
    }
    (order.len() == n).then_some(order)
}
