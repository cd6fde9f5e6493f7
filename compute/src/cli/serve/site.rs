//! The built page on disk: where it is, which file a request path means, what type it has, and how
//! long a browser may keep it.
//!
//! A request never reaches outside the folder: each segment of its path is checked as text, and the
//! file that it leads to, all links followed, must lie below the folder.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::cli::CliError;

const INDEX: &str = "index.html";

/// The folder of the page.
#[derive(Clone, Debug)]
pub struct Site {
    /// Canonical, so that the files below can be compared with it.
    root: PathBuf,
}

impl Site {
    /// The folder asked for, else `dist` in the current folder, else that of the repository the
    /// program was built in (`target/release/chainrule`).
    pub fn find(asked: Option<&Path>) -> Result<Site, CliError> {
        let how = "build the page with ./start, or with `trunk build --release` in the repository";
        if let Some(folder) = asked {
            return Site::at(folder).ok_or_else(|| {
                CliError::Usage(format!("{}: no {INDEX} there, so it is not the built page; {how}", folder.display()))
            });
        }
        let mut candidates = vec![PathBuf::from("dist")];
        if let Ok(program) = std::env::current_exe().and_then(std::fs::canonicalize) {
            candidates.extend(program.ancestors().nth(3).map(|repository| repository.join("dist")));
        }
        candidates.iter().find_map(|c| Site::at(c)).ok_or_else(|| {
            let places: Vec<String> = candidates.iter().map(|c| c.display().to_string()).collect();
            CliError::Usage(format!(
                "the built page is not in {}; {how}, or name its folder with --dist",
                places.join(" nor in ")
            ))
        })
    }

    fn at(folder: &Path) -> Option<Site> {
        let root = std::fs::canonicalize(folder).ok()?;
        root.join(INDEX).is_file().then_some(Site { root })
    }

    /// The file that a request path (percent-encoded, from its `/` on) means, if there is one.
    pub async fn file(&self, request_path: &str) -> Option<PathBuf> {
        let inner = self.root.join(relative(request_path)?);
        let file = tokio::fs::canonicalize(inner).await.ok()?;
        let regular = tokio::fs::metadata(&file).await.ok()?.is_file();
        (regular && file.starts_with(&self.root)).then_some(file)
    }

    /// Which compressed copies (`.br`, `.gz`) the build left beside a file. Only those of files that
    /// never change count, since no other copy is sure to be of the present content.
    pub async fn copies(&self, file: &Path) -> [bool; 2] {
        let mut found = [false; 2];
        for (found, ending) in found.iter_mut().zip([".br", ".gz"]) {
            let mut copy = file.as_os_str().to_owned();
            copy.push(ending);
            // A link could lead out of the folder.
            let real = tokio::fs::canonicalize(&copy).await;
            *found = named_by_hash(file) && real.is_ok_and(|r| r == Path::new(&copy));
        }
        found
    }
}

/// Decodes a request path to one below the root. `None` for every segment that could mean something
/// else to a file system: empty, hidden or `..`, with a separator of any system, a drive or stream
/// (`:`), or a control character.
fn relative(request_path: &str) -> Option<PathBuf> {
    let inner = request_path.strip_prefix('/')?;
    let mut out = PathBuf::new();
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A path that ends in `/` is a folder: its index is meant.
        let last_and_empty = segment.is_empty() && segments.peek().is_none();
        let encoded = if last_and_empty { INDEX } else { segment };
        // Decoded after splitting: an encoded slash is caught below instead of splitting.
        let name = percent_decode_str(encoded).decode_utf8().ok()?;
        let harmless = |c: char| !matches!(c, '/' | '\\' | ':') && !c.is_control();
        if name.is_empty() || name.starts_with('.') || !name.chars().all(harmless) {
            return None;
        }
        out.push(&*name);
    }
    Some(out)
}

/// Content type by the ending of the name.
pub fn content_type(file: &Path) -> &'static str {
    let ending = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "md" => "text/markdown; charset=utf-8",
        "txt" | "wgsl" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "toml" => "application/toml",
        _ => "application/octet-stream",
    }
}

/// Whether gzip makes files of this content type smaller.
pub fn compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.starts_with("text/")
        || ["application/wasm", "application/json", "application/manifest+json", "application/toml", "image/svg+xml"]
            .contains(&essence)
}

/// Whether the build put a hash of the content into the name, as in `app-0123456789abcdef_bg.wasm`:
/// such a file never changes. Twelve digits at least, so that no word is taken for a hash.
pub fn named_by_hash(file: &Path) -> bool {
    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.split('-').skip(1).any(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        (12..=16).contains(&digits) && matches!(part.as_bytes().get(digits), Some(b'.' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_paths_become_paths_below_the_root_or_nothing() {
        for (request, expected) in [
            ("/", Some("index.html")),
            ("/app.js", Some("app.js")),
            ("/a/b%20c.txt", Some("a/b c.txt")),
            ("/%E9%93%BE/", Some("链/index.html")),
            ("/..", None),
            ("/a/../b", None),
            ("/%2e%2e/b", None),
            ("/.%2E/b", None),
            ("/.git/config", None),
            ("//etc/passwd", None),
            ("/a//b", None),
            ("/%2Fetc%2Fpasswd", None),
            ("/..%5Cb", None),
            ("/a\\..\\b", None),
            ("/C:/b", None),
            ("/index.html::$DATA", None),
            ("/a%00.js", None),
            ("/%FF", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(relative(request).as_deref(), expected.map(Path::new), "{request}");
        }
    }

    #[test]
    fn hashes_in_names() {
        for (name, expected) in [
            ("app-0123456789abcdef.js", true),
            ("app-0123456789abcdef_bg.wasm", true),
            ("two-words-0123456789abcde.css", true),
            ("app.js", false),
            ("app-deadbeef.js", false),
            ("app-0123456789abcdef01.js", false),
            ("app-0123456789abcdef", false),
            ("0123456789abcdef.js", false),
            ("index.html", false),
        ] {
            assert_eq!(named_by_hash(Path::new(name)), expected, "{name}");
        }
    }
}
