//! What the two backends that live in main memory share: buffers, leaves, programs and the replay
//! of their kernels. They differ in the number type and in [`Number::kernel`], which turns a
//! kernel of a plan into something that runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Backend, BackendError, BackendResult, DeviceInfo, Memory, ProgramId, Reading};
use crate::cell::vm::{Float, View, Workers};
use crate::graph::{Leaf, NodeId, TensorType};
use crate::plan::{Kernel, Plan};
use crate::tensor::{DType, Data, Tensor};
use lanes::half;

/// One buffer of a plan. Values of different types may take turns in it; each type has its own
/// storage, made only if used. Halves are held as numbers, which the op that made them has rounded.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    pub num: Vec<T>,
    pub u32: Vec<u32>,
    pub u8: Vec<u8>,
}

/// How many values of each type a buffer must hold.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    num: usize,
    u32: usize,
    u8: usize,
}

impl Lengths {
    fn add(&mut self, ty: &TensorType) {
        let own = match ty.dtype {
            DType::F32 | DType::F16 => &mut self.num,
            DType::U32 => &mut self.u32,
            DType::U8 => &mut self.u8,
        };
        *own = (*own).max(ty.numel());
    }
}

/// A stored node: the buffer it is in, its type.
#[derive(Clone, Debug)]
pub struct Place {
    pub buffer: usize,
    pub ty: TensorType,
}

/// A kernel made ready.
pub trait Step<T>: Send {
    /// Runs over the buffers. Errors: what a cell can fail with.
    fn run(&mut self, buffers: &mut [Buffer<T>], workers: &Workers<T>) -> Result<(), String>;
    /// Bytes of working memory it keeps.
    fn bytes(&self) -> usize;
}

/// A number type with its way of running kernels.
pub trait Number: Float {
    /// Makes a kernel ready; `place` finds stored nodes.
    fn kernel(
        plan: &Plan,
        kernel: &Kernel,
        place: &dyn Fn(NodeId) -> Option<Place>,
    ) -> Result<Vec<Box<dyn Step<Self>>>, String>;
}

impl<T: Float> Buffer<T> {
    fn reserve(&mut self, need: Lengths) {
        self.num.resize(self.num.len().max(need.num), T::ZERO);
        self.u32.resize(self.u32.len().max(need.u32), 0);
        self.u8.resize(self.u8.len().max(need.u8), 0);
    }

    fn shrink(&mut self, need: Lengths) {
        fn cut<E>(v: &mut Vec<E>, n: usize) {
            v.truncate(n);
            v.shrink_to_fit();
        }
        cut(&mut self.num, need.num);
        cut(&mut self.u32, need.u32);
        cut(&mut self.u8, need.u8);
    }

    fn bytes(&self) -> usize {
        self.num.len() * size_of::<T>() + self.u32.len() * 4 + self.u8.len()
    }

    /// The elements of a node stored here.
    pub fn view(&self, ty: &TensorType) -> View<'_, T> {
        let n = ty.numel();
        match ty.dtype {
            DType::F32 | DType::F16 => View::Num(&self.num[..n.min(self.num.len())]),
            DType::U32 => View::U32(&self.u32[..n.min(self.u32.len())]),
            DType::U8 => View::U8(&self.u8[..n.min(self.u8.len())]),
        }
    }
}

struct Loaded<T> {
    plan: Arc<Plan>,
    /// Where each buffer of the plan is.
    slots: Vec<usize>,
    steps: Vec<(String, Box<dyn Step<T>>)>,
    copies: Vec<(usize, usize)>,
}

impl<T> Loaded<T> {
    /// The types of what it stores in a buffer.
    fn stored_in(&self, slot: usize) -> impl Iterator<Item = &TensorType> {
        let place = move |id: &NodeId| self.plan.storage[id.index()].map(|b| self.slots[b.0 as usize]);
        self.plan.graph.ids().filter(move |id| place(id) == Some(slot)).map(|id| self.plan.graph.ty(id))
    }
}

/// See the module's introduction.
pub struct Host<T> {
    info: DeviceInfo,
    buffers: Vec<Buffer<T>>,
    free: Vec<usize>,
    leaves: BTreeMap<String, Place>,
    programs: BTreeMap<ProgramId, Loaded<T>>,
    workers: Workers<T>,
    made: u32,
    peak_bytes: usize,
}

impl<T: Number> Host<T> {
    pub fn new(info: DeviceInfo) -> Host<T> {
        Host {
            info,
            buffers: vec![],
            free: vec![],
            leaves: BTreeMap::new(),
            programs: BTreeMap::new(),
            workers: Workers::default(),
            made: 0,
            peak_bytes: 0,
        }
    }

