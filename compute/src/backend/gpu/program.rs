//! A plan made ready: buffers, pipelines and bind groups, and the encoding of one step.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::device::{Device, Pipeline};
use super::gemm::{Product, Tiling};
use super::kernel::{self, Class, Dispatch, Place, SOFTWARE_TURNS};
use super::layout::{self, Layout, Slice, lay_out, step_buffer};
use super::{Gpu, Pick, Variants, nameless};
use crate::backend::{BackendError, BackendResult};
use crate::plan::pack::Together;
use crate::plan::{Kernel, Plan};

/// One recorded dispatch.
pub(super) struct Step {
    label: String,
    /// Tells what was compiled: the text but for names, with its bindings, the entry point, the checks.
    key: u64,
    made: Pipeline,
    group: wgpu::BindGroup,
    groups: [u32; 3],
}

/// How a product is cut.
pub struct Cut {
    pub class: String,
    pub tiling: Tiling,
    /// What the table says.
    pub table: Tiling,
}

pub struct Program {
    pub plan: Arc<Plan>,
    /// What errors call it.
    pub name: String,
    /// Where its buffers and packs lie; leaves are shared with other programs.
    pub places: Layout,
    /// Those that die with the program.
    pub own: Vec<wgpu::Buffer>,
    pub cuts: Vec<Cut>,
    steps: Vec<Step>,
    copies: Vec<(Slice, Slice)>,
}

/// The dispatches of a kernel. A product takes the tiling that was chosen for its class.
fn lower(gpu: &Gpu, plan: &Plan, k: &Kernel, class: Class) -> Result<Vec<Dispatch>, kernel::LowerError> {
    if gpu.variants == Variants::Naive {
        return kernel::naive(plan, k, class);
    }
    let made = kernel::dispatches(plan, k, class)?;
    let tiling = made.first().and_then(|d| d.product.as_ref()).and_then(|(p, _)| match gpu.pick {
        Some(Pick::Candidate(k)) => p.candidates(class).get(k).copied(),
        Some(Pick::Tiling(tiling)) => Some(tiling),
        None => gpu.choices.get(&p.key()),
    });
    match tiling {
        Some(_) => kernel::dispatches(plan, k, Class { tiling, ..class }),
        None => Ok(made),
    }
}

pub(super) fn load(gpu: &mut Gpu, plan: Arc<Plan>) -> BackendResult<Program> {
    check_leaves(gpu, &plan)?;
    let mut own = vec![];
    match build(gpu, &plan, &mut own) {
        Ok(Built { places, dispatches, steps, copies }) => {
            let name = plan.graph.outputs.first().map_or_else(|| "step".into(), |(n, _)| format!("the step of {n}"));
            let class = gpu.class();
            let products = dispatches.iter().filter_map(|d| d.product.as_ref());
            let cut = |(p, tiling): &(Product, Tiling)| Cut { class: p.key(), tiling: *tiling, table: p.table(class) };
            let cuts = products.map(cut).collect();
            Ok(Program { plan, name, places, own, cuts, steps, copies })
        }
        Err(e) => {
            // A program that failed leaves nothing behind but leaves.
            layout::free(gpu, own);
            Err(e)
        }
    }
}

/// A leaf has one type in all programs.
fn check_leaves(gpu: &Gpu, plan: &Plan) -> BackendResult<()> {
    for node in plan.buffers.iter().filter_map(|b| b.leaf).map(|id| plan.graph.node(id)) {
        if let Some(known) = gpu.leaves.get(&node.name).filter(|l| l.ty != node.ty) {
            let (expected, got) = (known.ty.to_string(), node.ty.to_string());
            return Err(BackendError::Mismatch { name: node.name.clone(), expected, got });
        }
    }
    Ok(())
}

