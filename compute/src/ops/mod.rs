//! The op pages. One file per family; each op states its definition, its gradient, the shape of
//! its result, how it may be run fast, and samples that the tests run on every backend.
//!
//! The trait has no default methods: the compiler is the checklist of a new op. Ops know the
//! graph and the cell language and nothing of backends, files or clocks.

pub mod augment;
pub mod avg_pool;
pub mod conv2d;
pub mod elementwise;
pub mod gather;
pub mod index;
pub mod loss;
pub mod matmul;
pub mod optimizer;
pub mod pool;
pub mod random;
pub mod record;
pub mod reduce;
pub mod resize;
pub mod scaling;
pub mod shape;
pub mod softmax;

use std::fmt::Debug;
use std::sync::Arc;

use crate::cell::Cell;
use crate::graph::{Graph, NodeId, TensorType};

/// Why an op cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    #[error("{op}: {message}")]
    Shape { op: String, message: String },
    #[error("{op} takes {expected} inputs, got {got}")]
    Arity { op: String, expected: String, got: usize },
    #[error("{op} has no gradient with respect to {input}")]
    NoGradient { op: String, input: String },
}

impl OpError {
    pub fn shape(op: &str, message: impl Into<String>) -> OpError {
        OpError::Shape { op: op.into(), message: message.into() }
    }
}

/// The result of building with ops.
pub type OpResult<T> = Result<T, OpError>;

/// How a backend may run an op faster than its naive kernel. Attributes are copied here so that
/// backends match on data and never on op types.
#[derive(Clone, Debug, PartialEq)]
pub enum Lowering {
    /// The kernel generated from the cell.
    Cells,
    /// The same bytes under another shape: no kernel at all.
    View,
    Matmul(matmul::Matmul),
    Conv2d(conv2d::Conv2d),
    Conv2dBackwardX(conv2d::Conv2dBackwardX),
    Conv2dBackwardW(conv2d::Conv2dBackwardW),
    Pool(pool::Pool),
}

/// One op: see the module's introduction.
pub trait Op: Debug + Send + Sync {
    /// The op's name, as it labels nodes, kernels and errors: `conv2d.backward_w`.
    fn name(&self) -> &'static str;
    /// What its inputs are called in the formula.
    fn operands(&self) -> Vec<&'static str>;
    /// What the axes of its output are called in the formula; missing ones are numbered.
    fn axes(&self) -> Vec<&'static str>;
    /// The type of the result, or what is wrong with the inputs.
    fn infer(&self, inputs: &[&TensorType]) -> OpResult<TensorType>;
    /// THE definition: one element of the output. Only called on inputs that `infer` accepts.
    fn cell(&self, inputs: &[&TensorType], output: &TensorType) -> Cell;
    /// Adds the nodes of each input's gradient, given `dy`, the gradient of the output. `None`
    /// for inputs that are not differentiable (indices) or not wanted.
    fn vjp(&self, g: &mut Graph, node: NodeId, dy: NodeId, wanted: &[bool]) -> OpResult<Vec<Option<NodeId>>>;
    fn lowering(&self) -> Lowering;
    /// Inputs that must be stored values, never recomputed inside this op: those it compares for
    /// equality.
    fn stored_operands(&self) -> Vec<usize>;
}

/// How closely a fast kernel must agree with the reference (ENGINE: numerics policy).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The same bits.
    Exact,
    /// rtol 1e-6.
    Rounded,
    /// rtol 1e-5, atol 1e-6.
    Transcendental,
    /// `4 sqrt(n) eps sum|terms|`, n the longest chain of additions, at most 1,024.
    Reduction(usize),
}

/// What the tests put into an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// Uniform numbers in a range, kept away from kinks by `0.05`.
    Uniform(f64, f64),
    /// Distinct multiples of a step in shuffled order: no ties, no kinks, for max-like ops.
    Distinct,
    /// Uniform integers below a bound (for u32 and u8 inputs).
    Below(u32),
    /// Given values.
    Values(Vec<f64>),
}

/// One use of an op for the tests.
#[derive(Clone, Debug)]
pub struct Sample {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<(TensorType, Fill)>,
    pub tolerance: Tolerance,
    /// Whether central differences of the f64 reference must equal the vjp.
    pub differentiable: bool,
}

impl Sample {
    pub fn new(op: impl Op + 'static, inputs: Vec<(TensorType, Fill)>, tolerance: Tolerance) -> Sample {
        Sample { op: Arc::new(op), inputs, tolerance, differentiable: true }
    }

    /// The same, without a gradient check.
    pub fn no_gradient(mut self) -> Sample {
        self.differentiable = false;
        self
    }
}

/// A page of the table of ops.
pub struct Page {
    /// The family's name: `conv2d`.
    pub name: &'static str,
    /// Samples of every op of the page: from single elements to past tiles and primes.
    pub samples: fn() -> Vec<Sample>,
}

/// The table of ops: one row a page.
pub const PAGES: &[Page] = &[
    elementwise::PAGE,
    reduce::PAGE,
    matmul::PAGE,
    conv2d::PAGE,
    shape::PAGE,
    index::PAGE,
    gather::PAGE,
    softmax::PAGE,
    pool::PAGE,
    avg_pool::PAGE,
    random::PAGE,
    record::PAGE,
    resize::PAGE,
    scaling::PAGE,
    augment::PAGE,
    loss::PAGE,
    optimizer::PAGE,
];

/// Checks the number of inputs.
pub fn expect_inputs(op: &str, inputs: &[&TensorType], n: std::ops::RangeInclusive<usize>) -> OpResult<()> {
    if n.contains(&inputs.len()) {
        return Ok(());
    }
    let expected = if n.start() == n.end() { n.start().to_string() } else { format!("{} to {}", n.start(), n.end()) };
    Err(OpError::Arity { op: op.into(), expected, got: inputs.len() })
}
