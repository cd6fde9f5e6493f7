//! Kernels of rows ([`crate::cell::rows`]): one pass over a row for each reduction that needs those before it, then
//! the outputs. What a row's values and elements are is printed from the cells; here are the loops around them.
//!
//! A row belongs to one invocation (software devices, short rows, columns that lie far apart), to the lanes of a
//! subgroup, or to a workgroup. Where each invocation has few elements of it, they are read once and stay in
//! registers; longer rows are read again in each pass. No chain of additions is longer than 1,024.

mod text;

use super::kernel::{Accessors, Class, Dispatch, LowerError, SOFTWARE_TURNS, label};
use super::shaders;
use crate::cell::Cell;
use crate::cell::rows::{Names, Rows, find};
use crate::cell::wgsl::import::Shader;
use crate::cell::wgsl::{Read, WORKGROUP, check_size, fold_groups};
use crate::plan::{Kernel, Plan};
use crate::tensor::DType;
use text::Text;

/// Rows up to this length belong to one invocation each.
const SHORT: usize = 32;

/// Elements of a row that an invocation keeps.
const HELD: usize = 32;

/// Who shares a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Team {
    One,
    Subgroup(usize),
    Workgroup(usize),
}

impl Team {
    fn new(class: Class, columns: usize, inner: usize) -> Team {
        if inner > 1 || columns <= SHORT {
            return Team::One;
        }
        // Short rows leave lanes idle; on a GPU long ones are a workgroup's.
        let each = if class.software { SHORT / 4..usize::MAX } else { 1..17 };
        let lanes = shaders::SUBGROUPS && class.lanes.is_power_of_two() && class.lanes > 1;
        if lanes && each.contains(&(columns / class.lanes)) {
            return Team::Subgroup(class.lanes);
        }
        if class.software { Team::One } else { Team::Workgroup((columns / 8).next_power_of_two().clamp(32, 256)) }
    }

    fn lanes(self) -> usize {
        match self {
            Team::One => 1,
            Team::Subgroup(n) | Team::Workgroup(n) => n,
        }
    }
}

/// The kernel, or `None` where another form serves as well.
pub(super) fn dispatch(plan: &Plan, kernel: &Kernel, class: Class) -> Result<Option<Dispatch>, LowerError> {
    let g = &plan.graph;
    let numbers = kernel.outputs.iter().all(|o| g.ty(*o).dtype == DType::F32 && g.ty(*o).numel() > 0);
    if !numbers || !kernel.in_place.is_empty() {
        return Ok(None);
    }
    let (cells, nodes) = plan.fused_cells(&kernel.outputs, &kernel.outputs);
    let cells: Vec<(Cell, &[usize])> = cells.into_iter().zip(kernel.outputs.iter().map(|o| g.shape(*o))).collect();
    let shapes: Vec<&[usize]> = nodes.iter().map(|n| g.shape(*n)).collect();
    let Some(found) = find(&cells, &shapes, Names::All) else { return Ok(None) };
    let mut dims = cells[0].1.to_vec();
    dims[found.axis] = found.columns;
    let inner: usize = dims[found.axis + 1..].iter().product();
    let team = Team::new(class, found.columns, inner);
    // One thread for one reduction is what the naive kernel is, too.
    let single = cells.len() == 1 && cells[0].1[found.axis] == 1 && found.reductions() == 1;
    if single && (team == Team::One || class.software) {
        return Ok(None);
    }
    check_size(&label(plan, kernel), &dims)?;
    let mut a = Accessors::new(plan, kernel, class);
    let reads: Vec<Read> = nodes.iter().map(|n| a.read(*n)).collect::<Result<_, _>>()?;
    let rows = dims.iter().product::<usize>() / found.columns;
    let whole: Vec<bool> = cells.iter().map(|(_, shape)| shape[found.axis] != 1 || found.columns == 1).collect();
    let text = Text::new(&found, &dims, &reads, &shapes, &whole, team.lanes(), HELD)?;
    if class.software && text.turns > SOFTWARE_TURNS {
        return Ok(None);
    }
    let (bindings, bound) = a.bindings(None, &[])?;
    let names: Vec<&str> = kernel.outputs.iter().map(|o| g.node(*o).name.as_str()).collect();
    let who = match team {
        Team::One => "one thread".into(),
        Team::Subgroup(n) => format!("a subgroup of {n}"),
        Team::Workgroup(n) => format!("a workgroup of {n}"),
    };
    let head = format!("// {}: {who} a row of {}, generated from its cell.\n", names.join(", "), found.columns);
    let across = match team {
        Team::One => "",
        Team::Subgroup(_) => shaders::ROWS_LANES,
        Team::Workgroup(_) => shaders::ROWS,
    };
    let (size, place) = match team {
        Team::One => (WORKGROUP, format!("group_number * {WORKGROUP} + i32(invocation)")),
        _ => (team.lanes(), "group_number".into()),
    };
    let main = format!(
        "@compute @workgroup_size({size})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) invocation: u32) {{
    let group_number = i32((group.z * groups.y + group.y) * groups.x + group.x);
    let row = {place};
    if (row >= {rows}) {{
        return;
    }}
{}}}
",
        text.main,
    );
    let mut shader = Shader::new("rows.wgsl", across, &[])?;
    if team != Team::One {
        shader = shader.set("ROW_LANES", team.lanes())?;
    }
    let across = shader.finish_plain();
    let code = format!("{head}\n{bindings}{across}\n{}\n{main}", text.functions);
    Ok(Some(Dispatch {
        label: label(plan, kernel),
        code: crate::cell::wgsl::import::with_math(&code),
        entry: "main".into(),
        groups: fold_groups(if team == Team::One { rows.div_ceil(WORKGROUP) } else { rows }),
        bound,
        scratch_bytes: 0,
        turns: text.turns,
        checked: true,
        product: None,
    }))
}
