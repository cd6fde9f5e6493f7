//! `chainrule profile RECIPE`: how long each kernel of a training step takes, as a table and as a trace
//! that Perfetto and chrome://tracing open.
//!
//! Each kernel is run to its end before the next begins, so that its time is its own: on a GPU that includes
//! the way there and back, which the line below the table tells, beside a step run as in training.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::args::ProfileArgs;
use super::bench::{MLP_30_NAME, arbitrary, images_in, mlp_30};
use super::device::{self, block_on};
use super::{CliError, plan, recipes, system, tune};
use crate::ops::Lowering;
use crate::plan::Plan;

/// Untimed steps first.
const WARM_UP: usize = 2;

/// One kernel, or one of its dispatches, in one step: microseconds since the step's start.
struct Span {
    label: String,
    from: f64,
    to: f64,
}

/// See the module's introduction.
pub fn profile(args: &ProfileArgs) -> Result<(), CliError> {
    if args.steps == 0 {
        return Err(CliError::Usage("--steps must be 1 or more".into()));
    }
    let sets = [args.recipe.sets.clone(), vec!["data.validation=0".into()]].concat();
    let (recipe, shape) = if args.recipe.recipe == MLP_30_NAME {
        mlp_30(&sets)?
    } else {
        let recipe = recipes::find(&args.recipe.recipe, &sets)?;
        let shape = plan::shape_for(&recipe)?;
        (recipe, shape)
    };
    let (name, batch) = (recipe.name.clone(), recipe.train.batch);
    // As many images as there really are: batches come from memory, not from a cache.
    let data = arbitrary(shape, images_in(&recipe.data.set))?;
    let mut trainer = device::trainer(device::tuned_session(&args.device, args.kernels)?, recipe, data)?;
    tune::search(trainer.session(), args.kernels.tune)?;
    // Microseconds of a step and of its input, and its spans.
    let mut step = |each: bool| -> Result<(f64, f64, Vec<Span>), CliError> {
        let (start, mut spans) = (Instant::now(), vec![]);
        let now = || start.elapsed().as_secs_f64() * 1e6;
        let mut input = 0.0;
        if each {
            let mut ends = vec![];
            block_on(trainer.step_each(|| input = now(), &mut |label| ends.push((label.to_string(), now()))))?;
            // The first kernel begins when the batch is there.
            let mut from = input;
            for (label, to) in ends {
                spans.push(Span { label, from, to });
                from = to;
            }
            number_repeats(&mut spans);
        } else {
            trainer.step_telling(|| input = now())?;
        }
        block_on(trainer.metrics())?;
        Ok((now(), input, spans))
    };
    for _ in 0..WARM_UP {
        step(false)?;
    }
    let (mut whole, mut inputs, mut steps) = (vec![], vec![], vec![]);
    for _ in 0..args.steps {
        let (us, input, _) = step(false)?;
        whole.push(us);
        inputs.push(input);
        steps.push(step(true)?.2);
    }
    let (whole, input) = (median(whole), median(inputs));
    let graph = trainer.network().graph.clone();
    let plan = trainer.session().plan(&graph)?;
    let info = trainer.session().info().clone();
    table(&plan, &steps, whole, &format!("{} on {} ({})", name, info.backend, info.name));
    system::line(&format!(
        "input: {input:.1} us to choose, gather and write a batch, {:.2}% of a step; {:.0} images/s",
        input / whole * 100.0,
        batch as f64 / whole * 1e6,
    ));
    if let Some(path) = &args.trace {
        let text = trace(&plan, &steps, &name).to_string();
        std::fs::write(path, text)
            .map_err(|e| CliError::Other(format!("{} cannot be written: {e}", path.display())))?;
        system::note(&format!("{}: open it in https://ui.perfetto.dev or chrome://tracing", path.display()));
    }
    Ok(())
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Tells kernels of one name apart: the second `sum` of a step is `sum #2`.
fn number_repeats(spans: &mut [Span]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for s in spans {
        let times = seen.entry(s.label.clone()).or_default();
        *times += 1;
        if *times > 1 {
            s.label = format!("{} #{times}", s.label);
        }
    }
}

/// The kernel of a label: the node that it makes, or a part of the making of it.
fn kernel<'a>(plan: &'a Plan, label: &str) -> Option<&'a crate::plan::Kernel> {
    let (name, number) = label.rsplit_once(" #").map_or((label, 1), |(name, k)| (name, k.parse().unwrap_or(1)));
    let name = name.strip_suffix(".combine").unwrap_or(name);
    let made = |k: &&crate::plan::Kernel| plan.graph.node(k.main()).name == name;
    plan.kernels.iter().filter(made).nth(number - 1)
}

