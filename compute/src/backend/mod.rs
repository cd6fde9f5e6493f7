//! What a session asks of a device. Three backends answer: `reference` (f64, the definition
//! itself), `cpu` (f32, SIMD, all cores) and `gpu` (wgpu).
//!
//! Leaves live on the device under their names and are shared by all programs of a session: a
//! training step and an evaluation read the same weights. A program is a plan made ready; running
//! it replays prebuilt work and allocates nothing.

mod cells;
pub mod cpu;
pub mod gpu;
mod host;
pub mod reference;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::graph::NodeId;
use crate::plan::{Plan, PlanError};
use crate::tensor::Tensor;

/// A program's number in its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// What runs the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `reference`, `cpu` or `gpu`.
    pub backend: &'static str,
    /// The adapter's or the processor's name.
    pub name: String,
    /// Driver, instruction sets, threads: whatever decides the bits of a result.
    pub detail: String,
    /// The largest buffer that a kernel may bind, if there is a limit.
    pub max_buffer_bytes: Option<usize>,
    /// See [`crate::rewrite::Fusion::cache_bytes`].
    pub cache_bytes: usize,
    /// See [`crate::rewrite::Fusion::half_bytes`].
    pub half_bytes: usize,
}

/// Bytes held on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub now_bytes: usize,
    pub peak_bytes: usize,
    /// Device objects (buffers, pipelines, bind groups ...) made so far; constant once warm.
    pub objects: u64,
}

/// What can go wrong on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    #[error("no usable device: {0}")]
    NoDevice(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("kernel {kernel} could not be built: {message}")]
    Kernel { kernel: String, message: String },
    #[error("the device was lost: {0}")]
    Lost(String),
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    #[error("{0} is not a tensor of this session")]
    Unknown(String),
    #[error("{name} is {expected}, got {got}")]
    Mismatch { name: String, expected: String, got: String },
    #[error("{kernel}: {message}")]
    Run { kernel: String, message: String },
}

impl BackendError {
    /// Whether the device is of no more use.
    pub fn ends_device(&self) -> bool {
        matches!(self, BackendError::Lost(_) | BackendError::OutOfMemory(_))
    }
}

/// The result of device work.
pub type BackendResult<T> = Result<T, BackendError>;

/// A future that need not cross threads: in the page there is one.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = BackendResult<T>> + 'a>>;

/// See the module's introduction.
pub trait Backend {
    fn info(&self) -> &DeviceInfo;
    /// Makes a plan ready: buffers, pipelines, scratch. A leaf seen for the first time is zero
    /// (constants have their value); one of another shape under a known name is an error.
    fn load(&mut self, plan: Arc<Plan>) -> BackendResult<ProgramId>;
    /// Frees a program; its leaves stay.
    fn unload(&mut self, program: ProgramId);
    /// Sets a leaf.
    fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()>;
    /// Sets an f32 leaf from f64, exactly where the backend holds f64.
    fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()>;
    /// Runs a step: kernels, then the new states.
    fn run(&mut self, program: ProgramId) -> BackendResult<()>;
    /// Runs a step as [`Backend::run`] does, but each kernel to its end before the next begins; `after` is
    /// told its label (the node that it makes; a kernel may be several dispatches of one label). For measuring
    /// kernels: the step as a whole takes longer than a run.
    fn run_each<'a>(&'a mut self, program: ProgramId, after: &'a mut (dyn FnMut(&str) + Send)) -> Reading<'a, ()>;
    /// Reads a stored node of a program as its last run left it; values of a step may be gone once another
    /// program has run, since they share memory.
    fn read(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Tensor>;
    /// [`Backend::read`] in f64: exact on the reference, converted elsewhere.
    fn read_f64(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Vec<f64>>;
    /// Reads a leaf by name.
    fn read_leaf(&mut self, leaf: &str) -> Reading<'_, Tensor>;
    fn memory(&self) -> Memory;
    /// The error that ended the device, if one did: whatever was on it is gone.
    fn fault(&self) -> Option<BackendError> {
        None
    }
    /// The GPU, where this is one: for what only it has, as [`gpu::tune`].
    fn gpu(&mut self) -> Option<&mut gpu::Gpu> {
        None
    }
    /// Fills what a program computes with NaN (leaves stay), so that a test sees an element that no
    /// kernel wrote.
    fn poison(&mut self, program: ProgramId) -> BackendResult<()>;
}
