//! `chainrule doctor`: the devices of this machine, what `auto` would take, and a self-check of
//! each backend: one training step of a small network against the f64 reference.

use std::time::Instant;

use serde_json::{Value, json};

use super::args::{BackendChoice, DeviceArgs, DoctorArgs};
use super::device::{self, block_on};
use super::{CliError, system};
use crate::backend::cpu::Cpu;
use crate::backend::gpu::{self, AdapterChoice, Gpu};
use crate::backend::reference::Reference;
use crate::backend::{Backend, BackendError};
use crate::data::sample;
use crate::recipe::Recipe;
use crate::rewrite::Fusion;
use crate::session::Session;
use crate::train::Trainer;

/// The network of the self-check: every kind of fast kernel, small enough for the reference.
const CHECK: &str = r#"
[data]
set = "fashion-sample"
limit = 64
validation = 0
[model]
layers = ["conv 4 kernel 3 padding 1", "relu", "max-pool 2", "conv 6 kernel 3 stride 2", "tanh", "flatten", "linear classes"]
[train]
batch = 8
steps = 3
[optimizer]
kind = "adam"
"#;

/// See the module's introduction.
pub fn doctor(args: &DoctorArgs) -> Result<(), CliError> {
    let adapters = block_on(gpu::adapters());
    let auto = device::backend(&DeviceArgs { backend: BackendChoice::Auto, device: None, no_fusion: false })?;
    let choice = auto.info().clone();
    drop(auto);
    if !args.json {
        system::line(&format!("chainrule {}", env!("CARGO_PKG_VERSION")));
        system::line(if adapters.is_empty() { "GPU adapters: none" } else { "GPU adapters:" });
        for (k, a) in adapters.iter().enumerate() {
            system::line(&format!("  {k}  {}", a.summary));
            for line in &a.details {
                system::line(&format!("     {line}"));
            }
        }
        system::line(&format!("auto would take: {} ({}; {})", choice.backend, choice.name, choice.detail));
    }
    let checks = if args.list { vec![] } else { self_check(&adapters, args.json)? };
    if args.json {
        let listed: Vec<Value> =
            adapters.iter().map(|a| json!({"name": a.name, "summary": a.summary, "details": a.details})).collect();
        let auto = json!({"backend": choice.backend, "name": choice.name, "detail": choice.detail});
        system::line(&json!({"adapters": listed, "auto": auto, "checks": checks}).to_string());
    }
    if checks.iter().any(|c| c["ok"] == false) {
        return Err(CliError::Other("a backend does not agree with the reference: do not train on it".into()));
    }
    Ok(())
}

/// Three training steps on the cpu backend and on each adapter, and how they went.
fn self_check(adapters: &[gpu::AdapterSummary], as_json: bool) -> Result<Vec<Value>, CliError> {
    if !as_json {
        system::line("self-check, three training steps against the f64 reference:");
    }
    let reference = steps(Box::new(Reference::new()))?;
    let mut checks: Vec<Value> = vec![];
    let mut backends: Vec<(String, Result<Box<dyn Backend>, BackendError>)> =
        vec![("cpu".into(), Ok(Box::new(Cpu::new())))];
    for (k, a) in adapters.iter().enumerate() {
        let opened = block_on(Gpu::open(&AdapterChoice::Index(k))).map(|g| Box::new(g) as Box<dyn Backend>);
        backends.push((format!("gpu {k}: {}", a.name), opened));
    }
    for (name, backend) in backends {
        let started = Instant::now();
        let outcome = backend.map_err(CliError::from).and_then(steps);
        let secs = started.elapsed().as_secs_f64();
        let (ok, text) = match outcome {
            Ok(values) => {
                let error = largest_difference(&reference, &values);
                (error < 1e-4, format!("largest relative difference {error:.1e}"))
            }
            Err(e) => (false, e.to_string()),
        };
        let verdict = if ok { "ok" } else { "FAILED" };
        if !as_json {
            system::line(&format!("  {verdict:<7} {name}: {text} ({secs:.2} s)"));
        }
        checks.push(json!({"backend": name, "ok": ok, "result": text, "secs": secs}));
    }
    Ok(checks)
}

/// Losses of three steps and the weights after them.
fn steps(backend: Box<dyn Backend>) -> Result<Vec<f64>, CliError> {
    let recipe = Recipe::parse("self-check", CHECK, &[])?;
    let mut data = sample::fashion_sample()?;
    data.train.truncate(64);
    let mut trainer = Trainer::new(Session::new(backend, Fusion::default()), recipe, data)?;
    for _ in 0..3 {
        trainer.step()?;
    }
    let mut out: Vec<f64> = block_on(trainer.metrics())?.iter().map(|m| m.loss).collect();
    for (_, w) in block_on(trainer.weights())? {
        out.extend(w.to_f64());
    }
    Ok(out)
}

/// `max |a - b| / max |a|`
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let scale = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    // NaN must not pass: max() drops it, so it is looked for.
    if b.iter().any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / scale
}
