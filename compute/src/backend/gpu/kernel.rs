//! From a plan's kernel to dispatches: complete WGSL texts with their bindings, as plain data.
//!
//! Every operand is an accessor function. For a stored tensor it reads the buffer; for a tensor
//! that is computed inside the kernel it is printed from the producer's cell, which calls the
//! accessors of its own operands. Products and convolutions put these in place of the plain
//! accessors of their hand-written shader; everything else is a naive kernel printed from its
//! cell, except long reductions to few results, which use `reduce.wgsl`, and what is computed
//! element by element, four at a time (`pointwise`).
//!
//! This file knows no device: it is text in, text out.

use std::collections::BTreeMap;

use super::gemm::{self, Product, Tiling};
use super::{long_reduce, pointwise, rows};
use crate::cell::rows::{Names, find, reduced};
use crate::cell::wgsl::import::ImportError;
use crate::cell::wgsl::{self, Function, PrintError, Read};
use crate::graph::{NodeId, TensorType};
use crate::ops::Lowering;
use crate::plan::pack::Together;
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::DType;

/// What the choice of variants depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// A software device: no workgroup memory, large register tiles.
    pub software: bool,
    /// Lanes of its smallest subgroups; 0 without subgroups, and on a software device whose subgroups differ.
    pub lanes: usize,
    /// The largest scratch buffer.
    pub max_buffer_bytes: usize,
    /// Printed code writes out short loops: where their turns would be too many.
    pub flat: bool,
    /// How products are cut, where that fits; else as the table says.
    pub tiling: Option<Tiling>,
}

/// What a binding is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Buffer(BufferId),
    /// All of a pack of the plan.
    Pack(usize),
    /// The program's scratch buffer, for the parts of split sums.
    Scratch,
}

/// One binding of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub binding: u32,
    pub place: Place,
    pub writes: bool,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// `conv2d.backward_w`, for pipelines and errors.
    pub label: String,
    pub code: String,
    pub entry: String,
    pub groups: [u32; 3],
    pub bound: Vec<Bound>,
    /// Scratch it needs.
    pub scratch_bytes: usize,
    /// Loop turns of one invocation, at most.
    pub turns: u64,
    /// Whether accesses must be checked at run time: always, but for plain products, whose indices
    /// follow from the shapes alone. (A gather's come from data.)
    pub checked: bool,
    /// What the first dispatch of a product computes, and how it is cut.
    pub product: Option<(Product, Tiling)>,
}

/// llvmpipe leaves its loops after 65,535 turns of an invocation, in silence.
pub const SOFTWARE_TURNS: u64 = 65_000;

/// Why a kernel has no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    #[error(transparent)]
    Print(#[from] PrintError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("node {0} has no buffer")]
    NoBuffer(u32),
    #[error("{0} is a leaf, not an op")]
    Leaf(String),
}

/// The accessors of one kernel under way.
pub(super) struct Accessors<'a> {
    pub plan: &'a Plan,
    pub kernel: &'a Kernel,
    flat: bool,
    /// The kernel runs over packs: whole vec4s, whatever the size of its tensors.
    pub packed: bool,
    /// Buffers read, in order of first use; the output's own for an in-place update.
    reads: Vec<(BufferId, DType)>,
    /// Functions of inlined nodes, by node.
    functions: BTreeMap<NodeId, Function>,
}

