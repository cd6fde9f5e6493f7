//! The gpu backend: plans on any device that wgpu reaches, natively and in a browser. The only
//! module that knows wgpu.
//!
//! Loading a plan makes its buffers, compiles its kernels ([`kernel`]: text from cells and
//! shaders) and builds its bind groups, once. A run encodes uploads, then all dispatches in one
//! pass, then the copies of new states, and submits once; nothing is looked up or made. Programs
//! share leaves by name. u8 and f16 tensors are packed in words.
//!
//! Errors: no adapter, a kernel that does not compile (named), out of memory, a lost device.

mod device;
mod gemm;
pub mod kernel;
mod layout;
mod long_reduce;
mod nameless;
mod pointwise;
mod program;
mod rows;
pub mod shaders;
mod staging;
pub mod tune;

use std::collections::BTreeMap;
use std::sync::Arc;

use device::Device;
pub use device::{AdapterChoice, AdapterSummary, Limits, adapters};
use kernel::Class;
use layout::Slice;
pub use nameless::nameless;
use program::{Program, Step};
use staging::{Download, Upload};
use tune::{Choices, Tiling};

use super::{Backend, BackendError, BackendResult, DeviceInfo, Memory, ProgramId, Reading};
use crate::graph::{NodeId, TensorType};
use crate::plan::Plan;
use crate::tensor::{DType, Tensor};

/// Uploads wait for the next run until they fill this much.
const FLUSH_BYTES: usize = 64 << 20;

/// Which kernels a program gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variants {
    /// The fast ones for this device.
    #[default]
    Device,
    /// Only kernels printed from cells: slow, and the proof that both agree.
    Naive,
    /// The fast ones for software devices without subgroups, as browsers have them.
    Software,
    /// The fast ones for real GPUs.
    Hardware,
}

/// How products are cut that are to be verified.
#[derive(Clone, Copy)]
enum Pick {
    /// By a candidate of this number.
    Candidate(usize),
    Tiling(Tiling),
}

/// A leaf on the device.
struct Leaf {
    slice: Slice,
    ty: TensorType,
}

/// See the module's introduction.
pub struct Gpu {
    device: Device,
    info: DeviceInfo,
    leaves: BTreeMap<String, Leaf>,
    programs: BTreeMap<ProgramId, Program>,
    next: u32,
    upload: Upload,
    download: Download,
    variants: Variants,
    choices: Choices,
    /// Overrides them.
    pick: Option<Pick>,
    /// What trials compiled, until the programs take what they need of it.
    tried: Vec<Step>,
    /// What the first dispatch of the next program runs instead of its own text.
    text: Option<String>,
}

impl Gpu {
    /// Opens an adapter with all that it grants.
    pub async fn open(choice: &AdapterChoice) -> BackendResult<Gpu> {
        Gpu::open_with(choice, Limits::Adapter).await
    }

    /// [`Gpu::open`] with chosen limits.
    pub async fn open_with(choice: &AdapterChoice, limits: Limits) -> BackendResult<Gpu> {
        let device = Device::open(choice, limits).await?;
        let i = &device.info;
        let info = DeviceInfo {
            backend: "gpu",
            name: i.name.clone(),
            detail: format!("{:?}, {} {}", i.backend, i.driver, i.driver_info).trim_end_matches([' ', ',']).to_string(),
            max_buffer_bytes: Some(device.max_buffer_bytes()),
            cache_bytes: 0,
            half_bytes: 2,
        };
        Ok(Gpu {
            device,
            info,
            leaves: BTreeMap::new(),
            programs: BTreeMap::new(),
            next: 0,
            upload: Upload::default(),
            download: Download::default(),
            variants: Variants::Device,
            choices: Choices::default(),
            pick: None,
            tried: vec![],
            text: None,
        })
    }

    /// Gives the adapter a name: a browser may know more of it than wgpu passes on.
    pub fn set_name(&mut self, name: String) {
        self.info.name = name;
    }

    /// Chooses the variants of programs loaded from now on.
    pub fn set_variants(&mut self, variants: Variants) {
        self.variants = variants;
    }

    /// Programs loaded from now on cut their products by this one of the tilings that a tuner tries
    /// ([`tune`]), where there are so many, else as the table says; `None`: as was chosen. To verify each.
    pub fn set_candidate(&mut self, number: Option<usize>) {
        self.pick = number.map(Pick::Candidate);
    }

