//! The order of kernels, and which new states are written over the old ones.
//!
//! Kernels run in the order of their nodes, except that a kernel that overwrites a state runs
//! after every other reader of it. If that cannot be (a later value needs the old state), the new
//! state gets a buffer of its own and is copied when the step is over.

use super::Kernel;
use super::join::only_own_element;
use super::pack::{self, Found, Members, Together};
use crate::graph::{Graph, NodeId};
use crate::ops::Lowering;
use crate::rewrite::{reads, view_root};
use crate::sorting::map_of;

/// Kernels in order.
pub(super) struct Schedule {
    pub kernels: Vec<Kernel>,
    /// For each new state written in place: (value, leaf).
    pub in_place: Vec<(NodeId, NodeId)>,
    pub together: Vec<Together>,
    pub packs: Vec<Members>,
}

/// Orders kernels; `grouped`: those alike side by side.
pub(super) fn schedule(g: &Graph, stored: &[bool], mut kernels: Vec<Kernel>, grouped: bool) -> Schedule {
    let maker = map_of(kernels.iter().enumerate().flat_map(|(k, kernel)| kernel.outputs.iter().map(move |o| (*o, k))));
    let read: Vec<Vec<NodeId>> = kernels.iter().map(|k| k.reads.iter().map(|r| view_root(g, *r)).collect()).collect();
    // before[k]: kernels that must precede kernel k.
    let mut before: Vec<Vec<usize>> =
        read.iter().map(|r| r.iter().filter_map(|n| maker.get(n).copied()).collect()).collect();
    let mut order = topological(&before).unwrap_or_else(|| (0..kernels.len()).collect());
    let mut in_place = vec![];
    for &(leaf, value) in &g.updates {
        let Some(&k) = maker.get(&value) else { continue };
        let taken = in_place.iter().any(|(v, _)| *v == value);
        if taken || !may_overwrite(g, stored, &kernels[k], value, leaf) {
            continue;
        }
        let readers: Vec<usize> = (0..kernels.len()).filter(|&r| r != k && read[r].contains(&leaf)).collect();
        let mut tried = before.clone();
        tried[k].extend(readers);
        if let Some(found) = topological(&tried) {
            (before, order) = (tried, found);
            in_place.push((value, leaf));
            kernels[k].in_place.push((value, leaf));
        }
    }
    let found = if grouped {
        pack::find(g, stored, &kernels, &in_place, &before, order)
    } else {
        Found { order, ..Found::default() }
    };
    let mut slots: Vec<Option<Kernel>> = kernels.into_iter().map(Some).collect();
    let kernels = found.order.into_iter().filter_map(|k| slots[k].take()).collect();
    Schedule { kernels, in_place, together: found.together, packs: found.packs }
}

/// Whether `value` may be written over `leaf`: every output of the kernel that reads it does so at its own
/// element, and none after `value`.
fn may_overwrite(g: &Graph, stored: &[bool], kernel: &Kernel, value: NodeId, leaf: NodeId) -> bool {
    let after = kernel.outputs.iter().skip_while(|o| **o != value).skip(1);
    let reads_it = |o: &NodeId| reads(g, stored, *o).iter().any(|r| view_root(g, *r) == leaf);
    kernel.lowering == Lowering::Cells
        && g.ty(value) == g.ty(leaf)
        && kernel.outputs.iter().all(|o| only_own_element(g, stored, *o, leaf))
        && !after.copied().any(|o| reads_it(&o))
}

/// Kahn's order, smallest number first; `None` on a cycle.
pub(super) fn topological(before: &[Vec<usize>]) -> Option<Vec<usize>> {
    let n = before.len();
    let mut after: Vec<Vec<usize>> = vec![vec![]; n];
    let mut waits = vec![0usize; n];
    for (k, b) in before.iter().enumerate() {
        for &p in b {
            after[p].push(k);
            waits[k] += 1;
        }
    }
    let mut ready = std::collections::BTreeSet::new();
    ready.extend((0..n).filter(|&k| waits[k] == 0));
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
