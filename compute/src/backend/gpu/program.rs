//! A plan made ready: buffers, pipelines and bind groups, and the encoding of one step.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::device::{Device, Pipeline};
use super::kernel::{self, Dispatch, Place, SOFTWARE_TURNS};
use super::{Gpu, Variants};
use crate::backend::{BackendError, BackendResult};
use crate::graph::Leaf;
use crate::plan::Plan;

/// One recorded dispatch.
struct Step {
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
    steps: Vec<Step>,
    copies: Vec<(wgpu::Buffer, wgpu::Buffer, u64)>,
}

pub(super) fn load(gpu: &mut Gpu, plan: Arc<Plan>) -> BackendResult<Program> {
    let class = gpu.class();
    let mut dispatches: Vec<Dispatch> = vec![];
    for k in &plan.kernels {
        let made = if gpu.variants == Variants::Naive {
            kernel::naive(&plan, k, class)
        } else {
            kernel::dispatches(&plan, k, class)
        };
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
    let mut own = vec![];
    let result = build(gpu, &plan, &dispatches, &mut own);
    match result {
        Ok((buffers, steps, copies)) => {
            let name = plan.graph.outputs.first().map_or_else(|| "step".into(), |(n, _)| format!("the step of {n}"));
            Ok(Program { plan, name, buffers, own, steps, copies })
        }
        Err(e) => {
            // A program that failed leaves nothing behind but leaves.
            free(gpu, own);
            Err(e)
        }
    }
}

/// Frees those buffers of a program that is gone which no other has.
pub(super) fn free(gpu: &mut Gpu, own: Vec<wgpu::Buffer>) {
    for buffer in own {
        if !gpu.programs.values().any(|p| p.own.contains(&buffer)) {
            gpu.device.free(buffer);
        }
    }
}

/// The smallest buffer of another program's step that is large enough and not yet taken, else a new one. One
/// program runs at a time, so they can share.
fn step_buffer(gpu: &mut Gpu, label: &str, bytes: usize, own: &mut Vec<wgpu::Buffer>) -> BackendResult<wgpu::Buffer> {
    let others = gpu.programs.values().flat_map(|p| &p.own);
    let fits = others.filter(|b| b.size() >= bytes as u64 && !own.contains(b)).min_by_key(|b| b.size()).cloned();
    let buffer = match fits {
        Some(buffer) => buffer,
        None => gpu.device.buffer(label, bytes, Gpu::storage_usage())?,
    };
    own.push(buffer.clone());
    Ok(buffer)
}

fn check_limits(device: &Device, d: &Dispatch) -> BackendResult<()> {
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

type Built = (Vec<wgpu::Buffer>, Vec<Step>, Vec<(wgpu::Buffer, wgpu::Buffer, u64)>);

fn build(gpu: &mut Gpu, plan: &Plan, dispatches: &[Dispatch], own: &mut Vec<wgpu::Buffer>) -> BackendResult<Built> {
    let scratch_bytes = dispatches.iter().map(|d| d.scratch_bytes).max().unwrap_or(0);
    let scratch = match scratch_bytes {
        0 => None,
        bytes => Some(step_buffer(gpu, "partial sums", bytes, own)?),
    };
    let mut buffers: Vec<Option<wgpu::Buffer>> = vec![None; plan.buffers.len()];
    for k in plan.largest_first() {
        let b = &plan.buffers[k];
        buffers[k] = Some(match b.leaf {
            Some(id) => {
                let node = plan.graph.node(id);
                let new = !gpu.leaves.contains_key(&node.name);
                let buffer = gpu.leaf(&node.name, &node.ty)?;
                if let (true, Some(Leaf::Constant(value))) = (new, node.leaf()) {
                    gpu.upload.write(&mut gpu.device, &buffer, value.bytes())?;
                }
                buffer
            }
            None => step_buffer(gpu, &format!("step buffer {k}"), b.bytes, own)?,
        });
    }
    let buffers: Vec<wgpu::Buffer> = buffers.into_iter().flatten().collect();
    // Kernels with one text share a pipeline.
    let mut known: BTreeMap<(&str, &str), Pipeline> = BTreeMap::new();
    let mut steps = vec![];
    for d in dispatches {
        let key = (d.code.as_str(), d.entry.as_str());
        let made = match known.entry(key) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => e.insert(gpu.device.pipeline(d)?),
        };
        let missing = || BackendError::Kernel {
            kernel: d.label.clone(),
            message: "it names a buffer that the plan lacks".into(),
        };
        let mut bound = vec![];
        for b in &d.bound {
            let buffer = match b.place {
                Place::Buffer(id) => buffers.get(id.0 as usize),
                Place::Scratch => scratch.as_ref(),
            };
            bound.push((b.binding, buffer.ok_or_else(missing)?));
        }
        let group = gpu.device.bind_group(&d.label, &made.layout, &bound)?;
        steps.push(Step { label: d.label.clone(), pipeline: made.pipeline.clone(), group, groups: d.groups });
    }
    let mut copies = vec![];
    for (from, to) in &plan.copies {
        if let (Some(a), Some(b)) = (buffers.get(from.0 as usize), buffers.get(to.0 as usize)) {
            copies.push((a.clone(), b.clone(), b.size().min(a.size())));
        }
    }
    Ok((buffers, steps, copies))
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
        for step in &self.steps[which] {
            pass.set_pipeline(&step.pipeline);
            pass.set_bind_group(0, &step.group, &[]);
            let [x, y, z] = step.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// The copies of new states at a step's end.
    pub fn encode_copies(&self, encoder: &mut wgpu::CommandEncoder) {
        for (from, to, bytes) in &self.copies {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, *bytes);
        }
    }
}
