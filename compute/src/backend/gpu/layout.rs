//! Where the buffers of a plan lie: leaves are shared with other programs by name, values of a step by taking
//! turns, and the buffers of a pack lie one after another in one.

use super::{Gpu, Leaf};
use crate::backend::BackendResult;
use crate::graph::{Leaf as Kind, NodeId};
use crate::plan::pack::{Pack, step};
use crate::plan::{BufferId, Plan};

/// A part of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

impl Slice {
    pub fn whole(buffer: wgpu::Buffer) -> Slice {
        let bytes = buffer.size();
        Slice { buffer, offset: 0, bytes }
    }

    /// Some bytes of a buffer, in whole words.
    fn part(buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Slice {
        Slice { buffer: buffer.clone(), offset: offset as u64, bytes: (bytes.div_ceil(4).max(1) * 4) as u64 }
    }
}

/// The buffers of a program.
#[derive(Clone)]
pub struct Layout {
    /// By the plan's buffer numbers.
    pub slices: Vec<Slice>,
    /// By the plan's pack numbers; `None` where leaves lay elsewhere before.
    pub packs: Vec<Option<Slice>>,
}

/// Finds or makes all buffers of a plan; those of its steps are added to `own`.
pub fn lay_out(gpu: &mut Gpu, plan: &Plan, own: &mut Vec<wgpu::Buffer>) -> BackendResult<Layout> {
    let mut slices: Vec<Option<Slice>> = vec![None; plan.buffers.len()];
    let mut packs = vec![];
    for pack in &plan.packs {
        packs.push(lay_out_pack(gpu, plan, pack, own, &mut slices)?);
    }
    for k in plan.largest_first().filter(|k| slices[*k].is_none()).collect::<Vec<_>>() {
        let b = &plan.buffers[k];
        slices[k] = Some(match b.leaf {
            Some(id) => leaf(gpu, plan, id)?,
            None => Slice::part(&step_buffer(gpu, &format!("step buffer {k}"), b.bytes, own)?, 0, b.bytes),
        });
    }
    Ok(Layout { slices: slices.into_iter().flatten().collect(), packs })
}

/// One buffer for a pack. Its leaves are left where they are if other programs have them elsewhere.
fn lay_out_pack(
    gpu: &mut Gpu,
    plan: &Plan,
    pack: &Pack,
    own: &mut Vec<wgpu::Buffer>,
    slices: &mut [Option<Slice>],
) -> BackendResult<Option<Slice>> {
    let buffers = || pack.iter().map(|BufferId(b)| (*b as usize, &plan.buffers[*b as usize]));
    let ends = buffers().scan(0, |end, (_, b)| {
        *end += step(b.bytes);
        Some(*end)
    });
    let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    let total = starts.last().copied().unwrap_or(0);
    let leaves: Vec<NodeId> = buffers().filter_map(|(_, b)| b.leaf).collect();
    let buffer = if leaves.is_empty() {
        step_buffer(gpu, "pack of a step", total, own)?
    } else {
        let name = |id: &NodeId| plan.graph.node(*id).name.as_str();
        let part = |buffer: &wgpu::Buffer, id: NodeId, at: usize| Slice::part(buffer, at, plan.graph.ty(id).bytes());
        let known: Vec<Slice> =
            leaves.iter().filter_map(|id| gpu.leaves.get(name(id))).map(|l| l.slice.clone()).collect();
        match known.first().map(|s| s.buffer.clone()) {
            // All of them, and so: a leaf alone at the beginning of its own buffer is no pack.
            Some(buffer) => {
                let wanted = leaves.iter().zip(&starts).map(|(id, at)| part(&buffer, *id, *at));
                if !wanted.eq(known) {
                    return Ok(None);
                }
                buffer
            }
            None => {
                let buffer = gpu.device.buffer("pack of leaves", total, Gpu::storage_usage())?;
                for (id, at) in leaves.iter().zip(&starts) {
                    add_leaf(gpu, plan, *id, part(&buffer, *id, *at))?;
                }
                buffer
            }
        }
    };
    for ((k, b), at) in buffers().zip(&starts) {
        slices[k] = Some(Slice::part(&buffer, *at, b.bytes));
    }
    Ok(Some(Slice::part(&buffer, 0, total)))
}

/// Finds or makes a leaf. Errors: another type under a known name.
fn leaf(gpu: &mut Gpu, plan: &Plan, id: NodeId) -> BackendResult<Slice> {
    let node = plan.graph.node(id);
    if let Some(known) = gpu.leaves.get(&node.name) {
        return Ok(known.slice.clone());
    }
    let buffer = gpu.device.buffer(&node.name, node.ty.bytes(), Gpu::storage_usage())?;
    add_leaf(gpu, plan, id, Slice::part(&buffer, 0, node.ty.bytes()))?;
    gpu.known(&node.name).map(|l| l.slice.clone())
}

/// A leaf seen for the first time; constants have their value.
fn add_leaf(gpu: &mut Gpu, plan: &Plan, id: NodeId, slice: Slice) -> BackendResult<()> {
    let node = plan.graph.node(id);
    if let Some(Kind::Constant(value)) = node.leaf() {
        gpu.upload.write(&mut gpu.device, &slice, value.bytes())?;
    }
    gpu.leaves.insert(node.name.clone(), Leaf { slice, ty: node.ty.clone() });
    Ok(())
}

/// The smallest buffer of another program's step that is large enough and not yet taken, else a new one. One
/// program runs at a time, so they can share.
pub fn step_buffer(
    gpu: &mut Gpu,
    label: &str,
    bytes: usize,
    own: &mut Vec<wgpu::Buffer>,
) -> BackendResult<wgpu::Buffer> {
    let others = gpu.programs.values().flat_map(|p| &p.own);
    let fits = others.filter(|b| b.size() >= bytes as u64 && !own.contains(b)).min_by_key(|b| b.size()).cloned();
    let buffer = match fits {
        Some(buffer) => buffer,
        None => gpu.device.buffer(label, bytes, Gpu::storage_usage())?,
    };
    own.push(buffer.clone());
    Ok(buffer)
}

/// Frees those buffers of a program that is gone which no other has.
pub fn free(gpu: &mut Gpu, own: Vec<wgpu::Buffer>) {
    for buffer in own {
        if !gpu.programs.values().any(|p| p.own.contains(&buffer)) {
            gpu.device.free(buffer);
        }
    }
}
