//! Max pooling window by window: the largest element, where it is, and the gradient sent back there. Each
//! image of each channel is a task of its own.
//!
//! The gradient's definition asks of every pixel which windows chose it; here every window, in the same order,
//! adds to the pixel that it chose.

use super::operand::Operand;
use super::source::Find;
use crate::backend::host::{Buffer, Place, Step};
use crate::cell::vm::Workers;
use crate::ops::pool::{Pool, Window};
use crate::plan::{Kernel, Plan};
use lanes::threads::prelude::*;
use lanes::{NOWHERE, keep_larger};

/// The fast form of a pooling kernel, if it has one.
pub fn step(plan: &Plan, kernel: &Kernel, pool: Pool, find: Find) -> Result<Option<Box<dyn Step<f32>>>, String> {
    let [id] = kernel.outputs[..] else { return Ok(None) };
    let inputs = &plan.graph.node(id).inputs;
    let Some(out) = find(id) else { return Ok(None) };
    let Some(x) = Operand::new(plan, inputs[0], find)? else { return Ok(None) };
    let index = match pool {
        Pool::Backward(_) => find(inputs[1]),
        _ => None,
    };
    let (large, small) = match pool {
        Pool::Backward(_) => (out.ty.shape.clone(), x.shape().to_vec()),
        _ => (x.shape().to_vec(), out.ty.shape.clone()),
    };
    let (&[b, c, h, w], &[_, _, oh, ow]) = (large.as_slice(), small.as_slice()) else { return Ok(None) };
    if b * c * h * w * oh * ow == 0 || (index.is_none() && matches!(pool, Pool::Backward(_))) {
        return Ok(None);
    }
    Ok(Some(Box::new(MaxPool { pool, x, index, out, size: [h, w], outputs: [oh, ow] })))
}

struct MaxPool {
    pool: Pool,
    /// What is pooled; of the gradient, dy.
    x: Operand,
    index: Option<Place>,
    out: Place,
    size: [usize; 2],
    outputs: [usize; 2],
}

/// The rows (or columns) `from..to` under output position `out`, cut at the image's edge.
fn span(window: &Window, k: usize, out: usize, size: usize) -> (usize, usize) {
    let start = out * window.stride[k];
    let end = (start + window.kernel[k]).saturating_sub(window.padding[k]).min(size);
    (start.saturating_sub(window.padding[k]).min(end), end)
}

/// Calls `f` with the number, the rows and the columns of each window of an image.
fn windows(
    w: &Window,
    size: [usize; 2],
    outputs: [usize; 2],
    mut f: impl FnMut(usize, (usize, usize), (usize, usize)),
) {
    for h in 0..outputs[0] {
        let rows = span(w, 0, h, size[0]);
        for v in 0..outputs[1] {
            f(h * outputs[1] + v, rows, span(w, 1, v, size[1]));
        }
    }
}

/// The largest element of each window.
fn largest(w: &Window, size: [usize; 2], outputs: [usize; 2], x: &[f32], y: &mut [f32]) {
    windows(w, size, outputs, |k, rows, columns| {
        let mut best = f32::NEG_INFINITY;
        for r in rows.0..rows.1 {
            for x in &x[r * size[1] + columns.0..r * size[1] + columns.1] {
                best = if *x > best { *x } else { best };
            }
        }
        y[k] = best;
    });
}

/// Windows that are searched side by side.
const SIDE: usize = 64;

/// Where the first largest element of each window is; the image's last place where none is a number.
fn places(w: &Window, size: [usize; 2], outputs: [usize; 2], x: &[f32], y: &mut [u32]) {
    y.fill(NOWHERE);
    let (columns, step) = (outputs[1], w.stride[1]);
    if w.padding[1] == 0 && (columns - 1) * step + w.kernel[1] <= size[1] {
        for (h, y) in y.chunks_exact_mut(columns).enumerate() {
            let (from, to) = span(w, 0, h, size[0]);
            for (k, y) in y.chunks_mut(SIDE).enumerate() {
                let mut best = [f32::NEG_INFINITY; SIDE];
                for (r, j) in (from..to).flat_map(|r| (0..w.kernel[1]).map(move |j| (r, j))) {
                    let at = r * size[1] + k * SIDE * step + j;
                    keep_larger(&mut best[..y.len()], y, &x[at..], step, at as u32);
                }
            }
        }
    } else {
        windows(w, size, outputs, |k, rows, columns| {
            let mut best = f32::NEG_INFINITY;
            for at in (rows.0..rows.1).flat_map(|r| (columns.0..columns.1).map(move |s| r * size[1] + s)) {
                if x[at] > best || (y[k] == NOWHERE && x[at] == best) {
                    (best, y[k]) = (x[at], at as u32);
                }
            }
        });
    }
    let last = (size[0] * size[1] - 1) as u32;
    y.iter_mut().filter(|y| **y == NOWHERE).for_each(|y| *y = last);
}

