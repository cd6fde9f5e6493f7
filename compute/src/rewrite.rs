//! Rewriting a graph before it is planned: equal nodes become one ([`sums`] makes more of them equal), dead
//! nodes go, and every node is either stored or inlined into the kernels that read it.
//!
//! **The rule.** A node is stored when it must be: it is an output or a new state, holds
//! integers, is compared for equality, or is read by an operand that takes stored values only.
//! What rounds to f16 is stored where that halves its bytes and it fits: its readers are to read less; a product
//! does it itself where nothing else reads its results ([`halves`]).
//! Otherwise a node is inlined when it is a constant, when recomputing it is cheaper than a trip through memory
//! (`reads x cost <= 4 (1 + consumers)`, in operations an element), or when its buffer would
//! exceed the limit and its cost stays within [`Fusion::max_terms`]: so a small convolution whose
//! result would be 411 MB is recomputed inside its consumers. Operands of products and convolutions
//! are inlined by choice only if elementwise. A pure function of the graph.

mod halves;
mod sums;

use std::collections::BTreeMap;

pub use halves::kernel_of;

use crate::cell::cost::{Cost, cost, is_elementwise};
use crate::graph::{Graph, Kind, Leaf, Node, NodeId, TensorType};
use crate::ops::Lowering;
use crate::ops::pool::Pool;
use crate::tensor::DType;

/// Choices of the rewrite.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// Off: every node is stored (views aside), the plainest plan there is.
    pub enabled: bool,
    /// A larger buffer is inlined if its cost allows.
    pub max_buffer_bytes: usize,
    /// The largest cost, in operations an element, that may be recomputed to save a buffer.
    pub max_terms: f64,
    /// The most buffers one kernel may read (WebGPU's default is 8 with its output).
    pub max_reads: usize,
    /// Up to this size an operand of a product that other kernels need too is stored: moving it through
    /// the cache costs less than computing it for each.
    pub cache_bytes: usize,
    /// Bytes that an f16 number takes on the device: 4 where it is held as f32.
    pub half_bytes: usize,
}

impl Default for Fusion {
    fn default() -> Fusion {
        Fusion {
            enabled: true,
            max_buffer_bytes: 128 << 20,
            max_terms: 512.0,
            max_reads: 7,
            cache_bytes: 0,
            half_bytes: DType::F16.size_bytes(),
        }
    }
}

impl Fusion {
    /// Everything stored.
    pub fn off() -> Fusion {
        Fusion { enabled: false, ..Fusion::default() }
    }

    /// Bytes of a tensor on the device.
    pub fn bytes(&self, ty: &TensorType) -> usize {
        if ty.dtype == DType::F16 { ty.numel() * self.half_bytes } else { ty.bytes() }
    }
}

/// A graph under way in which equal nodes are one.
struct Interned {
    graph: Graph,
    seen: BTreeMap<(String, Vec<NodeId>), NodeId>,
}

impl Interned {
    /// The node, or one that equals it.
    fn intern(&mut self, node: Node) -> NodeId {
        let Kind::Op(op) = &node.kind else { return self.graph.push_copy(node) };
        // Debug prints every attribute, so equal text is equal op.
        let key = (format!("{op:?}"), node.inputs.clone());
        *self.seen.entry(key).or_insert_with(|| self.graph.push_copy(node))
    }
}

/// The live part of a graph with equal nodes merged, and where each old node went. With `algebra` sums are
/// written so that more nodes are equal ([`sums`]).
pub fn simplify(g: &Graph, algebra: bool) -> (Graph, Vec<Option<NodeId>>) {
    if algebra {
        let (g, first) = copied(g, true);
        // What the new sums no longer need is dropped.
        let (out, second) = copied(&g, false);
        return (out, first.into_iter().map(|id| id.and_then(|id| second[id.index()])).collect());
    }
    copied(g, false)
}

fn copied(g: &Graph, algebra: bool) -> (Graph, Vec<Option<NodeId>>) {
    let live = g.live();
    let mut out = Interned { graph: Graph::new(), seen: BTreeMap::new() };
    let mut map: Vec<Option<NodeId>> = vec![None; g.nodes().len()];
    for id in g.ids().filter(|id| live[id.index()]) {
        let mut node = g.node(id).clone();
        node.inputs = node.inputs.iter().filter_map(|i| map[i.index()]).collect();
        let factored = if algebra { sums::factored(&mut out, &node) } else { None };
        map[id.index()] = Some(factored.unwrap_or_else(|| out.intern(node)));
    }
    let mut out = out.graph;
    let at = |id: &NodeId| map[id.index()];
    out.outputs = g.outputs.iter().filter_map(|(n, id)| Some((n.clone(), at(id)?))).collect();
    out.updates = g.updates.iter().filter_map(|(l, v)| Some((at(l)?, at(v)?))).collect();
    (out, map)
}

