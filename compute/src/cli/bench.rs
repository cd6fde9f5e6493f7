//! `chainrule bench`: training steps of the shipped recipes, square matrix products, and a
//! convolution with its gradients, on one backend. Medians and spreads; batches are fixed and
//! already in memory, the loss is read after every step.

use std::time::Instant;

use clap::ValueEnum;
use serde_json::json;

use super::args::{BenchArgs, Case};
use super::device::{self, block_on};
use super::{CliError, recipes, system};
use crate::backend::ProgramId;
use crate::data::{Dataset, Images};
use crate::graph::{Graph, TensorType};
use crate::network::ImageShape;
use crate::ops::conv2d::{Conv2d, Conv2dBackwardW, Conv2dBackwardX, Geometry};
use crate::plan::print::bytes;
use crate::session::Session;
use crate::tensor::Tensor;
use crate::train::Trainer;

/// Untimed repetitions first.
const WARM_UP: usize = 2;

/// See the module's introduction.
pub fn bench(args: &BenchArgs) -> Result<(), CliError> {
    let cases = if args.cases.is_empty() { Case::value_variants().to_vec() } else { args.cases.clone() };
    if args.repeats == 0 {
        return Err(CliError::Usage("--repeats must be 1 or more".into()));
    }
    for case in cases {
        match case {
            Case::SeedCnn224 => step(args, "seed-cnn-224", shape(3, 32))?,
            Case::SeedCnn32 => step(args, "seed-cnn-32", shape(3, 32))?,
            Case::Cnn32 => step(args, "cnn-32", shape(3, 32))?,
            Case::MlpFashion => step(args, "mlp-fashion", shape(1, 28))?,
            Case::Matmul => matmuls(args)?,
            Case::Conv => convs(args)?,
        }
    }
    Ok(())
}

fn shape(channels: usize, side: usize) -> ImageShape {
    ImageShape { channels, height: side, width: side, classes: 10 }
}

/// Milliseconds of each repetition, sorted.
struct Times(Vec<f64>);

impl Times {
    fn of(repeats: usize, mut f: impl FnMut() -> Result<(), CliError>) -> Result<Times, CliError> {
        for _ in 0..WARM_UP {
            f()?;
        }
        let mut ms = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            let t = Instant::now();
            f()?;
            ms.push(t.elapsed().as_secs_f64() * 1e3);
        }
        ms.sort_by(f64::total_cmp);
        Ok(Times(ms))
    }

    fn median(&self) -> f64 {
        let n = self.0.len();
        if n % 2 == 1 { self.0[n / 2] } else { (self.0[n / 2 - 1] + self.0[n / 2]) / 2.0 }
    }
}

fn print(args: &BenchArgs, session: &mut Session, case: &str, times: &Times, flops: f64, params: Option<usize>) {
    let info = session.info().clone();
    let (min, median, max) = (times.0[0], times.median(), times.0[times.0.len() - 1]);
    let gflops = flops / median / 1e6;
    let rss = system::peak_resident_bytes();
    let device = session.memory().peak_bytes;
    if args.json {
        system::line(
            &json!({
                "case": case, "backend": info.backend, "adapter": info.name, "min_ms": min, "median_ms": median,
                "max_ms": max, "repeats": times.0.len(), "gflop": flops / 1e9, "gflop_per_sec": gflops,
                "peak_device_bytes": device, "peak_resident_bytes": rss, "parameters": params,
            })
            .to_string(),
        );
    } else {
        let rss = rss.map_or_else(|| "-".into(), |b| bytes(b as usize));
        system::line(&format!(
            "{case:<24} {median:>10.2} ms (min {min:.2}, max {max:.2})  {gflops:>8.1} GFLOP/s  device {}, process {rss}",
            bytes(device),
        ));
    }
}

/// A data set of one batch of arbitrary images.
fn one_batch(shape: ImageShape, n: usize) -> Result<Dataset, CliError> {
    let stride = shape.channels * shape.height * shape.width;
    let pixels: Vec<u8> = (0..n * stride).map(|i| (crate::cell::rand::mix(i as u32) >> 24) as u8).collect();
    let labels: Vec<u32> = (0..n).map(|i| (i % shape.classes) as u32).collect();
    let size = [shape.channels, shape.height, shape.width];
    let images = Images::new(size, pixels, labels).ok_or_else(|| CliError::Other("bad batch".into()))?;
    let classes = (0..shape.classes).map(|c| c.to_string()).collect();
    Ok(Dataset { name: "bench".into(), classes, test: images.subset(&[]), train: images })
}

