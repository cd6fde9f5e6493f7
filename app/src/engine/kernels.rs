//! The kernels of a scene: their texts, and one of them run alone, again and again, as it is or as
//! the reader edited it.
//!
//! A kernel alone is a graph of its own: the tensors that it reads are feeds, what it computes is
//! the output. So it runs on any backend, and its result has a reference in f64.

use compute::backend::gpu::Variants;
use compute::backend::gpu::kernel::{self, Class, Dispatch};
use compute::backend::{Backend, BackendError, ProgramId};
use compute::graph::{Graph, Kind, Leaf, NodeId};
use compute::plan::{Kernel, Plan};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::device::{self, Devices};
use super::scene::{Live, tensor};
use super::{Choice, KernelInfo, Shader};

/// Which form of a kernel to run, and on what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As the scene runs it.
    #[default]
    Own,
    /// Printed from its definition, on the scene's device.
    Naive,
    /// Printed from its definition, on WebGPU.
    GpuNaive,
    /// On WebGPU as on a graphics card: tiles in workgroup memory where there are enough rows and columns.
    Shared,
    /// On WebGPU as on a software device: tiles in registers.
    Registers,
    /// On the CPU.
    Cpu,
}

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

fn class(software: bool) -> Class {
    Class { software, lanes: 0, max_buffer_bytes: 128 << 20, flat: false, tiling: None }
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
    let (own, opposite) = (class(devices.software), class(!devices.software));
    plan.kernels
        .iter()
        .map(|k| {
            // Of outputs that differ in size the largest says what the kernel is about.
            let widest = k.outputs.iter().max_by_key(|o| g.ty(**o).numel()).copied().unwrap_or(k.main());
            let mut ops: Vec<String> = k.outputs.iter().map(op).collect();
            ops.dedup();
            let naive = shaders(kernel::naive(plan, k, own))?;
            let fast = shaders(kernel::dispatches(plan, k, own))?;
            let other = shaders(kernel::dispatches(plan, k, opposite))?;
            let form = if devices.software { Form::Shared } else { Form::Registers };
            let other = (other != fast && other != naive).then_some((form, other));
            Ok(KernelInfo {
                label: k.outputs.iter().map(name).collect::<Vec<_>>().join(", "),
                op: ops.join(", "),
                shape: g.shape(widest).to_vec(),
                reads: k.reads.iter().map(name).collect(),
                inlined: k.inlined.iter().map(op).collect(),
                flops: k.flops,
                bytes: k.bytes,
                naive,
                fast,
                other,
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
    // New states stay new states: written over the old ones, in one pass.
    g.updates.retain(|(leaf, value)| k.in_place.contains(&(*value, *leaf)));
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
    form: Form,
    code: Option<String>,
) -> Result<Timing, String> {
    if matches!(form, Form::GpuNaive | Form::Shared | Form::Registers) && devices.adapter.is_none() {
        return Err("this browser offers no WebGPU adapter".into());
    }
    let plan = live.session.program(live.program()).ok_or("the scene is not loaded")?.clone();
    let kernel = plan.kernels.get(k).ok_or_else(|| format!("the scene has no kernel {k}"))?;
    let (g, reads) = alone(&plan, kernel);
    let mut inputs = vec![];
    for id in reads.iter().filter(|id| g.find(&feed_name(**id)).is_some()) {
        let value = match original(&plan, *id) {
            Some(original) => live.tensor(original).await?,
            None => between(live, &plan, *id).await?,
        };
        inputs.push((feed_name(*id), value));
    }
    let want = match live.definition.take().filter(|(of, _)| *of == k) {
        Some((_, known)) => known,
        None => run_once(&mut device::reference(), &g, &inputs).await?,
    };
    live.definition = Some((k, want.clone()));
    let gpu = match form {
        Form::Own | Form::Naive => devices.on_gpu(choice) || code.is_some(),
        Form::GpuNaive | Form::Shared | Form::Registers => true,
        Form::Cpu => false,
    };
    let mut timing = Timing { backend: if gpu { "gpu" } else { "cpu" }.into(), ..Timing::default() };
    let backend: Box<dyn Backend> = if gpu {
        let mut gpu = device::gpu().await?;
        gpu.set_variants(match form {
            Form::Own | Form::Cpu => Variants::Device,
            Form::Naive | Form::GpuNaive => Variants::Naive,
            Form::Shared => Variants::Hardware,
            Form::Registers => Variants::Software,
        });
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

/// A value that only the plan has: a sum whose constants were taken out.
async fn between(live: &mut Live, plan: &Plan, id: NodeId) -> Result<Tensor, String> {
    let values = live.session.inspect(&plan.graph, &[id]).await.map_err(|e| e.to_string())?;
    let numbers: Vec<f32> = values.into_iter().flatten().map(|v| v as f32).collect();
    tensor(plan.graph.ty(id), &numbers).ok_or_else(|| format!("{} has no value", plan.graph.node(id).name))
}

/// The scene's node that became this one of the plan.
fn original(plan: &Plan, id: NodeId) -> Option<NodeId> {
    plan.map.iter().position(|m| *m == Some(id)).map(|k| NodeId(k as u32))
}

async fn run_once(session: &mut Session, g: &Graph, inputs: &[(String, Tensor)]) -> Result<Vec<f64>, String> {
    let text = |e: BackendError| e.to_string();
    let program = session.load(g).map_err(text)?;
    for (name, value) in inputs {
        session.write(name, value).map_err(text)?;
    }
    session.run(program).map_err(text)?;
    let values = session.output_f64(program, "y0").await.map_err(text);
    session.unload(program);
    values
}

/// Milliseconds a run: many runs less one, so that the read at the end does not count, unless one run
/// is so long that it does not matter. Each is the best of three, because whatever else the machine
/// does only adds to it; the very first run is not timed.
async fn measure(session: &mut Session, g: &Graph) -> Result<f64, String> {
    let program = session.load(g).map_err(|e| e.to_string())?;
    elapsed(session, program, 1).await?;
    let one = best(session, program, 1).await?;
    let mut ms = one;
    if one < BUDGET_MS {
        let mut many = 4;
        while many < 4096 && elapsed(session, program, 1 + many).await? < BUDGET_MS {
            many *= 4;
        }
        ms = (best(session, program, 1 + many).await? - one) / many as f64;
    }
    session.unload(program);
    Ok(ms.max(0.0))
}

/// The shortest of three times.
async fn best(session: &mut Session, program: ProgramId, runs: usize) -> Result<f64, String> {
    let mut shortest = f64::INFINITY;
    for _ in 0..3 {
        shortest = shortest.min(elapsed(session, program, runs).await?);
    }
    Ok(shortest)
}

/// Milliseconds from the first of some runs until the last one's output is here.
async fn elapsed(session: &mut Session, program: ProgramId, runs: usize) -> Result<f64, String> {
    let text = |e: BackendError| e.to_string();
    let start = now_ms();
    for _ in 0..runs {
        session.run(program).map_err(text)?;
    }
    session.output(program, "y0").await.map_err(text)?;
    Ok(now_ms() - start)
}
