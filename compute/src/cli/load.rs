//! Reads a data set named by a recipe: files are read here, parsed in `data`.
//!
//! | set | where |
//! | --- | --- |
//! | `fashion-sample`, `blood-cells` | in the binary |
//! | `cifar10` | `data.root`, else the cache (`chainrule data fetch cifar10`) |
//! | `mnist`, `fashion-mnist` | `data.root`, else the cache; Fashion-MNIST also where Debian's package puts it |
//! | `folder` | `data.root` |

use std::path::{Path, PathBuf};

use lanes::threads::prelude::*;

use super::cache;
use crate::data::{DataError, Dataset, Images, assemble, cifar, folder, idx, picture, sample};

/// The data sets a recipe can name.
pub const SETS: [&str; 6] = ["cifar10", "fashion-sample", "blood-cells", "mnist", "fashion-mnist", "folder"];

/// The folder of CIFAR-10 inside the cache (and inside the official archive).
pub const CIFAR_FOLDER: &str = "cifar-10-batches-bin";
const FASHION_DEBIAN: &str = "/usr/share/datasets/fashion-mnist";
/// The largest IDX file read: the most elements, and room for a header.
const MAX_IDX_BYTES: u64 = idx::MAX_ELEMENTS + 4096;
/// The largest picture file read.
const MAX_PICTURE_BYTES: u64 = 256 << 20;
/// Pictures decoded together: bounds memory while all cores work.
const DECODE_CHUNK: usize = 256;

/// What a recipe says about its data.
#[derive(Clone, Debug, Default)]
pub struct DataSpec {
    pub set: String,
    pub root: Option<PathBuf>,
    /// The first N training images.
    pub limit: Option<usize>,
    /// The side to which pictures of different sizes are scaled (`folder` only).
    pub resize: Option<usize>,
}

/// Loads a data set; remarks (skipped files) go to stderr.
pub fn load(spec: &DataSpec) -> Result<Dataset, DataError> {
    load_with(spec, &mut |remark| eprintln!("{remark}"))
}

/// Loads a data set; remarks for the user go to `remark`.
pub fn load_with(spec: &DataSpec, remark: &mut dyn FnMut(String)) -> Result<Dataset, DataError> {
    if spec.limit == Some(0) {
        let problem = "0 images leave nothing to train on".into();
        return Err(DataError::Option { option: "limit", problem, advice: "give 1 or more, or leave it out" });
    }
    let mut set = match spec.set.as_str() {
        "fashion-sample" => sample::fashion_sample()?,
        "blood-cells" => sample::blood_cells()?,
        "cifar10" => cifar10(spec)?,
        "mnist" => digits(spec, (0..10).map(|d| d.to_string()).collect())?,
        "fashion-mnist" => digits(spec, sample::FASHION_CLASSES.map(String::from).to_vec())?,
        "folder" => pictures(spec, remark)?,
        other => return Err(unknown(other)),
    };
    if let Some(limit) = spec.limit {
        set.train.truncate(limit);
    }
    Ok(set)
}

fn unknown(set: &str) -> DataError {
    let nearest = SETS.iter().map(|s| (strsim::damerau_levenshtein(set, s), s)).min();
    let hint = match nearest {
        Some((distance, name)) if distance <= 4 => format!(" (did you mean `{name}`?)"),
        _ => String::new(),
    };
    DataError::UnknownSet { set: set.into(), hint, known: SETS.join(", ") }
}

/// `data.root`, else the set's folder in the cache.
fn places(spec: &DataSpec, in_cache: &str) -> Vec<PathBuf> {
    match &spec.root {
        Some(root) => vec![root.clone(), root.join(in_cache)],
        None => cache::folder().map(|c| c.join(in_cache)).into_iter().collect(),
    }
}

fn show(places: &[PathBuf]) -> String {
    let shown: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    if shown.is_empty() { format!("no cache folder: set {}", cache::VARIABLE) } else { shown.join(", ") }
}

fn cifar10(spec: &DataSpec) -> Result<Dataset, DataError> {
    let places = places(spec, CIFAR_FOLDER);
    let Some(folder) = places.iter().find(|p| p.join(cifar::FILES[0]).exists()) else {
        return Err(DataError::Missing {
            set: "cifar10".into(),
            looked: show(&places),
            advice: "run `chainrule data fetch cifar10`, or set data.root to a folder with data_batch_1.bin".into(),
        });
    };
    let read = |file: &str| {
        let path = folder.join(file);
        let bytes = read_bounded(&path, (cifar::BATCH_RECORDS * cifar::RECORD_BYTES) as u64 + 1)?;
        cifar::parse_batch(&path.display().to_string(), &bytes)
    };
    // Only the batches that the limit asks for.
    let batches = spec.limit.map_or(5, |n| n.div_ceil(cifar::BATCH_RECORDS).min(5));
    let mut train = read(cifar::FILES[0])?;
    for file in &cifar::FILES[1..batches] {
        train.append(&read(file)?);
    }
    let classes = cifar::CLASSES.map(String::from).to_vec();
    Ok(Dataset { name: "cifar10".into(), classes, train, test: read(cifar::FILES[5])? })
}