    fn new_buffer(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Buffer::default());
            self.buffers.len() - 1
        })
    }

    /// The buffers of values that die within a step, of all programs: one runs at a time, so the next program can
    /// have the same ones.
    fn step_slots(&self) -> std::vec::IntoIter<usize> {
        let mut all: Vec<usize> = vec![];
        for p in self.programs.values() {
            let own = p.plan.largest_first().filter(|k| p.plan.buffers[*k].leaf.is_none()).map(|k| p.slots[k]);
            let new: Vec<usize> = own.filter(|s| !all.contains(s)).collect();
            all.extend(new);
        }
        all.into_iter()
    }

    fn leaf_place(&self, name: &str) -> BackendResult<&Place> {
        self.leaves.get(name).ok_or_else(|| BackendError::Unknown(name.into()))
    }

    fn set(&mut self, place: &Place, value: &Tensor) {
        let buffer = &mut self.buffers[place.buffer];
        match value.data() {
            Data::F32(v) => buffer.num.iter_mut().zip(v).for_each(|(d, &s)| *d = T::from_f64(s.into())),
            Data::F16(v) => {
                buffer.num.iter_mut().zip(v).for_each(|(d, &s)| *d = T::from_f64(half::from_bits(s).into()));
            }
            Data::U32(v) => buffer.u32[..v.len()].copy_from_slice(v),
            Data::U8(v) => buffer.u8[..v.len()].copy_from_slice(v),
        }
    }

    fn stored(&self, program: ProgramId, node: NodeId) -> BackendResult<Place> {
        let unknown = || BackendError::Unknown(format!("node {} of program {}", node.0, program.0));
        let p = self.programs.get(&program).ok_or_else(unknown)?;
        let buffer = p.plan.storage.get(node.index()).copied().flatten().ok_or_else(unknown)?;
        let buffer = p.slots.get(buffer.0 as usize).copied().ok_or_else(unknown)?;
        Ok(Place { buffer, ty: p.plan.graph.ty(node).clone() })
    }

    fn tensor(&self, place: &Place) -> Tensor {
        let data = match self.buffers[place.buffer].view(&place.ty) {
            View::Num(v) | View::Part(v, _) => {
                let numbers = v.iter().map(|x| x.to_f64() as f32);
                match place.ty.dtype {
                    DType::F16 => Data::F16(numbers.map(half::to_bits).collect()),
                    _ => Data::F32(numbers.collect()),
                }
            }
            View::U32(v) => Data::U32(v.to_vec()),
            View::U8(v) => Data::U8(v.to_vec()),
        };
        Tensor::new(place.ty.shape.clone(), data).unwrap_or_else(|| Tensor::scalar(0.0))
    }

    fn doubles(&self, place: &Place) -> Vec<f64> {
        match self.buffers[place.buffer].view(&place.ty) {
            View::Num(v) | View::Part(v, _) => v.iter().map(|x| x.to_f64()).collect(),
            View::U32(v) => v.iter().map(|x| (*x).into()).collect(),
            View::U8(v) => v.iter().map(|x| (*x).into()).collect(),
        }
    }

    /// One step; `after` is told the label of each kernel when it is done.
    fn replay(&mut self, program: ProgramId, after: &mut (dyn FnMut(&str) + Send)) -> BackendResult<()> {
        let unknown = || BackendError::Unknown(format!("program {}", program.0));
        let p = self.programs.get_mut(&program).ok_or_else(unknown)?;
        for (kernel, step) in &mut p.steps {
            step.run(&mut self.buffers, &self.workers)
                .map_err(|message| BackendError::Run { kernel: kernel.clone(), message })?;
            after(kernel);
        }
        for &(from, to) in &p.copies {
            let source = std::mem::take(&mut self.buffers[from]);
            let target = &mut self.buffers[to];
            // A buffer may be wider than the leaf, where values share it.
            target.num.iter_mut().zip(&source.num).for_each(|(d, s)| *d = *s);
            target.u32.iter_mut().zip(&source.u32).for_each(|(d, s)| *d = *s);
            target.u8.iter_mut().zip(&source.u8).for_each(|(d, s)| *d = *s);
            self.buffers[from] = source;
        }
        Ok(())
    }

    fn now_bytes(&self) -> usize {
        let steps = self.programs.values().flat_map(|p| &p.steps).map(|(_, s)| s.bytes());
        self.buffers.iter().map(Buffer::bytes).sum::<usize>() + steps.sum::<usize>() + self.workers.bytes()
    }
}

