//! When a trial is due beside a training run, and when it is enough: counts and seconds in, decisions out.
//!
//! By the way, trials are few and short, so that nobody notices them: one between two slices of steps, after the
//! run has got going, for a small share of its time, and none that would take longer than a slice. When they
//! were asked for they follow one another.

/// Classes that are measured by the way: those with most work.
const CLASSES: usize = 4;
/// Seconds of all trials by the way.
const SECS: f64 = 2.0;
/// Their share of the time that the run has taken.
const SHARE: f64 = 0.05;
/// Steps before the first.
const STEPS: usize = 30;
/// Seconds of a trial of a short kernel.
const TRIAL_SECS: f64 = 0.05;
/// How often the kernel runs in a trial, where it fills a sample alone.
const RUNS: f64 = 4.0;
/// Seconds after which no other class is begun where trials were asked for; at twice this they end.
const ASKED_SECS: f64 = 60.0;

/// See the module's introduction.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    asked: bool,
    /// What a slice of steps takes, and a trial may.
    slice_secs: f64,
    spent_secs: f64,
    late: bool,
}

impl Trials {
    /// Trials by the way of a run whose steps are taken in slices of about `slice_secs`.
    pub fn by_the_way(slice_secs: f64) -> Trials {
        Trials { asked: false, slice_secs, spent_secs: 0.0, late: false }
    }

    /// Trials that someone waits for.
    pub fn asked() -> Trials {
        Trials { asked: true, ..Trials::by_the_way(f64::INFINITY) }
    }

    pub fn are_asked(&self) -> bool {
        self.asked
    }

    /// How many classes to measure, and the largest share that one kernel of them may have in a step of
    /// `step_secs`.
    pub fn scope(&self, step_secs: f64) -> (usize, f64) {
        match self.asked {
            true => (usize::MAX, 1.0),
            false => (CLASSES, self.slice_secs.max(step_secs) / (RUNS * step_secs).max(1e-9)),
        }
    }

    /// Whether one may be made now, after so many steps and seconds of the run.
    pub fn due(&self, steps: usize, secs: f64) -> bool {
        self.asked || steps >= STEPS && self.spent_secs + TRIAL_SECS <= SHARE * secs
    }

    /// One took so long, where a step takes `step_secs`.
    pub fn note(&mut self, secs: f64, step_secs: f64) {
        self.spent_secs += secs;
        self.late |= secs > 2.0 * self.slice_secs.max(step_secs);
    }

    /// Whether it is enough. `between`: no class is half measured.
    pub fn over(&self, between: bool) -> bool {
        match self.asked {
            true => self.spent_secs > if between { ASKED_SECS } else { 2.0 * ASKED_SECS },
            false => self.late || self.spent_secs + TRIAL_SECS > SECS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: f64 = 0.06;

    /// Slices of steps with a trial after each where one is due: the slices after which one was, and the seconds
    /// of all slices and of all trials.
    fn run(slices: usize, step_secs: f64, trial_secs: f64) -> (Vec<usize>, f64, f64) {
        let mut trials = Trials::by_the_way(SLICE);
        let (mut made, mut steps, mut secs) = (vec![], 0, 0.0);
        for slice in 0..slices {
            let taken = (SLICE / step_secs).ceil().max(1.0);
            steps += taken as usize;
            secs += taken * step_secs;
            if trials.over(true) {
                break;
            }
            if trials.due(steps, secs) {
                trials.note(trial_secs, step_secs);
                made.push(slice);
            }
            assert!(trials.spent_secs <= SHARE * secs + (trial_secs - TRIAL_SECS).max(0.0) + 1e-9, "{slice}");
        }
        (made, secs, trials.spent_secs)
    }

    #[test]
    fn trials_by_the_way_are_spread_and_end() {
        let (made, secs, spent) = run(10_000, 0.002, 0.04);
        assert!(made.len() > 30 && spent <= SECS, "{} trials of {spent} s", made.len());
        assert!((spent / SHARE..2.0 * spent / SHARE).contains(&secs), "{spent} of {secs} s");
        assert!(made[0] > 10, "the first after slice {}", made[0]);
        // Never in two slices that follow one another.
        assert!(made.windows(2).all(|w| w[1] - w[0] > 5), "{made:?}");
    }

    #[test]
    fn a_run_gets_going_first() {
        let trials = Trials::by_the_way(SLICE);
        assert!(!trials.due(STEPS - 1, 1e6) && !trials.due(1_000_000, 0.9) && trials.due(STEPS, 1.1));
        // Slow steps are waited for.
        let (made, ..) = run(STEPS - 1, 0.5, 0.05);
        assert_eq!(made, Vec::<usize>::new());
    }

    #[test]
    fn one_that_is_late_is_the_last() {
        assert_eq!(run(10_000, 0.002, 0.13).0.len(), 1);
        // Where a step itself takes longer than a slice, a trial may take as long.
        assert!(run(10_000, 0.2, 0.13).0.len() > 10);
    }

    #[test]
    fn kernels_that_a_trial_would_make_late_are_left_out() {
        let trials = Trials::by_the_way(SLICE);
        let (classes, share) = trials.scope(0.03);
        assert_eq!(classes, CLASSES);
        assert!((share - 0.5).abs() < 1e-9, "4 runs of 15 ms fill a slice");
        assert!(trials.scope(0.001).1 > 1.0, "of a short step any");
        assert!((trials.scope(3.0).1 - 0.25).abs() < 1e-9, "of a long step what takes no longer than itself");
    }

    #[test]
    fn what_was_asked_for_follows_at_once_until_its_bound() {
        let mut trials = Trials::asked();
        assert_eq!(trials.scope(10.0), (usize::MAX, 1.0));
        let mut made = 0;
        while !trials.over(made % 8 == 0) {
            assert!(trials.due(0, 0.0));
            trials.note(1.0, 0.01);
            made += 1;
        }
        assert_eq!(made, 64, "the class under way is finished");
        let mut trials = Trials::asked();
        trials.note(119.0, 0.01);
        assert!(!trials.over(false));
        trials.note(2.0, 0.01);
        assert!(trials.over(false), "but not for ever");
    }
}
