//! A kernel of rows: some rows at a time, the values of these rows and then a piece of each output, while what they
//! read is in cache. A value that several outputs need is computed once.

use crate::backend::cells::MOST_SOURCES;
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::rows::{Names, Value, find};
use crate::cell::vm::{self, Program, Scratch, View, Workers};
use crate::cell::{Cell, Idx, Var, bind, load};
use crate::graph::{NodeId, TensorType};
use crate::plan::join::MOST;
use crate::plan::{Kernel, Plan};
use crate::tensor::DType;
use lanes::threads;

/// Elements of a piece.
const PIECE: usize = 4096;

/// Most elements that are not shared out to other threads.
const ALONE: usize = 2 * PIECE;

/// Shorter rows of one output are not taken row by row.
const LONG: usize = 128;

/// Most values of a row.
const MOST_VALUES: usize = 12;

/// What a program of the kernel writes.
#[derive(Clone, Copy)]
enum Target {
    Value(usize),
    Output(usize),
}

/// See the module's introduction.
pub struct RowKernel {
    /// In order. Their inputs are the sources, then the values of the rows.
    programs: Vec<(Program, Target)>,
    sources: Vec<Place>,
    values: usize,
    /// The buffer of each output, and its elements a row.
    outputs: Vec<(usize, usize)>,
    rows: usize,
    columns: usize,
}

/// The same rows of every output.
type Parts<'a> = [&'a mut [f32]; MOST];

impl RowKernel {
    /// `None` for outputs that are no functions of rows along the last axis, and for one output of short rows or that is
    /// one reduction, which is rather shared out element by element.
    pub fn new(
        plan: &Plan,
        kernel: &Kernel,
        place: &dyn Fn(NodeId) -> Option<Place>,
    ) -> Result<Option<RowKernel>, String> {
        let outputs = &kernel.outputs;
        if outputs.len() > MOST || !kernel.in_place.is_empty() {
            return Ok(None);
        }
        let g = &plan.graph;
        // A later output reads an earlier one where it is stored.
        let (cells, nodes) = plan.fused_cells(outputs, &[]);
        let cells: Vec<(Cell, &[usize])> = cells.into_iter().zip(outputs.iter().map(|o| g.shape(*o))).collect();
        let shapes: Vec<&[usize]> = nodes.iter().map(|n| g.shape(*n)).collect();
        let Some(found) = find(&cells, &shapes, Names::Reductions) else { return Ok(None) };
        let last = found.axis + 1 == cells[0].1.len();
        let plain = cells[0].1[found.axis] == 1 && found.reductions() == 1;
        let alone = cells.len() == 1 && (plain || found.columns < LONG);
        if !last || alone || found.values.len() > MOST_VALUES || nodes.len() + found.values.len() > MOST_SOURCES {
            return Ok(None);
        }
        let lost = |id: NodeId| format!("{} is not stored", g.node(id).name);
        let sources: Vec<Place> =
            nodes.iter().map(|id| place(*id).ok_or_else(|| lost(*id))).collect::<Result<_, _>>()?;
        let mut row = cells[0].1.to_vec();
        row[found.axis] = 1;
        let row = TensorType::f32(row);
        let types: Vec<&TensorType> = sources.iter().map(|s| &s.ty).chain(found.values.iter().map(|_| &row)).collect();
        let index: Vec<Idx> = (0..found.axis).map(Idx::Axis).chain([Idx::Const(0)]).collect();
        // The first values are read where they are kept.
        let compile = |cell: &Cell, ty: &TensorType, known: usize| {
            let read = |cell, (k, (name, _)): (usize, &(Var, Value))| {
                bind(*name, load(sources.len() + k, index.clone()), cell)
            };
            let cell = found.values[..known].iter().enumerate().rev().fold(cell.clone(), read);
            vm::compile(&cell, ty, &types)
        };
        let (mut programs, mut done) = (vec![], 0);
        for (k, (cell, needs)) in found.outputs.iter().enumerate() {
            for (at, (_, value)) in found.values[..*needs].iter().enumerate().skip(done) {
                let Some(whole) = found.definition(value) else { return Ok(None) };
                programs.push((compile(&whole, &row, at)?, Target::Value(at)));
            }
            done = done.max(*needs);
            programs.push((compile(cell, g.ty(outputs[k]), done)?, Target::Output(k)));
        }
        let mut places = vec![];
        for (&id, (_, shape)) in outputs.iter().zip(&cells) {
            if g.ty(id).dtype != DType::F32 {
                return Ok(None);
            }
            places.push((place(id).ok_or_else(|| lost(id))?.buffer, shape[found.axis]));
        }
        let (rows, columns, values) = (row.numel(), found.columns, found.values.len());
        Ok(Some(RowKernel { programs, sources, values, outputs: places, rows, columns }))
    }