impl<T: Number> Backend for Host<T> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn load(&mut self, plan: Arc<Plan>) -> BackendResult<ProgramId> {
        let graph = &plan.graph;
        for id in graph.ids() {
            let node = graph.node(id);
            if node.leaf().is_none() {
                continue;
            }
            match self.leaves.get(&node.name) {
                Some(known) if known.ty != node.ty => {
                    return Err(BackendError::Mismatch {
                        name: node.name.clone(),
                        expected: known.ty.to_string(),
                        got: node.ty.to_string(),
                    });
                }
                Some(_) => {}
                None => {
                    let place = Place { buffer: self.new_buffer(), ty: node.ty.clone() };
                    self.leaves.insert(node.name.clone(), place);
                }
            }
        }
        let mut slots = vec![0; plan.buffers.len()];
        let mut common = self.step_slots();
        // The largest first: programs of one network differ in their batch, and find the same ones in this order.
        for k in plan.largest_first() {
            slots[k] = match plan.buffers[k].leaf {
                Some(leaf) => self.leaf_place(&graph.node(leaf).name)?.buffer,
                None => common.next().unwrap_or_else(|| self.new_buffer()),
            };
        }
        let place = |id: NodeId| -> Option<Place> {
            let b = plan.storage.get(id.index()).copied().flatten()?;
            Some(Place { buffer: *slots.get(b.0 as usize)?, ty: graph.ty(id).clone() })
        };
        for id in graph.ids() {
            if let Some(p) = place(id) {
                let mut need = Lengths::default();
                need.add(&p.ty);
                self.buffers[p.buffer].reserve(need);
            }
            if let Some(Leaf::Constant(value)) = graph.node(id).leaf()
                && let Some(p) = place(id)
            {
                self.set(&p, value);
            }
        }
        let mut steps = vec![];
        for k in &plan.kernels {
            let name = graph.node(k.main()).name.clone();
            let made = T::kernel(&plan, k, &place)
                .map_err(|message| BackendError::Kernel { kernel: name.clone(), message })?;
            steps.extend(made.into_iter().map(|s| (name.clone(), s)));
        }
        let copies =
            plan.copies.iter().filter_map(|(a, b)| Some((*slots.get(a.0 as usize)?, *slots.get(b.0 as usize)?)));
        let copies = copies.filter(|(a, b)| a != b).collect();
        let id = ProgramId(self.made);
        self.made += 1;
        self.programs.insert(id, Loaded { plan, slots, steps, copies });
        self.peak_bytes = self.peak_bytes.max(self.now_bytes());
        Ok(id)
    }

    fn unload(&mut self, program: ProgramId) {
        let before = self.step_slots();
        self.programs.remove(&program);
        let kept: Vec<usize> = self.step_slots().collect();
        for slot in before {
            if kept.contains(&slot) {
                let users = self.programs.values().flat_map(|p| p.stored_in(slot));
                let mut need = Lengths::default();
                users.for_each(|ty| need.add(ty));
                self.buffers[slot].shrink(need);
            } else {
                self.buffers[slot] = Buffer::default();
                self.free.push(slot);
            }
        }
    }

    fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()> {
        let place = self.leaf_place(leaf)?.clone();
        if place.ty.shape != value.shape() || place.ty.dtype != value.dtype() {
            return Err(BackendError::Mismatch {
                name: leaf.into(),
                expected: place.ty.to_string(),
                got: format!("{}{:?}", value.dtype(), value.shape()),
            });
        }
        self.set(&place, value);
        Ok(())
    }

    fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()> {
        let place = self.leaf_place(leaf)?.clone();
        if place.ty.dtype != DType::F32 || place.ty.numel() != values.len() {
            return Err(BackendError::Mismatch {
                name: leaf.into(),
                expected: place.ty.to_string(),
                got: format!("{} numbers", values.len()),
            });
        }
        let buffer = &mut self.buffers[place.buffer];
        buffer.num.iter_mut().zip(values).for_each(|(d, &s)| *d = T::from_f64(s));
        Ok(())
    }

    fn run(&mut self, program: ProgramId) -> BackendResult<()> {
        lanes::threads::enter(|| self.replay(program, &mut |_| {}))
    }

    fn run_each<'a>(&'a mut self, program: ProgramId, after: &'a mut (dyn FnMut(&str) + Send)) -> Reading<'a, ()> {
        let done = lanes::threads::enter(|| self.replay(program, after));
        Box::pin(std::future::ready(done))
    }
    fn read(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Tensor> {
        let out = self.stored(program, node).map(|p| self.tensor(&p));
        Box::pin(std::future::ready(out))
    }

    fn read_f64(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Vec<f64>> {
        let out = self.stored(program, node).map(|p| self.doubles(&p));
        Box::pin(std::future::ready(out))
    }

    fn read_leaf(&mut self, leaf: &str) -> Reading<'_, Tensor> {
        let out = self.leaf_place(leaf).map(|p| self.tensor(p));
        Box::pin(std::future::ready(out))
    }

    fn memory(&self) -> Memory {
        let now_bytes = self.now_bytes();
        Memory {
            now_bytes,
            peak_bytes: self.peak_bytes.max(now_bytes),
            objects: self.buffers.len() as u64 + u64::from(self.made),
        }
    }

    fn poison(&mut self, program: ProgramId) -> BackendResult<()> {
        let unknown = || BackendError::Unknown(format!("program {}", program.0));
        let p = self.programs.get(&program).ok_or_else(unknown)?;
        for (b, slot) in p.plan.buffers.iter().zip(&p.slots) {
            if b.leaf.is_none() {
                self.buffers[*slot].num.fill(T::from_f64(f64::NAN));
            }
        }
        Ok(())
    }
}
