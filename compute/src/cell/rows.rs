//! Cells as functions of a row: some values of the row, each from those before it (reductions over its columns,
//! numbers, indices), and the outputs, elementwise in the column.
//!
//! ```text
//! softmax over j:  top = max(j) x[r,j],  sum = sum(j) exp(x[r,j] - top),  y[r,c] = exp(x[r,c] - top) / sum
//! ```
//!
//! The column is written as an axis of the output, in reductions too, so that one set of arguments serves all. Equal
//! values are one, whichever output asks for them. A sum in which one term is picked, as a one-hot label does,
//! becomes that term: `sum(c) (if c = k then 1 else 0) f[c]` is `f[k]`, for finite f.

use std::sync::Arc;

use super::inline::at_index;
use super::{Bin, Cell, Cmp, Cond, Idx, RandKey, Red, Un, Var, at, bind, cmp_idx, var, when};

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Over all columns of the row.
    Reduce(Red, Cell),
    Number(Cell),
    /// An element of an integer input, for use in indices.
    Index(Idx),
}

/// See the module's introduction.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The axis along which a row's columns lie, and their number.
    pub axis: usize,
    pub columns: usize,
    /// In order: each uses only those before it.
    pub values: Vec<(Var, Value)>,
    /// The outputs, and how many values precede each.
    pub outputs: Vec<(Cell, usize)>,
}

/// What is given a name besides reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Reductions,
    /// Whatever is the same for the whole row.
    All,
}

/// Cells of outputs of these shapes as functions of rows along `axis`; `None` where one is not. An output has one
/// element a row (length 1 along the axis), or one a column.
pub fn rows(
    outputs: &[(Cell, &[usize])],
    inputs: &[&[usize]],
    axis: usize,
    columns: usize,
    names: Names,
) -> Option<Rows> {
    let mut dims = outputs.first()?.1.to_vec();
    *dims.get_mut(axis)? = columns;
    let found = Rows { axis, columns, values: vec![], outputs: vec![] };
    let mut walk = Walk { rows: found, inputs, dims, names };
    for (cell, shape) in outputs {
        let own = |(k, (a, b)): (usize, (&usize, &usize))| a == b || (k == axis && *a == 1);
        if shape.len() != walk.dims.len() || !shape.iter().zip(&walk.dims).enumerate().all(own) {
            return None;
        }
        let single = shape[axis] == 1;
        let cell = if single { at_column(cell, axis, at(0)) } else { cell.clone() };
        let env = Env { names: vec![], column: None, inside: single, lazy: false };
        let got = walk.cell(&cell, &env)?;
        let values = walk.rows.values.len();
        walk.rows.outputs.push((got.0, values));
    }
    Some(walk.rows)
}

/// [`rows`] along the last axis where the outputs are, with at least one reduction.
pub fn find(outputs: &[(Cell, &[usize])], inputs: &[&[usize]], names: Names) -> Option<Rows> {
    let rank = outputs.first()?.1.len();
    (0..rank).rev().find_map(|axis| {
        let widest = outputs.iter().filter_map(|(_, shape)| shape.get(axis)).max().copied()?;
        let columns = if widest == 1 { outputs.iter().find_map(|(c, _)| reduced(c))? } else { widest };
        rows(outputs, inputs, axis, columns, names).filter(|r| r.reductions() > 0)
    })
}

impl Rows {
    /// A value as a definition by itself, where it is a number.
    pub fn definition(&self, value: &Value) -> Option<Cell> {
        match value {
            Value::Reduce(red, body) => {
                let (column, all) = (var("c"), at(self.columns));
                let body = at_column(body, self.axis, column.into());
                Some(Cell::Reduce(*red, column, at(0), all, body.into()))
            }
            Value::Number(cell) => Some(cell.clone()),
            Value::Index(_) => None,
        }
    }

    /// An output as one definition, its row's values bound one after the other.
    pub fn bound(&self, output: usize) -> Option<Cell> {
        let (cell, known) = self.outputs.get(output)?;
        let bind_to = |cell, (name, value): &(Var, Value)| Some(bind(*name, self.definition(value)?, cell));
        self.values[..*known].iter().rev().try_fold(cell.clone(), bind_to)
    }

