//! A plan made ready: buffers, pipelines and bind groups, and the encoding of one step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::device::{Device, Pipeline};
use super::gemm::Tiling;
use super::kernel::{self, Class, Dispatch, Place, SOFTWARE_TURNS};
use super::{Gpu, Variants};
use crate::backend::{BackendError, BackendResult};
use crate::graph::Leaf;
use crate::plan::{Kernel, Plan};

/// One recorded dispatch.
pub(super) struct Step {
    label: String,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    groups: [u32; 3],
}

pub struct Program {
    pub plan: Arc<Plan>,
    /// What errors call it.
    pub name: String,
    /// By the plan's buffer numbers; leaves are shared with other programs.
    pub buffers: Vec<wgpu::Buffer>,
    /// Those that die with the program.
    pub own: Vec<wgpu::Buffer>,
    /// Class and tiling of each product.
    pub tilings: Vec<(String, Tiling)>,
    steps: Vec<Step>,
    copies: Vec<(wgpu::Buffer, wgpu::Buffer, u64)>,
}

/// The dispatches of a kernel. A product takes the tiling that was chosen for its class.
fn lower(gpu: &Gpu, plan: &Plan, k: &Kernel, class: Class) -> Result<Vec<Dispatch>, kernel::LowerError> {
    if gpu.variants == Variants::Naive {
        return kernel::naive(plan, k, class);
    }
    let made = kernel::dispatches(plan, k, class)?;
    let tiling = made.first().and_then(|d| d.product.as_ref()).and_then(|(p, _)| match &gpu.pick {
        Some(pick) => pick(p, class),
        None => gpu.choices.get(&p.key()),
    });
    match tiling {
        Some(_) => kernel::dispatches(plan, k, Class { tiling, ..class }),
        None => Ok(made),
    }
}

pub(super) fn load(gpu: &mut Gpu, plan: Arc<Plan>) -> BackendResult<Program> {
    let class = gpu.class();
    let mut dispatches: Vec<Dispatch> = vec![];
    for k in &plan.kernels {
        let made = lower(gpu, &plan, k, class);
        let failed =
            |e: kernel::LowerError| BackendError::Kernel { kernel: kernel::label(&plan, k), message: e.to_string() };
        dispatches.extend(made.map_err(failed)?);
    }
    if let (Some(text), Some(first)) = (gpu.text.take(), dispatches.first_mut()) {
        first.code = text;
        first.checked = true;
    }
    for d in &dispatches {
        check_limits(&gpu.device, d)?;
    }
    let (mut buffers, mut own) = (vec![], vec![]);
    let result = build(gpu, &plan, &dispatches, &mut buffers, &mut own);
    match result {
        Ok((steps, copies)) => {
            let name = plan.graph.outputs.first().map_or_else(|| "step".into(), |(n, _)| format!("the step of {n}"));
            let products = dispatches.iter().filter_map(|d| d.product.as_ref());
            let tilings = products.map(|(p, tiling)| (p.key(), *tiling)).collect();
            Ok(Program { plan, name, buffers, own, tilings, steps, copies })
        }
        Err(e) => {
            // A program that failed leaves nothing behind but leaves.
            own.into_iter().for_each(|b| gpu.device.free(b));
            Err(e)
        }
    }
}

pub(super) fn check_limits(device: &Device, d: &Dispatch) -> BackendResult<()> {
    let most = device.limits.max_storage_buffers_per_shader_stage as usize;
    let side = device.limits.max_compute_workgroups_per_dimension;
    let message = if d.bound.len() > most {
        format!("it binds {} storage buffers and the device allows {most}", d.bound.len())
    } else if d.groups.iter().any(|g| *g > side) {
        format!("its grid {:?} exceeds {side} along a side", d.groups)
    } else if d.scratch_bytes > device.max_buffer_bytes() {
        format!("its partial sums need {} bytes and the device allows {}", d.scratch_bytes, device.max_buffer_bytes())
    } else if device.software && d.turns > SOFTWARE_TURNS + 535 {
        format!(
            "an element takes up to {} loop turns and a software device stops at 65,535; use the cpu backend",
            d.turns
        )
    } else {
        return Ok(());
    };
    Err(BackendError::Kernel { kernel: d.label.clone(), message })
}

