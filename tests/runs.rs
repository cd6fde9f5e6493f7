//! Run folders: what a kill, a full disk or a second trainer may do to them, and the files in
//! them against the programs that will read them.

mod archive;
mod folder;
mod formats;
mod kill;
mod python;

use compute::checkpoint::{Checkpoint, Cursor, Named};
use compute::tensor::Tensor;
use std::path::PathBuf;

/// Path of a golden file.
fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", name].iter().collect()
}

/// Weights that tell their step: every number is computed from it.
fn weights(step: u64) -> Named {
    let n = 2000 + (step % 7) as usize;
    let values = (0..n).map(|i| step as f32 + i as f32 * 0.5).collect();
    vec![
        ("conv1.weight".into(), Tensor::f32(vec![n], values)),
        ("conv1.bias".into(), Tensor::f32(vec![1], vec![step as f32])),
    ]
}

/// A checkpoint all of whose parts tell its step; each third step is a best one.
fn checkpoint(step: u64) -> Checkpoint {
    let adam = Tensor::f32(vec![3000], vec![-(step as f32); 3000]);
    let best_epoch = step - step % 3;
    Checkpoint {
        weights: weights(step),
        optimizer: vec![("conv1.weight.m".into(), adam)],
        cursor: Cursor {
            step,
            epoch: step / 10,
            best_epoch,
            best_accuracy: (best_epoch > 0).then_some(best_epoch as f64 / 7.0),
            backend: "cpu".into(),
            ..Cursor::default()
        },
    }
}

fn is_best(step: u64) -> bool {
    step.is_multiple_of(3)
}

/// xorshift64: the same numbers in every run of the tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
