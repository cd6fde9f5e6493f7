//! Progress of one long step: a bar on a terminal, else a plain line every few seconds, on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How to show progress and remarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A bar when stderr is a terminal, else lines.
    Auto,
    Lines,
    Quiet,
}

const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// A remark for the user.
    pub fn say(self, text: &str) {
        if self != Progress::Quiet {
            eprintln!("{text}");
        }
    }

    /// Starts a step of `total_bytes`; 0 means unknown.
    pub(super) fn start(self, label: &str, total_bytes: u64) -> Meter {
        let bar = (self == Progress::Auto && std::io::stderr().is_terminal()).then(|| {
            let bar = if total_bytes > 0 { ProgressBar::new(total_bytes) } else { ProgressBar::new_spinner() };
            let template = if total_bytes > 0 {
                "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}"
            } else {
                "{spinner} {msg} {elapsed}"
            };
            // An unusable template leaves indicatif's own.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(label.to_string());
            bar
        });
        let lines = self != Progress::Quiet && bar.is_none();
        Meter { bar, lines, label: label.into(), done: 0, total: total_bytes, last: Instant::now() }
    }
}

/// The progress of one step.
pub(super) struct Meter {
    bar: Option<ProgressBar>,
    lines: bool,
    label: String,
    done: u64,
    total: u64,
    last: Instant,
}

impl Meter {
    /// `bytes` more are done; 0 shows that the step is alive.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            if self.total > 0 { bar.set_position(self.done) } else { bar.tick() }
        }
        if self.lines && self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            let megabytes = |n: u64| n as f64 / 1e6;
            match self.total {
                0 => eprintln!("{} ...", self.label),
                total => eprintln!("{} {:.0} of {:.0} MB", self.label, megabytes(self.done), megabytes(total)),
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
