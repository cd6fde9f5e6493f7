//! Reverse-mode differentiation, graph to graph: the gradients are ordinary nodes of the same
//! graph, so they are planned, fused, run and explained like any other.
//!
//! For each node in reverse order, the gradients of all its uses are summed, then its op's `vjp`
//! adds the nodes of its inputs' gradients. A pure function of the graph.

use crate::graph::{Graph, NodeId};
use crate::ops::elementwise::Binary;
use crate::ops::{OpError, OpResult};
use crate::tensor::numel;

/// The gradients of the scalar `loss` with respect to each of `wrt` (zeros where it does not
/// depend on it), named `d <name>`.
pub fn grad(g: &mut Graph, loss: NodeId, wrt: &[NodeId]) -> OpResult<Vec<NodeId>> {
    if numel(g.shape(loss)) != 1 {
        return Err(OpError::shape("grad", format!("the loss must be one number, got {:?}", g.shape(loss))));
    }
    let shape = g.shape(loss).to_vec();
    let seed = g.full(1.0)?;
    let seed = g.broadcast_to(seed, &shape)?;
    vjp(g, loss, seed, wrt)
}

/// The gradients of `sum(y * dy)` with respect to each of `wrt`.
pub fn vjp(g: &mut Graph, y: NodeId, dy: NodeId, wrt: &[NodeId]) -> OpResult<Vec<NodeId>> {
    let count = y.index() + 1;
    // Only nodes between `wrt` and `y` need gradients.
    let mut depends = vec![false; count];
    for w in wrt.iter().filter(|w| w.index() < count) {
        depends[w.index()] = true;
    }
    for id in g.ids().take(count) {
        if g.node(id).inputs.iter().any(|i| depends[i.index()]) {
            depends[id.index()] = true;
        }
    }
    let mut grads: Vec<Option<NodeId>> = vec![None; count];
    if depends[y.index()] {
        grads[y.index()] = Some(dy);
    }
    for id in (0..count as u32).rev().map(NodeId) {
        let Some(d) = grads[id.index()] else { continue };
        let node = g.node(id);
        let Some(op) = node.op().cloned() else { continue };
        let (inputs, name) = (node.inputs.clone(), node.name.clone());
        if wrt.contains(&id) || inputs.len() == 1 {
            g.rename(d, format!("d {name}"));
        }
        let wanted: Vec<bool> = inputs.iter().map(|i| depends[i.index()]).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let into = op.vjp(g, id, d, &wanted)?;
        for ((&input, grad), want) in inputs.iter().zip(into).zip(wanted) {
            let Some(grad) = grad.filter(|_| want) else { continue };
            grads[input.index()] = Some(match grads[input.index()] {
                None => grad,
                Some(sum) => g.binary(Binary::Add, sum, grad)?,
            });
        }
    }
    wrt.iter()
        .map(|w| match grads.get(w.index()).copied().flatten() {
            Some(d) => {
                g.rename(d, format!("d {}", g.node(*w).name));
                Ok(d)
            }
            None => {
                let zero = g.full(0.0)?;
                let shape = g.shape(*w).to_vec();
                g.broadcast_to(zero, &shape)
            }
        })
        .collect()
}
