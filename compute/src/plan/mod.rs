//! The plan of a step: kernels in order, the buffers they use, bytes and FLOPs. Plain data, the
//! same for every backend, and printable: what is printed is what runs.
//!
//! Buffers of values that die within the step are shared by lifetime ([`buffers`]); a kernel's
//! inputs and outputs never share one, except a new state written over the old by a kernel that
//! reads only its own element of it ([`Kernel::in_place`]). The plan knows no backend.

mod buffers;
pub mod join;
pub mod pack;
pub mod print;
mod rows;
mod schedule;

use buffers::Assigned;
use pack::{Pack, Together};

use crate::cell::Cell;
use crate::cell::inline::{Source, substitute};
use crate::graph::{Graph, NodeId, TensorType};
use crate::ops::Lowering;
use crate::rewrite::{self, Decisions, Fusion};
use crate::sorting::sorted;

/// A buffer's number in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// A place for bytes on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Rounded up to whole words of 4.
    pub bytes: usize,
    /// The leaf it holds; `None` for values of the step. Leaves of one name are one buffer in
    /// all programs of a session.
    pub leaf: Option<NodeId>,
}

/// One dispatch (a backend may need more than one for split reductions).
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// The nodes it computes: several where kernels were joined (see [`join`]). The first decides
    /// the lowering.
    pub outputs: Vec<NodeId>,
    /// How it may be run fast.
    pub lowering: Lowering,
    /// The stored nodes it reads.
    pub reads: Vec<NodeId>,
    /// The nodes computed inside it.
    pub inlined: Vec<NodeId>,
    /// (output, state leaf) where an output takes over the buffer of a leaf.
    pub in_place: Vec<(NodeId, NodeId)>,
    pub flops: f64,
    /// Bytes read and written if each buffer is moved once.
    pub bytes: usize,
}

impl Kernel {
    /// The node that it is called by: of elementwise outputs the last, which the others lead to.
    pub fn main(&self) -> NodeId {
        match self.lowering {
            Lowering::Cells => self.outputs[self.outputs.len() - 1],
            _ => self.outputs[0],
        }
    }
}

/// See the module's introduction.
#[derive(Clone, Debug)]
pub struct Plan {
    pub graph: Graph,
    /// For each node its buffer; `None` where it is inlined.
    pub storage: Vec<Option<BufferId>>,
    pub buffers: Vec<Buffer>,
    /// Buffers that should lie one after another.
    pub packs: Vec<Pack>,
    pub kernels: Vec<Kernel>,
    /// Kernels that are one dispatch where their packs are laid out so.
    pub together: Vec<Together>,
    /// (from, to): new states that could not be written in place, copied when the step is over.
    pub copies: Vec<(BufferId, BufferId)>,
    /// Where the nodes of the graph given to [`Plan::new`] went; `None` for dead ones.
    pub map: Vec<Option<NodeId>>,
}

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "{name} {shape:?} needs a buffer of {bytes} bytes and the device allows {limit}; \
         it is too dear to recompute. Use a smaller batch or image"
    )]
    TooLarge { name: String, shape: Vec<usize>, bytes: usize, limit: usize },
}

impl Plan {
    /// Plans a graph. `hard_limit`: the largest buffer the device allows, if it has a limit.
    pub fn new(graph: &Graph, fusion: &Fusion, hard_limit: Option<usize>) -> Result<Plan, PlanError> {
        let (graph, map) = rewrite::simplify(graph, fusion.enabled);
        let mut decisions = rewrite::decide(&graph, fusion);
        let joined = if fusion.enabled { rows::find(&graph, &mut decisions.stored, fusion) } else { vec![] };
        if let Some(limit) = hard_limit {
            for id in graph.ids().filter(|id| decisions.stored[id.index()]) {
                let (node, bytes) = (graph.node(id), fusion.bytes(graph.ty(id)));
                if bytes > limit {
                    let (name, shape) = (node.name.clone(), node.ty.shape.clone());
                    return Err(PlanError::TooLarge { name, shape, bytes, limit });
                }
            }
        }
        let apart = rows::join(&graph, fusion, &decisions.stored, &joined, kernels(&graph, &decisions, fusion));
        let schedule = |kernels| schedule::schedule(&graph, &decisions.stored, kernels, fusion.enabled);
        let mut found = schedule(apart.clone());
        if fusion.enabled {
            let joined = schedule(join::elementwise(&graph, &decisions.stored, fusion, apart));
            // Where it costs a new state its place, the kernels stay apart.
            if joined.in_place.len() == found.in_place.len() {
                found = joined;
            }
        }
        let Assigned { buffers, storage, copies } = buffers::assign(&graph, fusion, &decisions.stored, &found);
        let packs = found.packs.iter().map(|p| p.iter().filter_map(|id| storage[id.index()]).collect()).collect();
        let (kernels, together) = (found.kernels, found.together);
        Ok(Plan { graph, storage, buffers, packs, kernels, together, copies, map })
    }

