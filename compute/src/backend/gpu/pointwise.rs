//! What is computed element by element from tensors of one size, four elements at a time: reads and
//! writes of whole vec4s, without indices. A kernel of its own (activations, optimisers), or an
//! operand of a product that is computed where it is read.
//!
//! A node qualifies if its cell, and those of all nodes inlined below it, follow from the values at
//! the element's own place and from single values; views keep the place in memory.

use super::kernel::{Accessors, Class, Dispatch, LowerError, Place, label, output_name};
use crate::cell::cost::{is_pointwise, reads_only_own_element};
use crate::cell::wgsl::{self, Read, WORKGROUP, fold_groups, function};
use crate::graph::{NodeId, TensorType};
use crate::ops::Lowering;
use crate::plan::pack::{self, Together};
use crate::plan::{BufferId, Kernel, Plan};
use crate::tensor::DType;

/// A node's elements, four by four.
pub(super) struct Fours {
    /// `name(at)` or `name[at]`, the vec4 of elements 4 at .. 4 at + 4, around the index.
    pub call: [String; 2],
    /// Functions to add to the text.
    pub text: String,
    /// Buffers to bind as vec4.
    pub buffers: Vec<BufferId>,
}

impl Fours {
    /// The vec4 at this index.
    pub fn at(&self, index: &str) -> String {
        format!("{}{index}{}", self.call[0], self.call[1])
    }
}

/// Functions `p12(x0: f32, x1: f32) -> f32` under way; `x`s are the elements of these buffers.
struct Points<'a, 'b> {
    accessors: &'a mut Accessors<'b>,
    /// Tells the functions of one output from those of another, whose `x`s differ.
    tag: &'a str,
    numel: usize,
    buffers: Vec<(BufferId, DType)>,
    text: String,
}

/// Whether the node has a buffer of this size or is pointwise.
fn qualifies(plan: &Plan, id: NodeId, numel: usize) -> bool {
    let node = plan.graph.node(id);
    if !node.ty.dtype.is_float() || node.ty.numel() != numel {
        return false;
    }
    plan.stored(id) || computable(plan, id, numel)
}

/// Whether the node and all below it are pointwise, over buffers of its size and single values.
fn computable(plan: &Plan, id: NodeId, numel: usize) -> bool {
    let g = &plan.graph;
    let node = g.node(id);
    let Some(op) = node.op() else { return false };
    if op.lowering() == Lowering::View {
        return node.inputs.first().is_some_and(|i| qualifies(plan, *i, numel));
    }
    let types: Vec<&TensorType> = node.inputs.iter().map(|i| g.ty(*i)).collect();
    let shapes: Vec<&[usize]> = types.iter().map(|t| t.shape.as_slice()).collect();
    op.lowering() == Lowering::Cells
        && is_pointwise(&op.cell(&types, &node.ty), &shapes, &node.ty.shape)
        && node.inputs.iter().all(|i| g.ty(*i).numel() == 1 || qualifies(plan, *i, numel))
}

impl Points<'_, '_> {
    /// The value of a node at the element, as text.
    fn value(&mut self, id: NodeId) -> Result<String, LowerError> {
        let plan = self.accessors.plan;
        if plan.stored(id) {
            let buffer = self.accessors.buffer(id)?;
            let at = self.buffers.iter().position(|(b, _)| *b == buffer).unwrap_or_else(|| {
                self.buffers.push((buffer, plan.graph.ty(id).dtype));
                self.buffers.len() - 1
            });
            return Ok(format!("x{at}"));
        }
        let node = plan.graph.node(id);
        match (node.op().map(|op| op.lowering()), node.inputs.first()) {
            (Some(Lowering::View), Some(input)) => self.value(*input),
            _ => Ok(format!("{}(ARGUMENTS)", self.function(id)?)),
        }
    }

    /// Prints the function of a node that is computed, once; returns its name.
    fn function(&mut self, id: NodeId) -> Result<String, LowerError> {
        let name = format!("p{}{}", id.0, self.tag);
        let head = format!("fn {name}(");
        if self.text.contains(&head) {
            return Ok(name);
        }
        let plan = self.accessors.plan;
        let cell = self.accessors.cell(id)?;
        let mut reads = vec![];
        for (k, &input) in plan.graph.node(id).inputs.iter().enumerate() {
            let shape = plan.graph.shape(input);
            let own = plan.graph.ty(input).numel() == self.numel && reads_only_own_element(&cell, k);
            reads.push(if own { Read::given(self.value(input)?, shape) } else { self.accessors.read(input)? });
        }
        let made = function(&name, &cell, &[], &reads)?.text;
        self.text += &made.replacen(&format!("{head})"), &format!("{head}PARAMETERS)"), 1);
        Ok(name)
    }
}

/// A read of four numbers of a buffer, around the index.
fn four(name: &str, dtype: DType) -> [String; 2] {
    match dtype {
        DType::F16 => [format!("four_halves({name}["), "])".into()],
        _ => [format!("{name}["), "]".into()],
    }
}

