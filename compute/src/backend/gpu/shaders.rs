//! The hand-written shaders, as texts. Nothing is read at run time.

/// What `#import` finds.
pub const SHARED: &[(&str, &str)] = &[
    ("shared/gemm.wgsl", include_str!("../../../../shaders/shared/gemm.wgsl")),
    ("shared/conv2d.wgsl", include_str!("../../../../shaders/shared/conv2d.wgsl")),
];

/// Whether a device may have subgroups that can be reached: in a browser none, so that a page does not carry what
/// is for them.
pub const SUBGROUPS: bool = !cfg!(target_arch = "wasm32");

/// An entry point more for whatever imports `shared/gemm.wgsl`; it needs subgroups, so it is added
/// where a device has them.
#[cfg(target_arch = "wasm32")]
pub const GEMM_LANES: &str = "";
#[cfg(not(target_arch = "wasm32"))]
pub const GEMM_LANES: &str = include_str!("../../../../shaders/shared/gemm_lanes.wgsl");

/// What the invocations of a workgroup that share a row tell each other, and those of a subgroup.
pub const ROWS: &str = include_str!("../../../../shaders/shared/rows.wgsl");
#[cfg(target_arch = "wasm32")]
pub const ROWS_LANES: &str = "";
#[cfg(not(target_arch = "wasm32"))]
pub const ROWS_LANES: &str = include_str!("../../../../shaders/shared/rows_lanes.wgsl");

pub const MATMUL: &str = include_str!("../../../../shaders/matmul.wgsl");
pub const CONV2D_FORWARD: &str = include_str!("../../../../shaders/conv2d_forward.wgsl");
/// An entry point more for it.
pub const CONV2D_DIRECT: &str = include_str!("../../../../shaders/conv2d_direct.wgsl");
pub const CONV2D_BACKWARD_X: &str = include_str!("../../../../shaders/conv2d_backward_x.wgsl");
pub const CONV2D_BACKWARD_W: &str = include_str!("../../../../shaders/conv2d_backward_w.wgsl");
pub const REDUCE: &str = include_str!("../../../../shaders/reduce.wgsl");

/// Every shader that has entry points, by name.
pub const ALL: &[(&str, &str)] = &[
    ("matmul.wgsl", MATMUL),
    ("conv2d_forward.wgsl", CONV2D_FORWARD),
    ("conv2d_backward_x.wgsl", CONV2D_BACKWARD_X),
    ("conv2d_backward_w.wgsl", CONV2D_BACKWARD_W),
    ("reduce.wgsl", REDUCE),
];
