//! Choosing tilings of products by measuring them, on the device and the buffers at hand.
//!
//! [`Choices`] are plain data: the tiling of each class of products ([`Product::key`]), as text by text. What
//! fits a product is used and everything else is as the table says, so that choices of another device can make
//! a program slow but not wrong. A sum's order follows from its tiling: the same bits need the same choices.
//!
//! A [`Tuner`] goes through the classes of the loaded programs that have no choice yet, most work first. One call
//! of [`Tuner::next`] is one trial: a candidate is compiled and run on its program's own buffers, whose results
//! the next step overwrites anyway. It knows no clock: the caller passes one, decides when it is enough, and then
//! has the programs take what was chosen ([`Gpu::reload`]).
//!
//! [`Product::key`]: super::gemm::Product::key

mod choices;
mod record;
mod trials;

use super::Gpu;
pub use super::gemm::{CANDIDATES, NoTiling, Tiling};
use super::kernel::{self, Class, Dispatch};
use super::layout::{Layout, Slice, free};
use super::program::{Cut, Step, check_limits, load, step};
use crate::backend::{BackendResult, ProgramId};
pub use choices::Choices;
pub use record::Record;
pub use trials::Trials;

/// A candidate replaces the table's tiling if its time is below this share: less is noise.
const WIN: f64 = 0.97;
/// Seconds of one sample, which short kernels fill by repetition; and the most repetitions: more in a browser, whose
/// clock moves by 0.1 ms or more, and where the wait at the end takes 0.5 ms.
const SAMPLE_SECS: f64 = 0.01;
const REPEATS: usize = if cfg!(target_arch = "wasm32") { 1024 } else { 64 };
/// A candidate that takes so many times the best is not timed again.
const HOPELESS: f64 = 1.5;

/// What one call of [`Tuner::next`] measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub class: String,
    pub tiling: Tiling,
    /// Seconds of one run; `None` if the device refused it, or it was hopeless.
    pub secs: Option<f64>,
}

/// Where the work of a class is found.
#[derive(Clone, Debug)]
struct Work {
    class: String,
    program: ProgramId,
    kernel: usize,
    /// Of all kernels of the class.
    flops: f64,
    /// This kernel's share of its program's.
    share: f64,
}

/// A class under way.
struct Search {
    work: Work,
    /// The one to try next at the end.
    to_try: Vec<Tiling>,
    /// The table's first.
    timed: Vec<(Tiling, f64)>,
    /// Trials that held a winner against the table's once more.
    confirmed: usize,
}

/// See the module's introduction.
pub struct Tuner {
    waiting: Vec<Work>,
    search: Option<Search>,
    changed: usize,
}

impl Gpu {
    /// The tilings that programs loaded from now on, or reloaded, take.
    pub fn set_choices(&mut self, choices: Choices) {
        self.choices = choices;
    }

    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The products of the loaded programs.
    fn products(&self) -> impl Iterator<Item = &Cut> {
        self.programs.values().flat_map(|p| &p.cuts)
    }

    /// The choices that concern the loaded programs: with these alone they give the same bits.
    pub fn choices_in_use(&self) -> Choices {
        let mut used = Choices::default();
        for cut in self.products() {
            if let Some(choice) = self.choices.get(&cut.class) {
                used.insert(&cut.class, choice);
            }
        }
        used
    }

    /// Holds programs that are loaded later to the choices that are in use now: the record of a run.
    pub fn hold_choices(&mut self) -> Record {
        self.choices = self.choices_in_use();
        Record::of(&self.info, &self.choices)
    }

    fn is_stale(&self, cut: &Cut) -> bool {
        self.choices.get(&cut.class).is_some_and(|choice| choice != cut.tiling)
    }

    fn classes(&self, which: &dyn Fn(&Cut) -> bool) -> Vec<String> {
        let mut out: Vec<String> = vec![];
        for cut in self.products() {
            if which(cut) && !out.contains(&cut.class) {
                out.push(cut.class.clone());
            }
        }
        out
    }

    /// Classes of the loaded programs whose choice does not fit a product, which is cut as the table says.
    pub fn unfit(&self) -> Vec<String> {
        self.classes(&|cut| self.is_stale(cut))
    }

    /// Classes of the loaded programs that are cut otherwise than the table says.
    pub fn unlike_the_table(&self) -> Vec<String> {
        self.classes(&|cut| cut.tiling != cut.table)
    }

    /// Has the loaded programs take the choices of now: those that would be cut otherwise are made anew. What
    /// they computed is gone; leaves stay.
    pub fn reload(&mut self) -> BackendResult<()> {
        let stale = self.programs.iter().filter(|(_, p)| p.cuts.iter().any(|cut| self.is_stale(cut)));
        for id in stale.map(|(id, _)| *id).collect::<Vec<ProgramId>>() {
            let Some(plan) = self.programs.get(&id).map(|p| p.plan.clone()) else { continue };
            // Beside the old one, whose buffers it takes over.
            let new = load(self, plan)?;
            if let Some(old) = self.programs.insert(id, new) {
                free(self, old.own);
            }
        }
        self.tried.clear();
        Ok(())
    }

