//! Kernels alike: what makes new states element by element is the same computation for every weight, and so is
//! one dispatch if the weights lie one after another in memory, their gradients and moments likewise.
//!
//! [`find`] tells such kernels from their cells, and what has to lie together: a [`Together`] is a run of
//! kernels, a pack a list of tensors. A backend that lays packs out runs the first kernel over the length of
//! its packs; one that does not runs the kernels one by one.

use std::collections::BTreeMap;
use std::ops::Range;

use super::schedule::topological;
use super::{BufferId, Kernel};
use crate::cell::cost::is_pointwise;
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::Lowering;
use crate::rewrite::view_root;
use crate::tensor::DType;

/// Elements of a tensor that is packed, at most: a larger one is worth a dispatch of its own.
const MOST: usize = 1 << 20;
/// Bytes of a pack, at most: any device binds as much.
const PACK_BYTES: usize = 64 << 20;
/// Where a tensor of a pack may begin: WebGPU's default for parts of a buffer.
pub const ALIGNMENT: usize = 256;

/// Kernels that can be one dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    pub kernels: Range<usize>,
    /// The packs that hold what they read and write, single values apart.
    pub packs: Vec<usize>,
}

/// Buffers that should lie one after another, each at a multiple of [`ALIGNMENT`].
pub type Pack = Vec<BufferId>;

/// Nodes whose buffers should lie together: leaves, and roots of values.
pub(super) type Members = Vec<NodeId>;

/// Bytes from the beginning of a tensor of a pack to the next.
pub fn step(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// One kernel's computation without its tensors: a text in which they are numbered, and the tensors.
struct Signature {
    text: String,
    members: Members,
}

struct Reader<'a> {
    g: &'a Graph,
    stored: &'a [bool],
    /// The leaf that a new state is written over.
    replaced: &'a BTreeMap<NodeId, NodeId>,
    numel: usize,
    signature: Signature,
}

impl Reader<'_> {
    /// Adds the number of a tensor's buffer.
    fn member(&mut self, id: NodeId) {
        let root = view_root(self.g, id);
        let root = self.replaced.get(&root).copied().unwrap_or(root);
        let members = &mut self.signature.members;
        let at = members.iter().position(|m| *m == root).unwrap_or_else(|| {
            members.push(root);
            members.len() - 1
        });
        self.signature.text += &format!("#{at} ");
    }

    /// Adds a node as an operand. `None` if it is not read at the own element, nor a single value.
    fn operand(&mut self, id: NodeId) -> Option<()> {
        let ty = self.g.ty(id);
        if ty.numel() == 1 {
            self.signature.text += &format!("n{} ", view_root(self.g, id).0);
            return Some(());
        }
        if ty.numel() != self.numel || ty.dtype != DType::F32 {
            return None;
        }
        if self.stored[id.index()] {
            self.member(id);
            return Some(());
        }
        self.computed(id)
    }

    /// Adds what computes a node.
    fn computed(&mut self, id: NodeId) -> Option<()> {
        let node = self.g.node(id);
        let op = node.op()?;
        if op.lowering() == Lowering::View {
            return self.operand(*node.inputs.first()?);
        }
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| self.g.ty(*i)).collect();
        let shapes: Vec<&[usize]> = types.iter().map(|t| t.shape.as_slice()).collect();
        if op.lowering() != Lowering::Cells || !is_pointwise(&op.cell(&types, &node.ty), &shapes, &node.ty.shape) {
            return None;
        }
        self.signature.text += &format!("{op:?}( ");
        for &input in &node.inputs {
            self.operand(input)?;
        }
        self.signature.text += ")";
        Some(())
    }
}

fn signature(g: &Graph, stored: &[bool], replaced: &BTreeMap<NodeId, NodeId>, kernel: &Kernel) -> Option<Signature> {
    let numel = g.ty(kernel.outputs[0]).numel();
    let in_place = kernel.outputs.iter().all(|o| replaced.contains_key(o));
    if !in_place || !(2..=MOST).contains(&numel) {
        return None;
    }
    let signature = Signature { text: String::new(), members: vec![] };
    let mut reader = Reader { g, stored, replaced, numel, signature };
    for &out in &kernel.outputs {
        if g.ty(out).numel() != numel {
            return None;
        }
        reader.computed(out)?;
        reader.signature.text += "-> ";
        reader.member(out);
    }
    Some(reader.signature)
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// The kernels in order, those of a [`Together`] side by side.
    pub order: Vec<usize>,
    pub together: Vec<Together>,
    pub packs: Vec<Members>,
}

