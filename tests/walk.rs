//! Evaluates a graph in f64 from its definitions, node by node, without plans or fusion: leaves are
//! f64, so that comparisons with other f64 results can be tight.
//!
//! [`evaluate`] runs a cell compiled, [`one`] walks it for one element; a test compares the two.

use compute::cell::vm::{self, View, Workers};
use compute::cell::{Cell, eval};
use compute::graph::{Graph, Kind, Leaf, NodeId, TensorType};
use compute::tensor::{DType, unravel};

/// The values of a graph's nodes, as far as they were asked for.
pub struct Walk<'g> {
    graph: &'g Graph,
    values: Vec<Option<Vec<f64>>>,
}

impl<'g> Walk<'g> {
    pub fn new(graph: &'g Graph) -> Walk<'g> {
        let values = graph
            .nodes()
            .iter()
            .map(|n| match &n.kind {
                Kind::Leaf(Leaf::Constant(t)) => Some(t.to_f64()),
                _ => None,
            })
            .collect();
        Walk { graph, values }
    }

    /// Gives a leaf its value. Nodes already computed keep theirs: use a new walk for a new step.
    pub fn set(&mut self, leaf: NodeId, values: Vec<f64>) {
        assert_eq!(values.len(), self.graph.ty(leaf).numel(), "{}", self.graph.node(leaf).name);
        self.values[leaf.index()] = Some(values);
    }

    /// [`Walk::set`] by name.
    pub fn set_named(&mut self, name: &str, values: Vec<f64>) {
        let leaf = self.graph.find(name).unwrap_or_else(|| panic!("no leaf {name}"));
        self.set(leaf, values);
    }

    /// The value of a node.
    pub fn get(&mut self, id: NodeId) -> Vec<f64> {
        let mut needed = vec![false; id.index() + 1];
        needed[id.index()] = true;
        for i in (0..=id.index()).rev() {
            if needed[i] && self.values[i].is_none() {
                self.graph.nodes()[i].inputs.iter().for_each(|input| needed[input.index()] = true);
            }
        }
        for (i, needed) in needed.into_iter().enumerate() {
            if needed && self.values[i].is_none() {
                self.values[i] = Some(self.compute(NodeId(i as u32)));
            }
        }
        self.values[id.index()].clone().expect("just computed")
    }

    fn compute(&self, id: NodeId) -> Vec<f64> {
        let node = self.graph.node(id);
        let Some(op) = node.op() else { panic!("leaf {} has no value", node.name) };
        let types: Vec<&TensorType> = node.inputs.iter().map(|i| self.graph.ty(*i)).collect();
        let inputs: Vec<&[f64]> =
            node.inputs.iter().map(|i| self.values[i.index()].as_deref().expect("inputs come first")).collect();
        let cell = op.cell(&types, &node.ty);
        evaluate(&cell, &types, &inputs, &node.ty).unwrap_or_else(|e| panic!("{}: {e}", node.name))
    }
}

/// Every element of a cell's output.
pub fn evaluate(
    cell: &Cell,
    types: &[&TensorType],
    inputs: &[&[f64]],
    output: &TensorType,
) -> Result<Vec<f64>, String> {
    let program = vm::compile(cell, output, types)?;
    let integers: Vec<Integers> = types.iter().zip(inputs).map(|(ty, x)| Integers::of(ty, x)).collect();
    let views: Vec<View<f64>> = integers.iter().zip(inputs).map(|(i, x)| i.view(x)).collect();
    let mut out = vec![f64::NAN; output.numel()];
    program.run_parallel(&views, None, &mut out, &Workers::default())?;
    match out.iter().find(|v| !output.dtype.is_float() && (v.fract() != 0.0 || **v < 0.0)) {
        Some(v) => Err(format!("{v} is not a {}", output.dtype)),
        None => Ok(out),
    }
}

/// Integer inputs in their own type.
enum Integers {
    None,
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl Integers {
    fn of(ty: &TensorType, values: &[f64]) -> Integers {
        match ty.dtype {
            DType::F32 | DType::F16 => Integers::None,
            DType::U32 => Integers::U32(values.iter().map(|v| *v as u32).collect()),
            DType::U8 => Integers::U8(values.iter().map(|v| *v as u8).collect()),
        }
    }

    fn view<'a>(&'a self, values: &'a [f64]) -> View<'a, f64> {
        match self {
            Integers::None => View::Num(values),
            Integers::U32(v) => View::U32(v),
            Integers::U8(v) => View::U8(v),
        }
    }
}

/// One element of a cell's output, by walking the definition.
pub fn one(
    cell: &Cell,
    types: &[&TensorType],
    inputs: &[&[f64]],
    output: &TensorType,
    flat: usize,
) -> Result<f64, String> {
    let mut load = |input: usize, index: &[i64]| {
        let shape = &types[input].shape;
        if index.len() != shape.len() {
            return Err(format!("input {input} {shape:?} read with {} indices", index.len()));
        }
        let mut flat = 0;
        for (&i, &d) in index.iter().zip(shape) {
            if i < 0 || i >= d as i64 {
                return Err(format!("input {input} {shape:?} read at {index:?}"));
            }
            flat = flat * d + i as usize;
        }
        Ok(inputs[input][flat])
    };
    let axes: Vec<i64> = unravel(flat, &output.shape).into_iter().map(|i| i as i64).collect();
    eval::eval(cell, &axes, &mut load)
}