    /// How many values are reductions.
    pub fn reductions(&self) -> usize {
        self.values.iter().filter(|(_, v)| matches!(v, Value::Reduce(..))).count()
    }
}

/// A row's cell at another column.
pub fn at_column(cell: &Cell, axis: usize, column: Idx) -> Cell {
    let axes: Vec<Idx> = (0..axis).map(Idx::Axis).chain([column]).collect();
    at_index(cell, &axes, &mut 0)
}

/// The length of the first reduction over a constant range.
pub fn reduced(cell: &Cell) -> Option<usize> {
    match cell {
        Cell::Const(_) | Cell::Local(_) | Cell::Int(_) | Cell::Load(..) => None,
        Cell::Let(_, a, b) | Cell::Bin(_, a, b) | Cell::If(_, a, b) => reduced(a).or_else(|| reduced(b)),
        Cell::Un(_, a) => reduced(a),
        Cell::Reduce(_, _, Idx::Const(0), Idx::Const(n), _) => usize::try_from(*n).ok(),
        Cell::Reduce(..) => None,
    }
}

/// Numbers of the names given here: beyond those of bound names.
const NAMED: u32 = 1 << 24;

struct Walk<'a> {
    rows: Rows,
    inputs: &'a [&'a [usize]],
    /// Lengths of the axes, with all columns.
    dims: Vec<usize>,
    names: Names,
}

#[derive(Clone)]
struct Env {
    /// Names in scope: what stands for them, `None` where they differ from column to column.
    names: Vec<(Var, Option<Cell>)>,
    /// The variable of the reduction around.
    column: Option<Var>,
    /// The axis is not the column: in reductions, and in outputs of one element a row.
    inside: bool,
    /// May never be evaluated: only what cannot fail is moved out.
    lazy: bool,
}

/// A result, and whether it differs from column to column.
type Got<T> = Option<(T, bool)>;

