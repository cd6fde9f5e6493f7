//! `chainrule bench`: training steps of the shipped recipes, square matrix products, a convolution with its
//! gradients, softmax and cross-entropy, on one backend; each beside the ceilings of the machine, which are measured
//! first. Medians and spreads; batches are fixed and already in memory, and the loss is read after
//! every step, but with `--job` (see `job`).

mod job;
mod row;

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::args::{BenchArgs, Case};
use super::device::{self, block_on};
use super::{CliError, recipes, system, tune};
use crate::autodiff::grad;
use crate::backend::ProgramId;
use crate::data::{Dataset, Images};
use crate::graph::{Graph, NodeId, TensorType};
use crate::network::ImageShape;
use crate::nn::loss;
use crate::ops::OpError;
use crate::ops::conv2d::{Conv2d, Conv2dBackwardW, Conv2dBackwardX, Geometry};
use crate::recipe::Recipe;
use crate::session::Session;
use crate::tensor::{DType, Data, Tensor};
pub use job::images_in;
use row::{Ceilings, Row, Work};

/// Untimed repetitions first.
const WARM_UP: usize = 2;

/// Time that repetitions fill at least, so that a median of microseconds is one of many.
const ENOUGH: Duration = Duration::from_millis(200);

/// Elements of the copy that measures memory: 64 MiB read and as much written.
const COPY: usize = 1 << 24;

/// The small network on a table's rows of thirty numbers that other frameworks are compared by.
const MLP_30: &str = r#"
[data]
set = "fashion-sample"
validation = 0
[model]
layers = ["flatten", "fc1: linear 64", "relu", "fc2: linear 64", "relu", "fc3: linear 2"]
[train]
batch = 256
epochs = 1
[optimizer]
kind = "adam"
lr = 0.001
"#;

/// The case that is no shipped recipe.
pub const MLP_30_NAME: &str = "mlp-30";

/// Its recipe, and the shape of a row of its table.
pub fn mlp_30(sets: &[String]) -> Result<(Recipe, ImageShape), CliError> {
    Ok((Recipe::parse(MLP_30_NAME, MLP_30, sets)?, rows(30, 2)))
}

/// See the module's introduction.
pub fn bench(args: &BenchArgs) -> Result<(), CliError> {
    let cases = if args.cases.is_empty() { Case::value_variants().to_vec() } else { args.cases.clone() };
    if args.repeats == 0 {
        return Err(CliError::Usage("--repeats must be 1 or more".into()));
    }
    let before = args.compare.as_deref().map(row::read).transpose()?;
    if !args.json {
        row::head();
    }
    let mut b = Bench { args, ceilings: None, rows: vec![] };
    b.measure_ceilings()?;
    for case in cases {
        match case {
            Case::SeedCnn224 => b.shipped("seed-cnn-224", shape(3, 32, 10))?,
            Case::SeedCnn32 => b.shipped("seed-cnn-32", shape(3, 32, 10))?,
            Case::Cnn32 => b.shipped("cnn-32", shape(3, 32, 10))?,
            Case::MlpFashion => b.shipped("mlp-fashion", shape(1, 28, 10))?,
            Case::Mlp30 => {
                let (recipe, shape) = mlp_30(&[])?;
                b.step(MLP_30_NAME, recipe, shape)?;
            }
            Case::Matmul => b.matmuls()?,
            Case::Conv => b.convs()?,
            Case::Softmax => b.softmax()?,
        }
    }
    if let Some(before) = before {
        row::compare(&before, &b.rows);
    }
    Ok(())
}

fn shape(channels: usize, side: usize, classes: usize) -> ImageShape {
    ImageShape { channels, height: side, width: side, classes }
}

/// Rows of a table, as images of one pixel.
fn rows(columns: usize, classes: usize) -> ImageShape {
    shape(columns, 1, classes)
}

struct Bench<'a> {
    args: &'a BenchArgs,
    ceilings: Option<Ceilings>,
    rows: Vec<Row>,
}

/// Milliseconds of each repetition, sorted; what is short is repeated more often.
fn times(repeats: usize, mut f: impl FnMut() -> Result<(), CliError>) -> Result<Vec<f64>, CliError> {
    for _ in 0..WARM_UP {
        f()?;
    }
    let mut ms = Vec::with_capacity(repeats);
    let start = Instant::now();
    while ms.len() < repeats || start.elapsed() < ENOUGH {
        let t = Instant::now();
        f()?;
        ms.push(t.elapsed().as_secs_f64() * 1e3);
    }
    ms.sort_by(f64::total_cmp);
    Ok(ms)
}

