//! `--tune`: which tilings the products of a GPU take. What was found by measuring is kept in the cache folder,
//! a file for each adapter and driver, and with a run, so that it continues to the same bits.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::TuneChoice;
use super::device::block_on;
use super::runs::write_whole;
use super::{CliError, cache, system};
use crate::backend::DeviceInfo;
use crate::backend::gpu::tune::{Choices, Record};
use crate::session::Session;

/// What a search may take before it begins no other class of products, and, twice this, what it is cut off at: by
/// the way, and when it was asked for.
const BUDGET_SECS: f64 = 5.0;
const ASKED_SECS: f64 = 60.0;
/// The folder of the cache.
const FOLDER: &str = "kernels";

/// Reads a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Record>, String> {
    match std::fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("it cannot be read: {e}")),
        Ok(bytes) => Record::parse(&bytes).map(Some),
    }
}

fn write(record: &Record, path: &Path) -> Result<(), CliError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(super::error::io(folder, "create the folder"))?;
    }
    write_whole(path, record.to_json().map_err(CliError::Other)?.as_bytes())
}

/// What of a file can be read; the rest is told.
fn choices(record: &Record, path: &Path) -> Choices {
    let (choices, wrong) = record.choices();
    wrong.iter().for_each(|w| system::note(&format!("{}: ignored: {w}", path.display())));
    choices
}

/// `kernels/llvmpipe-llvm-15-0-6-256-bits-vulkan-llvmpipe-mesa-22-3-6.json` in the cache folder.
fn path_for(cache: &Path, info: &DeviceInfo) -> PathBuf {
    let mut name = String::new();
    for c in format!("{} {}", info.name, info.detail).chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(120);
    cache.join(FOLDER).join(format!("{}.json", name.trim_matches('-')))
}

/// What this adapter's file holds. A broken one is told of and counts as none.
fn recorded(path: &Path, info: &DeviceInfo) -> Choices {
    match read(path) {
        Ok(Some(r)) if r.adapter == info.name && r.driver == info.detail && r.is_current() => choices(&r, path),
        // Two long names may share a file; an older program had less to choose from.
        Ok(_) => Choices::default(),
        Err(problem) => {
            system::note(&format!("{}: {problem}; products are cut by the table", path.display()));
            Choices::default()
        }
    }
}

/// Before programs are loaded: takes what was found on this adapter earlier.
pub fn prepare(session: &mut Session, choice: TuneChoice) {
    let info = session.info().clone();
    if let (Some(gpu), Some(cache), TuneChoice::Auto) = (session.gpu(), cache::folder(), choice) {
        gpu.set_choices(recorded(&path_for(&cache, &info), &info));
    }
}

/// After programs were loaded: tells of choices that do not fit; measures what is not known yet, keeps it, and
/// has the programs take it.
pub fn search(session: &mut Session, choice: TuneChoice) -> Result<(), CliError> {
    let info = session.info().clone();
    let Some(gpu) = session.gpu() else { return Ok(()) };
    for class in gpu.unfit() {
        system::note(&format!("{class}: the tiling that was chosen earlier does not fit; it is cut by the table"));
    }
    let budget_secs = match choice {
        TuneChoice::Auto if !gpu.is_software() => BUDGET_SECS,
        TuneChoice::Again => ASKED_SECS,
        _ => return Ok(()),
    };
    let mut tuner = gpu.tuner();
    let all = tuner.left();
    if all == 0 {
        return Ok(());
    }
    let bar = ProgressBar::new(all as u64);
    if let Ok(style) = ProgressStyle::with_template("tuning products {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    let start = Instant::now();
    let secs = || start.elapsed().as_secs_f64();
    while !(secs() > budget_secs && tuner.between_classes() || secs() > 2.0 * budget_secs) {
        let Some(trial) = block_on(tuner.next(gpu, &secs))? else { break };
        bar.set_position((all - tuner.left()) as u64);
        bar.set_message(format!("{} as {}", trial.class, trial.tiling));
    }
    bar.finish_and_clear();
    gpu.reload()?;
    let left = match tuner.left() {
        0 => String::new(),
        n => format!("; time was over for {n} more"),
    };
    system::note(&format!(
        "tuned {} classes of products in {:.1} s, {} of them unlike the table{left}",
        all - tuner.left(),
        secs(),
        tuner.changed()
    ));
    if let Some(cache) = cache::folder() {
        let path = path_for(&cache, &info);
        // Another process may have found others meanwhile.
        let mut all = recorded(&path, &info);
        all.extend(gpu.choices());
        if let Err(e) = write(&Record::of(&info, &all), &path) {
            system::note(&format!("{e}: the search will be made again"));
        }
    }
    Ok(())
}

/// Whether a run that is continued was cut by choices of its own: sets them, or the table for a run without.
/// `false`: it was on another adapter (`was`), whose choices mean nothing here.
pub fn resume(session: &mut Session, path: &Path, was: Option<&str>) -> bool {
    let info = session.info().clone();
    let Some(gpu) = session.gpu() else { return true };
    let record = read(path).unwrap_or_else(|problem| {
        let what = "products are cut by the table, and the run continues, but perhaps not to the same bits";
        system::note(&format!("{}: {problem}; {what}", path.display()));
        None
    });
    let was = record.as_ref().map(|r| r.adapter.as_str()).or(was);
    if was.is_some_and(|was| was != info.name) {
        return false;
    }
    gpu.set_choices(record.map(|r| choices(&r, path)).unwrap_or_default());
    true
}

/// Holds a session to the choices of its loaded programs, and keeps them beside a run.
pub fn keep(session: &mut Session, path: &Path) -> Result<(), CliError> {
    let Some(gpu) = session.gpu() else { return Ok(()) };
    let record = gpu.hold_choices();
    // A run without the file is one by the table.
    if record.is_empty() && !path.exists() { Ok(()) } else { write(&record, path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> DeviceInfo {
        DeviceInfo {
            backend: "gpu",
            name: "NVIDIA H100 80GB/HBM3".into(),
            detail: "Vulkan, NVIDIA 570.86".into(),
            max_buffer_bytes: None,
            cache_bytes: 0,
            half_bytes: 2,
        }
    }

    fn some() -> Choices {
        let mut choices = Choices::default();
        choices.insert("matmul 1x64x16x1024 stored f32", "tiled 2x1 by 256 split 4".parse().unwrap());
        choices.insert("conv2d_forward 2x8x1024x32 computed-b f32", "rows 1x4 by 64".parse().unwrap());
        choices
    }

    #[test]
    fn choices_are_kept_by_adapter_and_driver() {
        let cache = tempfile::tempdir().unwrap();
        let path = path_for(cache.path(), &info());
        assert_eq!(path.file_name().unwrap(), "nvidia-h100-80gb-hbm3-vulkan-nvidia-570-86.json");
        assert!(recorded(&path, &info()).is_empty());
        write(&Record::of(&info(), &some()), &path).unwrap();
        assert_eq!(recorded(&path, &info()), some());
        let newer = DeviceInfo { detail: "Vulkan, NVIDIA 580.1".into(), ..info() };
        assert_ne!(path_for(cache.path(), &newer), path);
        assert!(recorded(&path, &newer).is_empty());
    }
}
