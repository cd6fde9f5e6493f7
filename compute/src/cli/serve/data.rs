//! Data sets for the page: CIFAR-10 from the cache, once it was fetched. Nothing else of the cache
//! folder can be asked for: names are looked up in a list, no path is ever made of a request.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::fetch::Pins;
use crate::cli::load::CIFAR_FOLDER;
use crate::data::cifar;

/// The list of what is here, as a request path.
pub const INDEX: &str = "/data/index.json";
const CIFAR: &str = "/data/cifar10/";

/// The data sets in a cache folder.
#[derive(Clone, Debug)]
pub struct Data {
    /// `None` where the system names no home folder.
    pub cache: Option<PathBuf>,
}

impl Data {
    /// Whether a request path belongs to the data sets, and so never to the page.
    pub fn owns(request_path: &str) -> bool {
        request_path == INDEX || request_path.starts_with(CIFAR)
    }

    /// The file that a request path means.
    pub fn file(&self, request_path: &str) -> Option<PathBuf> {
        let name = request_path.strip_prefix(CIFAR)?;
        let k = cifar::FILES.iter().position(|f| *f == name)?;
        self.cifar10()?.into_iter().nth(k)
    }

    /// What the page reads first: `{"sets": [{"name", "files": [{"name", "path", "bytes", "sha256"}]}]}`.
    /// Paths are relative to the page. `sha256` is the sum that the file must have: the page checks
    /// what it received, and so notices a damaged cache as well as a broken transfer.
    pub fn index(&self) -> Value {
        let pins = Pins::cifar10();
        let files: Vec<Value> = cifar::FILES
            .iter()
            .zip(&pins.files)
            .map(|(name, sha256)| {
                let path = format!("{}{name}", CIFAR.trim_start_matches('/'));
                json!({"name": name, "path": path, "bytes": pins.file_bytes(), "sha256": sha256})
            })
            .collect();
        match self.cifar10() {
            Some(_) => json!({"sets": [{"name": "cifar10", "files": files}]}),
            None => json!({"sets": []}),
        }
    }

    /// The six files, in the order of `cifar::FILES`, if all are here and of the right size: part of
    /// a data set is of no use to the page.
    fn cifar10(&self) -> Option<Vec<PathBuf>> {
        let folder = self.cache.as_ref()?.join(CIFAR_FOLDER);
        let bytes = Pins::cifar10().file_bytes();
        let paths: Vec<PathBuf> = cifar::FILES.iter().map(|f| folder.join(f)).collect();
        let right = |p: &PathBuf| std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.len() == bytes);
        paths.iter().all(right).then_some(paths)
    }
}