/// The four IDX files of MNIST or Fashion-MNIST.
fn digits(spec: &DataSpec, classes: Vec<String>) -> Result<Dataset, DataError> {
    let mut places = places(spec, &spec.set);
    let fashion = spec.set == "fashion-mnist";
    if fashion && spec.root.is_none() {
        places.push(FASHION_DEBIAN.into());
    }
    let Some(folder) = places.iter().find(|p| idx_file(p, "train-images", 3).is_some()) else {
        let debian = if fashion { "on Debian or Ubuntu: `apt install dataset-fashion-mnist`; or " } else { "" };
        let first = places.first().map_or_else(|| "a folder".into(), |p| p.display().to_string());
        return Err(DataError::Missing {
            set: spec.set.clone(),
            looked: show(&places),
            advice: format!(
                "{debian}put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (plain or .gz) into {first}, or set data.root to where they are"
            ),
        });
    };
    let part = |part: &str| -> Result<Images, DataError> {
        let read = |kind: &str, rank: usize| {
            let stem = format!("{part}-{kind}");
            let path = idx_file(folder, &stem, rank).ok_or_else(|| DataError::Missing {
                set: spec.set.clone(),
                looked: folder.display().to_string(),
                advice: format!(
                    "the file {stem}-idx{rank}-ubyte (plain or .gz) is not there: put it beside the others"
                ),
            })?;
            Ok((path.display().to_string(), read_bounded(&path, MAX_IDX_BYTES)?))
        };
        let (images, labels) = (read("images", 3)?, read("labels", 1)?);
        idx::images((&images.0, &images.1), (&labels.0, &labels.1), classes.len())
    };
    let (train, test) = (part("train")?, part("t10k")?);
    if (train.height, train.width) != (test.height, test.width) {
        return Err(DataError::Layout {
            root: folder.display().to_string(),
            problem: format!(
                "training images are {}x{}, test images {}x{}",
                train.width, train.height, test.width, test.height
            ),
            advice: "use the files of one data set",
        });
    }
    Ok(Dataset { name: spec.set.clone(), classes, train, test })
}

/// Both spellings of the names that are in use, plain or gzip.
fn idx_file(folder: &Path, stem: &str, rank: usize) -> Option<PathBuf> {
    ["-", "."]
        .iter()
        .flat_map(|dash| ["", ".gz"].map(|end| folder.join(format!("{stem}{dash}idx{rank}-ubyte{end}"))))
        .find(|path| path.is_file())
}

fn pictures(spec: &DataSpec, remark: &mut dyn FnMut(String)) -> Result<Dataset, DataError> {
    let root = spec.root.as_ref().ok_or_else(|| DataError::Option {
        option: "root",
        problem: "set = \"folder\" needs a folder of pictures".into(),
        advice: "set data.root to it",
    })?;
    let shown = root.display().to_string();
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    list(root, "", 0, &mut folders, &mut files)?;
    let mut layout = folder::layout(&shown, &folders, &files)?;
    if layout.skipped > 0 {
        remark(format!("{shown}: skipped {} files that are hidden or no PNG, JPEG or WebP", layout.skipped));
    }
    if let Some(limit) = spec.limit {
        layout.train.truncate(limit);
    }
    let all: Vec<&(u32, String)> = layout.train.iter().chain(&layout.test).collect();
    let mut set = assemble::Assembler::new(spec.resize);
    for chunk in all.chunks(DECODE_CHUNK) {
        let decode = |(_, file): &&(u32, String)| {
            let path = root.join(file);
            picture::decode(&path.display().to_string(), &read_bounded(&path, MAX_PICTURE_BYTES)?)
        };
        let decoded: Vec<Result<picture::Rgb, DataError>> = chunk.par_iter().map(decode).collect();
        for ((label, file), picture) in chunk.iter().zip(decoded) {
            set.push(&root.join(file).display().to_string(), *label, &picture?)?;
        }
    }
    let (train, test) = set.finish(&shown, layout.train.len())?;
    Ok(Dataset { name: "folder".into(), classes: layout.classes, train, test })
}

/// Collects relative paths of folders and files, sorted, at most `train/class/file` deep.
fn list(
    root: &Path,
    prefix: &str,
    depth: usize,
    folders: &mut Vec<String>,
    files: &mut Vec<String>,
) -> Result<(), DataError> {
    // Joining an empty path would end in a slash.
    let path = if prefix.is_empty() { root.to_path_buf() } else { root.join(prefix) };
    let failed = |error: std::io::Error| io_error(&path, "list", &error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| DataError::Layout {
            root: path.display().to_string(),
            problem: format!("the name {name:?} is not UTF-8"),
            advice: "rename it",
        })?;
        entries.push(name);
    }
    entries.sort();
    for name in entries {
        let below = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        // Follows links, so that a folder of links works too.
        if root.join(&below).is_dir() {
            if depth < 2 && !below.rsplit('/').next().is_some_and(|n| n.starts_with('.')) {
                list(root, &below, depth + 1, folders, files)?;
            }
            folders.push(below);
        } else {
            files.push(below);
        }
    }
    Ok(())
}

/// Reads a file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    use std::io::Read;
    let failed = |error: std::io::Error| io_error(path, "read", &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    if found <= limit {
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if found > limit || bytes.len() as u64 > limit {
        return Err(DataError::TooLarge {
            file: path.display().to_string(),
            offset: limit,
            what: "the file size",
            found: found.max(bytes.len() as u64),
            limit,
            advice: "check that it is the right file",
        });
    }
    Ok(bytes)
}

fn io_error(path: &Path, action: &'static str, error: &std::io::Error) -> DataError {
    DataError::Io { path: path.display().to_string(), action, reason: error.to_string() }
}
