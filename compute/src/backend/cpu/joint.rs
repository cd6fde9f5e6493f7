//! A kernel of several outputs in one pass: a piece of each after the other, while what they read is in
//! cache. An output that reads an earlier one, or what one will overwrite, does so at its own element.

use crate::backend::cells::{Fused, MOST_SOURCES};
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::rows::reduced;
use crate::cell::vm::{Scratch, View, Workers};
use crate::graph::NodeId;
use crate::plan::join::MOST;
use crate::plan::{Kernel, Plan};
use lanes::threads;

/// Elements of a piece.
const PIECE: usize = 4096;

/// Most elements that are not shared out to other threads.
const ALONE: usize = 4 * PIECE;

struct Output {
    fused: Fused,
    buffer: usize,
    /// The source that it writes over.
    own: Option<usize>,
}

/// See the module's introduction.
pub struct Joint {
    outputs: Vec<Output>,
    len: usize,
}

/// The same elements of every output.
type Parts<'a> = [&'a mut [f32]; MOST];

impl Joint {
    /// `None` for a kernel of one output, of too many, of outputs that differ in size, or that reduces.
    pub fn new(plan: &Plan, kernel: &Kernel, place: &dyn Fn(NodeId) -> Option<Place>) -> Result<Option<Joint>, String> {
        let ty = plan.graph.ty(kernel.outputs[0]);
        let alike = |o: &NodeId| plan.graph.ty(*o) == ty && reduced(&plan.fused_cell(*o).0).is_none();
        let same = kernel.outputs.iter().all(alike);
        if !same || !(2..=MOST).contains(&kernel.outputs.len()) {
            return Ok(None);
        }
        let mut outputs = vec![];
        for &id in &kernel.outputs {
            let fused = Fused::new(plan, id, place)?;
            let Some(Place { buffer, .. }) = place(id) else { return Ok(None) };
            let own = fused.source_in(buffer);
            outputs.push(Output { fused, buffer, own });
        }
        Ok(Some(Joint { outputs, len: ty.numel() }))
    }

    /// The elements from `start` on, halved until they are few; where they are cut follows from their number.
    fn run_parts(
        &self,
        buffers: &[Buffer<f32>],
        mut parts: Parts,
        start: usize,
        workers: &Workers<f32>,
    ) -> Result<(), String> {
        let len = parts[0].len();
        if len > ALONE {
            let middle = (len / 2).next_multiple_of(PIECE);
            let (mut a, mut b) = (Parts::default(), Parts::default());
            for (k, part) in parts.into_iter().enumerate() {
                (a[k], b[k]) = part.split_at_mut(middle.min(part.len()));
            }
            let (first, second) = threads::join(
                || self.run_parts(buffers, a, start, workers),
                || self.run_parts(buffers, b, start + middle, workers),
            );
            return first.and(second);
        }
        workers.with(|scratch| {
            (0..len).step_by(PIECE).try_for_each(|from| {
                let piece = parts.each_mut().map(|p| {
                    let range = from.min(p.len())..(from + PIECE).min(p.len());
                    &mut p[range]
                });
                self.run_piece(buffers, piece, start + from, scratch)
            })
        })
    }

    fn run_piece(
        &self,
        buffers: &[Buffer<f32>],
        mut piece: Parts,
        from: usize,
        scratch: &mut Scratch<f32>,
    ) -> Result<(), String> {
        for (k, output) in self.outputs.iter().enumerate() {
            let part = std::mem::take(&mut piece[k]);
            let sources = output.fused.sources();
            let mut old = scratch.take(part.len());
            old.copy_from_slice(part);
            let mut views = [View::Num(&[][..]); MOST_SOURCES];
            for (at, (view, source)) in views.iter_mut().zip(sources).enumerate() {
                *view = match self.outputs.iter().position(|o| o.buffer == source.buffer) {
                    _ if output.own == Some(at) => View::Part(&old, from),
                    Some(other) => View::Part(piece[other], from),
                    None => buffers[source.buffer].view(&source.ty),
                };
            }
            let done = output.fused.program().run(&views[..sources.len()], from, part, scratch);
            scratch.give(old);
            done?;
            piece[k] = part;
        }
        Ok(())
    }
}

impl Step<f32> for Joint {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        let mut targets: [Vec<f32>; MOST] = Default::default();
        for (target, output) in targets.iter_mut().zip(&self.outputs) {
            *target = std::mem::take(&mut buffers[output.buffer].num);
        }
        let parts = targets.each_mut().map(|t| {
            let n = self.len.min(t.len());
            &mut t[..n]
        });
        let done = self.run_parts(buffers, parts, 0, workers);
        for (target, output) in targets.into_iter().zip(&self.outputs) {
            buffers[output.buffer].num = target;
        }
        done
    }

    fn bytes(&self) -> usize {
        0
    }
}
