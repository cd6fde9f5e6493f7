//! Errors of the binary and their exit codes.

use std::path::PathBuf;

use super::fetch::FetchError;
use super::run_dir::RunError;
use crate::backend::BackendError;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::network::ModelError;
use crate::recipe::RecipeError;
use crate::train::TrainError;

/// What ends the program early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{}: cannot {action}: {source}", .path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    #[error("{0}")]
    Other(String),
    #[error("interrupted at step {step}; continue with: chainrule train --resume {}", .run.display())]
    Interrupted { step: usize, run: PathBuf },
}

impl From<ModelError> for CliError {
    fn from(e: ModelError) -> CliError {
        CliError::Train(e.into())
    }
}

impl CliError {
    /// See [`super`].
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) | CliError::Recipe(_) => 2,
            CliError::Data(_) | CliError::Fetch(_) => 3,
            CliError::Backend(e) => backend_code(e),
            CliError::Train(e) => match e {
                TrainError::Model(_) | TrainError::Indivisible { .. } => 2,
                TrainError::Data(_) => 3,
                TrainError::Backend(e) => backend_code(e),
                TrainError::Diverged { .. } | TrainError::Overflow { .. } => 5,
                TrainError::Weights(_) => 3,
            },
            CliError::Run(_) | CliError::Checkpoint(_) => 3,
            CliError::Io { .. } | CliError::Other(_) => 1,
            CliError::Interrupted { .. } => 130,
        }
    }
}

fn backend_code(e: &BackendError) -> u8 {
    match e {
        BackendError::NoDevice(_) => 4,
        BackendError::Plan(_) => 2,
        _ => 1,
    }
}

/// For `map_err`: an I/O error at `path`.
pub fn io<'a>(path: &'a std::path::Path, action: &'static str) -> impl FnOnce(std::io::Error) -> CliError + 'a {
    move |source| CliError::Io { path: path.to_path_buf(), action, source }
}
