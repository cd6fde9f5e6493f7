//! The engine and the way to it. It lives in a web worker, so that no computation holds up the
//! page; [`client`] is the page's side and [`worker`] the other. Both are one wasm module.
//!
//! A message is an envelope: a number that the answer repeats, the message itself, and
//! the tensors that belong to it as arrays beside it, handed over without a copy.

pub mod client;
mod data;
pub mod device;
mod envelope;
mod inflate;
pub mod kernels;
mod picture;
mod run;
pub mod scene;
pub mod training;
pub mod worker;

use serde::{Deserialize, Serialize};

use crate::scenes::Spec;
use envelope::{Heavy, Load};

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// A real GPU, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// WebGPU, whatever the adapter.
    Gpu,
}

/// What the engine runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// `cpu` or `gpu`.
    pub backend: String,
    pub name: String,
    /// An adapter exists, if only a software one.
    pub webgpu: bool,
    /// The adapter computes in software.
    pub software: bool,
}

/// A tensor on its way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    pub name: String,
    pub shape: Vec<usize>,
    /// The elements; travel beside the message.
    #[serde(skip)]
    pub data: Vec<f32>,
}

/// A file on its way: what the reader opens, and what the page saves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileData {
    /// Its path in the folder that was opened, or its name.
    pub name: String,
    /// The bytes; travel beside the message.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Heavy for Values {
    fn take(&mut self) -> Load {
        Load::Floats(std::mem::take(&mut self.data))
    }

    fn put(&mut self, load: Load) {
        if let Load::Floats(data) = load {
            self.data = data;
        }
    }
}

impl Heavy for FileData {
    fn take(&mut self) -> Load {
        Load::Bytes(std::mem::take(&mut self.bytes))
    }

    fn put(&mut self, load: Load) {
        if let Load::Bytes(bytes) = load {
            self.bytes = bytes;
        }
    }
}

/// A node of a scene, for the reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub id: u32,
    pub name: String,
    /// The op's name; empty for a leaf.
    pub op: String,
    pub shape: Vec<usize>,
    pub inputs: Vec<u32>,
    /// A node of the backward pass or the optimiser.
    pub backward: bool,
}

/// An element and what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub node: u32,
    pub name: String,
    pub index: Vec<usize>,
    pub value: f64,
}

/// One term of a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    pub value: f64,
    pub text: String,
    pub reads: Vec<Reference>,
}

/// The derivation of one number: `compute::explain` for the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derivation {
    pub node: NodeInfo,
    pub index: Vec<usize>,
    /// By the definition, in f64.
    pub value: f64,
    /// As the device computed it.
    pub device: f64,
    pub mathml: String,
    pub frame: String,
    pub terms: Vec<Term>,
    /// (how many terms are not shown, their total)
    pub folded: Option<(usize, f64)>,
    /// `sum`, `max` or `min`, where terms combine.
    pub reduction: Option<String>,
    /// The total of terms and folded rest.
    pub total: f64,
    /// The numerical check, where the node is a gradient.
    pub check: Option<Check>,
}

/// A gradient's central difference, in f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub of: String,
    pub e: f64,
    pub above: f64,
    pub below: f64,
    pub slope: f64,
}

/// One kernel of a scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelInfo {
    pub label: String,
    pub op: String,
    pub shape: Vec<usize>,
    pub reads: Vec<String>,
    pub inlined: Vec<String>,
    pub flops: f64,
    pub bytes: usize,
    /// Entry point, workgroups and WGSL of each dispatch of the naive and of the fast form.
    pub naive: Vec<Shader>,
    pub fast: Vec<Shader>,
    /// The fast form for the other kind of device, where it differs from both.
    pub other: Option<(kernels::Form, Vec<Shader>)>,
}

/// One dispatch as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shader {
    pub entry: String,
    pub groups: [u32; 3],
    pub code: String,
}

/// What the page asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Which device computes from now on.
    Use(Choice),
    /// Builds a scene's graph and makes it ready. Answer: [`Reply::Opened`].
    Open(Spec),
    /// Writes leaves, runs a step, and answers with the scene's outputs ([`Reply::Values`]).
    Run {
        scene: u32,
        feeds: Vec<Values>,
    },
    /// Values of any nodes for the leaves as they are.
    Inspect {
        scene: u32,
        nodes: Vec<u32>,
    },
    /// Where an element comes from.
    Explain {
        scene: u32,
        node: u32,
        index: Vec<usize>,
    },
    /// The difference quotients of a gradient for several steps, in f64 or f32.
    Slopes {
        scene: u32,
        node: u32,
        index: Vec<usize>,
        steps: Vec<f64>,
        single: bool,
    },
    Kernels {
        scene: u32,
    },
    /// Runs one kernel's dispatches again and again. `code`: another text for its first dispatch.
    Time {
        scene: u32,
        kernel: usize,
        form: kernels::Form,
        code: Option<String>,
    },
    Close {
        scene: u32,
    },
    /// The pixels of an image of the sample, 0 to 255, `[1, 28, 28]`. Answer: [`Reply::Values`].
    Image(u32),
    Train(training::Command),
}

/// What the engine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    Device(Device),
    Opened {
        scene: u32,
        nodes: Vec<NodeInfo>,
        /// (node, its gradient of the loss)
        gradients: Vec<(u32, u32)>,
    },
    /// Outputs, and how many steps sessions have run so far: what the reader sees was computed.
    Values {
        values: Vec<Values>,
        steps: u64,
    },
    Derivation(Box<Derivation>),
    Slopes {
        analytic: f64,
        slopes: Vec<f64>,
    },
    Kernels(Vec<KernelInfo>),
    Timed(kernels::Timing),
    Training(Box<training::Report>),
    /// A file for the reader to keep.
    File(FileData),
    Histograms(Vec<training::Histogram>),
    /// What is in a folder of pictures.
    Folder(training::Pictures),
    Closed,
    /// What went wrong, in a sentence.
    Failed(String),
}

impl Reply {
    fn heavy(&mut self) -> Vec<&mut dyn Heavy> {
        fn all<T: Heavy>(items: &mut [T]) -> Vec<&mut dyn Heavy> {
            items.iter_mut().map(|v| v as &mut dyn Heavy).collect()
        }
        match self {
            Reply::Values { values, .. } => all(values),
            Reply::Training(report) => all(&mut report.tensors),
            Reply::File(file) => vec![file],
            _ => vec![],
        }
    }
}

impl Request {
    /// The scene that is asked.
    fn scene(&self) -> Option<u32> {
        match self {
            Request::Run { scene, .. }
            | Request::Inspect { scene, .. }
            | Request::Explain { scene, .. }
            | Request::Slopes { scene, .. } => Some(*scene),
            _ => None,
        }
    }

    fn heavy(&mut self) -> Vec<&mut dyn Heavy> {
        match self {
            Request::Run { feeds, .. } => feeds.iter_mut().map(|v| v as &mut dyn Heavy).collect(),
            Request::Train(command) => command.files().iter_mut().map(|v| v as &mut dyn Heavy).collect(),
            _ => vec![],
        }
    }
}

fn take_all(parts: Vec<&mut dyn Heavy>) -> Vec<Load> {
    parts.into_iter().map(|p| p.take()).collect()
}

fn put_all(parts: Vec<&mut dyn Heavy>, loads: Vec<Load>) {
    parts.into_iter().zip(loads).for_each(|(p, l)| p.put(l));
}