    /// Programs loaded from now on cut their products like this where it fits, else as the table says; `None`: as was
    /// chosen. To verify what no candidate is here.
    pub fn set_tiling(&mut self, tiling: Option<Tiling>) {
        self.pick = tiling.map(Pick::Tiling);
    }

    /// The next program's first dispatch runs this text, with the entry point and the bindings of
    /// its own: for readers who edit a kernel.
    pub fn set_text(&mut self, code: String) {
        self.text = Some(code);
    }

    /// What the compiler says of a text: line (0 if it names none) and message; those that stop it
    /// start with `error`.
    pub async fn compiler_messages(&self, code: &str) -> Vec<(u32, String)> {
        self.device.compiler_messages(code).await
    }

    /// Whether the adapter is software.
    pub fn is_software(&self) -> bool {
        self.device.software
    }

    fn class(&self) -> Class {
        let software = match self.variants {
            Variants::Software => true,
            Variants::Hardware => false,
            Variants::Device | Variants::Naive => self.device.software,
        };
        let lanes = if self.variants == Variants::Software { 0 } else { self.device.lanes };
        Class { software, lanes, max_buffer_bytes: self.device.max_buffer_bytes(), flat: false, tiling: None }
    }

    fn storage_usage() -> wgpu::BufferUsages {
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC
    }

    fn known(&self, name: &str) -> BackendResult<&Leaf> {
        self.leaves.get(name).ok_or_else(|| BackendError::Unknown(name.into()))
    }

    /// Submits pending uploads on their own.
    fn flush(&mut self) -> BackendResult<()> {
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.upload.encode(&mut encoder);
        self.device.queue.submit([encoder.finish()]);
        self.upload.recall();
        self.device.check("upload")
    }

    fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> BackendResult<()> {
        let slice = self.known(name)?.slice.clone();
        self.upload.write(&mut self.device, &slice, bytes)?;
        if self.upload.pending_bytes() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Encodes the read of a buffer and submits it with what waits.
    fn start_read(&mut self, from: &Slice, bytes: usize) -> BackendResult<staging::Reading> {
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.upload.encode(&mut encoder);
        let reading = self.download.start(&mut self.device, &mut encoder, from, bytes)?;
        self.device.queue.submit([encoder.finish()]);
        self.upload.recall();
        reading.map();
        self.device.check("download")?;
        Ok(reading)
    }

    async fn read_tensor(&mut self, source: BackendResult<(Slice, TensorType)>) -> BackendResult<Tensor> {
        let (slice, ty) = source?;
        let reading = self.start_read(&slice, ty.bytes())?;
        let bytes = self.download.finish(&self.device, reading).await?;
        let wrong = || BackendError::Run { kernel: "download".into(), message: format!("{ty} came back short") };
        Tensor::from_bytes(&ty.shape, ty.dtype, &bytes).ok_or_else(wrong)
    }

    /// One step, each dispatch waited for by reading a word after it.
    async fn replay(&mut self, program: ProgramId, after: &mut (dyn FnMut(&str) + Send)) -> BackendResult<()> {
        let unknown = || BackendError::Unknown(format!("program {}", program.0));
        let p = self.programs.get(&program).ok_or_else(unknown)?;
        let (labels, probe): (Vec<String>, _) =
            (p.labels().map(str::to_string).collect(), p.places.slices.first().cloned());
        // Uploads are not the first kernel's time.
        self.flush()?;
        self.barrier(probe.as_ref()).await?;
        for (k, label) in labels.iter().enumerate() {
            self.submit(program, |p, encoder| p.encode_dispatches(encoder, k..k + 1))?;
            self.barrier(probe.as_ref()).await?;
            after(label);
        }
        self.submit(program, |p, encoder| p.encode_copies(encoder))
    }

    /// Encodes work of a program and submits it.
    fn submit(
        &mut self,
        program: ProgramId,
        encode: impl FnOnce(&Program, &mut wgpu::CommandEncoder),
    ) -> BackendResult<()> {
        let unknown = || BackendError::Unknown(format!("program {}", program.0));
        let p = self.programs.get(&program).ok_or_else(unknown)?;
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.upload.encode(&mut encoder);
        encode(p, &mut encoder);
        self.device.queue.submit([encoder.finish()]);
        self.upload.recall();
        self.device.check(&p.name)?;
        self.device.pump(false)
    }

    /// Waits for all that was submitted.
    async fn barrier(&mut self, probe: Option<&Slice>) -> BackendResult<()> {
        let Some(buffer) = probe else { return Ok(()) };
        let reading = self.start_read(buffer, 4)?;
        self.download.finish(&self.device, reading).await?;
        Ok(())
    }

    fn stored(&self, program: ProgramId, node: NodeId) -> BackendResult<(Slice, TensorType)> {
        let unknown = || BackendError::Unknown(format!("node {} of program {}", node.0, program.0));
        let p = self.programs.get(&program).ok_or_else(unknown)?;
        let slot = p.plan.storage.get(node.index()).copied().flatten().ok_or_else(unknown)?;
        let buffer = p.places.slices.get(slot.0 as usize).ok_or_else(unknown)?;
        Ok((buffer.clone(), p.plan.graph.ty(node).clone()))
    }
}

impl Backend for Gpu {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn load(&mut self, plan: Arc<Plan>) -> BackendResult<ProgramId> {
        let id = ProgramId(self.next);
        let program = program::load(self, plan)?;
        self.next += 1;
        self.programs.insert(id, program);
        Ok(id)
    }