/// Adds each window's gradient to the place that it chose.
fn send_back(w: &Window, size: [usize; 2], outputs: [usize; 2], dy: &[f32], index: &[u32], dx: &mut [f32]) {
    dx.fill(0.0);
    windows(w, size, outputs, |k, rows, columns| {
        let at = index[k] as usize;
        let (r, s) = (at / size[1], at % size[1]);
        // A window without a number points outside itself, and no pixel counts it as its own.
        if (rows.0..rows.1).contains(&r) && (columns.0..columns.1).contains(&s) {
            dx[at] += dy[k];
        }
    });
}

impl Step<f32> for MaxPool {
    fn run(&mut self, buffers: &mut [Buffer<f32>], workers: &Workers<f32>) -> Result<(), String> {
        self.x.make(buffers, workers)?;
        let mut target = std::mem::take(&mut buffers[self.out.buffer]);
        let (n, [h, w], [oh, ow]) = (self.out.ty.numel(), self.size, self.outputs);
        let (image, outputs) = (h * w, oh * ow);
        let done = self.x.numbers(buffers).and_then(|x| {
            match self.pool {
                Pool::Max(window) => {
                    let each = target.num[..n].par_chunks_exact_mut(outputs).enumerate();
                    each.for_each(|(k, y)| largest(&window, [h, w], [oh, ow], &x[k * image..][..image], y));
                }
                Pool::Index(window) => {
                    let each = target.u32[..n].par_chunks_exact_mut(outputs).enumerate();
                    each.for_each(|(k, y)| places(&window, [h, w], [oh, ow], &x[k * image..][..image], y));
                }
                Pool::Backward(window) => {
                    let index = self.index.as_ref().and_then(|p| buffers.get(p.buffer)).ok_or("a lost buffer")?;
                    let index = &index.u32;
                    let each = target.num[..n].par_chunks_exact_mut(image).enumerate();
                    each.for_each(|(k, dx)| {
                        let at = k * outputs..(k + 1) * outputs;
                        send_back(&window, [h, w], [oh, ow], &x[at.clone()], &index[at], dx);
                    });
                }
            }
            Ok(())
        });
        buffers[self.out.buffer] = target;
        done
    }

    fn bytes(&self) -> usize {
        self.x.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no number never wins, and takes no gradient.
    #[test]
    fn windows_without_a_number() {
        let (w, size, outputs) = (Window::square(2), [2, 4], [1, 2]);
        let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
        let x = [nan, nan, low, nan, nan, nan, low, low];
        let (mut y, mut index, mut dx) = ([0.0; 2], [0; 2], [9.0; 8]);
        largest(&w, size, outputs, &x, &mut y);
        places(&w, size, outputs, &x, &mut index);
        send_back(&w, size, outputs, &[1.0, 2.0], &index, &mut dx);
        // The first window points at the last place, as in the definition, which is not its own.
        assert_eq!((y, index), ([low, low], [7, 2]));
        assert_eq!(dx, [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    /// Wide rows, steps of every kind, and many equal numbers: the first one counts.
    #[test]
    fn the_first_of_equal_numbers_wins_in_every_row() {
        for (kernel, stride, columns) in [(2, 2, 150), (2, 2, 151), (3, 1, 140), (3, 2, 139), (2, 3, 200)] {
            let w = Window { stride: [stride; 2], ..Window::square(kernel) };
            let size = [7, columns];
            let outputs = size.map(|n| (n - kernel) / stride + 1);
            let x: Vec<f32> = (0..7 * columns).map(|i| (i * i % 5) as f32 - 2.0).collect();
            let mut y = vec![0; outputs[0] * outputs[1]];
            places(&w, size, outputs, &x, &mut y);
            for (k, got) in y.iter().enumerate() {
                let (h, v) = (k / outputs[1] * stride, k % outputs[1] * stride);
                let all = (0..kernel * kernel).map(|t| (h + t / kernel) * columns + v + t % kernel);
                let want = all.reduce(|a, b| if x[b] > x[a] { b } else { a });
                assert_eq!(Some(*got as usize), want, "kernel {kernel} stride {stride} window {k}");
            }
        }
    }
}
