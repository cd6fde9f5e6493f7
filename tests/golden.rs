//! Every op, loss, layer and optimiser against PyTorch in float64 (`golden/make_ops.py`): values
//! and gradients to 1e-9, evaluated from the definitions in f64.

use std::collections::BTreeSet;

use compute::cell::Cmp;
use compute::graph::{Graph, NodeId, TensorType};
use compute::nn::{layers, loss};
use compute::ops::avg_pool::{AvgPool, Region};
use compute::ops::conv2d::Geometry;
use compute::ops::elementwise::{Binary, Unary};
use compute::ops::matmul::Matmul;
use compute::ops::pool::{MaxPoolIndex, MaxPoolTake, Window};
use compute::ops::reduce::{ArgMax, Reduce, Reduction};
use compute::ops::{OpResult, augment, index, shape};
use compute::optim::{self, Optim};
use serde_json::Value;
use tests::walk::Walk;

struct Tensor {
    name: String,
    ty: TensorType,
    data: Vec<f64>,
}

fn tensor(v: &Value) -> Tensor {
    let shape = sizes(&v["shape"]);
    let data = v["data"].as_array().expect("data").iter().map(|x| x.as_f64().expect("a number")).collect();
    let ty = match v["dtype"].as_str() {
        Some("u8") => TensorType::u8(shape),
        Some("u32") => TensorType::u32(shape),
        _ => TensorType::f32(shape),
    };
    Tensor { name: v["name"].as_str().unwrap_or_default().into(), ty, data }
}

fn tensors(v: &Value) -> Vec<Tensor> {
    v.as_array().expect("a list").iter().map(tensor).collect()
}

fn sizes(v: &Value) -> Vec<usize> {
    v.as_array()
        .unwrap_or_else(|| panic!("a list, not {v}"))
        .iter()
        .map(|x| x.as_u64().expect("a size") as usize)
        .collect()
}

fn pair(v: &Value) -> [usize; 2] {
    sizes(v).try_into().expect("two numbers")
}

fn f64_of(v: &Value) -> f64 {
    v.as_f64().unwrap_or(0.0)
}

/// Parameters and state of layers are named with a dot and made by the layer.
fn made_by_layer(t: &Tensor) -> bool {
    t.name.contains('.')
}

