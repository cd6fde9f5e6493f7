//! First values of parameters and state, with PyTorch's defaults for its layers.
//!
//! | leaf | first values |
//! | --- | --- |
//! | weight of rank 2 or more (linear, conv) | U(-b, b), b = 1 / sqrt(fan_in): Kaiming uniform with a = sqrt 5 |
//! | bias beside such a weight | the same bound |
//! | weight of rank 1 (a normalisation's scale), `running_var` | 1 |
//! | a loss scale | 65,536 |
//! | any other bias, any other state | 0 |
//!
//! Numbers come from the counter-based generator keyed by (seed, name), so they depend neither on
//! the order of layers nor on what else a model holds.

use crate::cell::rand;
use crate::graph::{Graph, Leaf, NodeId};
use crate::tensor::{Tensor, numel};

/// How a leaf is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    Fill(f32),
    /// Uniform in `-bound..bound`.
    Uniform {
        bound: f64,
    },
}

/// `1 / sqrt(fan_in)`, fan_in being the inputs that one output reads: all axes but the first.
fn bound(weight: &[usize]) -> Option<f64> {
    let fan_in = numel(weight.get(1..).filter(|rest| !rest.is_empty())?);
    (fan_in > 0).then(|| 1.0 / (fan_in as f64).sqrt())
}

/// The default of a parameter or state leaf.
pub fn rule(g: &Graph, leaf: NodeId) -> Init {
    let node = g.node(leaf);
    let is_param = node.leaf() == Some(&Leaf::Param);
    let (layer, last) = node.name.rsplit_once('.').unwrap_or(("", &node.name));
    let uniform = |shape: &[usize]| bound(shape).map(|bound| Init::Uniform { bound });
    match last {
        "weight" if is_param => uniform(&node.ty.shape).unwrap_or(Init::Ones),
        "bias" if is_param => {
            let weight = g.find(&format!("{layer}.weight"));
            weight.and_then(|w| uniform(g.shape(w))).unwrap_or(Init::Zeros)
        }
        "running_var" => Init::Ones,
        "loss_scale" => Init::Fill(65_536.0),
        _ => Init::Zeros,
    }
}

/// Fills a tensor. 24 random bits an element, so every number is exact in f32 before scaling.
pub fn tensor(init: Init, seed: u32, name: &str, shape: &[usize]) -> Tensor {
    let n = numel(shape);
    let values = match init {
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
        Init::Fill(value) => vec![value; n],
        Init::Uniform { bound } => {
            let key = rand::key_of(name);
            (0..n)
                .map(|i| {
                    let u = f64::from(rand::bits(key, seed, 0, i as u32)) / 16_777_216.0;
                    ((2.0 * u - 1.0) * bound) as f32
                })
                .collect()
        }
    };
    Tensor::f32(shape, values)
}

/// The first values of all parameters and state of a graph, in the order of their making.
pub fn all(g: &Graph, seed: u32) -> Vec<(String, Tensor)> {
    g.leaves(|l| matches!(l, Leaf::Param | Leaf::State))
        .into_iter()
        .map(|id| {
            let node = g.node(id);
            (node.name.clone(), tensor(rule(g, id), seed, &node.name, &node.ty.shape))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_layer() {
        let mut g = Graph::new();
        let w = g.param("conv1.weight", [32, 3, 3, 3]);
        let b = g.param("conv1.bias", [32]);
        let scale = g.param("bn.weight", [32]);
        let shift = g.param("bn.bias", [32]);
        let var = g.state("bn.running_var", [32]);
        let moment = g.state("optimizer.conv1.weight.exp_avg", [32, 3, 3, 3]);
        let bound = 1.0 / 27f64.sqrt();
        assert_eq!(rule(&g, w), Init::Uniform { bound });
        assert_eq!(rule(&g, b), Init::Uniform { bound });
        assert_eq!([scale, var].map(|l| rule(&g, l)), [Init::Ones; 2]);
        assert_eq!([shift, moment].map(|l| rule(&g, l)), [Init::Zeros; 2]);
    }

    #[test]
    fn uniform_numbers_fill_their_range_and_depend_on_seed_and_name_only() {
        let init = Init::Uniform { bound: 0.25 };
        let a = tensor(init, 7, "fc1.weight", &[100, 100]);
        let values = a.to_f64();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let var = values.iter().map(|v| v * v).sum::<f64>() / n;
        assert!(values.iter().all(|v| v.abs() <= 0.25));
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((var - 0.25 * 0.25 / 3.0).abs() < 0.001, "{var}");
        assert_eq!(a, tensor(init, 7, "fc1.weight", &[100, 100]));
        assert_ne!(a, tensor(init, 8, "fc1.weight", &[100, 100]));
        assert_ne!(a, tensor(init, 7, "fc2.weight", &[100, 100]));
    }
}