    /// Its buffers by size.
    pub fn largest_first(&self) -> impl Iterator<Item = usize> {
        let bytes = |k: &usize| self.buffers[*k].bytes;
        sorted((0..self.buffers.len()).collect(), |a, b| bytes(b).cmp(&bytes(a))).into_iter()
    }

    /// The node whose op a kernel's lowering is: its first output, or the product that this one rounds to f16.
    pub fn lowered(&self, kernel: &Kernel) -> NodeId {
        let out = kernel.outputs[0];
        let node = self.graph.node(out);
        match (node.op(), node.inputs.first()) {
            (Some(op), Some(&input)) if op.lowering() != kernel.lowering => input,
            _ => out,
        }
    }

    /// Whether a node has a buffer.
    pub fn stored(&self, id: NodeId) -> bool {
        self.storage[id.index()].is_some()
    }

    /// The node of this plan that a node of the original graph became.
    pub fn find(&self, original: NodeId) -> Option<NodeId> {
        self.map.get(original.index()).copied().flatten()
    }

    /// The node of an output.
    pub fn output(&self, name: &str) -> Option<NodeId> {
        self.graph.outputs.iter().find(|(n, _)| n == name).map(|(_, id)| *id)
    }

    /// A node's definition in terms of stored nodes: its own cell with every inlined producer
    /// put in place of the reads. `Load(i, ..)` reads the i-th node of the returned list.
    pub fn fused_cell(&self, id: NodeId) -> (Cell, Vec<NodeId>) {
        let mut sources = vec![];
        let mut fresh = 0;
        let cell = compose(&self.graph, &|n| self.stored(n), id, &mut sources, &mut fresh);
        (cell, sources)
    }

    /// The definitions of several nodes over one list of sources, as [`Plan::fused_cell`]; nodes `within` are put
    /// in too although they are stored.
    pub fn fused_cells(&self, ids: &[NodeId], within: &[NodeId]) -> (Vec<Cell>, Vec<NodeId>) {
        let (mut sources, mut fresh) = (vec![], 0);
        let stored = |n: NodeId| self.stored(n) && !within.contains(&n);
        let cells = ids.iter().map(|id| compose(&self.graph, &stored, *id, &mut sources, &mut fresh)).collect();
        (cells, sources)
    }

    /// Kernels, with those alike counted as one.
    pub fn dispatches(&self) -> usize {
        self.kernels.len() - self.together.iter().map(|t| t.kernels.len() - 1).sum::<usize>()
    }

    /// Bytes of all buffers: what a step needs on the device, leaves included.
    pub fn peak_bytes(&self) -> usize {
        self.buffers.iter().map(|b| b.bytes).sum()
    }

    pub fn flops(&self) -> f64 {
        self.kernels.iter().map(|k| k.flops).sum()
    }
}

/// The cell of one node with its inputs numbered in `sources`.
fn compose(g: &Graph, stored: &dyn Fn(NodeId) -> bool, id: NodeId, sources: &mut Vec<NodeId>, fresh: &mut u32) -> Cell {
    let node = g.node(id);
    let Some(op) = node.op() else { return Cell::Const(0.0) };
    let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
    let cell = op.cell(&types, &node.ty);
    let from: Vec<Source> = node
        .inputs
        .iter()
        .map(|&input| {
            if stored(input) {
                let at = sources.iter().position(|s| *s == input).unwrap_or_else(|| {
                    sources.push(input);
                    sources.len() - 1
                });
                Source::Input(at)
            } else {
                Source::Cell(compose(g, stored, input, sources, fresh).into())
            }
        })
        .collect();
    substitute(&cell, &from, fresh)
}

/// The kernels in node order, with companions joined.
fn kernels(g: &Graph, d: &Decisions, fusion: &Fusion) -> Vec<Kernel> {
    let mut out: Vec<Kernel> = vec![];
    for id in g.ids() {
        let Some(op) = g.node(id).op() else { continue };
        if !d.stored[id.index()] || op.lowering() == Lowering::View {
            continue;
        }
        let main = rewrite::kernel_of(g, &d.stored, id);
        let lowering = g.node(main).op().map_or(Lowering::Cells, |op| op.lowering());
        let reads = rewrite::reads(g, &d.stored, id);
        let inlined = rewrite::inlined_below(g, &d.stored, id);
        let own = rewrite::own_cost(g, main);
        let numel = g.ty(id).numel() as f64;
        // Fast kernels form each element of an inlined operand once; naive ones once a read.
        let flops = match lowering {
            Lowering::Cells | Lowering::Pool(_) => d.weight[id.index()] * numel,
            _ => {
                let operands = g.node(main).inputs.iter().filter(|i| !d.stored[i.index()]);
                let inner: f64 = operands.map(|i| d.weight[i.index()] * g.ty(*i).numel() as f64).sum();
                own.flops * numel + inner
            }
        };
        let bytes = reads.iter().chain([&id]).map(|n| fusion.bytes(g.ty(*n))).sum();
        out.push(Kernel { outputs: vec![id], lowering, reads, inlined, in_place: vec![], flops, bytes });
    }
    if fusion.enabled { join::bias_gradients(g, out) } else { out }
}