fn op_of(plan: &Plan, label: &str) -> &'static str {
    // A product that rounds its results is a product to the reader.
    let node = |k: &crate::plan::Kernel| if k.lowering == Lowering::Cells { k.main() } else { plan.lowered(k) };
    kernel(plan, label).and_then(|k| plan.graph.node(node(k)).op()).map_or("", |op| op.name())
}

fn table(plan: &Plan, steps: &[Vec<Span>], whole: f64, title: &str) {
    let mut order: Vec<&str> = vec![];
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for spans in steps {
        // Dispatches of one label in one step count together.
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for s in spans {
            if !order.contains(&s.label.as_str()) {
                order.push(&s.label);
            }
            *sums.entry(&s.label).or_default() += s.to - s.from;
        }
        sums.into_iter().for_each(|(label, us)| times.entry(label).or_default().push(us));
    }
    let mut rows: Vec<(&str, f64)> =
        order.into_iter().map(|l| (l, times.get(l).cloned().map_or(0.0, median))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let total: f64 = rows.iter().map(|r| r.1).sum();
    system::line(title);
    system::line(&format!("{:<34} {:<20} {:>10} {:>6} {:>9} {:>7}", "kernel", "op", "us", "share", "GFLOP/s", "GB/s"));
    for (label, us) in &rows {
        let (flops, bytes) = kernel(plan, label).map_or((0.0, 0.0), |k| (k.flops, k.bytes as f64));
        system::line(&format!(
            "{label:<34} {:<20} {us:>10.1} {:>5.1}% {:>9.1} {:>7.1}",
            op_of(plan, label),
            us / total * 100.0,
            flops / us / 1e3,
            bytes / us / 1e3,
        ));
    }
    system::line(&format!(
        "{} kernels, {:.3} ms one after the other; a step as in training {:.3} ms; medians of {}",
        rows.len(),
        total / 1e3,
        whole / 1e3,
        steps.len()
    ));
}

/// The steps in the trace event format. Source: "Trace Event Format", the Chromium project.
fn trace(plan: &Plan, steps: &[Vec<Span>], name: &str) -> serde_json::Value {
    let mut events = vec![
        json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": format!("chainrule {name}")}}),
        json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "kernels"}}),
    ];
    let mut start = 0.0;
    for (number, spans) in steps.iter().enumerate() {
        let end = spans.last().map_or(0.0, |s| s.to);
        events.push(json!({"name": format!("step {number}"), "cat": "step", "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": end}));
        for s in spans {
            let k = kernel(plan, &s.label);
            let reads: Vec<&str> = k.iter().flat_map(|k| &k.reads).map(|r| plan.graph.node(*r).name.as_str()).collect();
            events.push(json!({
                "name": s.label, "cat": op_of(plan, &s.label), "ph": "X", "pid": 1, "tid": 1,
                "ts": start + s.from, "dur": s.to - s.from,
                "args": {
                    "op": op_of(plan, &s.label),
                    "shape": k.map(|k| format!("{:?}", plan.graph.shape(k.main()))),
                    "flops": k.map(|k| k.flops), "bytes": k.map(|k| k.bytes), "reads": reads,
                },
            }));
        }
        start += end;
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}