/// Builds one case; gives its outputs, the differentiated one first.
fn build(g: &mut Graph, what: &str, args: &Value, x: &[NodeId]) -> OpResult<Vec<NodeId>> {
    let window =
        || Window { kernel: pair(&args["kernel"]), stride: pair(&args["stride"]), padding: pair(&args["padding"]) };
    let axis = || args["axis"].as_u64().expect("axis") as usize;
    let name = || args["name"].as_str().expect("name");
    let yes = |key: &str| args[key].as_bool().expect("a boolean");
    let reduce = |kind| Reduce { kind, axes: sizes(&args["axes"]) };
    let y = match what {
        "neg" => g.unary(Unary::Neg, x[0])?,
        "exp" => g.unary(Unary::Exp, x[0])?,
        "log" => g.unary(Unary::Log, x[0])?,
        "sqrt" => g.unary(Unary::Sqrt, x[0])?,
        "tanh" => g.unary(Unary::Tanh, x[0])?,
        "sigmoid" => g.unary(Unary::Sigmoid, x[0])?,
        "relu" => g.unary(Unary::Relu, x[0])?,
        "gelu" => g.unary(Unary::Gelu, x[0])?,
        "gelu_tanh" => g.unary(Unary::GeluTanh, x[0])?,
        "silu" => g.unary(Unary::Silu, x[0])?,
        "abs" => g.unary(Unary::Abs, x[0])?,
        "erf" => g.unary(Unary::Erf, x[0])?,
        "clamp" => g.unary(Unary::Clamp(-0.75, 0.5), x[0])?,
        "affine" => g.affine(x[0], 1.5, -0.25)?,
        "to_f32" => g.unary(Unary::ToF32, x[0])?,
        "half" => {
            let h = g.unary(Unary::Half, x[0])?;
            g.unary(Unary::ToF32, h)?
        }
        "half_is_finite" => {
            let h = g.unary(Unary::Half, x[0])?;
            g.unary(Unary::IsFinite, h)?
        }
        "is_finite" => g.unary(Unary::IsFinite, x[0])?,
        "add" => g.binary(Binary::Add, x[0], x[1])?,
        "sub" => g.binary(Binary::Sub, x[0], x[1])?,
        "mul" => g.binary(Binary::Mul, x[0], x[1])?,
        "div" => g.binary(Binary::Div, x[0], x[1])?,
        "pow" => g.binary(Binary::Pow, x[0], x[1])?,
        "min" => g.binary(Binary::Min, x[0], x[1])?,
        "max" => g.binary(Binary::Max, x[0], x[1])?,
        "less" => g.compare(Cmp::Lt, x[0], x[1])?,
        "less_equal" => g.compare(Cmp::Le, x[0], x[1])?,
        "greater" => g.compare(Cmp::Gt, x[0], x[1])?,
        "greater_equal" => g.compare(Cmp::Ge, x[0], x[1])?,
        "equal" => g.compare(Cmp::Eq, x[0], x[1])?,
        "not_equal" => g.compare(Cmp::Ne, x[0], x[1])?,
        "select" => g.select(x[0], x[1], x[2])?,
        "sum" => g.add(reduce(Reduction::Sum), x)?,
        "mean" => g.add(reduce(Reduction::Mean), x)?,
        "max_along" => g.add(reduce(Reduction::Max), x)?,
        "min_along" => g.add(reduce(Reduction::Min), x)?,
        "variance" => {
            g.variance(x[0], &sizes(&args["axes"]), args["correction"].as_u64().expect("correction") as usize)?
        }
        "argmax" => g.add(ArgMax { axis: axis() }, x)?,
        "matmul" => {
            g.add(Matmul { transpose_a: yes("transpose_a"), transpose_b: yes("transpose_b"), bias: false }, x)?
        }
        "linear" => g.linear(x[0], x[1], Some(x[2]))?,
        "conv2d" => {
            let geometry = Geometry {
                stride: pair(&args["stride"]),
                padding: pair(&args["padding"]),
                dilation: pair(&args["dilation"]),
                groups: args["groups"].as_u64().expect("groups") as usize,
            };
            g.conv2d(x[0], x[1], x.get(2).copied(), geometry)?
        }
        "full" => g.add(shape::Full { value: f64_of(&args["value"]), shape: sizes(&args["shape"]) }, x)?,
        "reshape" => g.reshape(x[0], &sizes(&args["shape"]))?,
        "permute" => g.permute(x[0], &sizes(&args["perm"]))?,
        "broadcast" => g.broadcast_to(x[0], &sizes(&args["shape"]))?,
        "slice" => {
            let (starts, ends) = (sizes(&args["starts"]), sizes(&args["ends"]));
            g.add(index::Slice { starts, ends, steps: sizes(&args["steps"]) }, x)?
        }
        "concat" => g.concat(x, axis())?,
        "pad" => g.pad(x[0], &sizes(&args["before"]), &sizes(&args["after"]), f64_of(&args["value"]))?,
        "gather" => g.gather(x[0], x[1])?,
        "one_hot" => g.one_hot(x[0], args["classes"].as_u64().expect("classes") as usize)?,
        "softmax" => g.softmax(x[0], axis())?,
        "log_softmax" => g.log_softmax(x[0], axis())?,
        "max_pool" => g.max_pool(x[0], window())?,
        "max_pool.index" => g.add(MaxPoolIndex { window: window() }, x)?,
        "max_pool.take" => g.add(MaxPoolTake, x)?,
        "avg_pool" => {
            let region = Region::Window { window: window(), count_include_pad: yes("count_include_pad") };
            g.add(AvgPool { region }, x)?
        }
        "adaptive_avg_pool" => g.adaptive_avg_pool(x[0], pair(&args["out"]))?,
        "bilinear_resize" => g.bilinear_resize(x[0], pair(&args["out"]))?,
        "random" => g.random(name(), x[0], &sizes(&args["shape"]))?,
        "dropout" => layers::dropout(g, x[0], f64_of(&args["p"]), name(), x[1])?,
        "crop_flip" => {
            let padding = args["padding"].as_u64().expect("padding") as usize;
            g.crop_flip(x[0], x[1], padding, yes("flip"), name())?
        }
        "standardize" => g.standardize(x[0], x[1], x[2])?,
        "min_max" => g.min_max(x[0], x[1], x[2])?,
        "normalize" => g.add(augment::Normalize, x)?,
        "cross_entropy" => loss::cross_entropy(g, x[0], x[1], f64_of(&args["smoothing"]), x.get(2).copied())?,
        "cross_entropy_each" => loss::cross_entropy_each(g, x[0], x[1], f64_of(&args["smoothing"]), x.get(2).copied())?,
        "correct" => loss::correct(g, x[0], x[1])?,
        "bce_with_logits" => loss::bce_with_logits(g, x[0], x[1])?,
        "mse" => loss::mse(g, x[0], x[1])?,
        "record" => g.add(compute::ops::record::Record, x)?,
        "batch_norm" => {
            let (momentum, eps) = (f64_of(&args["momentum"]), f64_of(&args["eps"]));
            let y = layers::batch_norm(g, x[0], "bn", momentum, eps, yes("train"))?;
            return Ok([y].into_iter().chain(g.updates.iter().map(|(_, new)| *new)).collect());
        }
        "clip_by_norm" => {
            let (mut out, norm) = optim::clip_by_norm(g, x, f64_of(&args["max_norm"]))?;
            out.push(norm);
            return Ok(out);
        }
        other => panic!("no builder for {other}"),
    };
    Ok(vec![y])
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-9 * b.abs() + 1e-12, "{what}, element {i}: {a}, PyTorch has {b}");
    }
}

