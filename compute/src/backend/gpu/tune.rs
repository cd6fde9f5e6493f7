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

use std::collections::{BTreeMap, BTreeSet};

use super::Gpu;
pub use super::gemm::{CANDIDATES, NoTiling, Tiling};
use super::kernel::{self, Class, Dispatch};
use super::layout::{Layout, Slice, free};
use super::program::{Step, check_limits, load, step};
use crate::backend::{BackendResult, ProgramId};

/// A candidate replaces the table's tiling if its time is below this share: less is noise.
const WIN: f64 = 0.97;
/// Seconds of one sample, which short kernels fill by repetition; and the most repetitions.
const SAMPLE_SECS: f64 = 0.01;
const REPEATS: usize = 64;
/// Samples of which the median counts.
const SAMPLES: usize = 3;
/// A candidate that takes so many times the best is not timed again.
const HOPELESS: f64 = 1.5;

/// Tilings by class of products.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, Tiling>);

impl Choices {
    pub fn get(&self, class: &str) -> Option<Tiling> {
        self.0.get(class).copied()
    }

    pub fn insert(&mut self, class: &str, tiling: Tiling) {
        self.0.insert(class.into(), tiling);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Tiling)> {
        self.0.iter().map(|(class, tiling)| (class.as_str(), *tiling))
    }

    /// Takes over the other's, which win.
    pub fn extend(&mut self, other: &Choices) {
        self.0.extend(other.0.iter().map(|(class, tiling)| (class.clone(), *tiling)));
    }

    /// As text by text, for a file.
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(class, tiling)| (class.clone(), tiling.to_string())).collect()
    }

    /// From text by text; entries that are none are left out, and told.
    pub fn from_texts(texts: &BTreeMap<String, String>) -> (Choices, Vec<String>) {
        let (mut choices, mut wrong) = (Choices::default(), vec![]);
        for (class, text) in texts {
            match text.parse() {
                _ if !is_class(class) => wrong.push(format!("{class:?} is no class of products")),
                Ok(tiling) => choices.insert(class, tiling),
                Err(e) => wrong.push(format!("{class}: {e}")),
            }
        }
        (choices, wrong)
    }
}

/// Whether a text has the form of a class: `matmul 1x64x16x1024 stored f32`.
fn is_class(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, sizes, operands, precision] = words[..] else { return false };
    let sizes: Vec<&str> = sizes.split('x').collect();
    let power = |size: &&str| size.parse().is_ok_and(usize::is_power_of_two);
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    sizes.len() == 4 && sizes.iter().all(power) && [kind, operands, precision].into_iter().all(word)
}

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
    flops: f64,
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
    /// The one with most work at the end.
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

    /// The classes of the loaded programs' products, and how each product is cut.
    fn products(&self) -> impl Iterator<Item = (&str, Tiling)> {
        self.programs.values().flat_map(|p| p.tilings.iter().map(|(class, tiling)| (class.as_str(), *tiling)))
    }

    /// The choices that concern the loaded programs: with these alone they give the same bits.
    pub fn choices_in_use(&self) -> Choices {
        let chosen = |(class, _): (&str, Tiling)| Some((class.to_string(), self.choices.get(class)?));
        Choices(self.products().filter_map(chosen).collect())
    }

    /// Classes of the loaded programs whose choice does not fit a product, which is cut as the table says.
    pub fn unfit(&self) -> BTreeSet<String> {
        let unlike = |(class, tiling): &(&str, Tiling)| self.choices.get(class).is_some_and(|c| c != *tiling);
        self.products().filter(unlike).map(|(class, _)| class.to_string()).collect()
    }

    /// Has the loaded programs take the choices of now: those that would be cut otherwise are made anew. What
    /// they computed is gone; leaves stay.
    pub fn reload(&mut self) -> BackendResult<()> {
        let unlike = |(class, tiling): &(String, Tiling)| self.choices.get(class).is_some_and(|c| c != *tiling);
        let stale = self.programs.iter().filter(|(_, p)| p.tilings.iter().any(unlike));
        for id in stale.map(|(id, _)| *id).collect::<Vec<ProgramId>>() {
            let Some(plan) = self.programs.get(&id).map(|p| p.plan.clone()) else { continue };
            // Beside the old one, whose buffers it takes over.
            let new = load(self, plan)?;
            if let Some(old) = self.programs.insert(id, new) {
                free(self, old.own);
            }
        }
        Ok(())
    }

    /// A tuner for the classes of the loaded programs that have no choice.
    pub fn tuner(&self) -> Tuner {
        let mut found: BTreeMap<String, Work> = BTreeMap::new();
        for (program, p) in &self.programs {
            for (kernel, k) in p.plan.kernels.iter().enumerate() {
                let Ok(made) = kernel::dispatches(&p.plan, k, self.class()) else { continue };
                let Some((product, _)) = made.first().and_then(|d| d.product.as_ref()) else { continue };
                let class = product.key();
                if self.choices.get(&class).is_some() || !p.tilings.iter().any(|(known, _)| *known == class) {
                    continue;
                }
                let one = Work { class: class.clone(), program: *program, kernel, flops: 0.0 };
                found.entry(class).or_insert(one).flops += k.flops;
            }
        }
        let mut waiting: Vec<Work> = found.into_values().collect();
        waiting.sort_by(|a, b| a.flops.total_cmp(&b.flops));
        Tuner { waiting, search: None, changed: 0 }
    }
}

impl Tuner {
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
                None => match self.waiting.pop() {
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
        let pipeline = gpu.device.pipeline(d)?;
        steps.push(step(&mut gpu.device, d, &pipeline, places, scratch)?);
    }
    let probe = places.slices.first();
    run(gpu, &steps, 1, probe).await?;
    let start = now();
    run(gpu, &steps, 1, probe).await?;
    let once = now() - start;
    if once > SAMPLE_SECS && best.is_some_and(|best| once > HOPELESS * best) {
        return Ok(None);
    }
    let repeats = (SAMPLE_SECS / once.max(1e-6)).ceil().clamp(1.0, REPEATS as f64) as usize;
    // What fills a sample alone has been one.
    let mut samples = if repeats == 1 { vec![once] } else { vec![] };
    while samples.len() < SAMPLES {
        let start = now();
        run(gpu, &steps, repeats, probe).await?;
        samples.push((now() - start) / repeats as f64);
    }
    samples.sort_by(f64::total_cmp);
    Ok(Some(samples[SAMPLES / 2]))
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
