//! What a training run needs to go on, as bytes: weights, optimiser state, and a cursor.
//!
//! - `weights`: safetensors files, names and layouts of PyTorch's `state_dict`.
//! - `cursor`: where in the run the checkpoint was taken (`cursor.json`), and which other files,
//!   log lengths and best weights belong to it.
//! - `pointer`: the one line that says which checkpoint directory is the current one.
//!
//! Everything here is pure; the files are in `cli/run_dir`. Every reader takes the file's name for
//! its messages, is bounded by the length of its input, and rejects what it does not understand.

pub mod cursor;
pub mod pointer;
pub mod weights;

pub use cursor::{BestFile, Cursor, FileDigest, LogLengths};
pub use pointer::Pointer;
pub use weights::{match_weights, weights_from_bytes, weights_to_bytes, write_weights};

use crate::tensor::Tensor;

/// Named tensors in a fixed order.
pub type Named = Vec<(String, Tensor)>;

/// A complete state of training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Parameters and buffers by state_dict name, such as `conv1.weight`.
    pub weights: Named,
    /// Optimiser state, named by the optimiser.
    pub optimizer: Named,
    pub cursor: Cursor,
}

/// Why bytes are not what a checkpoint needs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    #[error("{file}: not a safetensors file: at byte {offset}, {problem}")]
    Safetensors { file: String, offset: usize, problem: String },
    #[error("{file}: tensor `{tensor}`: {problem}")]
    Tensor { file: String, tensor: String, problem: String },
    #[error("cannot write tensors: {0}")]
    Write(String),
    #[error(
        "{file}: the weights do not belong to this model:{list}\
         \nUse weights of the same model, or change the recipe's layers to match."
    )]
    Mismatch { file: String, list: String },
    #[error("{file} is damaged: {problem}. Restore it from a copy, or start anew from weights that are whole")]
    Damaged { file: String, problem: String },
    #[error("{file}: not a cursor: {problem}. Delete the run, or restore this file from a copy")]
    Cursor { file: String, problem: String },
    #[error(
        "{file}: not a checkpoint pointer: {problem}. \
         It is one line, `DIRECTORY SHA256`; restore it from a copy"
    )]
    Pointer { file: String, problem: String },
}
