//! Buffers for stored nodes, shared by lifetime.
//!
//! A value lives from the kernel that makes it to the last kernel that reads it; its buffer is
//! free for the kernels after that one. Of the free buffers the smallest that is large enough is
//! taken, else the largest is widened: WebGPU forbids a buffer that is read and written in one
//! dispatch, so there is no single arena. Leaves, outputs and values still to be copied keep
//! theirs to the end, and values of a pack have one for themselves.

use super::schedule::Schedule;
use super::{Buffer, BufferId};
use crate::graph::Graph;
use crate::rewrite::{Fusion, view_root};

/// A shared buffer may be at most this many times as large as what it holds.
const SLACK: usize = 4;

pub(super) struct Assigned {
    pub buffers: Vec<Buffer>,
    pub storage: Vec<Option<BufferId>>,
    pub copies: Vec<(BufferId, BufferId)>,
}

pub(super) fn assign(g: &Graph, fusion: &Fusion, stored: &[bool], schedule: &Schedule) -> Assigned {
    let Schedule { kernels, in_place, packs, .. } = schedule;
    let n = g.nodes().len();
    let mut buffers: Vec<Buffer> = vec![];
    let mut storage: Vec<Option<BufferId>> = vec![None; n];
    for id in g.ids().filter(|id| g.node(*id).leaf().is_some()) {
        storage[id.index()] = Some(BufferId(buffers.len() as u32));
        buffers.push(Buffer { bytes: padded(fusion.bytes(g.ty(id))), leaf: Some(id) });
    }
    // The last kernel that reads each root; the end for what outlives the step.
    let mut last = vec![0usize; n];
    for (k, kernel) in kernels.iter().enumerate() {
        for r in &kernel.reads {
            last[view_root(g, *r).index()] = k;
        }
    }
    for (_, id) in &g.outputs {
        last[view_root(g, *id).index()] = usize::MAX;
    }
    for (_, value) in &g.updates {
        last[view_root(g, *value).index()] = usize::MAX;
    }
    let mut free: Vec<BufferId> = vec![];
    let mut dying: Vec<(usize, BufferId)> = vec![];
    for (k, kernel) in kernels.iter().enumerate() {
        dying.retain(|&(when, b)| {
            if when < k {
                free.push(b);
            }
            when >= k
        });
        for &out in &kernel.outputs {
            if let Some((_, leaf)) = in_place.iter().find(|(v, _)| *v == out) {
                storage[out.index()] = storage[leaf.index()];
                continue;
            }
            let bytes = padded(fusion.bytes(g.ty(out)));
            // A value of a pack has its place for itself.
            if packs.iter().any(|p| p.contains(&out)) {
                storage[out.index()] = Some(BufferId(buffers.len() as u32));
                buffers.push(Buffer { bytes, leaf: None });
                continue;
            }
            let b = take(&mut buffers, &mut free, bytes);
            storage[out.index()] = Some(b);
            if last[out.index()] != usize::MAX {
                dying.push((last[out.index()].max(k), b));
            }
        }
    }
    for id in g.ids() {
        if stored[id.index()] {
            storage[id.index()] = storage[view_root(g, id).index()];
        }
    }
    let copies = g
        .updates
        .iter()
        .filter(|(leaf, value)| !in_place.contains(&(*value, *leaf)))
        .filter_map(|(leaf, value)| Some((storage[value.index()]?, storage[leaf.index()]?)))
        .collect();
    Assigned { buffers, storage, copies }
}

/// Whole words, at least one: WebGPU binds no empty buffer.
fn padded(bytes: usize) -> usize {
    bytes.div_ceil(4).max(1) * 4
}

fn take(buffers: &mut Vec<Buffer>, free: &mut Vec<BufferId>, bytes: usize) -> BufferId {
    let size = |b: &BufferId| buffers[b.0 as usize].bytes;
    let fits = free
        .iter()
        .enumerate()
        .filter(|(_, b)| size(b) >= bytes && size(b) / SLACK <= bytes)
        .min_by_key(|(_, b)| size(b));
    let at = match fits {
        Some((at, _)) => Some(at),
        None => {
            let largest = free.iter().enumerate().max_by_key(|(_, b)| size(b)).filter(|(_, b)| size(b) < bytes);
            largest.map(|(at, _)| at)
        }
    };
    match at {
        Some(at) => {
            let b = free.swap_remove(at);
            let held = &mut buffers[b.0 as usize].bytes;
            *held = (*held).max(bytes);
            b
        }
        None => {
            buffers.push(Buffer { bytes, leaf: None });
            BufferId(buffers.len() as u32 - 1)
        }
    }
}