/// The node whose buffer a chain of views shares.
pub fn view_root(g: &Graph, mut id: NodeId) -> NodeId {
    while let Some(op) = g.node(id).op() {
        match (op.lowering(), g.node(id).inputs.first()) {
            (Lowering::View, Some(&input)) => id = input,
            _ => break,
        }
    }
    id
}

/// Which operands of a node may be computed inside its kernel.
fn may_inline(lowering: &Lowering, operand: usize) -> bool {
    match lowering {
        Lowering::Cells | Lowering::View | Lowering::Pool(_) => true,
        Lowering::Matmul(_) | Lowering::Conv2dBackwardW(_) => operand < 2,
        Lowering::Conv2d(_) | Lowering::Conv2dBackwardX(_) => operand == 0,
    }
}

/// The node's own cost an element, and reads of each input an element.
pub fn own_cost(g: &Graph, id: NodeId) -> Cost {
    let node = g.node(id);
    match node.op() {
        None => Cost::default(),
        Some(op) => {
            let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
            cost(&op.cell(&types, &node.ty), types.len())
        }
    }
}

/// What a constant may cost an element and still be computed wherever it is read.
const LITTLE: f64 = 8.0;

/// The decisions: for each node whether it has a buffer (views share their root's), and what an
/// element costs with everything that is inlined into it.
#[derive(Clone, Debug)]
pub struct Decisions {
    pub stored: Vec<bool>,
    pub weight: Vec<f64>,
}

/// Decides for a simplified graph.
pub fn decide(g: &Graph, fusion: &Fusion) -> Decisions {
    let n = g.nodes().len();
    let own: Vec<Cost> = g.ids().map(|id| own_cost(g, id)).collect();
    let mut must = must_store(g);
    if !fusion.enabled {
        must.iter_mut().for_each(|m| *m = true);
    }
    let uses = uses(g);
    let mut d = Decisions { stored: vec![false; n], weight: vec![0.0; n] };
    let mut constant = vec![false; n];
    for id in g.ids() {
        let k = id.index();
        if g.node(id).leaf().is_some() {
            d.stored[k] = true;
            continue;
        }
        let root = view_root(g, id);
        if root != id {
            d.stored[k] = d.stored[root.index()];
            d.weight[k] = d.weight[root.index()];
            constant[k] = constant[root.index()];
            continue;
        }
        let inlined: f64 = g
            .node(id)
            .inputs
            .iter()
            .zip(&own[k].loads)
            .filter(|(i, _)| !d.stored[i.index()])
            .map(|(i, loads)| loads * d.weight[i.index()])
            .sum();
        d.weight[k] = own[k].weight() + inlined;
        // Follows from constants alone: nothing is moved where it is computed.
        constant[k] = !own[k].reduces && g.node(id).inputs.iter().all(|i| constant[i.index()]);
        let bytes = fusion.bytes(g.ty(id));
        let too_large = bytes > fusion.max_buffer_bytes;
        let rounds = fusion.half_bytes < 4 && halves::rounds(g, id);
        let little = uses[k].reads * d.weight[k] <= 4.0 * (1.0 + uses[k].consumers);
        let cheap = !own[k].reduces && !rounds && (little || (constant[k] && d.weight[k] <= LITTLE));
        let rescued = too_large && d.weight[k] <= fusion.max_terms;
        let shared = uses[k].products && uses[k].consumers > 1.0 && bytes <= fusion.cache_bytes;
        d.stored[k] = must[k] || shared || !(cheap || rescued);
    }
    keep_products_fast(g, fusion, &mut d);
    if fusion.enabled && fusion.half_bytes < 4 {
        halves::round_in_products(g, &must, &uses, &mut d);
    }
    limit_reads(g, fusion, &mut d);
    d
}

/// Stores what products and convolutions would have to gather from elsewhere: their tiles are
/// filled fast from elementwise chains, views, small products and convolutions, and from nothing
/// else. What is too large to be stored stays.
fn keep_products_fast(g: &Graph, fusion: &Fusion, d: &mut Decisions) {
    for id in g.ids() {
        let Some(op) = g.node(id).op() else { continue };
        if !d.stored[id.index()] || matches!(op.lowering(), Lowering::Cells | Lowering::View | Lowering::Pool(_)) {
            continue;
        }
        for inner in inlined_below(g, &d.stored, id) {
            let node = g.node(inner);
            let Some(op) = node.op() else { continue };
            let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
            let from_cells = matches!(op.lowering(), Lowering::Cells | Lowering::Pool(_));
            let gathers = from_cells && !is_elementwise(&op.cell(&types, &node.ty));
            if gathers && fusion.bytes(&node.ty) <= fusion.max_buffer_bytes {
                store(g, d, inner);
            }
        }
    }
}

