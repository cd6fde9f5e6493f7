//! `chainrule verify`: every op's samples on one backend against the f64 reference, within the tolerance of
//! the op's class. What the tests do, for a machine that has nothing but this binary. Exit code 1 where a
//! kernel is wrong.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::args::VerifyArgs;
use super::device::{self, block_on};
use super::{CliError, system};
use crate::backend::gpu::Variants;
use crate::backend::gpu::tune::CANDIDATES;
use crate::ops::{Lowering, PAGES, Sample};
use crate::verify::{self, BATCH, Outcome};

/// Samples of no family: shapes past every tile.
const LARGE: &str = "large-shapes";
/// What an adapter runs, then what others would.
const VARIANTS: [(Variants, &str); 4] = [
    (Variants::Device, "kernels of this device"),
    (Variants::Naive, "plain kernels"),
    (Variants::Software, "kernels of software devices"),
    (Variants::Hardware, "kernels of real GPUs"),
];

/// Which kernels samples run through.
struct Pass {
    variants: Variants,
    /// See [`crate::backend::gpu::Gpu::set_candidate`].
    candidate: Option<usize>,
    kernels: String,
}

impl Pass {
    fn of((variants, kernels): &(Variants, &str)) -> Pass {
        Pass { variants: *variants, candidate: None, kernels: (*kernels).into() }
    }

    fn candidate(k: usize) -> Pass {
        let kernels = format!("kernels of this device, tiling {k} of those that its tuner tries");
        Pass { variants: Variants::Device, candidate: Some(k), kernels }
    }
}

/// What is known of one op: its samples, the worst error as a share of what is allowed, and what is wrong.
#[derive(Default)]
struct Verdict {
    samples: usize,
    worst: f64,
    wrong: Vec<String>,
}

/// See the module's introduction.
pub fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let samples = chosen(&args.families)?;
    let info = device::backend(&args.device)?.info().clone();
    let every = args.all_variants && info.backend == "gpu";
    let variants = &VARIANTS[..if every { VARIANTS.len() } else { 1 }];
    let mut groups = vec![(samples, variants.iter().map(Pass::of).collect::<Vec<Pass>>())];
    if every {
        let is_product = |s: &&Sample| !matches!(s.op.lowering(), Lowering::Cells | Lowering::View | Lowering::Pool(_));
        let products = groups[0].0.iter().filter(is_product).cloned().collect();
        groups.push((products, (1..CANDIDATES).map(Pass::candidate).collect()));
    }
    if !args.json {
        system::line(&format!("{} ({}; {}) against the f64 reference", info.backend, info.name, info.detail));
    }
    let started = Instant::now();
    let mut verdicts: BTreeMap<(&str, &str), Verdict> = BTreeMap::new();
    for (samples, passes) in &groups {
        for batch in samples.chunks(BATCH) {
            let known = verify::expect(batch).map_err(CliError::Other)?;
            for pass in passes {
                // A fresh one for each batch: leaves are kept by name.
                let mut backend = device::backend_with(&args.device, pass.variants)?;
                if let Some(gpu) = backend.gpu() {
                    gpu.set_candidate(pass.candidate);
                }
                for outcome in block_on(verify::run(backend.as_mut(), &known))? {
                    verdicts.entry((pass.kernels.as_str(), outcome.op)).or_default().add(outcome);
                }
            }
        }
    }
    for pass in groups.iter().flat_map(|(_, passes)| passes) {
        let of_these = verdicts.iter().filter(|((k, _), _)| *k == pass.kernels).map(|((_, op), v)| (*op, v));
        print(args.json, info.backend, &pass.kernels, of_these);
    }
    conclude(verdicts.values().map(|v| v.samples).sum(), verdicts.values().map(|v| v.wrong.len()).sum(), started)
}

impl Verdict {
    fn add(&mut self, outcome: Outcome) {
        self.samples += 1;
        match outcome.result {
            Ok(share) => self.worst = self.worst.max(share),
            Err(e) => self.wrong.push(format!("{}: {e}", outcome.sample)),
        }
    }
}

/// The samples of the families that are named, or all.
fn chosen(families: &[String]) -> Result<Vec<Sample>, CliError> {
    let names = || PAGES.iter().map(|p| p.name).chain([LARGE]);
    if let Some(unknown) = families.iter().find(|f| !names().any(|n| n == *f)) {
        let known: Vec<&str> = names().collect();
        return Err(CliError::Usage(format!("no family of ops `{unknown}`; there are {}", known.join(", "))));
    }
    let wanted = |name: &str| families.is_empty() || families.iter().any(|f| f == name);
    let mut samples: Vec<Sample> = PAGES.iter().filter(|p| wanted(p.name)).flat_map(|p| (p.samples)()).collect();
    if wanted(LARGE) {
        samples.extend(verify::samples::large_shapes());
    }
    Ok(samples)
}

fn print<'a>(as_json: bool, backend: &str, kernels: &str, verdicts: impl Iterator<Item = (&'a str, &'a Verdict)>) {
    if !as_json {
        system::line(&format!("\n{kernels}\n{:<28} {:>7}  {:>14}", "op", "samples", "error / bound"));
    }
    for (op, v) in verdicts {
        if as_json {
            let ok = v.wrong.is_empty();
            system::line(
                &json!({
                    "backend": backend, "kernels": kernels, "op": op, "samples": v.samples, "ok": ok,
                    "worst": v.worst, "wrong": v.wrong,
                })
                .to_string(),
            );
            continue;
        }
        let found = if v.wrong.is_empty() { format!("{:.3}", v.worst) } else { format!("{} WRONG", v.wrong.len()) };
        system::line(&format!("{op:<28} {:>7}  {found:>14}", v.samples));
        v.wrong.iter().for_each(|w| system::line(&format!("    {w}")));
    }
}

fn conclude(samples: usize, wrong: usize, started: Instant) -> Result<(), CliError> {
    if wrong > 0 {
        let what = "a kernel does not compute its definition: do not train on this backend";
        return Err(CliError::Other(format!("{wrong} of {samples} samples are wrong: {what}")));
    }
    system::note(&format!("{samples} samples agree ({:.1} s)", started.elapsed().as_secs_f64()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_sample_ends_with_an_error_and_stays_in_the_verdict() {
        let mut verdict = Verdict::default();
        for result in [Ok(0.25), Err("element 3: 1 where 2 is right".to_string()), Ok(0.5)] {
            verdict.add(Outcome { op: "neg", sample: "neg of f32[4]".into(), result });
        }
        assert_eq!((verdict.samples, verdict.worst), (3, 0.5));
        assert_eq!(verdict.wrong, ["neg of f32[4]: element 3: 1 where 2 is right"]);
        let ended = conclude(3, 1, Instant::now());
        assert!(ended.is_err_and(|e| e.exit_code() == 1 && e.to_string().starts_with("1 of 3 samples")));
        assert!(conclude(3, 0, Instant::now()).is_ok());
    }

    #[test]
    fn families_are_named_or_all_taken() {
        assert!(chosen(&["softmax".into()]).unwrap().len() < chosen(&[]).unwrap().len());
        assert_eq!(chosen(&[LARGE.into()]).unwrap().len(), verify::samples::large_shapes().len());
        assert!(chosen(&["sofmax".into()]).is_err_and(|e| e.exit_code() == 2 && e.to_string().contains("softmax")));
    }
}
