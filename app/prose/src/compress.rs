//! Compressed copies (`.br` and `.gz`) beside the files with a hash in their name: a server that knows
//! them (`chainrule serve`, nginx, Caddy) sends these, and any other ignores them.

use std::fs;
use std::io::Write;
use std::path::Path;

use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};

/// Below this the frame eats the gain.
const LEAST: usize = 1024;

/// All such files in a folder and those below.
pub fn folder(folder: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            self::folder(&path)?;
        } else if path.file_name().and_then(|n| n.to_str()).is_some_and(hashed) {
            file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

fn file(path: &Path) -> std::io::Result<()> {
    let bytes = fs::read(path)?;
    if bytes.len() < LEAST {
        return Ok(());
    }
    let mut params = BrotliEncoderParams { quality: 11, lgwin: 24, ..Default::default() };
    params.size_hint = bytes.len();
    let mut br = vec![];
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut br, &params)?;
    let mut gz = GzEncoder::new(vec![], Compression::best());
    gz.write_all(&bytes)?;
    for (ending, copy) in [("br", br), ("gz", gz.finish()?)] {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        fs::write(name, copy)?;
    }
    Ok(())
}

/// `app-0123456789abcdef_bg.wasm`, `cnn.en-0123456789abcdef.json`. What has no hash may change, and its
/// copy would then be stale.
fn hashed(name: &str) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let hash = stem.trim_end_matches("_bg").rsplit('-').next().unwrap_or_default();
    ["js", "wasm", "css", "json"].contains(&ending)
        && (12..=16).contains(&hash.len())
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_hold_the_file_and_only_hashed_names_have_them() {
        let folder = std::env::temp_dir().join(format!("chainrule-compress-{}", std::process::id()));
        fs::create_dir_all(folder.join("prose")).expect("a folder");
        let content = "the same words again; ".repeat(200);
        let names = ["app-0123456789abcdef_bg.wasm", "prose/cnn.en-0123456789abcdef.json", "boot.js", "app-abc.js"];
        for name in names {
            fs::write(folder.join(name), &content).expect("written");
        }
        self::folder(&folder).expect("compressed");
        for (k, name) in names.iter().enumerate() {
            let copy = |ending: &str| fs::read(folder.join(format!("{name}.{ending}"))).ok();
            let (br, gz) = (copy("br"), copy("gz"));
            assert_eq!((br.is_some(), gz.is_some()), (k < 2, k < 2), "{name}");
            let (Some(br), Some(gz)) = (br, gz) else { continue };
            let mut plain = vec![];
            brotli::BrotliDecompress(&mut br.as_slice(), &mut plain).expect("brotli");
            assert!(plain == content.as_bytes() && br.len() < 200, "{name}: {} bytes", br.len());
            let text = std::io::read_to_string(flate2::read::GzDecoder::new(gz.as_slice())).expect("gzip");
            assert!(text == content && gz.len() < 200, "{name}: {} bytes", gz.len());
        }
        fs::remove_dir_all(folder).expect("removed");
    }
}
