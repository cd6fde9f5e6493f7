//! Prints cells as WGSL: accessor functions (`fn n17(i0: i32, i1: i32) -> f32`), which fused
//! kernels call, and complete naive kernels, one thread an output element.
//!
//! Indices are i32. Integer division is floored; where the left side cannot be negative (interval
//! analysis, [`range`]) it is printed plainly. A sum is never one chain of more than
//! [`CHAIN`] additions: longer ones are tiled. What does not change in a loop is computed before
//! it. Functions that WGSL lacks come from `shaders/shared/math.wgsl`.
//!
//! Errors: a cell that reads an input that was not given, or a name that is not bound.

mod emit;
pub mod free;
pub mod import;
mod range;

pub use emit::Frame;

use crate::cell::{Cell, Idx, Var, at, ax};
use crate::tensor::{DType, numel, strides};

/// The longest sequential chain of additions.
pub const CHAIN: i64 = 1024;

/// Invocations of a workgroup of a naive kernel.
pub const WORKGROUP: usize = 64;

/// Helper functions for generated code.
pub const MATH: &str = include_str!("../../../../shaders/shared/math.wgsl");

/// Why a cell cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    #[error("{function}: the cell reads input {input}, but {given} inputs were given")]
    NoInput { function: String, input: usize, given: usize },
    #[error("{function}: the name {name} is not bound")]
    Unbound { function: String, name: &'static str },
    #[error("{function}: input {input} has {expected} axes, the cell gives {got} indices")]
    Rank { function: String, input: usize, expected: usize, got: usize },
    #[error("{function}: {elements} elements are more than 32-bit indices reach; split the tensor")]
    TooLarge { function: String, elements: usize },
}

/// How the reads of one input are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// An element of this storage buffer, row-major. u8 and f16 tensors are packed in u32 words.
    Buffer(String),
    /// A call of this accessor function with one argument an axis; it returns f32.
    Call(String),
    /// This text, an f32, whatever the index: the element's own value under another name.
    Given(String),
}

/// One input of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub access: Access,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Loop turns of one call.
    pub turns: u64,
}

/// A printed function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub text: String,
    /// The most turns that its loops take in one call: some devices stop a loop silently.
    pub turns: u64,
}

impl Read {
    /// Reads of a storage buffer.
    pub fn buffer(name: impl Into<String>, dtype: DType, shape: &[usize]) -> Read {
        Read { access: Access::Buffer(name.into()), dtype, shape: shape.to_vec(), turns: 0 }
    }

    /// The element's own value, as this text.
    pub fn given(text: impl Into<String>, shape: &[usize]) -> Read {
        Read { access: Access::Given(text.into()), dtype: DType::F32, shape: shape.to_vec(), turns: 0 }
    }

    /// Calls of an accessor function of an f32 tensor.
    pub fn call(name: impl Into<String>, shape: &[usize], turns: u64) -> Read {
        Read { access: Access::Call(name.into()), dtype: DType::F32, shape: shape.to_vec(), turns }
    }
}

/// `fn name(i0: i32, ...) -> f32 { ... }`: the element of a tensor of this shape that `cell` defines.
pub fn function(name: &str, cell: &Cell, shape: &[usize], reads: &[Read]) -> Result<Function, PrintError> {
    Frame { name, shape, ints: &[], nums: &[], reads, flat: false }.number(cell)
}

/// [`function`] of a cell with free index names: each becomes a parameter after the axes, from 0
/// to below its size. `flat` writes out short innermost loops: longer, with fewer turns.
pub fn function_of(
    name: &str,
    cell: &Cell,
    shape: &[usize],
    bound: &[(Var, usize)],
    reads: &[Read],
    flat: bool,
) -> Result<Function, PrintError> {
    let ints: Vec<(Var, String, usize)> =
        bound.iter().enumerate().map(|(k, (v, size))| (*v, format!("v{k}"), *size)).collect();
    Frame { name, shape, ints: &ints, nums: &[], reads, flat }.number(cell)
}

/// A complete kernel: its code, entry point `main`, and the workgroups to dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naive {
    pub code: String,
    pub groups: [u32; 3],
}

/// The WGSL type of a tensor's storage elements.
pub fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::U32 | DType::U8 | DType::F16 => "u32",
    }
}

/// Elements that a storage element holds. Halves are packed in words as bytes are, not an `array<f16>`: the bits
/// in memory are the same, and no device has to offer `f16` for it.
pub fn per_word(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::U32 => 1,
        DType::F16 => 2,
        DType::U8 => 4,
    }
}

/// Element `at` of a storage buffer: a name, where the type is packed.
pub fn element(dtype: DType, name: &str, at: &str) -> String {
    match dtype {
        DType::F32 | DType::U32 => format!("{name}[{at}]"),
        DType::F16 => format!("half_at({name}[{at} >> 1u], {at})"),
        DType::U8 => format!("byte_of({name}[{at} >> 2u], {at})"),
    }
}

