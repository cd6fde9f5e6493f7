//! What can be wrong with data: each message names the file, the byte where one is known, and what
//! to do about it.

/// An error in a data file or in the choice of a data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error(
        "{file}: ends at byte {found}, but {what} needs {expected} bytes; the file is truncated: copy or fetch it again"
    )]
    Truncated { file: String, found: u64, expected: u64, what: &'static str },

    #[error(
        "{file}: {found} bytes, expected {expected} ({what}); from byte {expected} on there is data that does not belong: copy or fetch it again"
    )]
    TooLong { file: String, found: u64, expected: u64, what: &'static str },

    #[error("{file}: byte {offset}: {problem}; {advice}")]
    Corrupt { file: String, offset: u64, problem: String, advice: &'static str },

    #[error(
        "{file}: byte {offset}: label {label} of image {index}, but the classes are 0 to {last}; the file is damaged or of another data set"
    )]
    Label { file: String, offset: u64, index: usize, label: u32, last: usize },

    #[error("{file}: byte 0: {what} is empty; {advice}")]
    Empty { file: String, what: String, advice: &'static str },

    #[error("{file}: byte {offset}: {what} is {found}, over the limit of {limit}; {advice}")]
    TooLarge { file: String, offset: u64, what: &'static str, found: u64, limit: u64, advice: &'static str },

    #[error(
        "{images} has {image_count} images (count at byte 4) but {labels} has {label_count} labels (count at byte 4); the two files do not belong together"
    )]
    CountMismatch { images: String, image_count: usize, labels: String, label_count: usize },

    #[error(
        "{file} is {width}x{height} but {first_file} is {first_width}x{first_height}; images of different sizes need a common one: set data.resize (for example data.resize = 64)"
    )]
    NeedsResize {
        file: String,
        width: usize,
        height: usize,
        first_file: String,
        first_width: usize,
        first_height: usize,
    },

    #[error("{root}: {problem}; {advice}")]
    Layout { root: String, problem: String, advice: &'static str },

    #[error("data set `{set}` not found (looked in {looked}); {advice}")]
    Missing { set: String, looked: String, advice: String },

    #[error("unknown data set `{set}`{hint}; known: {known}")]
    UnknownSet { set: String, hint: String, known: String },

    #[error("data.{option}: {problem}; {advice}")]
    Option { option: &'static str, problem: String, advice: &'static str },

    #[error("{path}: cannot {action}: {reason}; check that it exists and that you may read it")]
    Io { path: String, action: &'static str, reason: String },
}