type Built = (Vec<Step>, Vec<(wgpu::Buffer, wgpu::Buffer, u64)>);

fn build(
    gpu: &mut Gpu,
    plan: &Plan,
    dispatches: &[Dispatch],
    buffers: &mut Vec<wgpu::Buffer>,
    own: &mut Vec<wgpu::Buffer>,
) -> BackendResult<Built> {
    for (k, b) in plan.buffers.iter().enumerate() {
        let buffer = match b.leaf {
            Some(id) => {
                let node = plan.graph.node(id);
                let new = !gpu.leaves.contains_key(&node.name);
                let buffer = gpu.leaf(&node.name, &node.ty)?;
                if let (true, Some(Leaf::Constant(value))) = (new, node.leaf()) {
                    gpu.upload.write(&mut gpu.device, &buffer, value.bytes())?;
                }
                buffer
            }
            None => {
                let buffer = gpu.device.buffer(&format!("step buffer {k}"), b.bytes, Gpu::storage_usage())?;
                own.push(buffer.clone());
                buffer
            }
        };
        buffers.push(buffer);
    }
    let scratch_bytes = dispatches.iter().map(|d| d.scratch_bytes).max().unwrap_or(0);
    let scratch = if scratch_bytes > 0 {
        let buffer = gpu.device.buffer("partial sums", scratch_bytes, Gpu::storage_usage())?;
        own.push(buffer.clone());
        Some(buffer)
    } else {
        None
    };
    // Kernels with one text share a pipeline.
    let mut known: BTreeMap<(&str, &str), Pipeline> = BTreeMap::new();
    let mut steps = vec![];
    for d in dispatches {
        let key = (d.code.as_str(), d.entry.as_str());
        let made = match known.entry(key) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => e.insert(gpu.device.pipeline(d)?),
        };
        steps.push(step(&mut gpu.device, d, made, buffers, scratch.as_ref())?);
    }
    let mut copies = vec![];
    for (from, to) in &plan.copies {
        if let (Some(a), Some(b)) = (buffers.get(from.0 as usize), buffers.get(to.0 as usize)) {
            copies.push((a.clone(), b.clone(), b.size().min(a.size())));
        }
    }
    Ok((steps, copies))
}

/// A dispatch with its buffers.
pub(super) fn step(
    device: &mut Device,
    d: &Dispatch,
    made: &Pipeline,
    buffers: &[wgpu::Buffer],
    scratch: Option<&wgpu::Buffer>,
) -> BackendResult<Step> {
    let missing =
        || BackendError::Kernel { kernel: d.label.clone(), message: "it names a buffer that the plan lacks".into() };
    let mut bound = vec![];
    for b in &d.bound {
        let buffer = match b.place {
            Place::Buffer(id) => buffers.get(id.0 as usize),
            Place::Scratch => scratch,
        };
        bound.push((b.binding, buffer.ok_or_else(missing)?));
    }
    let group = device.bind_group(&d.label, &made.layout, &bound)?;
    Ok(Step { label: d.label.clone(), pipeline: made.pipeline.clone(), group, groups: d.groups })
}

impl Step {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.groups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Program {
    /// Encodes one step.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        self.encode_dispatches(encoder, 0..self.steps.len());
        self.encode_copies(encoder);
    }

    /// Labels of the dispatches of a step, in order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|s| s.label.as_str())
    }

    /// Some of the dispatches of a step, in one pass.
    pub fn encode_dispatches(&self, encoder: &mut wgpu::CommandEncoder, which: std::ops::Range<usize>) {
        if which.is_empty() {
            return;
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.steps[which].iter().for_each(|step| step.encode(&mut pass));
    }

    /// The copies of new states at a step's end.
    pub fn encode_copies(&self, encoder: &mut wgpu::CommandEncoder) {
        for (from, to, bytes) in &self.copies {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
        }
    }
}