    fn gpu(&mut self) -> Option<&mut Gpu> {
        Some(self)
    }

    fn unload(&mut self, program: ProgramId) {
        if let Some(p) = self.programs.remove(&program) {
            layout::free(self, p.own);
        }
    }

    fn write(&mut self, leaf: &str, value: &Tensor) -> BackendResult<()> {
        let known = self.known(leaf)?;
        let got = TensorType { shape: value.shape().to_vec(), dtype: value.dtype() };
        if known.ty != got {
            let expected = known.ty.to_string();
            return Err(BackendError::Mismatch { name: leaf.into(), expected, got: got.to_string() });
        }
        self.write_bytes(leaf, value.bytes())
    }

    fn write_f64(&mut self, leaf: &str, values: &[f64]) -> BackendResult<()> {
        let ty = &self.known(leaf)?.ty;
        if ty.dtype != DType::F32 || ty.numel() != values.len() {
            let (expected, got) = (ty.to_string(), format!("{} f64 numbers", values.len()));
            return Err(BackendError::Mismatch { name: leaf.into(), expected, got });
        }
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        self.write_bytes(leaf, bytemuck::cast_slice(&values))
    }

    fn run(&mut self, program: ProgramId) -> BackendResult<()> {
        self.submit(program, Program::encode)
    }

    fn run_each<'a>(&'a mut self, program: ProgramId, after: &'a mut (dyn FnMut(&str) + Send)) -> Reading<'a, ()> {
        Box::pin(self.replay(program, after))
    }

    fn read(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Tensor> {
        let source = self.stored(program, node);
        Box::pin(self.read_tensor(source))
    }

    fn read_f64(&mut self, program: ProgramId, node: NodeId) -> Reading<'_, Vec<f64>> {
        let source = self.stored(program, node);
        Box::pin(async move { Ok(self.read_tensor(source).await?.to_f64()) })
    }

    fn read_leaf(&mut self, leaf: &str) -> Reading<'_, Tensor> {
        let source = self.known(leaf).map(|l| (l.slice.clone(), l.ty.clone()));
        Box::pin(self.read_tensor(source))
    }

    fn fault(&self) -> Option<BackendError> {
        self.device.fault()
    }

    fn memory(&self) -> Memory {
        Memory { now_bytes: self.device.now_bytes, peak_bytes: self.device.peak_bytes, objects: self.device.objects }
    }

    fn poison(&mut self, program: ProgramId) -> BackendResult<()> {
        let unknown = || BackendError::Unknown(format!("program {}", program.0));
        let own = self.programs.get(&program).ok_or_else(unknown)?.own.clone();
        for buffer in own {
            // Each half of the word is NaN too.
            let nan = vec![f32::from_bits(0x7fff_7fff); buffer.size() as usize / 4];
            self.upload.write(&mut self.device, &Slice::whole(buffer), bytemuck::cast_slice(&nan))?;
        }
        self.flush()
    }
}
