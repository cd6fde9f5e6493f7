//! A scene on the engine's side: a graph, its session, and answers about any of its numbers.

use std::collections::BTreeMap;

use compute::backend::ProgramId;
use compute::cell::Red;
use compute::difference::central_difference;
use compute::explain::{self, flat};
use compute::graph::{Graph, Leaf, NodeId};
use compute::session::Session;
use compute::tensor::{DType, Tensor, TensorType};

use super::{Check, Derivation, NodeInfo, Reference, Term, Values, device};
use crate::scenes::Scene;

/// Terms of a sum that are shown in full.
const TERMS: usize = 12;
/// The step of the numerical check beside a gradient.
const CHECK_STEP: f64 = 1e-5;

/// See the module's introduction.
pub struct Live {
    pub scene: Scene,
    pub session: Session,
    program: ProgramId,
    /// The program that stores every node, made when the reader asks for the first number.
    everything: Option<ProgramId>,
    /// Leaves as last written.
    leaves: BTreeMap<String, Tensor>,
    /// Values read since the last change.
    known: BTreeMap<NodeId, Tensor>,
    /// A kernel's number and its values by the definition: dear to compute where several forms of one
    /// kernel are compared.
    pub definition: Option<(usize, Vec<f64>)>,
}

impl Live {
    pub fn open(scene: Scene, mut session: Session) -> Result<Live, String> {
        let program = session.load(&scene.graph).map_err(|e| e.to_string())?;
        let mut live = Live {
            scene,
            session,
            program,
            everything: None,
            leaves: BTreeMap::new(),
            known: BTreeMap::new(),
            definition: None,
        };
        for (name, value) in std::mem::take(&mut live.scene.initial) {
            live.write(&name, value)?;
        }
        Ok(live)
    }

    /// The same on another device, with the leaves as they were last written.
    pub fn renew(&mut self, session: Session) -> Result<(), String> {
        self.session = session;
        self.program = self.session.load(&self.scene.graph).map_err(|e| e.to_string())?;
        self.everything = None;
        for (name, value) in self.leaves() {
            self.write(&name, value)?;
        }
        Ok(())
    }

    pub fn graph(&self) -> &Graph {
        &self.scene.graph
    }

    pub fn program(&self) -> ProgramId {
        self.program
    }

    pub fn leaves(&self) -> Vec<(String, Tensor)> {
        self.leaves.iter().map(|(n, t)| (n.clone(), t.clone())).collect()
    }

    fn write(&mut self, name: &str, value: Tensor) -> Result<(), String> {
        self.session.write(name, &value).map_err(|e| e.to_string())?;
        self.leaves.insert(name.into(), value);
        self.known.clear();
        self.definition = None;
        Ok(())
    }

    /// Writes leaves and runs a step.
    pub async fn run(&mut self, feeds: Vec<Values>) -> Result<Vec<Values>, String> {
        for f in feeds {
            let id = self.graph().find(&f.name).ok_or_else(|| format!("the scene has no leaf {}", f.name))?;
            let ty = self.graph().ty(id).clone();
            self.write(&f.name, tensor(&ty, &f.data).ok_or_else(|| format!("{} is {ty}", f.name))?)?;
        }
        self.session.run(self.program).map_err(|e| e.to_string())?;
        self.known.clear();
        self.definition = None;
        let mut out = vec![];
        for (name, _) in self.scene.graph.outputs.clone() {
            let t = self.session.output(self.program, &name).await.map_err(|e| e.to_string())?;
            out.push(values(&name, &t));
        }
        // States that the step updated are leaves of the next.
        for (leaf, _) in self.scene.graph.updates.clone() {
            let name = self.graph().node(leaf).name.clone();
            let t = self.session.leaf(&name).await.map_err(|e| e.to_string())?;
            self.leaves.insert(name, t);
        }
        Ok(out)
    }