fn op_names(g: &Graph, names: &mut BTreeSet<&'static str>) {
    names.extend(g.nodes().iter().filter_map(|n| n.op().map(|op| op.name())));
}

fn check(case: &Value, names: &mut BTreeSet<&'static str>) {
    let what = case["build"].as_str().expect("build");
    let label = format!("{what} {}", case["args"]);
    let inputs = tensors(&case["inputs"]);
    let mut g = Graph::new();
    let x: Vec<NodeId> = inputs.iter().filter(|t| !made_by_layer(t)).map(|t| g.feed(&t.name, t.ty.clone())).collect();
    let built = build(&mut g, what, &case["args"], &x).unwrap_or_else(|e| panic!("{label}: {e}"));
    let grads = case["grads"].as_object().expect("grads");
    let wrt: Vec<NodeId> = grads.keys().map(|n| g.find(n).unwrap_or_else(|| panic!("{label}: no {n}"))).collect();
    let mut nodes = vec![];
    if !wrt.is_empty() {
        let dy = g.feed("dy", g.ty(built[0]).clone());
        nodes = compute::autodiff::vjp(&mut g, built[0], dy, &wrt).unwrap_or_else(|e| panic!("{label}: {e}"));
    }
    op_names(&g, names);
    let mut walk = Walk::new(&g);
    for t in &inputs {
        walk.set_named(&t.name, t.data.clone());
    }
    if !wrt.is_empty() {
        walk.set_named("dy", tensor(&case["dy"]).data);
    }
    let outputs = tensors(&case["outputs"]);
    assert_eq!(built.len(), outputs.len(), "{label}");
    for (k, (node, expected)) in built.into_iter().zip(&outputs).enumerate() {
        assert_eq!(g.shape(node), expected.ty.shape, "{label}: shape of output {k}");
        assert_close(&walk.get(node), &expected.data, &format!("{label}: output {k}"));
    }
    for ((name, expected), node) in grads.iter().zip(nodes) {
        assert_close(&walk.get(node), &tensor(expected).data, &format!("{label}: gradient of {name}"));
    }
}

fn optimizer(args: &Value) -> Optim {
    let weight_decay = f64_of(&args["weight_decay"]);
    let (momentum, eps) = (f64_of(&args["momentum"]), f64_of(&args["eps"]));
    let (beta1, beta2) = (f64_of(&args["betas"][0]), f64_of(&args["betas"][1]));
    match args["kind"].as_str().expect("kind") {
        "sgd" => Optim::Sgd { momentum, nesterov: args["nesterov"].as_bool().unwrap_or(false), weight_decay },
        "rmsprop" => Optim::RmsProp { alpha: f64_of(&args["alpha"]), eps, momentum, weight_decay },
        "adam" => Optim::Adam { beta1, beta2, eps, weight_decay },
        "adamw" => Optim::AdamW { beta1, beta2, eps, weight_decay },
        other => panic!("no optimiser {other}"),
    }
}

