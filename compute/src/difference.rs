//! The numerical check of a gradient: what the loss does when one number is moved a little,
//!
//! ```text
//! slope = (L(v + e) - L(v - e)) / 2e
//! ```
//!
//! Its error is about a sixth of e^2 times the third derivative (truncation) plus `eps L / e`
//! (rounding): in f64, on the reference, an e of 1e-5 leaves about ten digits; in f32 hardly any,
//! which is worth seeing.

use crate::backend::{BackendError, BackendResult};
use crate::graph::{Graph, NodeId};
use crate::session::Session;
use crate::tensor::{Tensor, strides};

/// The two losses and their difference quotient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    pub above: f64,
    pub below: f64,
    pub slope: f64,
}

/// What the moved tensor is called where it is not a leaf.
const MOVED: &str = "moved";

/// The central difference of `loss` with respect to element `index` of `node`, leaf or not, for
/// the given values of the leaves, in the arithmetic of `session`'s backend (a session of its own:
/// leaves are written). Errors: an index outside the tensor, or the backend's.
pub async fn central_difference(
    session: &mut Session,
    g: &Graph,
    loss: NodeId,
    node: NodeId,
    index: &[usize],
    e: f64,
    leaves: &[(String, Tensor)],
) -> BackendResult<Difference> {
    let shape = g.shape(node);
    if index.len() != shape.len() || index.iter().zip(shape).any(|(i, d)| i >= d) {
        return Err(BackendError::Unknown(format!("element {index:?} of {} {shape:?}", g.node(node).name)));
    }
    let at: usize = index.iter().zip(strides(shape)).map(|(i, s)| i * s).sum();
    let mut whole = g.clone();
    whole.updates.clear();
    whole.outputs = vec![("loss".into(), loss), ("node".into(), node)];
    let first = session.load(&whole)?;
    let live = whole.live();
    for (name, value) in leaves {
        if whole.find(name).is_some_and(|id| live[id.index()]) {
            session.write(name, value)?;
        }
    }
    session.run(first)?;
    let mut values = session.output_f64(first, "node").await?;
    let (program, name) = if g.node(node).op().is_none() {
        (first, g.node(node).name.clone())
    } else {
        let mut cut = whole.cut(node, MOVED);
        cut.outputs = vec![("loss".into(), loss)];
        (session.load(&cut)?, MOVED.to_string())
    };
    let middle = values[at];
    let mut losses = [0.0; 2];
    for (sign, out) in [1.0, -1.0].into_iter().zip(&mut losses) {
        values[at] = middle + sign * e;
        session.write_f64(&name, &values)?;
        session.run(program)?;
        *out = session.output_f64(program, "loss").await?.first().copied().unwrap_or(f64::NAN);
    }
    let [above, below] = losses;
    Ok(Difference { above, below, slope: (above - below) / (2.0 * e) })
}