/// A node in fours, or `None` if it is not pointwise or its size is no multiple of four.
/// `computed`: the node itself is computed here, even if it has a buffer. `tag`: the end of the names of its
/// functions.
pub(super) fn fours(
    accessors: &mut Accessors,
    id: NodeId,
    computed: bool,
    tag: &str,
) -> Result<Option<Fours>, LowerError> {
    let plan = accessors.plan;
    let numel = plan.graph.ty(id).numel();
    let fits = if computed {
        plan.graph.ty(id).dtype.is_float() && computable(plan, id, numel)
    } else {
        qualifies(plan, id, numel)
    };
    if !fits || (!accessors.packed && (numel < 4 || !numel.is_multiple_of(4))) {
        return Ok(None);
    }
    let mut points = Points { accessors, tag, numel, buffers: vec![], text: String::new() };
    let value = if computed { format!("{}(ARGUMENTS)", points.function(id)?) } else { points.value(id)? };
    let (buffers, text) = (points.buffers, points.text);
    let reads: Vec<[String; 2]> = buffers.iter().map(|(b, dtype)| four(&accessors.name(*b, *dtype), *dtype)).collect();
    let buffers: Vec<BufferId> = buffers.into_iter().map(|(b, _)| b).collect();
    if value == "x0" {
        return Ok(Some(Fours { call: reads[0].clone(), text, buffers }));
    }
    let list = |f: &dyn Fn(usize) -> String| (0..buffers.len()).map(f).collect::<Vec<_>>().join(", ");
    let loads: String =
        reads.iter().enumerate().map(|(k, r)| format!("    let x{k} = {}at{};\n", r[0], r[1])).collect();
    let each: Vec<String> =
        ["x", "y", "z", "w"].iter().map(|c| value.replace("ARGUMENTS", &list(&|k| format!("x{k}.{c}")))).collect();
    let text =
        text.replace("PARAMETERS", &list(&|k| format!("x{k}: f32"))).replace("ARGUMENTS", &list(&|k| format!("x{k}")));
    let four =
        format!("fn v{}{tag}(at: i32) -> vec4<f32> {{\n{loads}    return vec4<f32>({});\n}}\n", id.0, each.join(", "));
    Ok(Some(Fours { call: [format!("v{}{tag}(", id.0), ")".into()], text: text + &four, buffers }))
}

/// The kernel of pointwise outputs, a vec4 of each an invocation; `None` where one is not.
pub(super) fn dispatch(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Option<Dispatch>, LowerError> {
    let ty = plan.graph.ty(kernel.outputs[0]);
    let names: Vec<&str> = kernel.outputs.iter().map(|o| plan.graph.node(*o).name.as_str()).collect();
    let what = format!("{}: one thread four elements of {:?}", names.join(", "), ty.shape);
    made(Accessors::new(plan, kernel, class), &what, ty.numel() / 4)
}

/// The one dispatch of kernels alike whose tensors lie in packs.
pub(super) fn packed(plan: &Plan, together: &Together, class: Class) -> Result<Option<Dispatch>, LowerError> {
    let kernels = &plan.kernels[together.kernels.clone()];
    let Some(kernel) = kernels.first() else { return Ok(None) };
    let names: Vec<&str> = kernels.iter().map(|k| plan.graph.node(k.main()).name.as_str()).collect();
    let what = format!("{}: one thread four elements of the tensors, one after another", names.join(", "));
    let bytes = |k: &Kernel| pack::step(plan.graph.ty(k.outputs[0]).bytes());
    let mut accessors = Accessors::new(plan, kernel, class);
    accessors.packed = true;
    let Some(mut one) = made(accessors, &what, kernels.iter().map(bytes).sum::<usize>() / 16)? else { return Ok(None) };
    for bound in &mut one.bound {
        let in_pack = |p: &&usize| plan.packs[**p].iter().any(|b| Place::Buffer(*b) == bound.place);
        if let Some(&pack) = together.packs.iter().find(in_pack) {
            bound.place = Place::Pack(pack);
        }
    }
    Ok(Some(one))
}

fn made(mut a: Accessors, what: &str, count: usize) -> Result<Option<Dispatch>, LowerError> {
    let (plan, kernel) = (a.plan, a.kernel);
    wgsl::check_size(&plan.graph.node(kernel.outputs[0]).name, plan.graph.shape(kernel.outputs[0]))?;
    let (mut text, mut stores, mut vectors) = (String::new(), String::new(), vec![]);
    for (k, &out) in kernel.outputs.iter().enumerate() {
        let tag = if k == 0 { String::new() } else { format!("_{}", k + 1) };
        let Some(made) = fours(&mut a, out, true, &tag)? else { return Ok(None) };
        text += &made.text;
        let value = match plan.graph.ty(out).dtype {
            DType::F16 => format!("packed_halves({})", made.at("at")),
            _ => made.at("at"),
        };
        stores += &format!("    {}[at] = {value};\n", output_name(k));
        vectors.extend(&made.buffers);
        vectors.push(a.buffer(out)?);
    }
    let (bindings, bound) = a.bindings(None, &vectors)?;
    let code = format!(
        "// {what}, generated from its cell.\n\n{bindings}{}\n{text}\n{}",
        a.functions(),
        wgsl::entry("at", count, &stores),
    );
    Ok(Some(Dispatch {
        label: label(plan, kernel),
        code: wgsl::import::with_math(&code),
        entry: "main".into(),
        groups: fold_groups(count.div_ceil(WORKGROUP)),
        bound,
        scratch_bytes: 0,
        turns: 0,
        checked: false,
        product: None,
    }))
}
