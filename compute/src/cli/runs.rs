//! `chainrule runs list|compare` and `chainrule export`.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::{ExportArgs, RunsArgs, RunsCommand, Weights};
use super::error::io;
use super::report::duration;
use super::run_dir::{RunView, list_runs};
use super::{CliError, system};
use crate::checkpoint::{Named, weights_to_bytes};
use crate::metrics::Summary;
use crate::recipe::Recipe;
use crate::train::folder::MODEL_CARD;

/// `chainrule runs`.
pub fn runs(args: &RunsArgs) -> Result<(), CliError> {
    match &args.command {
        None => list(Path::new("runs")),
        Some(RunsCommand::List { root }) => list(root.as_deref().unwrap_or(Path::new("runs"))),
        Some(RunsCommand::Compare { runs }) => {
            let views = runs.iter().map(RunView::open).collect::<Result<Vec<_>, _>>()?;
            compare(&views)
        }
    }
}

fn percent(x: Option<f64>) -> String {
    x.map_or_else(|| "-".into(), |a| format!("{:.2}%", 100.0 * a))
}

fn test_accuracy(s: Option<&Summary>) -> Option<f64> {
    s.and_then(|s| s.test.as_ref()).map(|t| t.accuracy)
}

fn list(root: &Path) -> Result<(), CliError> {
    let runs = list_runs(root)?;
    if runs.is_empty() {
        system::line(&format!("no runs in {}; `chainrule train quick` makes one", root.display()));
        return Ok(());
    }
    system::line(&format!("{:<36} {:>7} {:>8} {:>9} {:>9}  on", "run", "epochs", "steps", "test", "time"));
    for run in runs {
        let s = run.summary.as_ref();
        let state = match (&run.problem, s) {
            (Some(problem), _) => problem.clone(),
            (None, None) => {
                run.cursor.as_ref().map_or_else(|| "not begun".into(), |c| format!("stopped at step {}", c.step))
            }
            (None, Some(s)) => format!("{} {}", s.backend, s.adapter),
        };
        system::line(&format!(
            "{:<36} {:>7} {:>8} {:>9} {:>9}  {state}",
            run.name,
            s.map_or(0, |s| s.epochs),
            s.map_or_else(|| run.cursor.as_ref().map_or(0, |c| c.step), |s| s.steps),
            percent(test_accuracy(s)),
            s.map_or_else(|| "-".into(), |s| duration(s.times.total_secs)),
        ));
    }
    Ok(())
}

/// The resolved recipe of a run, key by key.
fn keys(view: &RunView) -> Result<BTreeMap<&'static str, String>, CliError> {
    let name = view.path("recipe.toml").display().to_string();
    Ok(Recipe::parse(&name, &view.recipe()?, &[])?.rows().into_iter().collect())
}

fn compare(views: &[RunView]) -> Result<(), CliError> {
    let row = |head: &str, cells: Vec<String>| {
        let cells: Vec<String> = cells.into_iter().map(|c| format!("{c:>28}")).collect();
        system::line(&format!("{head:<28}{}", cells.join("")));
    };
    let name = |v: &RunView| {
        let full =
            v.root().file_name().map_or_else(|| v.root().display().to_string(), |n| n.to_string_lossy().into_owned());
        let skip = full.chars().count().saturating_sub(26);
        full.chars().skip(skip).collect::<String>()
    };
    row("", views.iter().map(name).collect());
    let recipes = views.iter().map(keys).collect::<Result<Vec<_>, _>>()?;
    let all: std::collections::BTreeSet<&str> = recipes.iter().flat_map(|r| r.keys().copied()).collect();
    for key in all {
        let cells: Vec<String> = recipes.iter().map(|r| r.get(key).cloned().unwrap_or_else(|| "-".into())).collect();
        if cells.windows(2).any(|w| w[0] != w[1]) {
            row(key, cells.iter().map(|c| c.chars().take(26).collect()).collect());
        }
    }
    let summaries = views.iter().map(|v| v.summary()).collect::<Result<Vec<_>, _>>()?;
    let each = |f: &dyn Fn(&Summary) -> String| summaries.iter().map(|s| s.as_ref().map_or("-".into(), f)).collect();
    row("epochs", each(&|s| s.epochs.to_string()));
    row("parameters", each(&|s| s.parameters.to_string()));
    row("train loss", each(&|s| s.train_loss.map_or("-".into(), |l| format!("{l:.4}"))));
    row("validation accuracy", each(&|s| percent(s.validation.as_ref().map(|v| v.accuracy))));
    row("test accuracy", each(&|s| percent(test_accuracy(Some(s)))));
    row("macro F1 (test)", each(&|s| s.test.as_ref().map_or("-".into(), |t| format!("{:.4}", t.macro_average.f1))));
    row("images/s", each(&|s| format!("{:.0}", s.times.images_per_sec)));
    row("time", each(&|s| duration(s.times.total_secs)));
    row("on", each(&|s| s.backend.clone()));
    Ok(())
}

/// The weights of a run that were asked for.
pub fn weights(view: &RunView, which: Weights) -> Result<Named, CliError> {
    let none = || CliError::Other(format!("{}: no checkpoint yet", view.root().display()));
    match which {
        Weights::Best => match view.load_best()? {
            Some(best) => Ok(best),
            None => weights(view, Weights::Last),
        },
        Weights::Last => Ok(view.load_current()?.ok_or_else(none)?.weights),
    }
}

/// `chainrule export RUN OUT`.
pub fn export(args: &ExportArgs) -> Result<(), CliError> {
    let view = RunView::open(&args.run)?;
    let bytes = weights_to_bytes(&weights(&view, args.weights)?, &BTreeMap::new())?;
    if args.out.extension().is_some_and(|e| e == "safetensors") {
        write_whole(&args.out, &bytes)?;
    } else {
        std::fs::create_dir_all(&args.out).map_err(io(&args.out, "create the folder"))?;
        write_whole(&args.out.join("weights.safetensors"), &bytes)?;
        write_whole(&args.out.join("recipe.toml"), view.recipe()?.as_bytes())?;
        let card = view.path(MODEL_CARD);
        write_whole(&args.out.join(MODEL_CARD), &std::fs::read(&card).map_err(io(&card, "read"))?)?;
        if let Some(s) = view.summary()? {
            let text = serde_json::to_string_pretty(&s).map_err(|e| CliError::Other(e.to_string()))?;
            write_whole(&args.out.join("summary.json"), text.as_bytes())?;
        }
    }
    system::line(&format!("wrote {}", args.out.display()));
    Ok(())
}

/// Writes a file through a temporary one beside it, so that it is whole or not there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io(path, "write"))?;
    std::io::Write::write_all(&mut file, bytes).map_err(io(path, "write"))?;
    file.persist(path).map_err(|e| CliError::Io { path: path.to_path_buf(), action: "write", source: e.error })?;
    Ok(())
}
