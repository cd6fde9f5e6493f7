//! The kernels of a scene: their texts, and one of them run alone, again and again, as it is or as
//! the reader edited it.
//!
//! A kernel alone is a graph of its own: the tensors that it reads are feeds, what it computes is
//! the output. So it runs on any backend, and its result has a reference in f64.

use compute::backend::Backend;
use compute::backend::gpu::Variants;
use compute::backend::gpu::kernel::{self, Class, Dispatch};
use compute::graph::{Graph, Kind, Leaf, Node, NodeId};
use compute::plan::{Kernel, Plan};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::device::{self, Devices};
use super::scene::Live;
use super::{Choice, KernelInfo, Shader};

/// What running a kernel alone showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Milliseconds a run; `None` when it could not run.
    pub ms: Option<f64>,
    /// Largest difference from the f64 definition.
    pub error: f64,
    /// The largest absolute value of the definition, to judge the error by.
    pub scale: f64,
    /// `gpu` or `cpu`.
    pub backend: String,
    /// What the compiler says of an edited text: (line, what).
    pub messages: Vec<(u32, String)>,
}

/// Time to spend on one measurement.
const BUDGET_MS: f64 = 150.0;

/// The clock of whichever side this is.
pub fn now_ms() -> f64 {
    js_sys::Reflect::get(&js_sys::global(), &"performance".into())
        .ok()
        .and_then(|p| wasm_bindgen::JsCast::dyn_into::<web_sys::Performance>(p).ok())
        .map_or_else(js_sys::Date::now, |p| p.now())
}

fn class(devices: &Devices) -> Class {
    Class { software: devices.software, lanes: 0, max_buffer_bytes: 128 << 20, flat: false }
}

fn shaders(made: Result<Vec<Dispatch>, kernel::LowerError>) -> Result<Vec<Shader>, String> {
    let made = made.map_err(|e| e.to_string())?;
    Ok(made.into_iter().map(|d| Shader { entry: d.entry, groups: d.groups, code: d.code }).collect())
}

/// All kernels of a scene, with their texts.
pub fn list(live: &Live, devices: &Devices) -> Result<Vec<KernelInfo>, String> {
    let plan = live.session.program(live.program()).ok_or("the scene is not loaded")?;
    let g = &plan.graph;
    let name = |id: &NodeId| g.node(*id).name.clone();
    let op = |id: &NodeId| g.node(*id).op().map_or(String::new(), |op| op.name().into());
    plan.kernels
        .iter()
        .map(|k| {
            let first = k.outputs[0];
            Ok(KernelInfo {
                label: name(&first),
                op: op(&first),
                shape: g.shape(first).to_vec(),
                reads: k.reads.iter().map(name).collect(),
                inlined: k.inlined.iter().map(op).collect(),
                flops: k.flops,
                bytes: k.bytes,
                naive: shaders(kernel::naive(plan, k, class(devices)))?,
                fast: shaders(kernel::dispatches(plan, k, class(devices)))?,
            })
        })
        .collect()
}

/// A kernel as a graph of its own, and the nodes of `plan` that its feeds stand for.
fn alone(plan: &Plan, k: &Kernel) -> (Graph, Vec<NodeId>) {
    let mut g = plan.graph.clone();
    for &id in &k.reads {
        if !matches!(g.node(id).kind, Kind::Leaf(Leaf::Constant(_))) {
            g = g.cut(id, &feed_name(id));
        }
    }
    g.updates.clear();
    g.outputs = k.outputs.iter().enumerate().map(|(i, id)| (format!("y{i}"), *id)).collect();
    (g, k.reads.clone())
}

fn feed_name(id: NodeId) -> String {
    format!("read {}", id.0)
}

/// Runs kernel number `k` of a scene alone and compares it with its definition. `code` replaces the
/// text of its first dispatch and needs WebGPU.
pub async fn time(
    live: &mut Live,
    devices: &Devices,
    choice: Choice,
    k: usize,
    naive: bool,
    code: Option<String>,
) -> Result<Timing, String> {
    let plan = live.session.program(live.program()).ok_or("the scene is not loaded")?.clone();
    let kernel = plan.kernels.get(k).ok_or_else(|| format!("the scene has no kernel {k}"))?;
    let (g, reads) = alone(&plan, kernel);
    let mut inputs = vec![];
    for id in reads.iter().filter(|id| g.find(&feed_name(**id)).is_some()) {
        let original = original(&plan, *id).ok_or_else(|| format!("{} is not in the scene", node(&plan, *id).name))?;
        inputs.push((feed_name(*id), live.tensor(original).await?));
    }
    let mut reference = device::reference();
    let want = run_once(&mut reference, &g, &inputs).await?;
    let gpu = devices.on_gpu(choice) || code.is_some();
    let mut timing = Timing { backend: if gpu { "gpu" } else { "cpu" }.into(), ..Timing::default() };
    let backend: Box<dyn Backend> = if gpu {
        let mut gpu = device::gpu().await?;
        if naive {
            gpu.set_variants(Variants::Naive);
        }
        if let Some(code) = code {
            timing.messages = gpu.compiler_messages(&code).await;
            if timing.messages.iter().any(|(_, m)| m.starts_with("error")) {
                return Ok(timing);
            }
            gpu.set_text(code);
        }
        Box::new(gpu)
    } else {
        Box::new(compute::backend::cpu::Cpu::new())
    };
    let mut session = Session::new(backend, Fusion { max_terms: f64::INFINITY, ..Fusion::default() });
    let got = match run_once(&mut session, &g, &inputs).await {
        Ok(got) => got,
        Err(e) => {
            timing.messages.push((0, format!("error: {e}")));
            return Ok(timing);
        }
    };
    for (a, b) in want.iter().zip(&got) {
        timing.scale = timing.scale.max(a.abs());
        let d = (a - b).abs();
        timing.error = if d.is_nan() { f64::INFINITY } else { timing.error.max(d) };
    }
    timing.ms = Some(measure(&mut session, &g).await?);
    Ok(timing)
}

fn node(plan: &Plan, id: NodeId) -> &Node {
    plan.graph.node(id)
}

/// The scene's node that became this one of the plan.
fn original(plan: &Plan, id: NodeId) -> Option<NodeId> {
    plan.map.iter().position(|m| *m == Some(id)).map(|k| NodeId(k as u32))
}

async fn run_once(session: &mut Session, g: &Graph, inputs: &[(String, Tensor)]) -> Result<Vec<f64>, String> {
    let text = |e: compute::backend::BackendError| e.to_string();
    let program = session.load(g).map_err(text)?;
    for (name, value) in inputs {
        session.write(name, value).map_err(text)?;
    }
    session.run(program).map_err(text)?;
    let values = session.output_f64(program, "y0").await.map_err(text);
    session.unload(program);
    values
}

/// Milliseconds a run: many runs less one, so that the read at the end does not count.
async fn measure(session: &mut Session, g: &Graph) -> Result<f64, String> {
    let text = |e: compute::backend::BackendError| e.to_string();
    let program = session.load(g).map_err(text)?;
    let mut elapsed = [0.0f64; 2];
    let mut many = 1;
    loop {
        for (runs, out) in [1, 1 + many].into_iter().zip(&mut elapsed) {
            let start = now_ms();
            for _ in 0..runs {
                session.run(program).map_err(text)?;
            }
            session.output(program, "y0").await.map_err(text)?;
            *out = now_ms() - start;
        }
        if elapsed[1] > BUDGET_MS || many >= 4096 {
            break;
        }
        many *= 4;
    }
    session.unload(program);
    Ok(((elapsed[1] - elapsed[0]) / many as f64).max(0.0))
}
