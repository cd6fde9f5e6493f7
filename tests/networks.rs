//! Small recipes and data for the tests of whole steps.

use compute::cell::rand::{bits, mix};
use compute::data::{Dataset, Images};
use compute::network::{ImageShape, TrainStep, images_feed, labels_feed, train_step};
use compute::nn::init;
use compute::optim;
use compute::recipe::Recipe;
use compute::session::Session;
use compute::tensor::Tensor;

/// A recipe of the given layers (a TOML list) for images of any set; `more` is appended.
pub fn recipe(layers: &str, batch: usize, more: &str) -> Recipe {
    let text = format!(
        "[data]\nset = \"cifar10\"\nvalidation = 0\nnormalize = {{ mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }}\n\
         [model]\nlayers = {layers}\n[train]\nbatch = {batch}\nsteps = 3\n[optimizer]\nkind = \"adam\"\nlr = 0.01\n{more}"
    );
    Recipe::parse("test", &text, &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// Colour images of arbitrary pixels that repeat for no reader to learn.
pub fn images(n: usize, side: usize, classes: usize) -> Dataset {
    let stride = 3 * side * side;
    let pixels = (0..n * stride).map(|i| (mix(i as u32) >> 24) as u8).collect();
    let labels = (0..n).map(|i| bits(9, 0, 0, i as u32) % classes as u32).collect();
    let train = Images::new([3, side, side], pixels, labels).expect("sizes agree");
    let classes = (0..classes).map(|c| c.to_string()).collect();
    Dataset { name: "noise".into(), classes, test: train.subset(&[]), train }
}

/// A training step with its first weights and one batch, ready to be given to any session.
pub struct Step {
    pub network: TrainStep,
    pub leaves: Vec<(String, Tensor)>,
}

impl Step {
    /// The first `n` images of `data`, at optimiser step 1.
    pub fn new(recipe: &Recipe, data: &Dataset, n: usize) -> Step {
        let t = &data.train;
        let shape = ImageShape { channels: 3, height: t.height, width: t.width, classes: data.classes.len() };
        let network = train_step(recipe, shape, n).unwrap_or_else(|e| panic!("{e}"));
        let mut leaves = init::all(&network.graph, recipe.train.seed);
        let which: Vec<u32> = (0..n as u32).collect();
        let mut pixels = vec![];
        t.gather(&which, &mut pixels);
        leaves.push((images_feed(n), Tensor::u8([n, 3, t.height, t.width], pixels)));
        leaves.push((labels_feed(n), Tensor::u32([n], t.labels[..n].to_vec())));
        leaves.push(("rng".into(), Tensor::u32([2], vec![recipe.train.seed, 0])));
        for (name, value) in optim::scalars(&compute::network::optimizer(recipe), 1, recipe.optimizer.lr) {
            leaves.push((name.into(), Tensor::scalar(value)));
        }
        Step { network, leaves }
    }

    /// Loss, then the gradients of all parameters, on a session.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn loss_and_gradients(&self, session: &mut Session) -> Vec<Vec<f64>> {
        let mut g = self.network.graph.clone();
        g.updates.clear();
        g.outputs = vec![("loss".into(), self.network.loss)];
        g.outputs.extend(self.network.grads.iter().enumerate().map(|(k, d)| (format!("d{k}"), *d)));
        let program = session.load(&g).unwrap_or_else(|e| panic!("{e}"));
        self.write(session);
        session.run(program).unwrap_or_else(|e| panic!("{e}"));
        let names: Vec<String> = g.outputs.iter().map(|(n, _)| n.clone()).collect();
        names
            .iter()
            .map(|n| pollster::block_on(session.output_f64(program, n)).unwrap_or_else(|e| panic!("{n}: {e}")))
            .collect()
    }

    pub fn write(&self, session: &mut Session) {
        for (name, value) in &self.leaves {
            // Leaves that a reduced graph no longer has are unknown to the session, and not needed.
            let _ = session.write(name, value);
        }
    }
}

/// `max |a - b| / max |b|`
pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()), "a number is not finite");
    let scale = b.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / scale
}