impl<'a> Accessors<'a> {
    pub fn new(plan: &'a Plan, kernel: &'a Kernel, class: Class) -> Accessors<'a> {
        Accessors { plan, kernel, flat: class.flat, packed: false, reads: vec![], functions: BTreeMap::new() }
    }

    pub fn buffer(&self, id: NodeId) -> Result<BufferId, LowerError> {
        self.plan.storage.get(id.index()).copied().flatten().ok_or(LowerError::NoBuffer(id.0))
    }

    /// The node's own cell with the types of its inputs.
    pub fn cell(&self, id: NodeId) -> Result<crate::cell::Cell, LowerError> {
        let node = self.plan.graph.node(id);
        let op = node.op().ok_or_else(|| LowerError::Leaf(node.name.clone()))?;
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| self.plan.graph.ty(*i)).collect();
        Ok(op.cell(&types, &node.ty))
    }

    /// How a node is read inside this kernel; prints what must be computed for it.
    pub fn read(&mut self, id: NodeId) -> Result<Read, LowerError> {
        let ty = self.plan.graph.ty(id).clone();
        if !self.plan.stored(id) {
            let name = format!("n{}", id.0);
            if !self.functions.contains_key(&id) {
                let reads = self.inputs(id)?;
                let mut made = wgsl::function_of(&name, &self.cell(id)?, &ty.shape, &[], &reads, self.flat)?;
                let what = &self.plan.graph.node(id).name;
                made.text = format!("// {what}, computed where it is read\n{}", made.text);
                self.functions.insert(id, made);
            }
            let turns = self.functions.get(&id).map_or(0, |f| f.turns);
            return Ok(Read::call(name, &ty.shape, turns));
        }
        wgsl::check_size(&self.plan.graph.node(id).name, &ty.shape)?;
        let buffer = self.buffer(id)?;
        let name = self.name(buffer, ty.dtype);
        Ok(Read::buffer(name, ty.dtype, &ty.shape))
    }

    /// [`Accessors::read`] of all inputs of a node.
    pub fn inputs(&mut self, id: NodeId) -> Result<Vec<Read>, LowerError> {
        let inputs = self.plan.graph.node(id).inputs.clone();
        inputs.into_iter().map(|i| self.read(i)).collect()
    }

    /// How a buffer is called in this kernel's text, noting that it is read.
    pub fn name(&mut self, buffer: BufferId, dtype: DType) -> String {
        if !self.reads.iter().any(|(b, _)| *b == buffer) {
            self.reads.push((buffer, dtype));
        }
        self.output(buffer).map_or_else(|| format!("b{}", buffer.0), output_name)
    }

    /// Which output is stored in a buffer.
    fn output(&self, buffer: BufferId) -> Option<usize> {
        self.kernel.outputs.iter().position(|o| self.plan.storage[o.index()] == Some(buffer))
    }

    /// Drops the functions of a node that is read in fours, and of those inlined below it, which
    /// nothing calls any more; single values stay.
    pub fn forget(&mut self, id: NodeId) {
        if !self.plan.stored(id) && self.plan.graph.ty(id).numel() > 1 {
            self.functions.remove(&id);
            for input in self.plan.graph.node(id).inputs.clone() {
                self.forget(input);
            }
        }
    }

    /// The functions of inlined nodes.
    pub fn functions(&self) -> String {
        self.functions.values().map(|f| format!("\n{}", f.text)).collect()
    }

    /// Binding texts and bindings: inputs, then outputs, then `parts`. `vectors` are bound as vec4.
    pub fn bindings(&self, parts: Option<bool>, vectors: &[BufferId]) -> Result<(String, Vec<Bound>), LowerError> {
        let mut text = String::new();
        let mut bound = vec![];
        let mut add = |name: &str, element: &str, place: Place, writes: bool| {
            let binding = bound.len() as u32;
            let mode = if writes { "read_write" } else { "read" };
            text += &format!("@group(0) @binding({binding}) var<storage, {mode}> {name}: array<{element}>;\n");
            bound.push(Bound { binding, place, writes });
        };
        for (buffer, dtype) in self.reads.iter().filter(|(b, _)| self.output(*b).is_none()) {
            let element = if vectors.contains(buffer) { fours_of(*dtype) } else { wgsl::storage(*dtype) };
            add(&format!("b{}", buffer.0), element, Place::Buffer(*buffer), false);
        }
        for (k, out) in self.kernel.outputs.iter().enumerate() {
            let name = output_name(k);
            let buffer = self.buffer(*out)?;
            let dtype = self.plan.graph.ty(*out).dtype;
            let element = if vectors.contains(&buffer) { fours_of(dtype) } else { wgsl::storage(dtype) };
            add(&name, element, Place::Buffer(buffer), true);
        }
        if let Some(writes) = parts {
            add("parts", "f32", Place::Scratch, writes);
        }
        Ok((text, bound))
    }
}

/// Four numbers in memory.
fn fours_of(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "vec2<u32>" } else { "vec4<f32>" }
}

/// What the k-th output of a kernel is bound as.
pub(super) fn output_name(k: usize) -> String {
    if k == 0 { "out".into() } else { format!("out{}", k + 1) }
}

/// What a kernel is called.
pub fn label(plan: &Plan, kernel: &Kernel) -> String {
    plan.graph.node(kernel.main()).name.clone()
}

