//! The learning rate of a step: constant, in steps, or a cosine after a linear warm-up.
//!
//! With `base` the optimiser's rate, `s` the step (from 0), `E` the steps of an epoch and `T`
//! the steps of the run:
//!
//! - constant: `base`
//! - step: `base * gamma^floor(s / (every * E))`, as PyTorch's `StepLR` counted in epochs
//! - cosine: with `W = round(warmup * E)`, for `s < W` it is `base * (s + 1) / W`; after that
//!   `min_lr + (base - min_lr) * (1 + cos(pi * (s - W) / (T - W))) / 2`, as PyTorch's
//!   `CosineAnnealingLR` stepped once a step; from `s = T` on, `min_lr`.

use serde::Serialize;

/// How the learning rate changes over the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    pub kind: ScheduleKind,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    Constant,
    /// Multiplies the rate by `gamma` after each `every` epochs.
    Step {
        every: usize,
        gamma: f64,
    },
    /// `warmup` in epochs (fractions allowed), then half a cosine down to `min_lr`.
    Cosine {
        warmup: f64,
        min_lr: f64,
    },
}

impl Schedule {
    /// The learning rate of `step` (from 0); see the formulas above.
    pub fn lr(&self, base: f64, step: usize, steps_per_epoch: usize, total_steps: usize) -> f64 {
        match self.kind {
            ScheduleKind::Constant => base,
            ScheduleKind::Step { every, gamma } => {
                let period = every.saturating_mul(steps_per_epoch).max(1);
                base * gamma.powf((step / period) as f64)
            }
            ScheduleKind::Cosine { warmup, min_lr } => {
                let warm = (warmup * steps_per_epoch as f64).round() as usize;
                if step < warm {
                    return base * (step as f64 + 1.0) / warm as f64;
                }
                if step >= total_steps {
                    return min_lr;
                }
                // step >= warm and step < total_steps, so the divisor is at least 1.
                let part = (step - warm) as f64 / (total_steps - warm) as f64;
                min_lr + (base - min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: ScheduleKind, epochs: usize, expect: &[(usize, f64)]) {
        let schedule = Schedule { kind };
        for &(step, lr) in expect {
            let got = schedule.lr(0.1, step, 10, epochs * 10);
            assert!((got - lr).abs() < 1e-12, "step {step}: {got} for {lr}");
        }
    }

    #[test]
    fn constant_stays() {
        check(ScheduleKind::Constant, 2, &[(0, 0.1), (19, 0.1), (500, 0.1)]);
    }

    #[test]
    fn step_falls_at_whole_epochs() {
        let kind = ScheduleKind::Step { every: 2, gamma: 0.5 };
        check(kind, 6, &[(0, 0.1), (19, 0.1), (20, 0.05), (39, 0.05), (40, 0.025)]);
    }

    #[test]
    fn cosine_warms_up_then_falls_to_its_floor() {
        // W = 10, T = 30: the quarter points of the cosine lie at steps 15, 20 and 25.
        let kind = ScheduleKind::Cosine { warmup: 1.0, min_lr: 0.02 };
        let half_sqrt2 = 0.5f64.sqrt();
        check(
            kind,
            3,
            &[
                (0, 0.01),
                (4, 0.05),
                (9, 0.1),
                (10, 0.1),
                (15, 0.02 + 0.04 * (1.0 + half_sqrt2)),
                (20, 0.06),
                (25, 0.02 + 0.04 * (1.0 - half_sqrt2)),
                (30, 0.02),
                (1000, 0.02),
            ],
        );
    }

    #[test]
    fn a_run_shorter_than_its_warm_up_never_divides_by_zero() {
        let kind = ScheduleKind::Cosine { warmup: 5.0, min_lr: 0.0 };
        check(kind.clone(), 1, &[(0, 0.002), (9, 0.02), (60, 0.0)]);
        let schedule = Schedule { kind };
        assert_eq!(schedule.lr(0.1, 0, 0, 0), 0.0);
    }
}