impl Walk<'_> {
    fn cell(&mut self, c: &Cell, env: &Env) -> Got<Cell> {
        Some(match c {
            Cell::Const(_) => (c.clone(), false),
            Cell::Int(i) => {
                let (i, varies) = self.idx(i, env)?;
                (Cell::Int(i), varies)
            }
            Cell::Load(input, ix) => {
                let (ix, varies) = self.indices(ix, env)?;
                (Cell::Load(*input, ix), varies)
            }
            Cell::Local(v) => match env.names.iter().rev().find(|(n, _)| n == v)? {
                (_, Some(uniform)) => (uniform.clone(), false),
                (_, None) => (c.clone(), true),
            },
            Cell::Let(v, value, body) => {
                let (value, varies) = self.cell(value, env)?;
                let mut inner = env.clone();
                let stands = if varies { None } else { Some(self.named(value.clone(), v.0, env)) };
                inner.names.push((*v, stands));
                let (body, body_varies) = self.cell(body, &inner)?;
                match varies && body_varies {
                    true => (Cell::Let(*v, value.into(), body.into()), true),
                    false => (body, body_varies),
                }
            }
            Cell::Un(op, x) => {
                let (x, varies) = self.cell(x, env)?;
                match x {
                    Cell::Const(x) => (Cell::Const(op.apply(x)), false),
                    x => (Cell::Un(*op, x.into()), varies),
                }
            }
            Cell::Bin(op, a, b) => {
                let (a, b, varies) = self.pair(a, b, env)?;
                match (a, b) {
                    (Cell::Const(a), Cell::Const(b)) => (Cell::Const(op.apply(a, b)), false),
                    (a, b) => (Cell::Bin(*op, a.into(), b.into()), varies),
                }
            }
            Cell::If(c, a, b) => {
                let (c, chosen) = self.cond(c, env)?;
                let branch = Env { lazy: true, ..env.clone() };
                let (a, b, varies) = self.pair(a, b, &branch)?;
                (Cell::If(c.into(), a.into(), b.into()), chosen || varies)
            }
            Cell::Reduce(red, v, Idx::Const(0), Idx::Const(n), body) if *n == self.rows.columns as i64 => {
                let mut inner = Env { column: Some(*v), inside: true, ..env.clone() };
                // What varies outside is another column's.
                inner.names.retain(|(_, stands)| stands.is_some());
                let (body, _) = self.cell(body, &inner)?;
                if let (Red::Sum, Some((k, term))) = (red, self.picked(&body)) {
                    let term = at_column(&term, self.rows.axis, k.clone());
                    let inside = cmp_idx(Cmp::Ge, k.clone(), at(0)).and(cmp_idx(Cmp::Lt, k, at(self.rows.columns)));
                    return Some((when(inside, term, Cell::Const(0.0)), false));
                }
                if env.lazy && !self.safe(&body) {
                    return None;
                }
                let stem = match red {
                    Red::Sum => "sum",
                    Red::Max => "top",
                    Red::Min => "low",
                };
                (Cell::Local(self.value(stem, Value::Reduce(*red, at_index(&body, &[], &mut 0)))), false)
            }
            Cell::Reduce(..) => return None,
        })
    }

    /// Two operands; one that is the same for the row gets a name if the other is not.
    fn pair(&mut self, a: &Cell, b: &Cell, env: &Env) -> Option<(Cell, Cell, bool)> {
        let ((a, a_varies), (b, b_varies)) = (self.cell(a, env)?, self.cell(b, env)?);
        let a = if b_varies && !a_varies { self.named(a, "value", env) } else { a };
        let b = if a_varies && !b_varies { self.named(b, "value", env) } else { b };
        Some((a, b, a_varies || b_varies))
    }

    fn cond(&mut self, c: &Cond, env: &Env) -> Got<Cond> {
        Some(match c {
            Cond::Num(op, a, b) => {
                let (a, b, varies) = self.pair(a, b, env)?;
                (Cond::Num(*op, a.into(), b.into()), varies)
            }
            Cond::Idx(op, a, b) => {
                let ((a, x), (b, y)) = (self.idx(a, env)?, self.idx(b, env)?);
                (Cond::Idx(*op, a, b), x || y)
            }
            Cond::Finite(a) => {
                let (a, varies) = self.cell(a, env)?;
                (Cond::Finite(a.into()), varies)
            }
            Cond::And(a, b) | Cond::Or(a, b) => {
                // The right side may depend on the left.
                let ((x, x_varies), (y, y_varies)) =
                    (self.cond(a, env)?, self.cond(b, &Env { lazy: true, ..env.clone() })?);
                let both = if matches!(c, Cond::And(..)) { x.and(y) } else { x.or(y) };
                (both, x_varies || y_varies)
            }
            Cond::Not(a) => {
                let (a, varies) = self.cond(a, env)?;
                (a.negate(), varies)
            }
        })
    }

    fn indices(&mut self, ix: &[Idx], env: &Env) -> Got<Vec<Idx>> {
        let all: Vec<(Idx, bool)> = ix.iter().map(|i| self.idx(i, env)).collect::<Option<_>>()?;
        let varies = all.iter().any(|(_, varies)| *varies);
        Some((all.into_iter().map(|(i, _)| i).collect(), varies))
    }

    fn idx(&mut self, i: &Idx, env: &Env) -> Got<Idx> {
        Some(match i {
            Idx::Axis(k) if *k == self.rows.axis => (!env.inside).then_some((i.clone(), true))?,
            Idx::Axis(_) | Idx::Const(_) => (i.clone(), false),
            Idx::Var(v) => (env.column == Some(*v)).then_some((Idx::Axis(self.rows.axis), true))?,
            Idx::Bin(op, a, b) => {
                let ((a, x), (b, y)) = (self.idx(a, env)?, self.idx(b, env)?);
                (Idx::Bin(*op, a.into(), b.into()), x || y)
            }
            Idx::Load(input, ix) => {
                let (ix, varies) = self.indices(ix, env)?;
                let load = Idx::Load(*input, ix);
                let named = self.names == Names::All && !varies && (!env.lazy || self.safe_idx(&load));
                (if named { Idx::Var(self.value("index", Value::Index(load))) } else { load }, varies)
            }
            Idx::Rand(r) => {
                let parts = [&r.seed, &r.step, &r.counter].map(|p| p.clone());
                let (parts, varies) = self.indices(&parts, env)?;
                let [seed, step, counter] = <[Idx; 3]>::try_from(parts).ok()?;
                (Idx::Rand(Arc::new(RandKey { key: r.key, seed, step, counter })), varies)
            }
        })
    }

    /// A cell that is the same for the row, by name where that saves work.
    fn named(&mut self, cell: Cell, stem: &'static str, env: &Env) -> Cell {
        let trivial = matches!(cell, Cell::Const(_) | Cell::Local(_) | Cell::Int(_));
        if trivial || self.names == Names::Reductions || (env.lazy && !self.safe(&cell)) {
            return cell;
        }
        Cell::Local(self.value(stem, Value::Number(at_index(&cell, &[], &mut 0))))
    }

    /// The name of a value.
    fn value(&mut self, stem: &'static str, value: Value) -> Var {
        if let Some((name, _)) = self.rows.values.iter().find(|(_, v)| *v == value) {
            return *name;
        }
        let name = Var(stem, NAMED + self.rows.values.len() as u32);
        self.rows.values.push((name, value));
        name
    }

    /// The column that alone counts in a sum of such terms, and its term.
    fn picked(&self, term: &Cell) -> Option<(Idx, Cell)> {
        match term {
            Cell::If(c, one, zero) if **one == Cell::Const(1.0) && **zero == Cell::Const(0.0) => {
                let Cond::Idx(Cmp::Eq, a, b) = &**c else { return None };
                let column = Idx::Axis(self.rows.axis);
                let other = if *a == column { b } else { a };
                let one = (*a == column || *b == column) && !other.uses_axis(self.rows.axis);
                one.then_some((other.clone(), Cell::Const(1.0)))
            }
            Cell::Un(Un::Neg, x) => self.picked(x).map(|(k, x)| (k, -x)),
            Cell::Bin(Bin::Mul, a, b) => {
                let (found, other) = match self.picked(a) {
                    Some(found) => (found, b),
                    None => (self.picked(b)?, a),
                };
                let (k, rest) = found;
                Some(if rest == Cell::Const(1.0) { (k, (**other).clone()) } else { (k, rest * (**other).clone()) })
            }
            Cell::Bin(Bin::Div, a, b) => self.picked(a).map(|(k, a)| (k, a / (**b).clone())),
            _ => None,
        }
    }

    /// Whether every read is inside its input whatever the row and column.
    fn safe(&self, c: &Cell) -> bool {
        match c {
            Cell::Const(_) | Cell::Local(_) => true,
            Cell::Int(i) => self.safe_idx(i),
            Cell::Load(input, ix) => self.inside(*input, ix),
            Cell::Let(_, a, b) | Cell::Bin(_, a, b) => self.safe(a) && self.safe(b),
            Cell::Un(_, a) => self.safe(a),
            Cell::If(..) | Cell::Reduce(..) => false,
        }
    }

    fn safe_idx(&self, i: &Idx) -> bool {
        match i {
            Idx::Axis(_) | Idx::Var(_) | Idx::Const(_) => true,
            Idx::Bin(_, a, b) => self.safe_idx(a) && self.safe_idx(b),
            Idx::Load(input, ix) => self.inside(*input, ix),
            Idx::Rand(r) => [&r.seed, &r.step, &r.counter].into_iter().all(|i| self.safe_idx(i)),
        }
    }

    /// Whether an element, named by axes and constants, is one of the input's.
    fn inside(&self, input: usize, ix: &[Idx]) -> bool {
        is_inside(self.inputs, &self.dims, input, ix)
    }
}

/// Whether an index of plain axes (of these lengths) and constants is inside an input.
pub fn is_inside(inputs: &[&[usize]], dims: &[usize], input: usize, ix: &[Idx]) -> bool {
    let Some(shape) = inputs.get(input) else { return false };
    let fits = |(i, d): (&Idx, &usize)| match i {
        Idx::Axis(k) => dims.get(*k).is_some_and(|n| n <= d),
        Idx::Const(c) => (0..*d as i64).contains(c),
        _ => false,
    };
    ix.len() == shape.len() && ix.iter().zip(*shape).all(fits)
}