/// Groups kernels alike; `before[k]` must precede kernel k, `order` is one that does so.
pub(super) fn find(
    g: &Graph,
    stored: &[bool],
    kernels: &[Kernel],
    in_place: &[(NodeId, NodeId)],
    before: &[Vec<usize>],
    order: Vec<usize>,
) -> Found {
    let mut replaced = BTreeMap::new();
    replaced.extend(in_place.iter().copied());
    let mut alike: BTreeMap<String, Vec<(usize, Members)>> = BTreeMap::new();
    for (k, kernel) in kernels.iter().enumerate() {
        if let Some(s) = signature(g, stored, &replaced, kernel) {
            alike.entry(s.text).or_default().push((k, s.members));
        }
    }
    let mut found = Found { order, ..Found::default() };
    let mut groups: Vec<Vec<usize>> = vec![];
    for all in alike.into_values() {
        for group in parts(g, all) {
            let members: Vec<usize> = group.iter().map(|(k, _)| *k).collect();
            let mut packs = found.packs.clone();
            let Some(of_group) = place(g, &mut packs, &group) else { continue };
            if group.len() < 2 || packs.iter().any(|p| reads_and_writes(g, &replaced, kernels, &groups, &members, p)) {
                continue;
            }
            let mut tried = groups.clone();
            tried.push(members);
            let Some(order) = contracted(before, &tried) else { continue };
            (groups, found.order, found.packs) = (tried, order, packs);
            let Some(first) = groups.last().and_then(|g| g.first()) else { continue };
            found.together.push(Together { kernels: *first..first + group.len(), packs: of_group });
        }
    }
    for t in &mut found.together {
        let at = found.order.iter().position(|k| *k == t.kernels.start).unwrap_or(0);
        t.kernels = at..at + t.kernels.len();
    }
    found
}

/// A group cut where a pack would be too large.
fn parts(g: &Graph, all: Vec<(usize, Members)>) -> Vec<Vec<(usize, Members)>> {
    let mut out: Vec<Vec<(usize, Members)>> = vec![];
    let mut room = 0;
    for (k, members) in all {
        let bytes = members.first().map_or(0, |m| step(g.ty(*m).bytes()));
        match out.last_mut() {
            Some(part) if bytes <= room => {
                room -= bytes;
                part.push((k, members));
            }
            _ => {
                room = PACK_BYTES.saturating_sub(bytes);
                out.push(vec![(k, members)]);
            }
        }
    }
    out
}

/// The packs of a group, added to `packs` where they are new. `None` if a tensor is needed at two places, or some
/// tensors of a pack outlive the step and some do not.
fn place(g: &Graph, packs: &mut Vec<Members>, group: &[(usize, Members)]) -> Option<Vec<usize>> {
    let roles = group.first()?.1.len();
    let mut out = vec![];
    for role in 0..roles {
        let list: Members = group.iter().map(|(_, m)| m[role]).collect();
        let known = packs.iter().position(|p| *p == list);
        let twice = list.iter().enumerate().any(|(k, n)| list[..k].contains(n));
        let leaves = list.iter().filter(|n| g.node(**n).leaf().is_some()).count();
        let taken = packs.iter().flatten().any(|n| list.contains(n));
        if known.is_none() && (twice || (1..list.len()).contains(&leaves) || taken) {
            return None;
        }
        out.push(known.unwrap_or_else(|| {
            packs.push(list);
            packs.len() - 1
        }));
    }
    Some(out)
}

/// Whether a kernel that stands alone would read one tensor of a pack and write another: a buffer cannot be both
/// in one dispatch.
fn reads_and_writes(
    g: &Graph,
    replaced: &BTreeMap<NodeId, NodeId>,
    kernels: &[Kernel],
    groups: &[Vec<usize>],
    group: &[usize],
    pack: &Members,
) -> bool {
    let place = |id: &NodeId| {
        let root = view_root(g, *id);
        let root = replaced.get(&root).copied().unwrap_or(root);
        pack.iter().position(|m| *m == root)
    };
    kernels.iter().enumerate().any(|(k, kernel)| {
        let grouped = group.contains(&k) || groups.iter().any(|g| g.contains(&k));
        let written: Vec<usize> = kernel.outputs.iter().filter_map(place).collect();
        !grouped
            && kernel.reads.iter().filter_map(place).any(|r| !written.is_empty() && !written.iter().all(|w| *w == r))
    })
}

/// An order in which the kernels of each group follow one another, if there is one.
fn contracted(before: &[Vec<usize>], groups: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut first: Vec<usize> = (0..before.len()).collect();
    for group in groups {
        group.iter().for_each(|k| first[*k] = group[0]);
    }
    let mut edges: Vec<Vec<usize>> = vec![vec![]; before.len()];
    for (k, needed) in before.iter().enumerate() {
        for &n in needed {
            if first[n] == first[k] {
                return None;
            }
            edges[first[k]].push(first[n]);
        }
    }
    let order = topological(&edges)?;
    let members = |k: usize| groups.iter().find(|g| g[0] == k).cloned().unwrap_or_else(|| vec![k]);
    Some(order.into_iter().filter(|k| first[*k] == *k).flat_map(members).collect())
}