/// `@group(0) @binding(b) var<storage, ...> name: array<...>;`
pub fn binding(b: usize, name: &str, dtype: DType, writes: bool) -> String {
    let mode = if writes { "read_write" } else { "read" };
    format!("@group(0) @binding({b}) var<storage, {mode}> {name}: array<{}>;\n", storage(dtype))
}

/// Folds `count` workgroups into a grid of at most 65,535 along each side. The product may exceed
/// `count`: kernels test their bounds.
pub fn fold_groups(count: usize) -> [u32; 3] {
    const SIDE: usize = 65_535;
    let z = count.div_ceil(SIDE * SIDE).max(1);
    let plane = count.div_ceil(z);
    let y = plane.div_ceil(SIDE).max(1);
    [plane.div_ceil(y) as u32, y as u32, z as u32]
}

/// The entry point that computes every element of some tensors of one type: for each its function,
/// `element(i0, ...)`, and the buffer it is written to, one tensor after the other.
pub fn main_over(pairs: &[(String, String)], dtype: DType, shape: &[usize]) -> String {
    let n = numel(shape);
    let steps = strides(shape);
    let index: Vec<String> = (0..shape.len())
        .map(|k| match (shape[k], steps[k]) {
            (1, _) => "0".into(),
            (d, s) => {
                let q = if s == 1 { "flat".to_string() } else { format!("flat / {s}") };
                if k == 0 || n / s == d { q } else { format!("{q} % {d}") }
            }
        })
        .collect();
    let index = index.join(", ");
    let per = per_word(dtype);
    let mut body = if per > 1 { String::new() } else { "    let flat = word;\n".into() };
    for (element, out) in pairs {
        let value = format!("{element}({index})");
        body += &match dtype {
            DType::F32 => format!("    {out}[word] = {value};\n"),
            DType::U32 => format!("    {out}[word] = u32({value});\n"),
            DType::U8 | DType::F16 => {
                let bits =
                    if dtype == DType::U8 { format!("u32({value}) & 255u") } else { format!("half_bits({value})") };
                format!(
                    "    var packed = 0u;
    for (var k = 0; k < {per}; k++) {{
        let flat = {per} * word + k;
        if (flat < {n}) {{
            packed |= ({bits}) << u32({} * k);
        }}
    }}
    {out}[word] = packed;
",
                    32 / per
                )
            }
        };
    }
    entry("word", n.div_ceil(per), &body)
}

/// The entry point of as many invocations as `count`, one after the other in a grid of any form: `body` with the
/// invocation's number as `name`.
pub fn entry(name: &str, count: usize, body: &str) -> String {
    format!(
        "@compute @workgroup_size({WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {{
    let {name} = i32(((group.z * groups.y + group.y) * groups.x + group.x) * {WORKGROUP}u + lane);
    if ({name} >= {count}) {{
        return;
    }}
{body}}}
"
    )
}

/// The kernel generated from a cell: group 0 binds the inputs in order and then the output.
pub fn naive_kernel(
    label: &str,
    cell: &Cell,
    inputs: &[(DType, &[usize])],
    output: (DType, &[usize]),
) -> Result<Naive, PrintError> {
    let reads: Vec<Read> =
        inputs.iter().enumerate().map(|(k, (dtype, shape))| Read::buffer(format!("in{k}"), *dtype, shape)).collect();
    for shape in inputs.iter().map(|i| i.1).chain([output.1]) {
        check_size(label, shape)?;
    }
    let mut code = format!("// {label}: one thread an element of {:?}, generated from its cell.\n\n", output.1);
    for (k, read) in reads.iter().enumerate() {
        code += &binding(k, &format!("in{k}"), read.dtype, false);
    }
    code += &binding(reads.len(), "out", output.0, true);
    code += "\n";
    code += &function("element", cell, output.1, &reads)?.text;
    code += "\n";
    code += &main_over(&[("element".into(), "out".into())], output.0, output.1);
    Ok(Naive { code: import::with_math(&code), groups: fold_groups(numel(output.1).div_ceil(WORKGROUP)) })
}

/// Refuses tensors that i32 indices cannot reach.
pub fn check_size(function: &str, shape: &[usize]) -> Result<(), PrintError> {
    match shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) {
        Some(n) if n <= i32::MAX as usize - WORKGROUP => Ok(()),
        n => Err(PrintError::TooLarge { function: function.into(), elements: n.unwrap_or(usize::MAX) }),
    }
}

/// The flat index in stride form, which compilers take apart better than Horner's.
fn flat_index(index: &[Idx], shape: &[usize]) -> Idx {
    index.iter().zip(strides(shape)).fold(at(0), |flat, (i, s)| flat + i.clone() * at(s))
}

/// The axes of a tensor of this rank as indices.
pub fn axes(rank: usize) -> Vec<Idx> {
    (0..rank).map(ax).collect()
}

#[cfg(test)]
mod tests;