    pub fn infos(&self) -> Vec<NodeInfo> {
        self.graph().ids().map(|id| self.info(id)).collect()
    }

    fn info(&self, id: NodeId) -> NodeInfo {
        let n = self.graph().node(id);
        NodeInfo {
            id: id.0,
            name: n.name.clone(),
            op: n.op().map_or(String::new(), |op| op.name().into()),
            shape: n.ty.shape.clone(),
            inputs: n.inputs.iter().map(|i| i.0).collect(),
            backward: self.scene.forward.is_some_and(|last| id > last),
        }
    }

    fn id(&self, node: u32) -> Result<NodeId, String> {
        let id = NodeId(node);
        if id.index() < self.graph().nodes().len() { Ok(id) } else { Err(format!("the scene has no node {node}")) }
    }

    /// The value of any node for the leaves as they are.
    async fn value(&mut self, id: NodeId) -> Result<&Tensor, String> {
        if !self.known.contains_key(&id) {
            let value = self.fetch(id).await?;
            self.known.insert(id, value);
        }
        self.known.get(&id).ok_or_else(|| "a value that was just read".into())
    }

    /// [`Live::value`], to keep.
    pub async fn tensor(&mut self, id: NodeId) -> Result<Tensor, String> {
        Ok(self.value(id).await?.clone())
    }

    async fn fetch(&mut self, id: NodeId) -> Result<Tensor, String> {
        let node = self.graph().node(id);
        match node.leaf() {
            Some(Leaf::Constant(t)) => return Ok(t.clone()),
            Some(_) => {
                let ty = node.ty.clone();
                let zero = || tensor(&ty, &vec![0.0; ty.numel()]).ok_or_else(|| "a shape".to_string());
                return self.leaves.get(&node.name).cloned().map_or_else(zero, Ok);
            }
            None => {}
        }
        let program = match self.everything {
            Some(p) => p,
            None => {
                let mut g = self.scene.graph.clone();
                g.updates.clear();
                g.outputs = g.ids().filter(|n| g.node(*n).op().is_some()).map(|n| (n.0.to_string(), n)).collect();
                *self.everything.insert(self.session.load(&g).map_err(|e| e.to_string())?)
            }
        };
        if !self.known.keys().any(|k| self.scene.graph.node(*k).op().is_some()) {
            self.session.run(program).map_err(|e| e.to_string())?;
        }
        self.session.output(program, &id.0.to_string()).await.map_err(|e| e.to_string())
    }

    pub async fn inspect(&mut self, nodes: &[u32]) -> Result<Vec<Values>, String> {
        let mut out = vec![];
        for &n in nodes {
            let id = self.id(n)?;
            let t = self.value(id).await?;
            out.push(values(&n.to_string(), t));
        }
        Ok(out)
    }

    /// The derivation of one number.
    pub async fn explain(&mut self, node: u32, index: &[usize]) -> Result<Derivation, String> {
        let id = self.id(node)?;
        let inputs = self.graph().node(id).inputs.clone();
        for i in inputs.iter().chain([&id]) {
            self.value(*i).await?;
        }
        let g = &self.scene.graph;
        let known = &self.known;
        let mut read = |n: NodeId, at: &[usize]| {
            let t = known.get(&n).ok_or_else(|| format!("{} was not read", g.node(n).name))?;
            Ok(t.at(flat(at, t.shape())))
        };
        let d = explain::explain(g, id, index, TERMS, &mut read)?;
        let device = read(id, index)?;
        let reference = |r: explain::Reference| Reference {
            node: r.node.0,
            name: g.node(r.node).name.clone(),
            index: r.index,
            value: r.value,
        };
        let folded = d.folded.map(|f| (f.count, f.value));
        let start = folded.map(|f| f.1);
        let total = match d.reduction {
            Some(red) => d.terms.iter().fold(start.unwrap_or(red.identity()), |t, x| red.combine(t, x.value)),
            None => d.value,
        };
        let check = self.check(id, index).await?;
        Ok(Derivation {
            node: self.info(id),
            index: index.to_vec(),
            value: d.value,
            device,
            mathml: d.mathml,
            frame: d.frame,
            terms: d
                .terms
                .into_iter()
                .map(|t| Term { value: t.value, text: t.text, reads: t.reads.into_iter().map(reference).collect() })
                .collect(),
            folded,
            reduction: d.reduction.map(|r| match r {
                Red::Sum => "sum".into(),
                Red::Max => "max".into(),
                Red::Min => "min".into(),
            }),
            total,
            check,
        })
    }

