//! Which device computes: a real GPU if WebGPU offers one; else the CPU in wasm, which is several
//! times as fast as a GPU that is emulated in software.

use compute::backend::Backend;
use compute::backend::cpu::Cpu;
use compute::backend::gpu::{AdapterChoice, Gpu, Limits};
use compute::backend::reference::Reference;
use compute::rewrite::Fusion;
use compute::session::Session;
use js_sys::Reflect;
use wasm_bindgen::JsValue;

use super::{Choice, Device};

/// What was found, once.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    pub adapter: Option<String>,
    pub software: bool,
}

/// Looks for an adapter.
pub async fn find() -> Devices {
    let Some(first) = compute::backend::gpu::adapters().await.into_iter().next() else { return Devices::default() };
    let (software, name) = told().await;
    let name = if first.name.is_empty() { name } else { first.name };
    Devices { adapter: Some(name), software: first.software || software }
}

/// What the browser says of its adapter and wgpu does not pass on: whether it is a software one (in the adapter,
/// or in its info, or only by its name), and its maker and architecture.
async fn told() -> (bool, String) {
    let get = |of: &JsValue, key: &str| Reflect::get(of, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
    let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
    let nothing = (false, String::new());
    let Ok(request) = Reflect::get(&gpu, &JsValue::from_str("requestAdapter")) else { return nothing };
    let Ok(promise) = js_sys::Function::from(request).call0(&gpu) else { return nothing };
    let promise = js_sys::Promise::resolve(&promise);
    let Ok(adapter) = wasm_bindgen_futures::JsFuture::from(promise).await else { return nothing };
    if adapter.is_null() || adapter.is_undefined() {
        return nothing;
    }
    let info = get(&adapter, "info");
    let flag = |of: &JsValue| get(of, "isFallbackAdapter").is_truthy();
    let words = ["vendor", "architecture", "device", "description"].map(|key| get(&info, key).as_string());
    let name = words.into_iter().flatten().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    let lower = name.to_lowercase();
    let named = ["swiftshader", "llvmpipe", "softpipe", "warp"].iter().any(|w| lower.contains(w));
    (flag(&adapter) || flag(&info) || named, name)
}

impl Devices {
    /// Whether this choice computes on WebGPU here.
    pub fn on_gpu(&self, choice: Choice) -> bool {
        match choice {
            Choice::Auto => self.adapter.is_some() && !self.software,
            Choice::Cpu => false,
            Choice::Gpu => self.adapter.is_some(),
        }
    }

    /// For the reader.
    pub fn describe(&self, choice: Choice) -> Device {
        let gpu = self.on_gpu(choice);
        let name = if gpu { self.adapter.clone().unwrap_or_default() } else { "wasm SIMD".into() };
        Device {
            backend: if gpu { "gpu" } else { "cpu" }.into(),
            name,
            webgpu: self.adapter.is_some(),
            software: self.software,
        }
    }

    /// A session for a choice. Errors: WebGPU that was asked for and is not there.
    pub async fn session(&self, choice: Choice) -> Result<Session, String> {
        if choice == Choice::Gpu && self.adapter.is_none() {
            return Err("this browser offers no WebGPU adapter; choose the CPU".into());
        }
        let backend: Box<dyn Backend> = if self.on_gpu(choice) {
            let mut gpu = gpu().await?;
            gpu.set_name(self.adapter.clone().unwrap_or_default());
            Box::new(gpu)
        } else {
            Box::new(Cpu::new())
        };
        Ok(Session::new(backend, Fusion::default()))
    }
}

/// A WebGPU device within the limits that every browser grants.
pub async fn gpu() -> Result<Gpu, String> {
    Gpu::open_with(&AdapterChoice::Any, Limits::WebGpuDefaults).await.map_err(|e| e.to_string())
}

/// The f64 reference.
pub fn reference() -> Session {
    Session::new(Box::new(Reference::new()), Fusion::off())
}

/// The f32 CPU backend, for rounding errors to look at.
pub fn single() -> Session {
    Session::new(Box::new(Cpu::new()), Fusion::off())
}
