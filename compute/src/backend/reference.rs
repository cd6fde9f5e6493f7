//! The reference backend: every kernel is its definition, in f64, and states stay f64 from step
//! to step. Slow and plain; all other backends are compared with it.

use super::cells;
use super::host::{Host, Number, Place, Step};
use super::{Backend, BackendResult, DeviceInfo, Memory, ProgramId, Reading};
use crate::graph::NodeId;
use crate::plan::{Kernel, Plan};
use crate::tensor::Tensor;
use std::sync::Arc;

impl Number for f64 {
    fn kernel(
        plan: &Plan,
        kernel: &Kernel,
        place: &dyn Fn(NodeId) -> Option<Place>,
    ) -> Result<Vec<Box<dyn Step<f64>>>, String> {
        cells::apart(plan, kernel, place)
    }
}

/// See the module's introduction.
pub struct Reference(Host<f64>);

impl Default for Reference {
    fn default() -> Reference {
        Reference::new()
    }
}

impl Reference {
    pub fn new() -> Reference {
        Reference(Host::new(DeviceInfo {
            backend: "reference",
            name: "f64 interpreter".into(),
            detail: "the definitions themselves".into(),
            max_buffer_bytes: None,
            cache_bytes: 0,
            half_bytes: 4,
        }))
    }
}

/// Passes every call on to the shared part.
macro_rules! delegate {
    ($t:ty) => {
        impl Backend for $t {
            fn info(&self) -> &DeviceInfo {
                self.0.info()
            }
            fn load(&mut self, plan: Arc<Plan>) -> BackendResult<ProgramId> {
                self.0.load(plan)
            }
            fn unload(&mut self, program: ProgramId) {
                self.0.unload(program);
            }
            fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()> {
                self.0.write(leaf, value)
            }
            fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()> {
                self.0.write_f64(leaf, values)
            }
            fn run(&mut self, program: ProgramId) -> BackendResult<()> {
                self.0.run(program)
            }
            fn run_each<'a>(
                &'a mut self,
                program: ProgramId,
                after: &'a mut (dyn FnMut(&str) + Send),
            ) -> Reading<'a, ()> {
                self.0.run_each(program, after)
            }
            fn read(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Tensor> {
                self.0.read(program, node)
            }
            fn read_f64(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Vec<f64>> {
                self.0.read_f64(program, node)
            }
            fn read_leaf(&mut self, leaf: &str) -> Reading<'_, Tensor> {
                self.0.read_leaf(leaf)
            }
            fn memory(&self) -> Memory {
                self.0.memory()
            }
            fn poison(&mut self, program: ProgramId) -> BackendResult<()> {
                self.0.poison(program)
            }
        }
    };
}
pub(super) use delegate;
delegate!(Reference);
