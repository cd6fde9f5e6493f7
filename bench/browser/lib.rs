//! Times the engine in a page: a training step of the reference network with its loss read back, and
//! a square product. `run.mjs` calls these and sets the results beside TF.js. Natively this is empty.
#![cfg(target_arch = "wasm32")]

use compute::backend::Backend;
use compute::backend::cpu::Cpu;
use compute::backend::gpu::{AdapterChoice, Gpu, Limits};
use compute::data::{Dataset, Images};
use compute::graph::{Graph, TensorType};
use compute::recipe::{Recipe, find_shipped};
use compute::rewrite::Fusion;
use compute::session::Session;
use compute::tensor::Tensor;
use compute::train::Trainer;
use wasm_bindgen::prelude::*;
use web_time::Instant;

/// Errors cross to the page as text.
fn text(e: impl std::fmt::Display) -> JsError {
    JsError::new(&e.to_string())
}

async fn session(backend: &str) -> Result<Session, JsError> {
    let backend: Box<dyn Backend> = match backend {
        "cpu" => Box::new(Cpu::new()),
        "webgpu" => Box::new(Gpu::open_with(&AdapterChoice::Any, Limits::Adapter).await.map_err(text)?),
        other => return Err(text(format!("no backend {other}: it is cpu or webgpu"))),
    };
    Ok(Session::new(backend, Fusion::default()))
}

/// Arbitrary numbers in -1..1.
fn numbers(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| compute::cell::rand::bits(1, 0, 0, i) as f32 / 8_388_608.0 - 1.0).collect()
}

/// A shipped recipe at batch 64, ready to take its first step on images of noise.
async fn trainer(session: Session, recipe: &str) -> Result<Trainer, JsError> {
    let shipped = find_shipped(recipe).ok_or_else(|| text(format!("no recipe {recipe}")))?;
    let recipe = Recipe::parse(recipe, shipped, &["data.validation=0".into(), "train.batch=64".into()]);
    let pixels = (0..64 * 3072u32).map(|i| (compute::cell::rand::mix(i) >> 24) as u8).collect();
    let images = Images::new([3, 32, 32], pixels, (0..64).map(|i| i % 10).collect());
    let images = images.ok_or_else(|| text("the images do not fit their size"))?;
    let classes = (0..10).map(|c| c.to_string()).collect();
    let data = Dataset { name: "noise".into(), classes, test: images.subset(&[]), train: images };
    Trainer::new(session, recipe.map_err(text)?, data).map_err(text)
}

/// Milliseconds of a step, its loss read.
async fn step(trainer: &mut Trainer) -> Result<f64, JsError> {
    let start = Instant::now();
    trainer.step().map_err(text)?;
    let loss = trainer.metrics().await.map_err(text)?;
    if loss.len() != 1 || !loss[0].loss.is_finite() {
        return Err(text("a step without a loss"));
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds of training steps, after `warm_up` untimed ones.
#[wasm_bindgen]
pub async fn steps(backend: String, recipe: String, warm_up: usize, repeats: usize) -> Result<Vec<f64>, JsError> {
    let mut trainer = trainer(session(&backend).await?, &recipe).await?;
    let mut out = vec![];
    for k in 0..warm_up + repeats {
        let ms = step(&mut trainer).await?;
        if k >= warm_up {
            out.push(ms);
        }
    }
    Ok(out)
}

/// Milliseconds from a recipe's text to the loss of its first step, less a step: graph, gradients, plan, buffers,
/// pipelines. The device is open before.
#[wasm_bindgen]
pub async fn first_steps(backend: String, recipe: String, repeats: usize) -> Result<Vec<f64>, JsError> {
    let mut out = vec![];
    for _ in 0..repeats {
        let session = session(&backend).await?;
        let start = Instant::now();
        let mut trainer = trainer(session, &recipe).await?;
        step(&mut trainer).await?;
        let all = start.elapsed().as_secs_f64() * 1e3;
        out.push(all - step(&mut trainer).await?.min(step(&mut trainer).await?));
    }
    Ok(out)
}

/// Milliseconds of `n x n` products; one element of each is read back.
#[wasm_bindgen]
pub async fn products(backend: String, n: usize, warm_up: usize, repeats: usize) -> Result<Vec<f64>, JsError> {
    let mut session = session(&backend).await?;
    let mut g = Graph::new();
    let (a, b) = (g.feed("a", TensorType::f32([n, n])), g.feed("b", TensorType::f32([n, n])));
    let y = g.matmul(a, b).map_err(text)?;
    let flat = g.reshape(y, &[n * n]).map_err(text)?;
    let one = g.slice(flat, 0, 0, 1).map_err(text)?;
    g.output("y", y);
    g.output("one", one);
    let program = session.load(&g).map_err(text)?;
    for name in ["a", "b"] {
        session.write(name, &Tensor::f32([n, n], numbers(n * n))).map_err(text)?;
    }
    let mut out = vec![];
    for k in 0..warm_up + repeats {
        let start = Instant::now();
        session.run(program).map_err(text)?;
        session.output(program, "one").await.map_err(text)?;
        if k >= warm_up {
            out.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(out)
}