fn step(args: &BenchArgs, name: &str, shape: ImageShape) -> Result<(), CliError> {
    let recipe = recipes::find(name, &["data.validation=0".into()])?;
    let data = one_batch(shape, recipe.train.batch)?;
    let session = device::session(&args.device)?;
    let mut trainer = Trainer::new(session, recipe, data)?;
    let times = Times::of(args.repeats, || {
        trainer.step()?;
        block_on(trainer.metrics())?;
        Ok(())
    })?;
    let graph = trainer.network().graph.clone();
    let params = trainer.parameter_count();
    let flops = trainer.session().plan(&graph)?.flops();
    print(args, trainer.session(), name, &times, flops, Some(params));
    Ok(())
}

/// A program of one op on arbitrary numbers, run and waited for.
fn op(
    args: &BenchArgs,
    case: &str,
    flops: f64,
    build: impl Fn(&mut Graph) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut session = device::session(&args.device)?;
    let mut g = Graph::new();
    build(&mut g)?;
    let program = session.load(&g)?;
    for leaf in g.leaves(|_| true) {
        let n = g.ty(leaf).numel();
        let values = (0..n).map(|i| crate::cell::rand::bits(1, 0, 0, i as u32) as f32 / 8_388_608.0 - 1.0).collect();
        session.write(&g.node(leaf).name, &Tensor::f32(g.shape(leaf), values))?;
    }
    let times = Times::of(args.repeats, || wait(&mut session, program))?;
    print(args, &mut session, case, &times, flops, None);
    Ok(())
}

/// Runs and reads one small output, which waits for the whole.
fn wait(session: &mut Session, program: ProgramId) -> Result<(), CliError> {
    session.run(program)?;
    block_on(session.output(program, "probe"))?;
    Ok(())
}

fn matmuls(args: &BenchArgs) -> Result<(), CliError> {
    for n in [512usize, 1024, 2048] {
        op(args, &format!("matmul {n}"), 2.0 * (n as f64).powi(3), |g| {
            let (a, b) = (g.feed("a", TensorType::f32([n, n])), g.feed("b", TensorType::f32([n, n])));
            let y = g.matmul(a, b).map_err(|e| CliError::Other(e.to_string()))?;
            probe(g, y)
        })?;
    }
    Ok(())
}

/// Stores `y` and makes one of its elements readable.
fn probe(g: &mut Graph, y: crate::graph::NodeId) -> Result<(), CliError> {
    let n = g.ty(y).numel();
    let err = |e: crate::ops::OpError| CliError::Other(e.to_string());
    let flat = g.reshape(y, &[n]).map_err(err)?;
    let one = g.slice(flat, 0, 0, 1).map_err(err)?;
    g.output("y", y);
    g.output("probe", one);
    Ok(())
}

fn convs(args: &BenchArgs) -> Result<(), CliError> {
    let geometry = Geometry { padding: [1, 1], ..Geometry::default() };
    let (x, w, y) = ([32, 64, 32, 32], [64, 64, 3, 3], [32, 64, 32, 32]);
    let flops = 2.0 * 32.0 * 64.0 * 32.0 * 32.0 * 64.0 * 9.0;
    let err = |e: crate::ops::OpError| CliError::Other(e.to_string());
    op(args, "conv2d", flops, |g| {
        let (x, w) = (g.feed("x", TensorType::f32(x)), g.feed("w", TensorType::f32(w)));
        let y = g.add(Conv2d { geometry, bias: false }, &[x, w]).map_err(err)?;
        probe(g, y)
    })?;
    op(args, "conv2d.backward_x", flops, |g| {
        let (dy, w) = (g.feed("dy", TensorType::f32(y)), g.feed("w", TensorType::f32(w)));
        let dx = g.add(Conv2dBackwardX { geometry, size: [32, 32] }, &[dy, w]).map_err(err)?;
        probe(g, dx)
    })?;
    op(args, "conv2d.backward_w", flops, |g| {
        let (x, dy) = (g.feed("x", TensorType::f32(x)), g.feed("dy", TensorType::f32(y)));
        let dw = g.add(Conv2dBackwardW { geometry, kernel: [3, 3] }, &[x, dy]).map_err(err)?;
        probe(g, dw)
    })
}
