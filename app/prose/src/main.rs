//! Finishes a built page: writes the chapters' files and their list into its folder, and leaves
//! compressed copies beside files that never change. Trunk runs it after each build (`Trunk.toml`);
//! by hand: `cargo run -p prose -- FOLDER [--compress]`.

mod compress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Below the page.
const FOLDER: &str = "prose";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let asked = args.iter().find(|a| !a.starts_with("--")).map(PathBuf::from);
    let Some(page) = asked.or_else(|| env::var_os("TRUNK_STAGING_DIR").map(PathBuf::from)) else {
        eprintln!("prose: the built page's folder is missing: cargo run -p prose -- FOLDER [--compress]");
        return ExitCode::FAILURE;
    };
    let small = args.iter().any(|a| a == "--compress") || env::var("TRUNK_PROFILE").is_ok_and(|p| p == "release");
    let done = write(&page).and_then(|()| if small { compress::folder(&page) } else { Ok(()) });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("prose: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The chapters and `index.json`, the list of their files: what the page keeps for offline.
fn write(page: &Path) -> Result<(), String> {
    let folder = page.join(FOLDER);
    // Chapters of an earlier build would stay beside the new ones.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names = vec![];
    for (name, content) in prose::chapters().iter().flat_map(|c| c.files()) {
        put(&folder.join(&name), content.as_bytes())?;
        names.push(format!("{FOLDER}/{name}"));
    }
    let list = serde_json::to_string(&names).map_err(|e| e.to_string())?;
    put(&folder.join("index.json"), list.as_bytes())
}

fn put(path: &Path, content: &[u8]) -> Result<(), String> {
    fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}
