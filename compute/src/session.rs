//! A session: one backend, the programs loaded into it, and the leaves they share.
//!
//! A step is `write` (feeds), `run`, and now and then `output`. [`Session::inspect`] answers
//! questions about any tensor of a step, inlined ones too: it runs the step without its updates
//! and with everything asked for stored, so it sees what the next `run` will compute.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::gpu::Gpu;
use crate::backend::{Backend, BackendError, BackendResult, DeviceInfo, Memory, ProgramId};
use crate::graph::{Graph, NodeId};
use crate::plan::Plan;
use crate::rewrite::Fusion;
use crate::tensor::Tensor;

/// See the module's introduction.
pub struct Session {
    backend: Box<dyn Backend>,
    programs: BTreeMap<ProgramId, Arc<Plan>>,
    fusion: Fusion,
}

impl Session {
    pub fn new(backend: Box<dyn Backend>, fusion: Fusion) -> Session {
        Session { backend, programs: BTreeMap::new(), fusion }
    }

    pub fn info(&self) -> &DeviceInfo {
        self.backend.info()
    }

    pub fn memory(&self) -> Memory {
        self.backend.memory()
    }

    /// See [`Backend::fault`].
    pub fn fault(&self) -> Option<BackendError> {
        self.backend.fault()
    }

    /// See [`Backend::gpu`].
    pub fn gpu(&mut self) -> Option<&mut Gpu> {
        self.backend.gpu()
    }

    /// Plans a graph for this device.
    pub fn plan(&self, graph: &Graph) -> BackendResult<Plan> {
        let info = self.backend.info();
        let (cache_bytes, half_bytes) = (info.cache_bytes, info.half_bytes);
        let fusion = Fusion { cache_bytes, half_bytes, ..self.fusion.clone() };
        Ok(Plan::new(graph, &fusion, info.max_buffer_bytes)?)
    }

    /// Plans a graph and makes it ready to run.
    pub fn load(&mut self, graph: &Graph) -> BackendResult<ProgramId> {
        let plan = Arc::new(self.plan(graph)?);
        let id = self.backend.load(plan.clone())?;
        self.programs.insert(id, plan);
        Ok(id)
    }

    pub fn unload(&mut self, program: ProgramId) {
        if self.programs.remove(&program).is_some() {
            self.backend.unload(program);
        }
    }

    /// The plan of a loaded program.
    pub fn program(&self, program: ProgramId) -> Option<&Arc<Plan>> {
        self.programs.get(&program)
    }

    /// Sets a leaf: a feed, a parameter, a state.
    pub fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()> {
        self.backend.write(leaf, value)
    }

    /// Sets an f32 leaf from f64.
    pub fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()> {
        self.backend.write_f64(leaf, values)
    }

    /// Runs one step.
    pub fn run(&mut self, program: ProgramId) -> BackendResult<()> {
        self.backend.run(program)
    }

    /// Runs one step kernel by kernel: see [`Backend::run_each`].
    pub async fn run_each(&mut self, program: ProgramId, after: &mut (dyn FnMut(&str) + Send)) -> BackendResult<()> {
        self.backend.run_each(program, after).await
    }

    fn output_node(&self, program: ProgramId, name: &str) -> BackendResult<NodeId> {
        let unknown = || BackendError::Unknown(format!("output {name}"));
        self.programs.get(&program).and_then(|p| p.output(name)).ok_or_else(unknown)
    }

    /// An output as the last run left it.
    pub async fn output(&mut self, program: ProgramId, name: &str) -> BackendResult<Tensor> {
        let node = self.output_node(program, name)?;
        self.backend.read(program, node).await
    }

    /// [`Session::output`] in f64.
    pub async fn output_f64(&mut self, program: ProgramId, name: &str) -> BackendResult<Vec<f64>> {
        let node = self.output_node(program, name)?;
        self.backend.read_f64(program, node).await
    }

    /// A leaf's value.
    pub async fn leaf(&mut self, name: &str) -> BackendResult<Tensor> {
        self.backend.read_leaf(name).await
    }

    /// The values, in f64, that the given nodes of `graph` take for the present leaves. Nothing
    /// is updated; inlined nodes are stored for the occasion.
    pub async fn inspect(&mut self, graph: &Graph, nodes: &[NodeId]) -> BackendResult<Vec<Vec<f64>>> {
        let mut asked = graph.clone();
        asked.updates.clear();
        asked.outputs = nodes.iter().map(|n| (format!("{}", n.0), *n)).collect();
        let program = self.load(&asked)?;
        let result = self.read_all(program, nodes).await;
        self.unload(program);
        result
    }

    async fn read_all(&mut self, program: ProgramId, nodes: &[NodeId]) -> BackendResult<Vec<Vec<f64>>> {
        self.run(program)?;
        let mut out = Vec::with_capacity(nodes.len());
        for n in nodes {
            out.push(self.output_f64(program, &format!("{}", n.0)).await?);
        }
        Ok(out)
    }
}