/// The dispatches of a plan in order; `laid_out` tells which of its packs are.
fn dispatches(gpu: &mut Gpu, plan: &Plan, laid_out: impl Fn(usize) -> bool) -> BackendResult<Vec<Dispatch>> {
    let class = gpu.class();
    let naive = gpu.variants == Variants::Naive;
    let mut out: Vec<Dispatch> = vec![];
    let mut done = 0;
    for (k, kernel) in plan.kernels.iter().enumerate() {
        if k < done {
            continue;
        }
        let failed = |e: kernel::LowerError| BackendError::Kernel {
            kernel: kernel::label(plan, kernel),
            message: e.to_string(),
        };
        let begins = |t: &&Together| t.kernels.start == k && t.packs.iter().all(|p| laid_out(*p));
        if let Some(t) = plan.together.iter().find(begins).filter(|_| !naive)
            && let Some(one) = kernel::together(plan, t, class).map_err(failed)?
        {
            out.push(one);
            done = t.kernels.end;
            continue;
        }
        out.extend(lower(gpu, plan, kernel, class).map_err(failed)?);
    }
    if let (Some(text), Some(first)) = (gpu.text.take(), out.first_mut()) {
        first.code = text;
        first.checked = true;
    }
    Ok(out)
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

struct Built {
    places: Layout,
    dispatches: Vec<Dispatch>,
    steps: Vec<Step>,
    copies: Vec<(Slice, Slice)>,
}

fn build(gpu: &mut Gpu, plan: &Plan, own: &mut Vec<wgpu::Buffer>) -> BackendResult<Built> {
    let places = lay_out(gpu, plan, own)?;
    let dispatches = dispatches(gpu, plan, |p| places.packs.get(p).is_some_and(Option::is_some))?;
    for d in &dispatches {
        check_limits(&gpu.device, d)?;
    }
    let scratch_bytes = dispatches.iter().map(|d| d.scratch_bytes).max().unwrap_or(0);
    let scratch = match scratch_bytes {
        0 => None,
        bytes => Some(Slice::whole(step_buffer(gpu, "partial sums", bytes, own)?)),
    };
    let mut steps: Vec<Step> = vec![];
    for d in &dispatches {
        let next = step(gpu, &steps, d, &places, scratch.as_ref())?;
        steps.push(next);
    }
    let mut copies = vec![];
    for (from, to) in &plan.copies {
        let (Some(a), Some(b)) = (places.slices.get(from.0 as usize), places.slices.get(to.0 as usize)) else {
            continue;
        };
        if a.buffer == b.buffer {
            // Of one pack: no copy goes from a buffer to itself.
            let between = Slice::whole(step_buffer(gpu, "between places of a pack", a.bytes as usize, own)?);
            copies.extend([(a.clone(), between.clone()), (between, b.clone())]);
        } else {
            copies.push((a.clone(), b.clone()));
        }
    }
    Ok(Built { places, dispatches, steps, copies })
}

/// A dispatch with its buffers. Kernels of one text share a pipeline, whichever of the loaded programs they belong
/// to, of the steps `before`, or of trials: a program that is made anew compiles what differs.
pub(super) fn step(
    gpu: &mut Gpu,
    before: &[Step],
    d: &Dispatch,
    places: &Layout,
    scratch: Option<&Slice>,
) -> BackendResult<Step> {
    let missing =
        || BackendError::Kernel { kernel: d.label.clone(), message: "it names a buffer that the plan lacks".into() };
    let mut bound = vec![];
    for b in &d.bound {
        let buffer = match b.place {
            Place::Buffer(id) => places.slices.get(id.0 as usize),
            Place::Pack(p) => places.packs.get(p).and_then(Option::as_ref),
            Place::Scratch => scratch,
        };
        bound.push((b.binding, buffer.ok_or_else(missing)?));
    }
    let mut hasher = DefaultHasher::new();
    (nameless(&d.code), &d.entry, d.checked).hash(&mut hasher);
    let key = hasher.finish();
    let loaded = gpu.programs.values().flat_map(|p| &p.steps);
    let known = before.iter().chain(loaded).chain(&gpu.tried).find(|s| s.key == key);
    let made = match known {
        Some(step) => step.made.clone(),
        None => gpu.device.pipeline(d)?,
    };
    let group = gpu.device.bind_group(&d.label, &made.layout, &bound)?;
    Ok(Step { label: d.label.clone(), key, made, group, groups: d.groups })
}

impl Step {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.made.pipeline);
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
        for (from, to) in &self.copies {
            let bytes = from.bytes.min(to.bytes);
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, bytes);
        }
    }
}
