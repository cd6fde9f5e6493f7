//! The graph: nodes in the order of their making, each a leaf or an op applied to earlier nodes.
//!
//! Everything a step does is a node of one graph: the forward pass, the gradients (`autodiff`
//! adds them), the optimiser's new values (`optim` adds them). A state leaf gets its new value
//! through [`Graph::update`]. The graph knows no backend and never computes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ops::{Op, OpError};
use crate::tensor::Tensor;
pub use crate::tensor::TensorType;

/// A node's number in its graph. Inputs always have smaller numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a leaf is, for the reader and for the session.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// Trained; kept across steps under its name.
    Param,
    /// Kept across steps, not trained: optimiser moments, running statistics, metrics.
    State,
    /// Written before each step: images, labels, learning rate.
    Feed,
    /// A constant of the graph.
    Constant(Tensor),
}

/// How a node comes by its value.
#[derive(Clone, Debug)]
pub enum Kind {
    Leaf(Leaf),
    Op(Arc<dyn Op>),
}

/// One tensor of a step.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub inputs: Vec<NodeId>,
    pub ty: TensorType,
    /// For leaves the name of the stored tensor; for ops what a reader would call the value.
    pub name: String,
}

impl Node {
    pub fn op(&self) -> Option<&Arc<dyn Op>> {
        match &self.kind {
            Kind::Op(op) => Some(op),
            Kind::Leaf(_) => None,
        }
    }

    pub fn leaf(&self) -> Option<&Leaf> {
        match &self.kind {
            Kind::Leaf(leaf) => Some(leaf),
            Kind::Op(_) => None,
        }
    }
}

/// See the module's introduction.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    leaves: BTreeMap<String, NodeId>,
    /// Values a caller reads after the step.
    pub outputs: Vec<(String, NodeId)>,
    /// (leaf, new value), applied when the step is over.
    pub updates: Vec<(NodeId, NodeId)>,
    /// Prefix for the names of new nodes, set by layers.
    scope: String,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.nodes[id.index()].ty
    }

    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.nodes[id.index()].ty.shape
    }

    /// The leaf of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.leaves.get(name).copied()
    }

    /// Leaves of one kind in the order of their making.
    pub fn leaves(&self, want: impl Fn(&Leaf) -> bool) -> Vec<NodeId> {
        self.ids().filter(|id| self.node(*id).leaf().is_some_and(&want)).collect()
    }

    pub fn params(&self) -> Vec<NodeId> {
        self.leaves(|l| *l == Leaf::Param)
    }

    /// Names made until the next call start with `scope` and a dot (none for "").
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = if scope.is_empty() { String::new() } else { format!("{scope}.") };
    }

    fn leaf(&mut self, name: &str, ty: TensorType, leaf: Leaf) -> NodeId {
        if let Some(id) = self.find(name) {
            let known = self.node(id);
            assert!(
                known.ty == ty && known.leaf() == Some(&leaf),
                "two leaves named {name} differ: {} and {ty}",
                known.ty
            );
            return id;
        }
        let id = self.push(Node { kind: Kind::Leaf(leaf), inputs: vec![], ty, name: name.into() });
        self.leaves.insert(name.into(), id);
        id
    }

    /// A trained tensor. Asking twice for one name gives one leaf.
    pub fn param(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> NodeId {
        self.leaf(name, TensorType::f32(shape), Leaf::Param)
    }

    /// An untrained f32 tensor kept across steps.
    pub fn state(&mut self, name: &str, shape: impl Into<Vec<usize>>) -> NodeId {
        self.leaf(name, TensorType::f32(shape), Leaf::State)
    }

    /// A tensor written before each step.
    pub fn feed(&mut self, name: &str, ty: TensorType) -> NodeId {
        self.leaf(name, ty, Leaf::Feed)
    }

    /// A constant tensor.
    pub fn constant(&mut self, name: &str, value: Tensor) -> NodeId {
        let ty = TensorType { shape: value.shape().to_vec(), dtype: value.dtype() };
        self.leaf(name, ty, Leaf::Constant(value))
    }

    /// Adds an op; its shape follows from its inputs. Errors: the op's own complaint about them.
    pub fn add(&mut self, op: impl Op + 'static, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        self.add_arc(Arc::new(op), inputs)
    }

    /// [`Graph::add`] for an op already shared.
    pub fn add_arc(&mut self, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId, OpError> {
        let types: Vec<&TensorType> = inputs.iter().map(|i| self.ty(*i)).collect();
        let ty = op.infer(&types)?;
        let name = format!("{}{}", self.scope, op.name());
        Ok(self.push(Node { kind: Kind::Op(op), inputs: inputs.to_vec(), ty, name }))
    }

    /// Gives a node the name a reader will see.
    pub fn rename(&mut self, id: NodeId, name: impl Into<String>) {
        if self.node(id).op().is_some() {
            self.nodes[id.index()].name = name.into();
        }
    }

    /// The value that `leaf` takes when the step is over.
    pub fn update(&mut self, leaf: NodeId, value: NodeId) {
        debug_assert_eq!(self.ty(leaf), self.ty(value), "{}", self.node(leaf).name);
        self.updates.push((leaf, value));
    }

    /// A value to read after the step.
    pub fn output(&mut self, name: impl Into<String>, id: NodeId) {
        self.outputs.push((name.into(), id));
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        self.nodes.push(node);
        id
    }

    /// Adds a node as it stands: for `rewrite`, which copies graphs.
    pub(crate) fn push_copy(&mut self, node: Node) -> NodeId {
        let name = node.kind_is_leaf().then(|| node.name.clone());
        let id = self.push(node);
        if let Some(name) = name {
            self.leaves.insert(name, id);
        }
        id
    }

    /// The graph with a feed of this name in the place of `node`: what follows from another value of
    /// it. Numbers of nodes stay.
    pub fn cut(&self, node: NodeId, name: &str) -> Graph {
        let mut out = Graph { outputs: self.outputs.clone(), updates: self.updates.clone(), ..Graph::default() };
        for id in self.ids() {
            let mut copy = self.node(id).clone();
            if id == node {
                copy = Node { kind: Kind::Leaf(Leaf::Feed), inputs: vec![], ty: copy.ty, name: name.into() };
            }
            out.push_copy(copy);
        }
        out
    }

    /// The nodes that outputs and updates need.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for (_, id) in &self.outputs {
            live[id.index()] = true;
        }
        for (leaf, value) in &self.updates {
            live[leaf.index()] = true;
            live[value.index()] = true;
        }
        for id in self.ids().rev() {
            if live[id.index()] {
                for input in &self.node(id).inputs {
                    live[input.index()] = true;
                }
            }
        }
        live
    }
}

impl Node {
    fn kind_is_leaf(&self) -> bool {
        matches!(self.kind, Kind::Leaf(_))
    }
}