    /// The numerical check, if the node is the gradient of something.
    async fn check(&self, id: NodeId, index: &[usize]) -> Result<Option<Check>, String> {
        let Some((of, _)) = self.scene.gradients.iter().find(|(_, d)| *d == id) else { return Ok(None) };
        let Some(loss) = self.scene.loss else { return Ok(None) };
        let (g, leaves) = (self.graph(), self.leaves());
        let mut session = device::reference();
        let d = central_difference(&mut session, g, loss, *of, index, CHECK_STEP, &leaves)
            .await
            .map_err(|e| e.to_string())?;
        let of = g.node(*of).name.clone();
        Ok(Some(Check { of, e: CHECK_STEP, above: d.above, below: d.below, slope: d.slope }))
    }

    /// The analytic value of a gradient and its difference quotients for several steps.
    pub async fn slopes(
        &mut self,
        node: u32,
        index: &[usize],
        steps: &[f64],
        single: bool,
    ) -> Result<(f64, Vec<f64>), String> {
        let id = self.id(node)?;
        let none = || format!("{} is not a gradient", self.graph().node(id).name);
        let (of, _) = *self.scene.gradients.iter().find(|(_, d)| *d == id).ok_or_else(none)?;
        let loss = self.scene.loss.ok_or("the scene has no loss")?;
        let leaves = self.leaves();
        let mut exact = device::reference();
        let mut g = self.graph().clone();
        g.updates.clear();
        g.outputs = vec![("d".into(), id)];
        let program = exact.load(&g).map_err(|e| e.to_string())?;
        let live = g.live();
        for (name, value) in leaves.iter().filter(|(n, _)| g.find(n).is_some_and(|i| live[i.index()])) {
            exact.write(name, value).map_err(|e| e.to_string())?;
        }
        exact.run(program).map_err(|e| e.to_string())?;
        let all = exact.output_f64(program, "d").await.map_err(|e| e.to_string())?;
        let analytic = *all.get(flat(index, g.shape(id))).ok_or("an index outside the tensor")?;
        let mut slopes = vec![];
        for &e in steps {
            let mut session = if single { device::single() } else { device::reference() };
            let d = central_difference(&mut session, self.graph(), loss, of, index, e, &leaves).await;
            slopes.push(d.map_err(|e| e.to_string())?.slope);
        }
        Ok((analytic, slopes))
    }
}

/// A tensor of a type from f32 numbers; `None` if there are too few or too many.
pub fn tensor(ty: &TensorType, data: &[f32]) -> Option<Tensor> {
    if ty.numel() != data.len() {
        return None;
    }
    Some(match ty.dtype {
        DType::F32 => Tensor::f32(ty.shape.clone(), data.to_vec()),
        DType::F16 => Tensor::f16(ty.shape.clone(), data),
        DType::U32 => Tensor::u32(ty.shape.clone(), data.iter().map(|v| *v as u32).collect()),
        DType::U8 => Tensor::u8(ty.shape.clone(), data.iter().map(|v| *v as u8).collect()),
    })
}

/// A tensor for the page.
pub fn values(name: &str, t: &Tensor) -> Values {
    let data = t.as_f32().map_or_else(|| (0..t.len()).map(|k| t.at(k) as f32).collect(), <[f32]>::to_vec);
    Values { name: name.into(), shape: t.shape().to_vec(), data }
}
