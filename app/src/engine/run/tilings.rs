//! How a run's products are cut on WebGPU: by the table, by what trials beside its steps found here, or by the
//! choices that came with its folder.

use compute::backend::Backend;
use compute::backend::gpu::Gpu;
use compute::backend::gpu::tune::{Choices, Record, Trials, Tuner};
use compute::session::Session;

use super::{Run, SLICE_MS, now_ms, text};
use crate::engine::training::{Notice, Tilings};

/// What a run knows of its tilings.
#[derive(Default)]
pub struct Tuning {
    /// The choices that belong to the run, and the adapter that they are of; `None`: all by the table.
    pub record: Option<Record>,
    /// What was measured here.
    pub found: Choices,
    /// Trials by the way are still to come.
    pub untried: bool,
    search: Option<Search>,
    /// Steps and seconds of slices so far.
    steps: usize,
    secs: f64,
}

/// A search under way.
struct Search {
    trials: Trials,
    tuner: Tuner,
    /// Classes in all.
    all: usize,
    /// What classes keep that the search does not reach.
    before: Choices,
}

/// Sets a run's choices, for the programs that are loaded next. The answer: why the table is used instead.
pub fn set(session: &mut Session, record: Option<&Result<Record, String>>) -> Option<String> {
    let name = session.info().name.clone();
    let gpu = session.gpu()?;
    gpu.set_choices(Choices::default());
    match record? {
        Err(problem) => Some(problem.clone()),
        Ok(r) if r.is_empty() => None,
        Ok(r) if r.adapter != name => Some(format!("{} → {name}", r.adapter)),
        Ok(r) => {
            let (choices, wrong) = r.choices();
            gpu.set_choices(choices);
            (!wrong.is_empty()).then(|| wrong.join("; "))
        }
    }
}

impl Run {
    fn gpu(&mut self) -> Option<&mut Gpu> {
        self.trainer.session().gpu()
    }

    /// Steps are being taken, or trials that were asked for.
    pub fn busy(&self) -> bool {
        self.running || self.measuring()
    }

    /// Tilings are being measured on request.
    pub fn measuring(&self) -> bool {
        self.tuning.search.as_ref().is_some_and(|s| s.trials.are_asked())
    }

    /// The choices that the programs have are the run's from here on.
    pub fn hold(&mut self) {
        if let Some(gpu) = self.gpu() {
            self.tuning.record = Some(gpu.hold_choices()).filter(|r| !r.is_empty());
        }
    }

    /// The choices that an opened run came with, as [`set`] took them (`why` it did not), are its own. Classes that do
    /// not fit are told as well.
    pub fn own(&mut self, record: Option<Result<Record, String>>, why: Option<String>) {
        let used = self.gpu().map(|gpu| (Record::of(gpu.info(), gpu.choices()), gpu.unfit()));
        let (record, unfit) = match used {
            Some((record, unfit)) => (Some(record), unfit),
            // The CPU does not use them: they are handed on.
            None => (record.and_then(Result::ok), vec![]),
        };
        self.tuning.record = record.filter(|r| !r.is_empty());
        let why = why.or_else(|| (!unfit.is_empty()).then(|| unfit.join(", ")));
        self.notices.extend(why.map(|why| Notice::OtherTilings { why }));
    }

    /// Measures on request; or takes what such a search has found so far.
    pub fn measure(&mut self, on: bool) -> Result<(), String> {
        if on || self.measuring() {
            self.settle()?;
        }
        if on {
            self.search(Trials::asked());
        }
        Ok(())
    }

    fn step_secs(&self) -> f64 {
        self.trainer.batch() as f64 / self.speed.max(1e-9)
    }

    fn search(&mut self, trials: Trials) {
        self.tuning.untried = false;
        let (classes, share) = trials.scope(self.step_secs());
        let Some(gpu) = self.gpu() else { return };
        let before = gpu.choices().clone();
        if trials.are_asked() {
            gpu.set_choices(Choices::default());
        }
        let mut tuner = gpu.tuner();
        tuner.narrow(classes, share);
        self.tuning.search = Some(Search { trials, all: tuner.left(), tuner, before });
    }

    /// A slice of steps, while they are wanted, and a trial after it, if one is due.
    pub async fn slice(&mut self) -> Result<(), String> {
        if self.running {
            let (start, first) = (now_ms(), self.steps());
            self.advance(None).await?;
            self.tuning.steps += self.steps() - first;
            self.tuning.secs += (now_ms() - start) / 1e3;
        }
        let by_the_way = Trials::by_the_way(SLICE_MS / 1e3);
        let Tuning { untried, steps, secs, .. } = self.tuning;
        if untried && by_the_way.due(steps, secs) {
            self.search(by_the_way);
        }
        let step_secs = self.step_secs();
        // An error ends the search.
        let Some(mut search) = self.tuning.search.take() else { return Ok(()) };
        if let Some(gpu) = self.gpu()
            && search.trials.due(steps, secs)
        {
            let start = now_ms();
            search.tuner.next(gpu, &|| now_ms() / 1e3).await.map_err(text)?;
            search.trials.note((now_ms() - start) / 1e3, step_secs);
        }
        let over = search.tuner.left() == 0 || search.trials.over(search.tuner.between_classes());
        self.tuning.search = Some(search);
        if over {
            self.settle()?;
            if self.keep {
                self.checkpoint().await?;
            }
        }
        Ok(())
    }

    /// Ends a search: the programs take what it found. From then on a run that is saved goes on to the same bits.
    pub fn settle(&mut self) -> Result<(), String> {
        self.tuning.untried = false;
        let Some(search) = self.tuning.search.take() else { return Ok(()) };
        let Some(gpu) = self.gpu() else { return Ok(()) };
        let (found, mut all) = (gpu.choices().clone(), search.before);
        all.extend(&found);
        gpu.set_choices(all);
        gpu.reload().map_err(text)?;
        self.tuning.found = found;
        self.hold();
        Ok(())
    }

    /// Goes to another session: the choices with it, trials not.
    pub fn carry(&mut self, session: &mut Session) {
        (self.tuning.untried, self.tuning.search) = (false, None);
        let record = self.tuning.record.take().map(Ok);
        if set(session, record.as_ref()).is_none() {
            self.tuning.record = record.and_then(Result::ok);
        }
    }

    pub fn tilings(&mut self) -> Option<Tilings> {
        let search = self.tuning.search.as_ref().filter(|s| s.trials.are_asked());
        let under_way = search.map(|s| (s.all - s.tuner.left(), s.all));
        let measured = self.tuning.record.as_ref().map_or(0, Record::len);
        Some(Tilings { measured, unlike: self.gpu()?.unlike_the_table().len(), under_way })
    }
}
