//! Training steps against the clock, one at a time or as a job: batches are then gathered from a shuffled
//! data set as large as the real one (past every cache), steps follow each other without a look at their
//! loss, and the losses are read when their ring is full, as `chainrule train` does.
//!
//! The input's share is the time from the end of one step's submission to the moment at which all that the
//! next reads is written: choosing, gathering and writing the batch. On a GPU some of it passes while the
//! device works on the step before, so there it is a bound on what the device waits.

use std::time::Instant;

use super::WARM_UP;
use crate::cli::CliError;
use crate::cli::device::block_on;
use crate::train::Trainer;

/// The least time of a repetition: below it the clock and a single interruption weigh too much.
const REPETITION_SECS: f64 = 0.3;

/// Milliseconds of a step in each repetition, sorted; over all of them, images a second (the last batch of
/// an epoch has fewer) and the share that was input.
pub struct Taken {
    pub ms: Vec<f64>,
    pub images_per_sec: f64,
    pub input_share: f64,
}

/// What some steps took.
#[derive(Clone, Copy, Default)]
struct Stretch {
    secs: f64,
    input_secs: f64,
    images: u64,
}

/// How many training images the real data set has.
pub fn images_in(set: &str) -> usize {
    match set {
        "fashion-sample" => 5_000,
        "mnist" | "fashion-mnist" => 60_000,
        _ => 50_000,
    }
}

/// Times `repeats` repetitions, each of one step whose loss is read, or of many steps of a job.
pub fn steps(trainer: &mut Trainer, repeats: usize, job: bool) -> Result<Taken, CliError> {
    let mut one = Stretch::default();
    for _ in 0..WARM_UP {
        one = run(trainer, 1)?;
    }
    let count = if job { (REPETITION_SECS / one.secs.max(1e-6)).ceil() as usize } else { 1 };
    let (mut ms, mut all) = (vec![], Stretch::default());
    for _ in 0..repeats {
        let s = run(trainer, count)?;
        ms.push(s.secs / count as f64 * 1e3);
        all.secs += s.secs;
        all.input_secs += s.input_secs;
        all.images += s.images;
    }
    ms.sort_by(f64::total_cmp);
    Ok(Taken { ms, images_per_sec: all.images as f64 / all.secs, input_share: all.input_secs / all.secs })
}

/// Steps up to the reading of their losses.
fn run(trainer: &mut Trainer, count: usize) -> Result<Stretch, CliError> {
    let (start, mut s) = (Instant::now(), Stretch::default());
    let read = |trainer: &mut Trainer| -> Result<u64, CliError> {
        Ok(block_on(trainer.metrics())?.iter().map(|m| u64::from(m.images)).sum())
    };
    for _ in 0..count {
        let before = Instant::now();
        trainer.step_telling(|| s.input_secs += before.elapsed().as_secs_f64())?;
        if trainer.must_read() {
            s.images += read(trainer)?;
        }
    }
    s.images += read(trainer)?;
    s.secs = start.elapsed().as_secs_f64();
    Ok(s)
}