/// Stores a node and the views of it.
fn store(g: &Graph, d: &mut Decisions, id: NodeId) {
    d.stored[id.index()] = true;
    for view in g.ids() {
        d.stored[view.index()] |= view_root(g, view) == id;
    }
}

/// Nodes that need a buffer whatever the cost.
fn must_store(g: &Graph) -> Vec<bool> {
    let mut must = vec![false; g.nodes().len()];
    let mut mark = |id: NodeId| must[view_root(g, id).index()] = true;
    for (_, id) in &g.outputs {
        mark(*id);
    }
    for (leaf, value) in &g.updates {
        mark(*leaf);
        mark(*value);
    }
    for id in g.ids() {
        let node = g.node(id);
        if !node.ty.dtype.is_float() {
            mark(id);
        }
        let Some(op) = node.op() else { continue };
        let (lowering, stored) = (op.lowering(), op.stored_operands());
        // Sent back window by window; as a part of another kernel each pixel would look for its windows.
        if matches!(lowering, Lowering::Pool(Pool::Backward(_))) {
            mark(id);
        }
        for (k, &input) in node.inputs.iter().enumerate() {
            if stored.contains(&k) || !may_inline(&lowering, k) {
                mark(input);
            }
        }
    }
    must
}

#[derive(Clone, Debug, Default)]
struct Uses {
    consumers: f64,
    /// How often each element would be computed if it were inlined everywhere.
    reads: f64,
    /// Whether a product or a convolution reads it.
    products: bool,
}

fn uses(g: &Graph) -> Vec<Uses> {
    let mut uses = vec![Uses::default(); g.nodes().len()];
    for id in g.ids() {
        let node = g.node(id);
        let Some(op) = node.op() else { continue };
        if op.lowering() == Lowering::View {
            continue;
        }
        let own = own_cost(g, id);
        for (k, &input) in node.inputs.iter().enumerate() {
            let u = &mut uses[view_root(g, input).index()];
            u.consumers += 1.0;
            u.products |= !matches!(op.lowering(), Lowering::Cells | Lowering::Pool(_));
            u.reads += match op.lowering() {
                // A product's tile is filled once for 64 columns (or rows) of results.
                Lowering::Matmul(_) => {
                    let shape = &node.ty.shape;
                    let across = if k == 0 { shape[shape.len() - 1] } else { shape[shape.len() - 2] };
                    (across as f64 / 64.0).max(1.0)
                }
                Lowering::Conv2dBackwardW(_) if k == 1 => 1.0,
                _ => {
                    own.loads.get(k).copied().unwrap_or(0.0) * node.ty.numel() as f64
                        / g.ty(input).numel().max(1) as f64
                }
            };
        }
    }
    uses
}

/// The stored nodes (and leaves) that a node's kernel reads, in order of first use.
pub fn reads(g: &Graph, stored: &[bool], id: NodeId) -> Vec<NodeId> {
    fn walk(g: &Graph, stored: &[bool], id: NodeId, out: &mut Vec<NodeId>) {
        for &input in &g.node(id).inputs {
            if stored[input.index()] {
                if !out.contains(&input) {
                    out.push(input);
                }
            } else {
                walk(g, stored, input, out);
            }
        }
    }
    let mut out = vec![];
    walk(g, stored, id, &mut out);
    out
}

/// Stores inlined inputs of kernels that would read too many buffers, the widest reader first.
fn limit_reads(g: &Graph, fusion: &Fusion, d: &mut Decisions) {
    for id in g.ids() {
        while d.stored[id.index()] && reads(g, &d.stored, id).len() > fusion.max_reads {
            let widest = inlined_below(g, &d.stored, id)
                .into_iter()
                .filter(|n| view_root(g, *n) == *n && fusion.bytes(g.ty(*n)) <= fusion.max_buffer_bytes)
                .map(|n| (reads(g, &d.stored, n).len(), n))
                .filter(|(count, _)| (2..=fusion.max_reads).contains(count))
                .max()
                .map(|(_, n)| n);
            let Some(widest) = widest else { break };
            store(g, d, widest);
        }
    }
}

/// All nodes computed inside the kernel of `id`.
pub fn inlined_below(g: &Graph, stored: &[bool], id: NodeId) -> Vec<NodeId> {
    let mut out: Vec<NodeId> = vec![];
    let mut todo: Vec<NodeId> = g.node(id).inputs.clone();
    while let Some(n) = todo.pop() {
        if !stored[n.index()] && !out.contains(&n) {
            out.push(n);
            todo.extend(&g.node(n).inputs);
        }
    }
    out.sort_unstable();
    out
}

/// Whether a leaf is a constant of the graph.
pub fn is_constant(g: &Graph, id: NodeId) -> bool {
    matches!(g.node(id).leaf(), Some(Leaf::Constant(_)))
}
