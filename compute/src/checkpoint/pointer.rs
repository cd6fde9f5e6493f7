//! The pointer file `checkpoints/current`: one line, `DIRECTORY SHA256\n`.
//!
//! `DIRECTORY` is `<step, at least 8 digits>-<number>`; the SHA-256 is that of the `cursor.json`
//! inside it, which in turn holds the checksums of the files beside it: so one line vouches for
//! the whole set.

use super::CheckpointError;
use sha2::{Digest, Sha256};

/// No pointer is longer: two 20-digit numbers, 64 hex digits, three separators.
const LIMIT_BYTES: usize = 20 + 1 + 20 + 1 + 64 + 1;

/// Which checkpoint directory is the current one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    pub step: u64,
    /// Tells apart two checkpoints of the same step.
    pub number: u64,
    /// Lower-case hex of the cursor's SHA-256.
    pub cursor_sha256: String,
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Parses a directory name written by `Pointer::directory`.
pub fn parse_directory(name: &str) -> Option<(u64, u64)> {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (step, number) = name.split_once('-')?;
    if step.len() < 8 || !digits(step) || !digits(number) {
        return None;
    }
    let parsed = (step.parse().ok()?, number.parse().ok()?);
    // One spelling only, so that a name and its numbers mean the same.
    (directory(parsed.0, parsed.1) == name).then_some(parsed)
}

/// Name of a checkpoint directory.
pub fn directory(step: u64, number: u64) -> String {
    format!("{step:08}-{number}")
}

impl Pointer {
    pub fn new(step: u64, number: u64, cursor_json: &[u8]) -> Pointer {
        Pointer { step, number, cursor_sha256: sha256_hex(cursor_json) }
    }

    pub fn directory(&self) -> String {
        directory(self.step, self.number)
    }

    /// The content of the pointer file.
    pub fn to_line(&self) -> String {
        format!("{} {}\n", self.directory(), self.cursor_sha256)
    }

    /// Reads a pointer file; `file` names it in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Pointer, CheckpointError> {
        let bad = |problem: &str| CheckpointError::Pointer { file: file.into(), problem: problem.into() };
        if bytes.len() > LIMIT_BYTES {
            return Err(bad("it is too long"));
        }
        let line = std::str::from_utf8(bytes).map_err(|_| bad("it is not text"))?;
        let line = line.strip_suffix('\n').ok_or_else(|| bad("its line is cut short"))?;
        let (name, sha) = line.split_once(' ').ok_or_else(|| bad("it has no checksum"))?;
        let (step, number) = parse_directory(name).ok_or_else(|| bad("its directory name is malformed"))?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if sha.len() != 64 || !sha.bytes().all(hex) {
            return Err(bad("its checksum is malformed"));
        }
        Ok(Pointer { step, number, cursor_sha256: sha.into() })
    }

    /// Whether this pointer vouches for these bytes of `cursor.json`.
    pub fn vouches_for(&self, cursor_json: &[u8]) -> bool {
        sha256_hex(cursor_json) == self.cursor_sha256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_the_published_digest() {
        let p = Pointer::new(12, 3, b"abc");
        // FIPS 180-2, appendix B.1.
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(p.to_line(), format!("00000012-3 {sha}\n"));
        assert_eq!(Pointer::parse("p", p.to_line().as_bytes()), Ok(p.clone()));
        assert!(p.vouches_for(b"abc") && !p.vouches_for(b"abd"));
        let long = Pointer::new(u64::MAX, u64::MAX, b"");
        assert_eq!(Pointer::parse("p", long.to_line().as_bytes()), Ok(long));
    }

    #[test]
    fn nothing_but_a_directory_of_ours() {
        let sha = sha256_hex(b"");
        for line in [
            String::new(),
            format!("00000012-3 {sha}"),
            format!("../00012-3 {sha}\n"),
            format!("12-3 {sha}\n"),
            format!("000000012-3 {sha}\n"),
            format!("00000012-03 {sha}\n"),
            format!("00000012- {sha}\n"),
            format!("99999999999999999999999-1 {sha}\n"),
            format!("00000012-3 {}\n", sha.to_uppercase()),
            format!("00000012-3 {}\n", &sha[1..]),
            "00000012-3\n".into(),
        ] {
            let e = Pointer::parse("run/checkpoints/current", line.as_bytes()).unwrap_err();
            assert!(e.to_string().starts_with("run/checkpoints/current: "), "{e}");
        }
    }
}