    /// A tuner for the classes of the loaded programs that have no choice.
    pub fn tuner(&self) -> Tuner {
        let mut waiting: Vec<Work> = vec![];
        for (program, p) in &self.programs {
            let all: f64 = p.plan.kernels.iter().map(|k| k.flops).sum();
            for (kernel, k) in p.plan.kernels.iter().enumerate() {
                let Ok(made) = kernel::dispatches(&p.plan, k, self.class()) else { continue };
                let Some((product, _)) = made.first().and_then(|d| d.product.as_ref()) else { continue };
                let class = product.key();
                if self.choices.get(&class).is_some() || !p.cuts.iter().any(|cut| cut.class == class) {
                    continue;
                }
                match waiting.iter_mut().find(|work| work.class == class) {
                    Some(work) => work.flops += k.flops,
                    None => {
                        let share = k.flops / all.max(1.0);
                        waiting.push(Work { class, program: *program, kernel, flops: k.flops, share });
                    }
                }
            }
        }
        Tuner { waiting, search: None, changed: 0 }
    }
}

impl Tuner {
    /// Leaves at most so many classes to measure, those with most work, and none of which one kernel has more than
    /// this share in its program.
    pub fn narrow(&mut self, classes: usize, share: f64) {
        let mut kept = vec![];
        while kept.len() < classes
            && let Some(work) = self.heaviest()
        {
            kept.extend(Some(work).filter(|work| work.share <= share));
        }
        self.waiting = kept;
    }

    /// Takes out the one with most work.
    fn heaviest(&mut self) -> Option<Work> {
        let flops = self.waiting.iter().map(|work| work.flops).reduce(f64::max)?;
        let at = self.waiting.iter().position(|work| work.flops >= flops)?;
        Some(self.waiting.remove(at))
    }

    /// Classes that are not chosen yet, the one under way included.
    pub fn left(&self) -> usize {
        self.waiting.len() + usize::from(self.search.is_some())
    }

    /// Classes whose choice is not the table's.
    pub fn changed(&self) -> usize {
        self.changed
    }

    /// Whether no class is half measured.
    pub fn between_classes(&self) -> bool {
        self.search.is_none()
    }

    /// One trial; after the last of a class its choice is among the GPU's ([`Gpu::choices`]). `None`: all is
    /// chosen. `now` tells seconds. Errors: those that end the device; a candidate that does not compile is
    /// passed over.
    pub async fn next(&mut self, gpu: &mut Gpu, now: &dyn Fn() -> f64) -> BackendResult<Option<Trial>> {
        loop {
            let search = match &mut self.search {
                Some(search) => search,
                None => match self.heaviest() {
                    None => return Ok(None),
                    Some(work) => self.search.insert(Search::new(gpu, work)),
                },
            };
            let Some((tiling, again)) = search.coming() else { continue };
            let best = search.best().map(|(_, secs)| secs);
            let secs = match time(gpu, &search.work, tiling, best, now).await {
                Err(e) if e.ends_device() => return Err(e),
                Err(_) => None,
                Ok(secs) => secs,
            };
            search.note(tiling, secs, again);
            let trial = Trial { class: search.work.class.clone(), tiling, secs };
            if search.coming().is_none() {
                if let Some(choice) = search.choice() {
                    self.changed += usize::from(search.timed.first().is_some_and(|(table, _)| *table != choice));
                    gpu.choices.insert(&search.work.class, choice);
                }
                self.search = None;
            }
            return Ok(Some(trial));
        }
    }
}

impl Search {
    fn new(gpu: &Gpu, work: Work) -> Search {
        let mut to_try = candidates(gpu, &work);
        to_try.reverse();
        Search { work, to_try, timed: vec![], confirmed: 0 }
    }

    /// What to time next, and whether for the second time: of many candidates one is lucky, so what would win
    /// is held against the table's once more.
    fn coming(&self) -> Option<(Tiling, bool)> {
        if let Some(next) = self.to_try.last() {
            return Some((*next, false));
        }
        let (table, choice) = (self.timed.first()?.0, self.choice()?);
        let next = [table, choice].get(self.confirmed).copied();
        next.filter(|_| choice != table).map(|t| (t, true))
    }