    /// Rows of a piece.
    fn piece(&self) -> usize {
        (PIECE / self.columns.max(1)).max(1)
    }

    /// The rows from `start` on, halved until they are few; where they are cut follows from their number.
    fn run_parts(
        &self,
        buffers: &[Buffer<f32>],
        mut parts: Parts,
        (start, end): (usize, usize),
        workers: &Workers<f32>,
    ) -> Result<(), String> {
        let (rows, piece) = (end - start, self.piece());
        if rows > piece && rows * self.columns > ALONE {
            let middle = (rows / 2).next_multiple_of(piece);
            let (mut a, mut b) = (Parts::default(), Parts::default());
            for (k, part) in parts.into_iter().enumerate() {
                let width = self.outputs.get(k).map_or(0, |o| o.1);
                (a[k], b[k]) = part.split_at_mut((middle * width).min(part.len()));
            }
            let middle = start + middle.min(rows);
            let (first, second) = threads::join(
                || self.run_parts(buffers, a, (start, middle), workers),
                || self.run_parts(buffers, b, (middle, end), workers),
            );
            return first.and(second);
        }
        workers.with(|scratch| {
            let mut values = scratch.take(self.values * piece);
            let done = (start..end).step_by(piece).try_for_each(|from| {
                let n = piece.min(end - from);
                let mut some = Parts::default();
                for (k, (some, part)) in some.iter_mut().zip(&mut parts).enumerate() {
                    let width = self.outputs.get(k).map_or(0, |o| o.1);
                    let (now, rest) = std::mem::take(part).split_at_mut(n * width);
                    (*some, *part) = (now, rest);
                }
                self.run_piece(buffers, some, &mut values, (from, n), scratch)
            });
            scratch.give(values);
            done
        })
    }

    fn run_piece(
        &self,
        buffers: &[Buffer<f32>],
        mut outputs: Parts,
        values: &mut [f32],
        (from, n): (usize, usize),
        scratch: &mut Scratch<f32>,
    ) -> Result<(), String> {
        for (program, target) in &self.programs {
            let (known, rest) = match target {
                Target::Value(k) => values.split_at_mut(k * n),
                Target::Output(_) => values.split_at_mut(values.len()),
            };
            let taken = match target {
                Target::Output(k) => std::mem::take(&mut outputs[*k]),
                Target::Value(_) => Default::default(),
            };
            let mut views = [View::Num(&[][..]); MOST_SOURCES];
            for (view, source) in views.iter_mut().zip(&self.sources) {
                *view = match self.outputs.iter().position(|(buffer, _)| *buffer == source.buffer) {
                    Some(k) => View::Part(outputs[k], from * self.outputs[k].1),
                    None => buffers[source.buffer].view(&source.ty),
                };
            }
            for (view, value) in views[self.sources.len()..].iter_mut().zip(known.chunks_exact(n)) {
                *view = View::Part(value, from);
            }
            let views = &views[..self.sources.len() + self.values];
            match target {
                Target::Value(_) => program.run(views, from, &mut rest[..n], scratch)?,
                Target::Output(k) => {
                    program.run(views, from * self.outputs[*k].1, taken, scratch)?;
                    outputs[*k] = taken;
                }
            }
        }
        Ok(())
    }
}

impl Step<f32> for RowKernel {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let mut targets: [Vec<f32>; MOST] = Default::default();
        for (target, (buffer, _)) in targets.iter_mut().zip(&self.outputs) {
            *target = std::mem::take(&mut buffers[*buffer].num);
        }
        let mut parts = Parts::default();
        for ((part, target), (_, width)) in parts.iter_mut().zip(&mut targets).zip(&self.outputs) {
            let n = (self.rows * width).min(target.len());
            *part = &mut target[..n];
        }
        let done = self.run_parts(buffers, parts, (0, self.rows), workers);
        for (target, (buffer, _)) in targets.into_iter().zip(&self.outputs) {
            buffers[*buffer].num = target;
        }
        done
    }

    fn bytes(&self) -> usize {
        0
    }
}
