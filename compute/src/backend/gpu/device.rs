//! Adapters, the device, and the one place where device objects are made and counted.
//!
//! Errors of the device arrive by callback; the first is kept until the next call asks. Natively
//! that is at once, in a browser a little later.

use std::sync::{Arc, Mutex, PoisonError};

use super::kernel::Dispatch;
use super::layout::Slice;
use crate::backend::{BackendError, BackendResult};

/// Which adapter to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// A discrete, integrated or virtual GPU; never a software device.
    RealGpu,
    /// A real GPU if there is one, else whatever there is.
    Any,
    /// Its number in [`adapters`].
    Index(usize),
    /// The first whose name contains this, whatever the case.
    Name(String),
}

/// Which limits to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All that the adapter has.
    Adapter,
    /// WebGPU's defaults, as a browser may grant no more.
    WebGpuDefaults,
}

/// An adapter, for the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    pub name: String,
    /// Name, kind and interface in one line.
    pub summary: String,
    /// Driver, limits and features, a line each.
    pub details: Vec<String>,
    /// A software device: for tests, not for users.
    pub software: bool,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

#[cfg(not(target_arch = "wasm32"))]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    instance.enumerate_adapters(wgpu::Backends::all()).await
}

/// A browser offers one adapter and no list.
#[cfg(target_arch = "wasm32")]
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    instance.request_adapter(&options).await.into_iter().collect()
}

/// A browser says no more of a device than whether it is a software one (wgpu: `Cpu`, else `Other`).
fn is_software(info: &wgpu::AdapterInfo) -> bool {
    match info.device_type {
        wgpu::DeviceType::Cpu => true,
        wgpu::DeviceType::Other => !cfg!(target_arch = "wasm32"),
        _ => false,
    }
}

fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "unknown kind",
    };
    AdapterSummary {
        summary: format!("{} ({kind}, {:?})", info.name, info.backend),
        details: vec![
            format!("driver: {} {}", info.driver, info.driver_info).trim().to_string(),
            format!(
                "largest buffer {} MiB, largest binding {} MiB, {} storage buffers a kernel",
                limits.max_buffer_size >> 20,
                limits.max_storage_buffer_binding_size >> 20,
                limits.max_storage_buffers_per_shader_stage
            ),
            format!(
                "{} invocations and {} KiB of memory a workgroup",
                limits.max_compute_invocations_per_workgroup,
                limits.max_compute_workgroup_storage_size >> 10
            ),
            format!("features: {:?}", adapter.features().features_webgpu),
        ],
        software: is_software(&info),
        name: info.name,
    }
}

/// All adapters of this machine.
pub async fn adapters() -> Vec<AdapterSummary> {
    enumerate(&instance()).await.iter().map(summary).collect()
}

fn choose(all: Vec<wgpu::Adapter>, choice: &AdapterChoice) -> BackendResult<wgpu::Adapter> {
    let names: Vec<String> = all.iter().map(|a| a.get_info().name).collect();
    let listed = if names.is_empty() { "there are none".into() } else { format!("there are: {}", names.join(", ")) };
    let real = || all.iter().position(|a| !is_software(&a.get_info()));
    let (found, wanted) = match choice {
        AdapterChoice::RealGpu => (real(), "a GPU that is not software".to_string()),
        AdapterChoice::Any => (real().or((!all.is_empty()).then_some(0)), "any adapter".to_string()),
        AdapterChoice::Index(k) => ((*k < all.len()).then_some(*k), format!("adapter number {k}")),
        AdapterChoice::Name(n) => {
            let n = n.to_lowercase();
            (names.iter().position(|x| x.to_lowercase().contains(&n)), format!("an adapter named {n:?}"))
        }
    };
    found
        .and_then(|k| all.into_iter().nth(k))
        .ok_or_else(|| BackendError::NoDevice(format!("{wanted} was asked for; {listed}")))
}

