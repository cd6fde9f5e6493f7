//! What a person or a program sees while a run trains: a progress bar on a terminal, a plain line
//! every few seconds elsewhere, or JSON lines on stdout.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::system;

/// Seconds between plain lines and between JSON `step` lines.
const EVERY: Duration = Duration::from_secs(5);

enum Face {
    Bar(ProgressBar),
    Plain,
    Json,
}

/// See the module's introduction.
pub struct Report {
    face: Face,
    last: Instant,
    started: Instant,
    first_step: usize,
    total_steps: usize,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub epoch: usize,
    pub step: usize,
    pub loss: f64,
    pub accuracy: f64,
    pub images_per_sec: f64,
    pub lr: f64,
}

impl Report {
    pub fn new(json: bool, first_step: usize, total_steps: usize) -> Report {
        let face = if json {
            Face::Json
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total_steps as u64);
            // The template is a constant of ours; a mistake in it would show the default bar.
            let template = "{bar:24} {pos}/{len} {elapsed}<{eta}  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_position(first_step as u64);
            bar.reset_eta();
            Face::Bar(bar)
        } else {
            Face::Plain
        };
        let now = Instant::now();
        Report { face, last: now, started: now, first_step, total_steps }
    }

    /// Something said once: where the run is, what computes.
    pub fn note(&self, text: &str) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Face::Plain | Face::Json => eprintln!("{text}"),
        }
    }

    /// A JSON line, where JSON is wanted.
    pub fn json(&self, value: &Value) {
        if matches!(self.face, Face::Json) {
            system::line(&value.to_string());
        }
    }

    /// Whether it is time to say where the run stands (reading it costs a wait on a GPU).
    pub fn due(&self) -> bool {
        let every = if matches!(self.face, Face::Bar(_)) { Duration::from_millis(200) } else { EVERY };
        self.last.elapsed() >= every
    }

    pub fn standing(&mut self, s: &Standing) {
        self.last = Instant::now();
        match &self.face {
            Face::Bar(bar) => {
                bar.set_position(s.step as u64);
                bar.set_message(format!(
                    "epoch {}  loss {:.4}  accuracy {:.2}%  {:.0} images/s",
                    s.epoch + 1,
                    s.loss,
                    100.0 * s.accuracy,
                    s.images_per_sec
                ));
            }
            Face::Plain => {
                let done = (s.step - self.first_step).max(1) as f64;
                let left = self.started.elapsed().as_secs_f64() / done * (self.total_steps - s.step) as f64;
                eprintln!(
                    "epoch {}  step {}/{}  loss {:.4}  accuracy {:.2}%  {:.0} images/s  {} left",
                    s.epoch + 1,
                    s.step,
                    self.total_steps,
                    s.loss,
                    100.0 * s.accuracy,
                    s.images_per_sec,
                    duration(left)
                );
            }
            Face::Json => self.json(&json!({
                "event": "step", "epoch": s.epoch + 1, "step": s.step, "loss": s.loss,
                "accuracy": s.accuracy, "images_per_sec": s.images_per_sec, "lr": s.lr,
            })),
        }
    }

    /// The line of an epoch (or of the end of a run counted in steps).
    pub fn epoch(&self, text: &str, value: &Value) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(|| println!("{text}")),
            Face::Plain => system::line(text),
            Face::Json => system::line(&value.to_string()),
        }
    }

    pub fn finish(&self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as `1h 02m`, `3m 05s` or `12s`.
pub fn duration(secs: f64) -> String {
    let s = secs.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s / 60 % 60),
    }
}
