//! Nodes of type f16: which of them round, and which the kernel of a product rounds as it stores its results.

use super::{Decisions, Uses};
use crate::graph::{Graph, NodeId};
use crate::ops::Lowering;
use crate::tensor::DType;

/// Whether a node makes halves of other numbers.
pub(super) fn rounds(g: &Graph, id: NodeId) -> bool {
    let node = g.node(id);
    node.ty.dtype == DType::F16 && node.inputs.iter().all(|i| g.ty(*i).dtype != DType::F16)
}

/// The product or convolution whose results `id` only rounds to f16, two to a word.
fn rounded_product(g: &Graph, id: NodeId) -> Option<NodeId> {
    let p = *g.node(id).inputs.first().filter(|_| g.node(id).inputs.len() == 1 && rounds(g, id))?;
    let row = match (g.node(p).op()?.lowering(), g.shape(p)) {
        (Lowering::Matmul(_), [.., n]) => *n,
        (Lowering::Conv2d(_) | Lowering::Conv2dBackwardX(_), [_, _, h, w]) => h * w,
        _ => return None,
    };
    row.is_multiple_of(2).then_some(p)
}

/// How the kernel of a stored node runs: as the product that it rounds, where that is not stored.
pub fn kernel_of(g: &Graph, stored: &[bool], id: NodeId) -> NodeId {
    rounded_product(g, id).filter(|p| !stored[p.index()]).unwrap_or(id)
}

/// Leaves rounding to the product, where nothing else reads its results: they are then never stored as f32.
pub(super) fn round_in_products(g: &Graph, must: &[bool], uses: &[Uses], d: &mut Decisions) {
    for id in g.ids().filter(|id| g.node(*id).op().is_some()) {
        if let (true, Some(p)) = (d.stored[id.index()], rounded_product(g, id)) {
            let alone = uses[p.index()].consumers == 1.0 && !must[p.index()];
            d.stored[p.index()] &= !alone;
        }
    }
}