/// Features used where an adapter has them. wgpu cannot reach subgroups in a browser.
fn native_features() -> wgpu::Features {
    if cfg!(target_arch = "wasm32") { wgpu::Features::empty() } else { wgpu::Features::SUBGROUP }
}

/// The first error that a callback reported and nobody asked for yet; and the one that ended the
/// device, which stays.
#[derive(Debug, Default)]
struct Faults {
    next: Option<BackendError>,
    end: Option<BackendError>,
}

type Fault = Arc<Mutex<Faults>>;

fn report(fault: &Fault, error: BackendError) {
    let mut faults = fault.lock().unwrap_or_else(PoisonError::into_inner);
    if error.ends_device() {
        faults.end.get_or_insert(error.clone());
    }
    faults.next.get_or_insert(error);
}

/// A pipeline with the layout of its group 0.
#[derive(Clone)]
pub struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// The device. Everything that is made on it is made here.
pub struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: wgpu::AdapterInfo,
    pub limits: wgpu::Limits,
    pub software: bool,
    /// Lanes of its smallest subgroups; 0 without subgroups, and on a software device whose subgroups differ.
    pub lanes: usize,
    fault: Fault,
    /// Objects made so far.
    pub objects: u64,
    pub now_bytes: usize,
    pub peak_bytes: usize,
}