    fn note(&mut self, tiling: Tiling, secs: Option<f64>, again: bool) {
        if again {
            // The table's better time against the winner's worse one.
            let (first, known) = (self.confirmed == 0, self.timed.iter_mut().find(|(t, _)| *t == tiling));
            if let Some((_, known)) = known {
                let secs = secs.unwrap_or(f64::INFINITY);
                *known = if first { known.min(secs) } else { known.max(secs) };
            }
            self.confirmed += 1;
            return;
        }
        self.to_try.pop();
        match secs {
            Some(secs) => self.timed.push((tiling, secs)),
            // Nothing to compare with.
            None if self.timed.is_empty() => self.to_try.clear(),
            None => {}
        }
    }

    fn best(&self) -> Option<(Tiling, f64)> {
        self.timed.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The fastest, if it is faster than the table's by more than noise.
    fn choice(&self) -> Option<Tiling> {
        let (table, secs) = *self.timed.first()?;
        Some(self.best().filter(|(_, best)| *best < WIN * secs).map_or(table, |(tiling, _)| tiling))
    }
}

/// The dispatches of a class's kernel.
fn dispatches(gpu: &Gpu, work: &Work, tiling: Option<Tiling>) -> Option<Vec<Dispatch>> {
    let p = gpu.programs.get(&work.program)?;
    kernel::dispatches(&p.plan, p.plan.kernels.get(work.kernel)?, Class { tiling, ..gpu.class() }).ok()
}

fn candidates(gpu: &Gpu, work: &Work) -> Vec<Tiling> {
    let made = dispatches(gpu, work, None).unwrap_or_default();
    let product = made.first().and_then(|d| d.product.as_ref());
    product.map_or_else(Vec::new, |(p, _)| p.candidates(gpu.class()))
}

/// Seconds of one run of a class's kernel, cut like this; `None` if it cannot run here or is hopeless.
async fn time(
    gpu: &mut Gpu,
    work: &Work,
    tiling: Tiling,
    best: Option<f64>,
    now: &dyn Fn() -> f64,
) -> BackendResult<Option<f64>> {
    let Some(made) = dispatches(gpu, work, Some(tiling)) else { return Ok(None) };
    let as_asked = made.first().and_then(|d| d.product.as_ref()).is_some_and(|(_, t)| *t == tiling);
    if !as_asked || made.iter().any(|d| check_limits(&gpu.device, d).is_err()) {
        return Ok(None);
    }
    let Some(places) = gpu.programs.get(&work.program).map(|p| p.places.clone()) else { return Ok(None) };
    let scratch_bytes = made.iter().map(|d| d.scratch_bytes).max().unwrap_or(0);
    let scratch = match scratch_bytes {
        0 => None,
        bytes => Some(gpu.device.buffer("partial sums of a trial", bytes, Gpu::storage_usage())?),
    };
    let scratch = scratch.map(Slice::whole);
    let result = time_with(gpu, &made, &places, scratch.as_ref(), best, now).await;
    scratch.into_iter().for_each(|s| gpu.device.free(s.buffer));
    result
}

async fn time_with(
    gpu: &mut Gpu,
    made: &[Dispatch],
    places: &Layout,
    scratch: Option<&Slice>,
    best: Option<f64>,
    now: &dyn Fn() -> f64,
) -> BackendResult<Option<f64>> {
    let mut steps = vec![];
    for d in made {
        let next = step(gpu, &steps, d, places, scratch)?;
        steps.push(next);
    }
    let probe = places.slices.first();
    run(gpu, &steps, 1, probe).await?;
    let mut repeats = 1;
    let mut samples = [0.0; 3];
    let mut taken = 0;
    while taken < samples.len() {
        let start = now();
        run(gpu, &steps, repeats, probe).await?;
        let secs = now() - start;
        if taken == 0 && repeats == 1 && secs > SAMPLE_SECS && best.is_some_and(|best| secs > HOPELESS * best) {
            return Ok(None);
        }
        if taken == 0 && secs < SAMPLE_SECS && repeats < REPEATS {
            // The wait at the end is part of it: what is short is shorter than it seems.
            let more = (1.2 * SAMPLE_SECS / secs.max(1e-6)).clamp(2.0, 8.0);
            repeats = ((repeats as f64 * more) as usize).min(REPEATS);
            continue;
        }
        samples[taken] = secs / repeats as f64;
        taken += 1;
    }
    gpu.tried.append(&mut steps);
    let [a, b, c] = samples;
    Ok(Some(a.min(b).max(a.max(b).min(c))))
}

/// Runs some dispatches again and again in one pass, and waits.
async fn run(gpu: &mut Gpu, steps: &[Step], repeats: usize, probe: Option<&Slice>) -> BackendResult<()> {
    let mut encoder = gpu.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for step in (0..repeats).flat_map(|_| steps) {
            step.encode(&mut pass);
        }
    }
    gpu.device.queue.submit([encoder.finish()]);
    gpu.device.check("a trial")?;
    gpu.barrier(probe).await
}