/// A data set of `n` arbitrary images.
pub fn arbitrary(shape: ImageShape, n: usize) -> Result<Dataset, CliError> {
    let stride = shape.channels * shape.height * shape.width;
    let pixels: Vec<u8> = (0..n * stride).map(|i| (crate::cell::rand::mix(i as u32) >> 24) as u8).collect();
    let labels: Vec<u32> = (0..n).map(|i| (i % shape.classes) as u32).collect();
    let size = [shape.channels, shape.height, shape.width];
    let images = Images::new(size, pixels, labels).ok_or_else(|| CliError::Other("bad batch".into()))?;
    let classes = (0..shape.classes).map(|c| c.to_string()).collect();
    Ok(Dataset { name: "bench".into(), classes, test: images.subset(&[]), train: images })
}

/// A program of one op, and a small output whose reading waits for the whole.
struct Op {
    session: Session,
    program: ProgramId,
    work: Work,
}

impl Op {
    fn run(&mut self) -> Result<(), CliError> {
        self.session.run(self.program)?;
        block_on(self.session.output(self.program, "probe"))?;
        Ok(())
    }
}

impl Bench<'_> {
    fn keep(&mut self, session: &Session, row: Row, parameters: Option<usize>) -> Result<(), CliError> {
        let (info, memory) = (session.info(), session.memory());
        let row = Row {
            backend: info.backend.into(),
            adapter: info.name.clone(),
            peak_device_bytes: memory.peak_bytes,
            parameters,
            ..row
        };
        row.print(self.args.json)?;
        self.rows.push(row);
        Ok(())
    }

    fn shipped(&mut self, name: &str, shape: ImageShape) -> Result<(), CliError> {
        self.step(name, recipes::find(name, &["data.validation=0".into()])?, shape)
    }

    /// Training steps: of one batch, or of a whole job.
    fn step(&mut self, name: &str, recipe: Recipe, shape: ImageShape) -> Result<(), CliError> {
        system::reset_peak_resident_bytes();
        let job = self.args.job;
        let data = arbitrary(shape, if job { images_in(&recipe.data.set) } else { recipe.train.batch })?;
        let session = device::tuned_session(&self.args.device, self.args.kernels)?;
        let start = Instant::now();
        let mut trainer = device::trainer(session, recipe, data)?;
        trainer.step()?;
        block_on(trainer.metrics())?;
        let first_ms = Some(start.elapsed().as_secs_f64() * 1e3);
        tune::search(trainer.session(), self.args.kernels.tune)?;
        let taken = job::steps(&mut trainer, self.args.repeats, job)?;
        let graph = trainer.network().graph.clone();
        let work = Work::of(&trainer.session().plan(&graph)?);
        let name = if job { format!("job: {name}") } else { name.into() };
        let row = Row::new(&name, &taken.ms, work, self.ceilings);
        let (images_per_sec, input_share) = (Some(taken.images_per_sec), Some(taken.input_share));
        let row = Row { images_per_sec, input_share, first_ms, ..row };
        let params = trainer.parameter_count();
        self.keep(trainer.session(), row, Some(params))
    }

    /// Makes a program of one op on arbitrary numbers ready.
    fn ready(&self, build: impl FnOnce(&mut Graph) -> Result<NodeId, OpError>) -> Result<Op, CliError> {
        let mut session = device::tuned_session(&self.args.device, self.args.kernels)?;
        let mut g = Graph::new();
        let err = |e: OpError| CliError::Other(e.to_string());
        let y = build(&mut g).map_err(err)?;
        g.output("y", y);
        let work = Work::of(&session.plan(&g)?);
        let flat = g.reshape(y, &[g.ty(y).numel()]).map_err(err)?;
        let one = g.slice(flat, 0, 0, 1).map_err(err)?;
        g.output("probe", one);
        let program = session.load(&g)?;
        for leaf in g.leaves(|_| true) {
            let ty = g.ty(leaf);
            let random = (0..ty.numel()).map(|i| crate::cell::rand::bits(1, 0, 0, i as u32));
            let data = match ty.dtype {
                DType::F32 | DType::F16 => Data::F32(random.map(|r| r as f32 / 8_388_608.0 - 1.0).collect()),
                DType::U32 => Data::U32(random.map(|r| r % 1000).collect()),
                DType::U8 => Data::U8(random.map(|r| r as u8).collect()),
            };
            let value = Tensor::new(ty.shape.clone(), data).ok_or_else(|| CliError::Other("bad tensor".into()))?;
            session.write(&g.node(leaf).name, &value)?;
        }
        tune::search(&mut session, self.args.kernels.tune)?;
        Ok(Op { session, program, work })
    }

    fn op(&mut self, case: &str, build: impl FnOnce(&mut Graph) -> Result<NodeId, OpError>) -> Result<(), CliError> {
        system::reset_peak_resident_bytes();
        let mut op = self.ready(build)?;
        let ms = times(self.args.repeats, || op.run())?;
        self.keep(&op.session, Row::new(case, &ms, op.work, self.ceilings), None)
    }

    /// A product as large as takes about a fifth of a second, and a copy.
    fn measure_ceilings(&mut self) -> Result<(), CliError> {
        let mut n = 512;
        while n < 4096 {
            let mut op = self.ready(|g| square(g, n))?;
            op.run()?;
            let t = Instant::now();
            op.run()?;
            // The next size takes eight times as long.
            if t.elapsed().as_secs_f64() > 0.025 {
                break;
            }
            n *= 2;
        }
        self.op(&format!("ceiling: matmul {n}"), |g| square(g, n))?;
        self.op("ceiling: copy 64 MiB", |g| {
            let x = g.feed("x", TensorType::f32([COPY]));
            g.neg(x)
        })?;
        if let [product, copy] = &self.rows[..] {
            self.ceilings = Some(Ceilings { gflop_per_sec: product.gflop_per_sec, gbyte_per_sec: copy.gbyte_per_sec });
        }
        Ok(())
    }

    fn matmuls(&mut self) -> Result<(), CliError> {
        [512, 1024, 2048].into_iter().try_for_each(|n| self.op(&format!("matmul {n}"), |g| square(g, n)))
    }

    fn convs(&mut self) -> Result<(), CliError> {
        let geometry = Geometry { padding: [1, 1], ..Geometry::default() };
        let (x, w, y) = ([32, 64, 32, 32], [64, 64, 3, 3], [32, 64, 32, 32]);
        self.op("conv2d", |g| {
            let (x, w) = (g.feed("x", TensorType::f32(x)), g.feed("w", TensorType::f32(w)));
            g.add(Conv2d { geometry, bias: false }, &[x, w])
        })?;
        self.op("conv2d.backward_x", |g| {
            let (dy, w) = (g.feed("dy", TensorType::f32(y)), g.feed("w", TensorType::f32(w)));
            g.add(Conv2dBackwardX { geometry, size: [32, 32] }, &[dy, w])
        })?;
        self.op("conv2d.backward_w", |g| {
            let (x, dy) = (g.feed("x", TensorType::f32(x)), g.feed("dy", TensorType::f32(y)));
            g.add(Conv2dBackwardW { geometry, kernel: [3, 3] }, &[x, dy])
        })
    }

    fn softmax(&mut self) -> Result<(), CliError> {
        self.op("softmax 4096x1000", |g| {
            let x = g.feed("x", TensorType::f32([4096, 1000]));
            g.softmax(x, 1)
        })?;
        self.op("cross-entropy 4096x1000", |g| {
            let (x, labels) = logits(g);
            loss::cross_entropy(g, x, labels, 0.0, None)
        })?;
        self.op("cross-entropy, gradient", |g| {
            let (x, labels) = logits(g);
            let loss = loss::cross_entropy(g, x, labels, 0.0, None)?;
            g.output("loss", loss);
            Ok(grad(g, loss, &[x])?[0])
        })
    }
}

fn logits(g: &mut Graph) -> (NodeId, NodeId) {
    let labels = TensorType { shape: vec![4096], dtype: DType::U32 };
    (g.feed("x", TensorType::f32([4096, 1000])), g.feed("labels", labels))
}

fn square(g: &mut Graph, n: usize) -> Result<NodeId, OpError> {
    let (a, b) = (g.feed("a", TensorType::f32([n, n])), g.feed("b", TensorType::f32([n, n])));
    g.matmul(a, b)
}
