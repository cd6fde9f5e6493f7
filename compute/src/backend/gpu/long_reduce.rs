//! Long reductions to few results, in two stages through `reduce.wgsl`: a naive kernel would give
//! a million elements to one thread.
//!
//! It applies to any node whose cell is a reduction as a whole (or one divided by a constant, as a
//! mean is): nested reductions of one kind over constant ranges.

use super::kernel::{Accessors, Class, Dispatch, LowerError, SOFTWARE_TURNS, label};
use super::shaders;
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{CHAIN, fold_groups, function_of};
use crate::cell::{Bin, Cell, Idx, Red, Var};
use crate::plan::{Kernel, Plan};
use crate::tensor::{DType, numel, strides};

/// Rows shorter than this stay with the naive kernel.
const LONG: usize = 2048;
/// With more rows than this the naive kernel has enough threads.
const FEW: usize = 4096;

/// A reduction as a whole: kind, ranges from outside in, the term, and the divisor.
struct Whole<'a> {
    red: Red,
    vars: Vec<(Var, usize)>,
    term: &'a Cell,
    divisor: f64,
}

fn whole(cell: &Cell) -> Option<Whole<'_>> {
    let (mut term, divisor) = match cell {
        Cell::Bin(Bin::Div, a, b) => match **b {
            Cell::Const(d) => (&**a, d),
            _ => return None,
        },
        other => (other, 1.0),
    };
    let (mut vars, mut kind) = (vec![], None);
    while let Cell::Reduce(red, v, Idx::Const(0), Idx::Const(n), body) = term {
        if kind.is_some_and(|k| k != *red) || *n < 0 {
            break;
        }
        kind = Some(*red);
        vars.push((*v, *n as usize));
        term = body;
    }
    Some(Whole { red: kind?, vars, term, divisor })
}

/// The two stages, or `None` where the naive kernel serves.
pub(super) fn dispatches(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Option<Vec<Dispatch>>, LowerError> {
    let [out] = kernel.outputs[..] else { return Ok(None) };
    let mut a = Accessors::new(plan, kernel, class);
    let ty = plan.graph.ty(out).clone();
    let cell = a.cell(out)?;
    let Some(w) = whole(&cell) else { return Ok(None) };
    let sizes: Vec<usize> = w.vars.iter().map(|v| v.1).collect();
    let (rows, k) = (ty.numel(), numel(&sizes));
    if ty.dtype != DType::F32 || k < LONG || rows > FEW || rows == 0 || !kernel.in_place.is_empty() {
        return Ok(None);
    }
    let reads = a.inputs(out)?;
    let per_term = reads.iter().map(|r| r.turns).sum::<u64>();
    let term = function_of("term", w.term, &ty.shape, &w.vars, &reads, class.flat)?;
    let span = (SOFTWARE_TURNS / (1 + per_term)).clamp(1, CHAIN as u64) as usize;
    let parts = k.div_ceil(span);
    let place = |flat: &str, shape: &[usize]| -> Vec<String> {
        let steps = strides(shape);
        shape.iter().zip(steps).map(|(d, s)| format!("{flat} / {s} % {d}")).collect()
    };
    let arguments: Vec<String> = place("r", &ty.shape).into_iter().chain(place("k", &sizes)).collect();
    let load = format!("fn load(r: i32, k: i32) -> f32 {{\n    return term({});\n}}\n", arguments.join(", "));
    let merge = match w.red {
        Red::Sum => "a + b",
        Red::Max => "max_of(a, b)",
        Red::Min => "min_of(a, b)",
    };
    let put = "fn put(r: i32, part: i32, value: f32) {\n    parts[r * PARTS + part] = value;\n}\n";
    let shader = Shader::new("reduce.wgsl", shaders::REDUCE, shaders::SHARED)?
        .set("R", rows)?
        .set("K", k)?
        .set("PARTS", parts)?
        .set("SPAN", span)?
        .set("IDENTITY", format!("{}u", (w.red.identity() as f32).to_bits()))?
        .replace("load", &load)?
        .replace("merge", &format!("fn merge(a: f32, b: f32) -> f32 {{\n    return {merge};\n}}\n"))?
        .edit(
            "total * SCALE",
            &if w.divisor == 1.0 { "total".into() } else { format!("total / {:?}f", w.divisor as f32) },
        )?
        .append(&term.text)
        .append(&a.functions());
    let name = label(plan, kernel);
    let stage = |writes: bool| a.bindings(Some(writes), &[]);
    let (text, bound) = stage(true)?;
    let outputs = bound.len() - 2;
    let scratch_bytes = rows * parts * 4;
    let turns = (span as u64).saturating_mul(1 + term.turns);
    let first = Dispatch {
        label: name.clone(),
        code: shader.clone().replace("put", put)?.bindings(&text).finish(),
        entry: "forward".into(),
        groups: fold_groups((rows * parts).div_ceil(64)),
        bound: bound.iter().enumerate().filter(|(k, _)| *k != outputs).map(|(_, b)| *b).collect(),
        scratch_bytes,
        turns,
        checked: true,
        product: None,
    };
    let turns = (parts + parts / CHAIN as usize + 1) as u64;
    let (text, bound) = stage(false)?;
    let second = Dispatch {
        label: format!("{name}.combine"),
        code: shader.bindings(&text).finish(),
        entry: "combine".into(),
        groups: fold_groups(rows.div_ceil(64)),
        bound: bound[outputs..].to_vec(),
        scratch_bytes,
        turns,
        checked: true,
        product: None,
    };
    Ok(Some(vec![first, second]))
}
