//! Choosing a backend. `auto` takes a real GPU, else the CPU: never a software Vulkan unless it
//! is asked for by name (`--backend gpu`, or `--device`).

use std::future::Future;
use std::sync::Arc;

use super::ahead::Ahead;
use super::args::{BackendChoice, DeviceArgs, KernelArgs};
use super::{CliError, tune};
use crate::backend::cpu::Cpu;
use crate::backend::gpu::{AdapterChoice, Gpu, Variants};
use crate::backend::reference::Reference;
use crate::backend::{Backend, BackendError};
use crate::data::Dataset;
use crate::network::Source;
use crate::recipe::Recipe;
use crate::rewrite::Fusion;
use crate::session::Session;
use crate::train::{TrainError, Trainer};

/// Bytes of a batch that take longer to gather than to hand over.
const WORTH_A_THREAD: usize = 1 << 20;

/// Waits for a future. Only the binary may.
pub fn block_on<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

/// Opens the backend that was asked for.
pub fn backend(args: &DeviceArgs) -> Result<Box<dyn Backend>, CliError> {
    backend_with(args, Variants::Device)
}

/// The same, with another choice of kernels on a GPU.
pub fn backend_with(args: &DeviceArgs, variants: Variants) -> Result<Box<dyn Backend>, CliError> {
    let choice = match (args.backend, &args.device) {
        (BackendChoice::Cpu | BackendChoice::Reference, Some(d)) => {
            return Err(CliError::Usage(format!("--device {d} names a GPU; leave out --backend {:?}", args.backend)));
        }
        (BackendChoice::Cpu, None) => return Ok(Box::new(Cpu::new())),
        (BackendChoice::Reference, None) => return Ok(Box::new(Reference::new())),
        (_, Some(d)) => match d.parse::<usize>() {
            Ok(index) => AdapterChoice::Index(index),
            Err(_) => AdapterChoice::Name(d.clone()),
        },
        (BackendChoice::Gpu, None) => AdapterChoice::Any,
        (BackendChoice::Auto, None) => AdapterChoice::RealGpu,
    };
    let automatic = choice == AdapterChoice::RealGpu;
    match block_on(Gpu::open(&choice)) {
        Ok(mut gpu) => {
            gpu.set_variants(variants);
            Ok(Box::new(gpu))
        }
        Err(BackendError::NoDevice(_)) if automatic => Ok(Box::new(Cpu::new())),
        Err(e) => Err(e.into()),
    }
}

/// A session on the backend that was asked for.
pub fn session(args: &DeviceArgs) -> Result<Session, CliError> {
    let fusion = if args.no_fusion { Fusion::off() } else { Fusion::default() };
    Ok(Session::new(backend(args)?, fusion))
}

/// The same, with what was found by tuning on this adapter earlier.
pub fn tuned_session(args: &DeviceArgs, kernels: KernelArgs) -> Result<Session, CliError> {
    let mut session = session(args)?;
    tune::prepare(&mut session, kernels.tune);
    Ok(session)
}

/// A trainer whose images lie where they are used: on a GPU's memory if they fit, else in main memory, where large
/// batches are gathered ahead.
pub fn trainer(session: Session, recipe: Recipe, data: Dataset) -> Result<Trainer, TrainError> {
    let data = Arc::new(data);
    let mut trainer = match session.info().backend {
        "gpu" => Trainer::with_images_on_device(session, recipe, data.clone())?,
        _ => Trainer::new(session, recipe, data.clone())?,
    };
    if *trainer.source() == Source::Fed && trainer.batch() * data.train.stride() >= WORTH_A_THREAD {
        trainer.gather_ahead(Box::new(Ahead::new(data)));
    }
    Ok(trainer)
}
