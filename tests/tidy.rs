//! The rules of the house, checked over the source text: who may know whom, where files and
//! clocks may be touched, how long a file may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module of `compute` and the modules it may use. `cli` may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tensor", &[]),
    ("sorting", &[]),
    ("cell", &["sorting", "tensor"]),
    ("graph", &["ops", "tensor"]),
    ("ops", &["cell", "graph", "tensor"]),
    ("autodiff", &["graph", "ops", "tensor"]),
    ("rewrite", &["cell", "graph", "ops", "tensor"]),
    ("plan", &["cell", "graph", "ops", "rewrite", "sorting", "tensor"]),
    ("backend", &["cell", "graph", "ops", "plan", "rewrite", "tensor"]),
    ("session", &["backend", "graph", "plan", "rewrite", "tensor"]),
    ("verify", &["backend", "cell", "graph", "ops", "plan", "rewrite", "tensor"]),
    ("difference", &["backend", "graph", "session", "tensor"]),
    ("explain", &["cell", "graph", "sorting", "tensor"]),
    ("nn", &["cell", "graph", "ops", "tensor"]),
    ("optim", &["cell", "graph", "ops", "tensor"]),
    ("models", &[]),
    ("recipe", &["models"]),
    ("network", &["autodiff", "cell", "graph", "nn", "ops", "optim", "recipe", "tensor"]),
    ("checksum", &[]),
    ("data", &["checksum", "sorting"]),
    ("metrics", &[]),
    ("events", &["checksum", "tensor"]),
    ("checkpoint", &["checksum", "sorting", "tensor"]),
    (
        "train",
        &[
            "backend",
            "checkpoint",
            "data",
            "events",
            "graph",
            "metrics",
            "network",
            "nn",
            "ops",
            "optim",
            "recipe",
            "session",
            "tensor",
        ],
    ),
];

/// Words that only the binary may write, with the reason.
const ONLY_CLI: &[(&str, &str)] = &[
    ("std::fs", "callers read files"),
    ("std::net", "callers fetch"),
    ("std::process", "the library starts nothing and never exits"),
    ("println!", "the library does not print"),
    ("Instant::now", "no clock: results follow from recipe and step alone"),
    ("SystemTime", "no clock: results follow from recipe and step alone"),
    ("block_on", "only the outermost layer blocks"),
];

/// Ops whose definition is not a Cell: scan, sort and scatter. At most five may ever stand here.
const NOT_CELLS: &[&str] = &[];

/// Longest source file. Beyond it there is a second thing in the file.
const LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Source files below a folder, as (path from the root, text).
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, ending, out);
            } else if path.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut paths = vec![];
    walk(&root().join(folder), ending, &mut paths);
    paths.sort();
    let name = |p: &Path| p.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    paths.iter().map(|p| (name(p), std::fs::read_to_string(p).expect("text"))).collect()
}

/// The text before the unit tests, without comment lines.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &str) -> &str {
    let rest = path.strip_prefix("compute/src/").unwrap_or(path);
    rest.split(['/', '.']).next().unwrap_or(rest)
}

/// The modules after each `crate::` in a text, groups (`crate::{a, b}`) included.
fn uses(text: &str) -> Vec<String> {
    let mut out = vec![];
    for part in text.split("crate::").skip(1) {
        let names: Vec<&str> = match part.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![part],
        };
        for n in names {
            let word: String = n.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            out.push(word);
        }
    }
    out
}

#[test]
fn modules_use_only_what_they_may() {
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = vec![];
    for (path, text) in files("compute/src", ".rs") {
        let module = module_of(&path);
        if ["cli", "bin", "lib"].contains(&module) || path.ends_with("/tests.rs") {
            continue;
        }
        let Some(allowed) = may.get(module) else {
            wrong.push(format!("{path}: module {module} has no row in MAY_USE"));
            continue;
        };
        for used in uses(&code(&text)) {
            if used != module && !allowed.contains(&used.as_str()) && may.contains_key(used.as_str()) || used == "cli" {
                wrong.push(format!("{path} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_loops_know_nothing_of_the_engine() {
    let manifest = std::fs::read_to_string(root().join("compute/lanes/Cargo.toml")).expect("the loops' manifest");
    assert!(!manifest.contains("path ="), "the loops' manifest lists a package of the project");
}

#[test]
fn only_the_gpu_backend_knows_wgpu() {
    let mut wrong = vec![];
    for (path, text) in files("compute/src", ".rs").into_iter().chain(files("app", ".rs")) {
        if !path.starts_with("compute/src/backend/gpu") && code(&text).contains("wgpu::") {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} know wgpu");
    let manifest = std::fs::read_to_string(root().join("app/Cargo.toml")).expect("the app's manifest");
    assert!(!manifest.contains("wgpu"), "the app's manifest lists wgpu");
}

#[test]
fn the_library_touches_no_files_clocks_or_screens() {
    let mut wrong = vec![];
    for (path, text) in files("compute/src", ".rs").into_iter().chain(files("compute/lanes", ".rs")) {
        if ["cli", "bin"].contains(&module_of(&path)) {
            continue;
        }
        let body = code(&text);
        for (word, why) in ONLY_CLI {
            if body.contains(word) {
                wrong.push(format!("{path}: {word} ({why})"));
            }
        }
        if body.contains("HashMap") || body.contains("HashSet") {
            wrong.push(format!("{path}: hashed collections have no order; use BTreeMap or Vec"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_does_and_stays_short() {
    let mut wrong = vec![];
    for folder in ["compute", "app", "bench", "tests"] {
        for (path, text) in files(folder, ".rs") {
            if !text.starts_with("//!") {
                wrong.push(format!("{path} does not open with //!"));
            }
            let lines = text.lines().count();
            if lines > LINES && folder != "tests" {
                wrong.push(format!("{path} has {lines} lines; {LINES} is the most"));
            }
        }
    }
    for (path, text) in files("shaders", ".wgsl") {
        if !text.starts_with("//") {
            wrong.push(format!("{path} has no header"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shaders_hold_wgsl_only_and_all_of_it_is_used() {
    let sources: String = files("compute/src", ".rs").into_iter().map(|(_, text)| text).collect();
    for (path, text) in files("shaders", "") {
        let name = Path::new(&path).file_name().expect("a file").to_string_lossy().into_owned();
        assert!(path.ends_with(".wgsl"), "{path} is not WGSL");
        assert!(sources.contains(&name), "{path} is used by nothing");
        assert!(!text.contains("crate::"), "{path} knows Rust");
    }
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        "to".to_string() + "do!(",
        "unimple".to_string() + "mented!(",
        "FIX".to_string() + "ME",
        "TO".to_string() + "DO",
    ];
    for folder in ["compute", "app", "bench", "shaders", "tests"] {
        for (path, text) in files(folder, ".rs").into_iter().chain(files(folder, ".wgsl")) {
            for mark in &marks {
                assert!(!text.contains(mark.as_str()), "{path}: {mark}");
            }
        }
    }
    assert!(NOT_CELLS.len() <= 5, "at most five ops may be something else than a Cell");
}

#[test]
fn a_recipe_can_name_every_data_set_that_the_loader_knows() {
    for set in compute::recipe::keys::SETS {
        let spec = compute::cli::load::DataSpec { set: (*set).to_string(), ..Default::default() };
        if let Err(e) = compute::cli::load::load(&spec) {
            assert!(!e.to_string().contains("no data set"), "{set}: {e}");
        }
    }
}
