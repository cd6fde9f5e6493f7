//! One case of `chainrule bench` in burn, timed: a peer for `bench/side_by_side.py`.
//!
//!     burn-step BACKEND CASE [REPEATS]
//!
//! BACKEND: flex or webgpu, as built in. CASE: seed-cnn-32, seed-cnn-224, mlp-fashion or mlp-30 (a training step:
//! forward, cross-entropy, backward, Adam; one fixed batch in memory, the loss read after every step), or
//! matmul-N. Prints one JSON line with the keys of `chainrule bench --json`; `first_ms` is the cold first step.

use std::time::Instant;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::{Distribution, Tensor};

/// Untimed steps first, the first of which is told apart.
const WARM_UP: usize = 2;
const NORMAL: Distribution = Distribution::Normal(0.0, 1.0);

/// A convolution of 32 channels where the input is images, then linear layers with ReLU between.
#[derive(Module, Debug)]
struct Net {
    conv: Option<Conv2d>,
    linear: Vec<Linear>,
}

impl Net {
    fn new(conv: bool, widths: &[usize], device: &Device) -> Net {
        let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
        Net {
            conv: conv.then(|| Conv2dConfig::new([3, 32], [3, 3]).with_padding(padding).init(device)),
            linear: widths.windows(2).map(|w| LinearConfig::new(w[0], w[1]).init(device)).collect(),
        }
    }

    /// `x: [batch, channels, height, width]` to `[batch, classes]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = match &self.conv {
            Some(conv) => relu(conv.forward(x)),
            None => x,
        };
        let mut x = x.flatten::<2>(1, 3);
        for (k, layer) in self.linear.iter().enumerate() {
            x = layer.forward(x);
            if k + 1 < self.linear.len() {
                x = relu(x);
            }
        }
        x
    }
}

/// What a case trains on: the shape of a batch, whether a convolution comes first, widths of the layers.
fn network(case: &str) -> Option<([usize; 4], bool, Vec<usize>)> {
    Some(match case {
        "seed-cnn-32" => ([64, 3, 32, 32], true, vec![32 * 32 * 32, 10]),
        "seed-cnn-224" => ([64, 3, 224, 224], true, vec![32 * 224 * 224, 10]),
        "mlp-fashion" => ([128, 1, 28, 28], false, vec![784, 256, 128, 10]),
        "mlp-30" => ([256, 30, 1, 1], false, vec![30, 64, 64, 2]),
        _ => return None,
    })
}

/// The milliseconds of a case: the first step, then those of the timed ones, sorted; `step` waits for its end.
fn times(repeats: usize, mut step: impl FnMut() -> Result<(), String>) -> Result<(f64, Vec<f64>), String> {
    let mut ms = Vec::with_capacity(WARM_UP + repeats);
    for _ in 0..WARM_UP + repeats {
        let start = Instant::now();
        step()?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (first, mut timed) = (ms[0], ms.split_off(WARM_UP));
    timed.sort_by(f64::total_cmp);
    Ok((first, timed))
}

fn train(case: &str, repeats: usize, device: &Device) -> Result<((f64, Vec<f64>), Option<usize>), String> {
    let (shape, conv, widths) = network(case).ok_or_else(|| format!("no case {case}"))?;
    let classes = widths[widths.len() - 1];
    let net = Net::new(conv, &widths, device);
    let parameters = net.num_params();
    let x = Tensor::<4>::random(shape, NORMAL, device);
    let labels: Vec<i64> = (0..shape[0]).map(|i| (i % classes) as i64).collect();
    let y = Tensor::<1, Int>::from_data(TensorData::new(labels, [shape[0]]), device);
    let loss_of = CrossEntropyLossConfig::new().init(device);
    let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
    let mut held = Some(net);
    let took = times(repeats, || {
        let net = held.take().ok_or("the network is gone")?;
        let loss = loss_of.forward(net.forward(x.clone()), y.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        held = Some(adam.step(1e-3, net, gradients));
        let loss = loss.into_scalar::<f32>();
        // The loss is there before the optimiser's work is done.
        device.sync().map_err(|e| format!("{e:?}"))?;
        if loss.is_nan() { Err("the loss is not a number".into()) } else { Ok(()) }
    })?;
    Ok((took, Some(parameters)))
}

fn product(n: usize, repeats: usize, device: &Device) -> Result<((f64, Vec<f64>), Option<usize>), String> {
    let a = Tensor::<2>::random([n, n], NORMAL, device);
    let b = Tensor::<2>::random([n, n], NORMAL, device);
    let took = times(repeats, || {
        let one = a.clone().matmul(b.clone()).narrow(0, 0, 1).narrow(1, 0, 1).into_scalar::<f32>();
        if one.is_nan() { Err("the product is not a number".into()) } else { Ok(()) }
    })?;
    Ok((took, None))
}

fn device(backend: &str) -> Result<Device, String> {
    match backend {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "webgpu")]
        "webgpu" => Ok(Device::wgpu(DeviceKind::DefaultDevice)),
        other => Err(format!("backend {other} is not built in: cargo build --features flex or webgpu")),
    }
}

/// Most bytes of this process that were ever in memory, where the system tells.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

fn run() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [backend, case, rest @ ..] = &args[..] else { return Err("usage: burn-step BACKEND CASE [REPEATS]".into()) };
    let repeats = rest.first().map_or(Ok(5), |r| r.parse::<usize>()).map_err(|e| format!("REPEATS: {e}"))?;
    if repeats == 0 {
        return Err("REPEATS must be 1 or more".into());
    }
    let plain = device(backend)?;
    plain.seed(0);
    let ((first, ms), parameters) = match case.strip_prefix("matmul-") {
        Some(n) => product(n.parse().map_err(|e| format!("{case}: {e}"))?, repeats, &plain)?,
        None => train(case, repeats, &plain.autodiff())?,
    };
    let n = ms.len();
    let median = if n % 2 == 1 { ms[n / 2] } else { (ms[n / 2 - 1] + ms[n / 2]) / 2.0 };
    let tuned = if cfg!(feature = "webgpu") && backend != "flex" { ", fused and tuned" } else { "" };
    let line = serde_json::json!({
        "case": case, "backend": format!("burn-{backend}"), "adapter": format!("burn 0.22.1 {backend}{tuned}"),
        "min_ms": ms[0], "median_ms": median, "max_ms": ms[n - 1], "repeats": n, "first_ms": first,
        "peak_resident_bytes": peak_resident_bytes(), "parameters": parameters,
    });
    println!("{line}");
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