/// The dispatches of a kernel, in order.
pub fn dispatches(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Vec<Dispatch>, LowerError> {
    bounded(class, |class| match &kernel.lowering {
        Lowering::Matmul(op) => gemm::matmul(plan, kernel, op, class),
        Lowering::Conv2d(op) => gemm::conv2d::forward(plan, kernel, op, class),
        Lowering::Conv2dBackwardX(op) => gemm::conv2d::backward_x(plan, kernel, op, class),
        Lowering::Conv2dBackwardW(op) => gemm::conv2d::backward_w(plan, kernel, op, class),
        Lowering::Cells | Lowering::View | Lowering::Pool(_) => {
            if let Some(found) = long_reduce::dispatches(plan, kernel, class)? {
                return Ok(found);
            }
            for make in [pointwise::dispatch, rows::dispatch] {
                if let Some(found) = make(plan, kernel, class)? {
                    return Ok(vec![found]);
                }
            }
            naive_once(plan, kernel, class)
        }
    })
}

/// The one dispatch of kernels alike, in fours; `None` where it has no such form.
pub fn together(plan: &Plan, which: &Together, class: Class) -> Result<Option<Dispatch>, LowerError> {
    pointwise::packed(plan, which, class)
}

/// Makes dispatches, and makes them again as flat code if a software device would cut their loops.
fn bounded(
    class: Class,
    make: impl Fn(Class) -> Result<Vec<Dispatch>, LowerError>,
) -> Result<Vec<Dispatch>, LowerError> {
    let made = make(class)?;
    if class.software && made.iter().any(|d| d.turns > SOFTWARE_TURNS) {
        return make(Class { flat: true, ..class });
    }
    Ok(made)
}

/// The kernels printed from the cells alone, one an output: what the fast ones are compared with.
pub fn naive(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Vec<Dispatch>, LowerError> {
    bounded(class, |class| naive_once(plan, kernel, class))
}

fn naive_once(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Vec<Dispatch>, LowerError> {
    // One that reads whole rows of another comes after it. Its definition is put together, reductions of the row
    // before all that reads them.
    let reduces = |o: &NodeId| reduced(&plan.fused_cell(*o).0).is_some();
    let within = |n: &NodeId| {
        let node = plan.graph.node(*n);
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| plan.graph.ty(*i)).collect();
        node.op().is_some_and(|op| op.lowering() == Lowering::Cells && reduced(&op.cell(&types, &node.ty)).is_some())
    };
    let several = kernel.outputs.len() > 1 && kernel.outputs.iter().any(reduces);
    let of_rows = kernel.lowering == Lowering::Cells && (several || kernel.inlined.iter().any(within));
    if kernel.lowering == Lowering::Cells && !of_rows {
        return Ok(printed(plan, kernel, class, false)?.into_iter().collect());
    }
    let alone =
        |id: &NodeId| printed(plan, &Kernel { outputs: vec![*id], ..kernel.clone() }, class, of_rows).transpose();
    kernel.outputs.iter().filter_map(alone).collect()
}

/// A kernel printed from the cells of its outputs, which are of one type; `None` if they are empty. `of_rows`: with all
/// that is inlined put in.
fn printed(plan: &Plan, kernel: &Kernel, class: Class, of_rows: bool) -> Result<Option<Dispatch>, LowerError> {
    let mut a = Accessors::new(plan, kernel, class);
    let ty = plan.graph.ty(kernel.outputs[0]);
    let (mut elements, mut pairs, mut turns) = (vec![], vec![], 0);
    for (k, &id) in kernel.outputs.iter().enumerate() {
        let name = if k == 0 { "element".into() } else { format!("element{}", k + 1) };
        let (cell, reads) = if of_rows {
            let (cell, nodes) = plan.fused_cell(id);
            let shapes: Vec<&[usize]> = nodes.iter().map(|n| plan.graph.shape(*n)).collect();
            let found = find(&[(cell.clone(), &ty.shape[..])], &shapes, Names::Reductions);
            let cell = found.and_then(|rows| rows.bound(0)).unwrap_or(cell);
            (cell, nodes.into_iter().map(|n| a.read(n)).collect::<Result<_, _>>()?)
        } else {
            (a.cell(id)?, a.inputs(id)?)
        };
        let made = wgsl::function_of(&name, &cell, &ty.shape, &[], &reads, class.flat)?;
        turns += made.turns;
        elements.push(made.text);
        pairs.push((name, output_name(k)));
    }
    if ty.numel() == 0 {
        return Ok(None);
    }
    let (bindings, bound) = a.bindings(None, &[])?;
    let names: Vec<&str> = kernel.outputs.iter().map(|o| plan.graph.node(*o).name.as_str()).collect();
    let head =
        format!("// {}: one thread an element of {:?}, generated from its cell.\n\n", names.join(", "), ty.shape);
    let main = wgsl::main_over(&pairs, ty.dtype, &ty.shape);
    let elements = elements.join("\n");
    let code = wgsl::import::with_math(&format!("{head}{bindings}{}\n{elements}\n{main}", a.functions()));
    let per = wgsl::per_word(ty.dtype);
    Ok(Some(Dispatch {
        label: label(plan, kernel),
        code,
        entry: "main".into(),
        groups: wgsl::fold_groups(ty.numel().div_ceil(per).div_ceil(wgsl::WORKGROUP)),
        bound,
        scratch_bytes: 0,
        turns: turns * per as u64,
        checked: true,
        product: None,
    }))
}