impl Device {
    pub async fn open(choice: &AdapterChoice, limits: Limits) -> BackendResult<Device> {
        let adapter = choose(enumerate(&instance()).await, choice)?;
        let (required_limits, required_features) = match limits {
            Limits::Adapter => (adapter.limits(), adapter.features() & native_features()),
            Limits::WebGpuDefaults => (wgpu::Limits::defaults(), wgpu::Features::empty()),
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("chainrule"),
            required_limits,
            required_features,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| BackendError::NoDevice(e.to_string()))?;
        let fault = Fault::default();
        let (errors, lost) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            report(
                &errors,
                match e {
                    wgpu::Error::OutOfMemory { source } => BackendError::OutOfMemory(source.to_string()),
                    other => BackendError::Kernel { kernel: String::new(), message: other.to_string() },
                },
            );
        }));
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the device counts as losing it; nobody is left to hear of that.
            if reason != wgpu::DeviceLostReason::Destroyed {
                report(&lost, BackendError::Lost(message));
            }
        });
        let info = adapter.get_info();
        let (software, limits) = (is_software(&info), device.limits());
        let subgroups = device.features().contains(wgpu::Features::SUBGROUP);
        let fixed = info.subgroup_min_size == info.subgroup_max_size;
        let lanes = if subgroups && (fixed || !software) { info.subgroup_min_size as usize } else { 0 };
        Ok(Device { device, queue, info, limits, software, lanes, fault, objects: 0, now_bytes: 0, peak_bytes: 0 })
    }

    /// The largest buffer a kernel can bind.
    pub fn max_buffer_bytes(&self) -> usize {
        let bytes = self.limits.max_storage_buffer_binding_size.min(self.limits.max_buffer_size);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Reports an error that arrived since the last call, as one of this kernel.
    pub fn check(&self, kernel: &str) -> BackendResult<()> {
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).next.take() {
            None => Ok(()),
            Some(BackendError::Kernel { message, .. }) => Err(BackendError::Kernel { kernel: kernel.into(), message }),
            Some(other) => Err(other),
        }
    }

    /// The error that ended the device, if one did.
    pub fn fault(&self) -> Option<BackendError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).end.clone()
    }

    /// Notes an error that a result brought and no callback.
    pub fn ended(&self, error: &BackendError) {
        report(&self.fault, error.clone());
    }

    /// A buffer of whole words.
    pub fn buffer(&mut self, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> BackendResult<wgpu::Buffer> {
        let bytes = bytes.div_ceil(4).max(1) * 4;
        let mapped_at_creation = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        self.objects += 1;
        self.now_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.now_bytes);
        let size = bytes as u64;
        let buffer =
            self.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation });
        self.check(label)?;
        Ok(buffer)
    }

    /// Frees a buffer made by [`Device::buffer`].
    pub fn free(&mut self, buffer: wgpu::Buffer) {
        self.now_bytes = self.now_bytes.saturating_sub(buffer.size() as usize);
        buffer.destroy();
    }

    /// Compiles a dispatch. Loops are not bounded at run time (they end by construction, and the
    /// bound keeps compilers from unrolling register tiles) nor divisions checked (divisors are
    /// positive); buffer accesses are, but for plain products in release builds.
    pub fn pipeline(&mut self, d: &Dispatch) -> BackendResult<Pipeline> {
        self.objects += 4;
        let source = wgpu::ShaderSource::Wgsl(d.code.as_str().into());
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.force_loop_bounding = false;
        checks.int_div_checks = false;
        checks.bounds_checks = d.checked || cfg!(debug_assertions);
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&d.label), source };
        // SAFETY: every loop of our shaders counts up to a bound that it does not change, and every
        // integer division has a positive divisor: a constant, or an adaptive window's width.
        // Unchecked dispatches index by shape and invocation alone, within their buffers.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        self.check(&d.label)?;
        let entries: Vec<wgpu::BindGroupLayoutEntry> = d
            .bound
            .iter()
            .map(|b| wgpu::BindGroupLayoutEntry {
                binding: b.binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !b.writes },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&d.label), entries: &entries });
        let whole = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&d.label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&d.label),
            layout: Some(&whole),
            module: &module,
            entry_point: Some(&d.entry),
            // Tiles are written before they are read.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.check(&d.label)?;
        Ok(Pipeline { pipeline, layout })
    }

    /// What the compiler says of a text. An invalid one is reported here and nowhere else.
    pub async fn compiler_messages(&self, code: &str) -> Vec<(u32, String)> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderSource::Wgsl(code.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("edited"), source });
        let info = module.get_compilation_info().await;
        let failed = scope.pop().await;
        let mut out: Vec<(u32, String)> = info
            .messages
            .into_iter()
            .map(|m| {
                let kind = match m.message_type {
                    wgpu::CompilationMessageType::Error => "error",
                    wgpu::CompilationMessageType::Warning => "warning",
                    wgpu::CompilationMessageType::Info => "note",
                };
                (m.location.map_or(0, |l| l.line_number), format!("{kind}: {}", m.message))
            })
            .collect();
        if let (Some(e), true) = (failed, out.iter().all(|(_, m)| !m.starts_with("error"))) {
            out.push((0, format!("error: {e}")));
        }
        out
    }

    pub fn bind_group(
        &mut self,
        label: &str,
        layout: &wgpu::BindGroupLayout,
        buffers: &[(u32, &Slice)],
    ) -> BackendResult<wgpu::BindGroup> {
        self.objects += 1;
        let entries: Vec<wgpu::BindGroupEntry> = buffers
            .iter()
            .map(|(binding, slice)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &slice.buffer,
                    offset: slice.offset,
                    size: std::num::NonZeroU64::new(slice.bytes),
                }),
            })
            .collect();
        let group =
            self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries });
        self.check(label)?;
        Ok(group)
    }

    /// Lets callbacks of finished work run, waiting for some of it if asked. A browser runs them
    /// by itself and cannot wait.
    pub fn pump(&self, wait: bool) -> BackendResult<()> {
        let kind = if wait {
            let timeout = Some(std::time::Duration::from_millis(20));
            wgpu::PollType::Wait { submission_index: None, timeout }
        } else {
            wgpu::PollType::Poll
        };
        match self.device.poll(kind) {
            Ok(_) | Err(wgpu::PollError::Timeout) => Ok(()),
            Err(e) => Err(BackendError::Lost(e.to_string())),
        }
    }
}