/// Five steps as PyTorch took them, and one with `ok = 0`, which must change nothing.
fn check_optimizer(case: &Value, gated: bool, names: &mut BTreeSet<&'static str>) {
    let args = &case["args"];
    let label = format!("optimizer {args}, gated {gated}");
    let kind = optimizer(args);
    let inputs = tensors(&case["inputs"]);
    let mut g = Graph::new();
    let p = g.param("p", inputs[0].ty.shape.clone());
    let d = g.feed("d", inputs[0].ty.clone());
    let ok = gated.then(|| g.feed("ok", TensorType::f32([])));
    optim::apply(&mut g, &kind, &[(p, d)], ok).unwrap_or_else(|e| panic!("{label}: {e}"));
    op_names(&g, names);
    let mut leaves: Vec<Vec<f64>> = g.updates.iter().map(|(leaf, _)| vec![0.0; g.ty(*leaf).numel()]).collect();
    let place = g.updates.iter().position(|(leaf, _)| *leaf == p).expect("p is updated");
    leaves[place] = inputs[0].data.clone();
    let lr = f64_of(&args["lr"]);
    let step = |leaves: &[Vec<f64>], grad: &[f64], t: u64, ok: f64| -> Vec<Vec<f64>> {
        let mut walk = Walk::new(&g);
        walk.set(d, grad.to_vec());
        if gated {
            walk.set_named("ok", vec![ok]);
        }
        for (name, rounded) in optim::scalars(&kind, t, lr) {
            // The feeds are f32; their exact values keep the comparison at 1e-9.
            let beta = |k: usize| 1.0 - f64_of(&args["betas"][k]).powi(t as i32);
            let exact = match name {
                "train.lr" => lr,
                "train.bias1" => beta(0),
                "train.bias2" => beta(1),
                other => panic!("{other}"),
            };
            assert!((f64::from(rounded) - exact).abs() <= 1e-7 * exact, "{name} at {t}: {rounded}, not {exact}");
            walk.set_named(name, vec![exact]);
        }
        for ((leaf, _), values) in g.updates.iter().zip(leaves) {
            walk.set(*leaf, values.clone());
        }
        g.updates.iter().map(|(_, new)| walk.get(*new)).collect()
    };
    for (k, expected) in tensors(&case["outputs"]).iter().enumerate() {
        leaves = step(&leaves, &inputs[k + 1].data, k as u64 + 1, 1.0);
        assert_close(&leaves[place], &expected.data, &format!("{label}, step {k}"));
    }
    if gated {
        assert_eq!(step(&leaves, &inputs[1].data, 6, 0.0), leaves, "{label}: ok = 0");
        assert_ne!(step(&leaves, &inputs[1].data, 6, 1.0), leaves, "{label}: ok = 1");
    }
}

#[test]
fn ops_agree_with_pytorch_and_every_op_has_a_golden() {
    let file: Value = serde_json::from_str(include_str!("golden/ops.json")).expect("ops.json parses");
    let mut names = BTreeSet::new();
    for case in file["cases"].as_array().expect("cases") {
        if case["build"] == "optimizer" {
            check_optimizer(case, false, &mut names);
            check_optimizer(case, true, &mut names);
        } else {
            check(case, &mut names);
        }
    }
    let missing: BTreeSet<&str> =
        tests::samples::all().iter().map(|s| s.op.name()).filter(|n| !names.contains(n)).collect();
    assert!(missing.is_empty(), "no golden uses {missing:?}");
}

#[test]
fn is_finite_knows_infinities_and_nan() {
    // JSON has no words for these, so they are not among the goldens.
    let mut g = Graph::new();
    let x = g.feed("x", TensorType::f32([4]));
    let y = g.unary(Unary::IsFinite, x).expect("one input");
    let mut walk = Walk::new(&g);
    walk.set(x, vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e38]);
    assert_eq!(walk.get(y), [0.0, 0.0, 0.0, 1.0]);
}
