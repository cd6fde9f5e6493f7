//! A run's folder as a ZIP archive: written by the page, and read again; or read file by file.

use compute::checkpoint::weights_to_bytes;
use compute::checksum::crc32;
use compute::sorting::map_of;
use compute::train::folder::{ModelCard, RECIPE, RunFolder};
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchive, ZipArchiveWriter, ZipVerification};
use std::io::Write;

use super::{Files, Run, text};
use crate::engine::FileData;
use crate::engine::inflate::{DEFLATE, inflate};

/// The most that an archive may unpack to.
const MOST_BYTES: u64 = 1 << 30;

/// Seconds since 1970.
pub fn wall() -> f64 {
    js_sys::Date::now() / 1e3
}

/// A file name from a recipe's.
fn stem(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".toml");
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = last.chars().map(safe).take(60).collect();
    if name.is_empty() { "run".into() } else { name }
}

impl Run {
    /// The run's folder in one file. A learning rate that the reader changed is the recipe's from here
    /// on, so that whoever continues it does so at the present pace.
    pub async fn archive(&mut self) -> Result<FileData, String> {
        self.settle()?;
        if self.saved.as_ref().is_none_or(|(c, _)| c.cursor.step != self.steps() as u64) {
            let checkpoint = self.trainer.checkpoint(&self.cursor).await.map_err(text)?;
            self.saved = Some((checkpoint, self.lines.len()));
        }
        let mut recipe = self.recipe.clone();
        recipe.optimizer.lr *= self.rate;
        let folder = RunFolder {
            recipe: recipe.to_toml(),
            card: Some(ModelCard::new(self.trainer.classes(), self.trainer.shape())),
            lines: self.lines.clone(),
            checkpoint: self.saved.as_ref().map(|(c, _)| c.clone()),
            best: self.best.clone(),
            kernels: self.tuning.record.clone().map(Ok),
        };
        let name = format!("{}-step-{}", stem(&self.recipe.name), self.steps());
        let files = folder.to_files(wall()).map_err(text)?;
        Ok(FileData { name: format!("{name}.zip"), bytes: pack(&name, &files)? })
    }

    /// The weights alone.
    pub async fn weights_file(&mut self) -> Result<FileData, String> {
        let weights = self.trainer.weights().await.map_err(text)?;
        let bytes = weights_to_bytes(&weights, &Default::default()).map_err(text)?;
        Ok(FileData { name: format!("{}-step-{}.safetensors", stem(&self.recipe.name), self.steps()), bytes })
    }
}

/// Files in a folder of one name. Stored as they are: weights hardly shrink.
fn pack(folder: &str, files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let mut zip = ZipArchiveWriter::new(vec![]);
    for (path, bytes) in files {
        let path = format!("{folder}/{path}");
        let (mut entry, _) = zip.new_file(&path).compression_method(CompressionMethod::STORE).start().map_err(text)?;
        entry.write_all(bytes).map_err(text)?;
        entry.finish(DataDescriptorOutput::new(crc32(bytes), bytes.len() as u64)).map_err(text)?;
    }
    zip.finish().map_err(text)
}

/// The files of an archive, by path; each against its checksum.
async fn unpack(name: &str, bytes: &[u8]) -> Result<Files, String> {
    let bad = |e: String| format!("{name}: not an archive that can be read: {e}");
    let broken = |e: rawzip::Error| bad(text(e));
    let zip = ZipArchive::from_slice(bytes).map_err(broken)?;
    let (mut out, mut left, mut entries) = (Files::new(), MOST_BYTES, zip.entries());
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        if entry.is_dir() {
            continue;
        }
        let path = entry.file_path().try_normalize().map_err(broken)?.as_ref().to_string();
        let data = zip.get_entry(entry.wayfinder()).map_err(broken)?;
        let content = match entry.compression_method() {
            CompressionMethod::STORE => data.data().to_vec(),
            CompressionMethod::DEFLATE => inflate(&path, DEFLATE, data.data(), left).await.map_err(bad)?,
            other => return Err(bad(format!("{path} is packed by method {other:?}; only deflate is read"))),
        };
        let found = ZipVerification { crc: crc32(&content), uncompressed_size: content.len() as u64 };
        data.claim_verifier().valid(found).map_err(|e| bad(format!("{path}: {e}")))?;
        left = left.checked_sub(content.len() as u64).ok_or_else(|| bad("it unpacks to more than 1 GiB".into()))?;
        out.insert(path, content);
    }
    Ok(out)
}

/// The run in a folder's files, or in the one archive given. The folder may lie in others: what
/// counts is where `recipe.toml` is.
pub async fn read(name: &str, files: Vec<FileData>) -> Result<RunFolder, String> {
    let mut all: Files = map_of(files.into_iter().map(|f| (f.name, f.bytes)));
    if let (1, Some((path, bytes))) = (all.len(), all.first_key_value())
        && path.to_ascii_lowercase().ends_with(".zip")
    {
        all = unpack(path, bytes).await?;
    }
    let roots = all.keys().filter_map(|p| p.strip_suffix(RECIPE)).filter(|r| r.is_empty() || r.ends_with('/'));
    let Some(root) = roots.min_by_key(|r| r.len()).map(str::to_string) else {
        return Err(format!("{name} holds no run: there is no {RECIPE} in it"));
    };
    let inside = all.into_iter().filter_map(|(p, b)| Some((p.strip_prefix(&root)?.to_string(), b)));
    RunFolder::from_files(name, &map_of(inside)).map_err(text)
}
