//! One line of `chainrule bench`: what was timed, how long it took, and how near it came to the machine's
//! ceilings; and the comparison of two such lists.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::{CliError, system};
use crate::plan::Plan;
use crate::plan::print::bytes;

/// What the machine does at best, as measured here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// By a large product of matrices.
    pub gflop_per_sec: f64,
    /// Read and written by a large copy.
    pub gbyte_per_sec: f64,
}

/// What one run does, by the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub flops: f64,
    /// Read and written by the kernels, each input and output once.
    pub bytes: f64,
    pub kernels: usize,
}

impl Work {
    pub fn of(plan: &Plan) -> Work {
        let bytes = plan.kernels.iter().map(|k| k.bytes as f64).sum();
        Work { flops: plan.flops(), bytes, kernels: plan.kernels.len() }
    }
}

/// One case. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub case: String,
    pub backend: String,
    pub adapter: String,
    pub min_ms: f64,
    pub median_ms: f64,
    pub max_ms: f64,
    pub repeats: usize,
    pub gflop: f64,
    pub gflop_per_sec: f64,
    pub gbyte_per_sec: f64,
    /// Of the ceilings; absent for the ceilings themselves.
    pub flop_share: Option<f64>,
    pub byte_share: Option<f64>,
    pub kernels: usize,
    pub us_per_kernel: f64,
    pub peak_device_bytes: usize,
    pub peak_resident_bytes: Option<u64>,
    pub parameters: Option<usize>,
    /// Of training steps: images a second, and the share of their time that passed before the device was
    /// given a step: choosing, gathering and writing its batch.
    #[serde(default)]
    pub images_per_sec: Option<f64>,
    #[serde(default)]
    pub input_share: Option<f64>,
    /// From the recipe to the end of the first training step: graph, gradients, plan, kernels, weights.
    #[serde(default)]
    pub first_ms: Option<f64>,
}

impl Row {
    /// `ms`: sorted times of each repetition, at least one.
    pub fn new(case: &str, ms: &[f64], work: Work, ceilings: Option<Ceilings>) -> Row {
        let n = ms.len();
        let median = if n % 2 == 1 { ms[n / 2] } else { (ms[n / 2 - 1] + ms[n / 2]) / 2.0 };
        let (flops, moved) = (work.flops / median / 1e6, work.bytes / median / 1e6);
        Row {
            case: case.into(),
            backend: String::new(),
            adapter: String::new(),
            min_ms: ms[0],
            median_ms: median,
            max_ms: ms[n - 1],
            repeats: n,
            gflop: work.flops / 1e9,
            gflop_per_sec: flops,
            gbyte_per_sec: moved,
            flop_share: ceilings.map(|c| flops / c.gflop_per_sec),
            byte_share: ceilings.map(|c| moved / c.gbyte_per_sec),
            kernels: work.kernels,
            us_per_kernel: median * 1e3 / work.kernels.max(1) as f64,
            peak_device_bytes: 0,
            peak_resident_bytes: system::peak_resident_bytes(),
            parameters: None,
            images_per_sec: None,
            input_share: None,
            first_ms: None,
        }
    }

    /// Prints the row, as JSON or for people.
    pub fn print(&self, json: bool) -> Result<(), CliError> {
        if json {
            let text = serde_json::to_string(self).map_err(|e| CliError::Other(e.to_string()))?;
            system::line(&text);
            return Ok(());
        }
        let share = |s: Option<f64>| s.map_or_else(|| "    -".into(), |s| format!("{:>4.0}%", s * 100.0));
        system::line(&format!(
            "{:<22} {:>10.3} {:>9.3} {:>9.3} {:>8.1} {} {:>7.1} {} {:>4} {:>9.1} {:>10} {:>10} {:>9} {:>7} {:>9}",
            self.case,
            self.median_ms,
            self.min_ms,
            self.max_ms,
            self.gflop_per_sec,
            share(self.flop_share),
            self.gbyte_per_sec,
            share(self.byte_share),
            self.kernels,
            self.us_per_kernel,
            bytes(self.peak_device_bytes),
            self.peak_resident_bytes.map_or_else(|| "-".into(), |b| bytes(b as usize)),
            self.images_per_sec.map_or_else(|| "-".into(), |n| format!("{n:.0}")),
            self.input_share.map_or_else(|| "-".into(), |s| format!("{:.2}%", s * 100.0)),
            self.first_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1}")),
        ));
        Ok(())
    }
}

/// The heads of the columns of [`Row::print`].
pub fn head() {
    system::line(&format!(
        "{:<22} {:>10} {:>9} {:>9} {:>8} {:>5} {:>7} {:>5} {:>4} {:>9} {:>10} {:>10} {:>9} {:>7} {:>9}",
        "case",
        "median ms",
        "min",
        "max",
        "GFLOP/s",
        "",
        "GB/s",
        "",
        "krn",
        "us each",
        "device",
        "process",
        "images/s",
        "input",
        "first ms"
    ));
}

/// The rows that `bench --json` wrote to a file.
pub fn read(path: &Path) -> Result<Vec<Row>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|e| CliError::Usage(format!("--compare {}: {e}", path.display())))?;
    let row = |(k, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| {
            CliError::Usage(format!(
                "--compare {}:{}: not a line of `chainrule bench --json`: {e}",
                path.display(),
                k + 1
            ))
        })
    };
    text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(row).collect()
}

/// New medians as multiples of the old ones, for the cases that both have.
pub fn compare(old: &[Row], new: &[Row]) {
    system::line(&format!("\n{:<22} {:>10} {:>10} {:>7}", "case", "before ms", "now ms", "ratio"));
    for now in new {
        let Some(before) = old.iter().find(|r| r.case == now.case) else {
            system::line(&format!("{:<22} {:>10} {:>10.3}", now.case, "-", now.median_ms));
            continue;
        };
        let other = (before.backend != now.backend || before.adapter != now.adapter)
            .then(|| format!("  before on {} {}", before.backend, before.adapter));
        system::line(&format!(
            "{:<22} {:>10.3} {:>10.3} {:>7.2}{}",
            now.case,
            before.median_ms,
            now.median_ms,
            now.median_ms / before.median_ms,
            other.unwrap_or_default()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_the_median() {
        let work = Work { flops: 4e9, bytes: 1e9, kernels: 4 };
        let ceilings = Ceilings { gflop_per_sec: 8.0, gbyte_per_sec: 1.0 };
        let row = Row::new("x", &[500.0, 1000.0, 3000.0], work, Some(ceilings));
        assert_eq!((row.median_ms, row.gflop_per_sec, row.gbyte_per_sec), (1000.0, 4.0, 1.0));
        assert_eq!((row.flop_share, row.byte_share, row.us_per_kernel), (Some(0.5), Some(1.0), 250_000.0));
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
        assert_eq!(Row::new("x", &[1.0, 3.0], work, None).median_ms, 2.0);
    }
}
