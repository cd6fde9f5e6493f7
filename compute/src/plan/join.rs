//! Kernels that become one pass over memory.
//!
//! - The sum of `dy` over batch, height and width joins the `conv2d.backward_w` that forms the same `dy`.
//! - Elementwise kernels of one shape join when one reads the other's result at its own element, or when both
//!   make new states from a tensor they share: what they read is then read once. Adam's two moments and its new
//!   weight, three passes over five tensors, become one pass.
//!
//! Outputs of a joined kernel are computed in their order, an element (or a piece) of each after the other, so
//! a later one may read an earlier one at its own element.

use super::Kernel;
use crate::cell::cost::{is_elementwise, reads_only_own_element};
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::Lowering;
use crate::ops::reduce::{Reduce, Reduction};
use crate::rewrite::{Fusion, reads, view_root};

/// Most outputs of a joined kernel.
pub const MOST: usize = 4;

/// Joins `sum(dy, [0, 2, 3])` to the `conv2d.backward_w` that forms the same `dy`.
pub(super) fn bias_gradients(g: &Graph, mut kernels: Vec<Kernel>) -> Vec<Kernel> {
    let is_sum = |k: &Kernel, dy: NodeId| {
        let node = g.node(k.outputs[0]);
        let sum = Reduce { kind: Reduction::Sum, axes: vec![0, 2, 3] };
        node.inputs == [dy] && node.op().is_some_and(|op| format!("{op:?}") == format!("{sum:?}"))
    };
    let mut k = 0;
    while k < kernels.len() {
        if matches!(kernels[k].lowering, Lowering::Conv2dBackwardW(_)) {
            let dy = g.node(kernels[k].outputs[0]).inputs[1];
            if let Some(at) = kernels.iter().position(|other| is_sum(other, dy)) {
                let sum = kernels.remove(at);
                if at < k {
                    k -= 1;
                }
                kernels[k].outputs.extend(sum.outputs);
            }
        }
        k += 1;
    }
    kernels
}

/// Joins elementwise kernels; `kernels` are in the order of their nodes.
pub(super) fn elementwise(g: &Graph, stored: &[bool], fusion: &Fusion, kernels: Vec<Kernel>) -> Vec<Kernel> {
    let mut out: Vec<Kernel> = vec![];
    for kernel in kernels {
        let at = if is_pointwise(g, stored, &kernel) {
            (0..out.len()).rev().find(|&j| fits(g, stored, fusion, &out, j, &kernel))
        } else {
            None
        };
        match at {
            Some(j) => add(g, fusion, &mut out[j], kernel),
            None => out.push(kernel),
        }
    }
    out
}

/// Whether a kernel computes elements of one tensor of numbers, each from single elements.
fn is_pointwise(g: &Graph, stored: &[bool], kernel: &Kernel) -> bool {
    let plain = |id: &NodeId| {
        let node = g.node(*id);
        node.op().is_some_and(|op| {
            let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
            op.lowering() == Lowering::Cells && is_elementwise(&op.cell(&types, &node.ty))
        })
    };
    kernel.lowering == Lowering::Cells
        && kernel.outputs.iter().all(|o| g.ty(*o).dtype.is_float() && stored[o.index()])
        && kernel.outputs.iter().chain(&kernel.inlined).all(plain)
}

/// Whether `kernel` may join kernel `j`.
fn fits(g: &Graph, stored: &[bool], fusion: &Fusion, all: &[Kernel], j: usize, kernel: &Kernel) -> bool {
    let other = &all[j];
    let id = kernel.outputs[0];
    let same = g.ty(other.outputs[0]) == g.ty(id) && other.outputs.len() < MOST;
    if !same || !is_pointwise(g, stored, other) {
        return false;
    }
    let made = |r: &NodeId| other.outputs.contains(&view_root(g, *r));
    let follows = kernel.reads.iter().any(made);
    let state = |o: &NodeId| g.updates.iter().any(|(_, v)| v == o);
    let shares = |r: &NodeId| g.ty(*r) == g.ty(id) && other.reads.contains(r);
    let siblings = state(&id) && other.outputs.iter().all(state) && kernel.reads.iter().any(shares);
    (follows || siblings)
        && other.outputs.iter().all(|o| only_own_element(g, stored, id, *o))
        && buffers(g, &[other, kernel]) <= fusion.max_reads + 1
        && !depends(g, all, kernel, j)
}

/// Buffers that kernels bind as one: what they read and write, a new state counted with its old one.
fn buffers(g: &Graph, kernels: &[&Kernel]) -> usize {
    let outputs: Vec<NodeId> = kernels.iter().flat_map(|k| k.outputs.clone()).collect();
    let mut read: Vec<NodeId> = kernels.iter().flat_map(|k| &k.reads).map(|r| view_root(g, *r)).collect();
    read.sort_unstable();
    read.dedup();
    let replaced = |leaf: &NodeId| g.updates.iter().any(|(l, v)| l == leaf && outputs.contains(v));
    outputs.len() + read.iter().filter(|r| !outputs.contains(r) && !replaced(r)).count()
}

/// Whether `kernel` needs a kernel that needs kernel `j`: joined, they would wait for each other.
fn depends(g: &Graph, all: &[Kernel], kernel: &Kernel, j: usize) -> bool {
    let makers = |k: &Kernel| -> Vec<usize> {
        let made = |r: &NodeId| all.iter().position(|m| m.outputs.contains(&view_root(g, *r)));
        k.reads.iter().filter_map(made).collect()
    };
    let mut todo: Vec<usize> = makers(kernel).into_iter().filter(|&m| m != j).collect();
    let mut seen = todo.clone();
    while let Some(k) = todo.pop() {
        for m in makers(&all[k]) {
            if m == j {
                return true;
            }
            if !seen.contains(&m) {
                seen.push(m);
                todo.push(m);
            }
        }
    }
    false
}

/// Whether node `id`, with all that is inlined into it, reads `source` only at the element it computes.
pub(super) fn only_own_element(g: &Graph, stored: &[bool], id: NodeId, source: NodeId) -> bool {
    let reaches = |n: NodeId| reads(g, stored, n).iter().any(|r| view_root(g, *r) == source);
    if !reaches(id) {
        return true;
    }
    if g.ty(id) != g.ty(source) {
        return false;
    }
    let mut chain = vec![id];
    while let Some(n) = chain.pop() {
        let node = g.node(n);
        let Some(op) = node.op() else { return false };
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
        let cell = op.cell(&types, &node.ty);
        for (k, &input) in node.inputs.iter().enumerate() {
            let direct = stored[input.index()] && view_root(g, input) == source;
            let through = !stored[input.index()] && reaches(input);
            if (direct && input != source) || ((direct || through) && !reads_only_own_element(&cell, k)) {
                return false;
            }
            if through {
                chain.push(input);
            }
        }
    }
    true
}

/// Makes one kernel of two.
pub(super) fn add(g: &Graph, fusion: &Fusion, to: &mut Kernel, kernel: Kernel) {
    to.outputs.extend(kernel.outputs);
    to.reads.extend(kernel.reads);
    to.inlined.extend(kernel.inlined);
    let outputs = to.outputs.clone();
    for list in [&mut to.reads, &mut to.inlined] {
        let mut seen: Vec<NodeId> = vec![];
        list.retain(|n| {
            let new = !seen.contains(n) && !outputs.contains(n);
            seen.push(*n);
            new
        });
    }
    to.flops += kernel.flops;
    to.bytes = to.reads.iter().chain(&to.outputs).map(|n| fusion.bytes(g.ty(*n))).sum();
}
