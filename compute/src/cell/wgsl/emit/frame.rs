//! Functions around what is printed: their parameters.

use super::{Emitter, Printed, bare};
use crate::cell::wgsl::{Function, PrintError, Read, check_size};
use crate::cell::{Cell, Idx, Var};

/// A function under way: its parameters are the axes and these names.
pub struct Frame<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    /// Index names, each with its parameter and the number of its values.
    pub ints: &'a [(Var, String, usize)],
    /// Numbers, each with its parameter.
    pub nums: &'a [(Var, String)],
    pub reads: &'a [Read],
    pub flat: bool,
}

impl Frame<'_> {
    pub fn number(&self, cell: &Cell) -> Result<Function, PrintError> {
        self.print("f32", |e, root| e.cell(cell, root))
    }

    pub fn index(&self, idx: &Idx) -> Result<Function, PrintError> {
        self.print("i32", |e, root| e.idx(idx, root))
    }

    fn print(&self, ty: &str, body: impl FnOnce(&mut Emitter, usize) -> Printed) -> Result<Function, PrintError> {
        let Frame { name, shape, reads, flat, .. } = *self;
        check_size(name, shape)?;
        let top = |d: usize| (0, d.max(1) as i64 - 1);
        let axes = shape.iter().map(|&d| top(d)).collect();
        let mut e = Emitter { function: name, reads, axes, scopes: vec![], names: 0, turns: 0, flat, inner: 0 };
        let root = e.open(None, false);
        let mut parameters: Vec<String> = (0..shape.len()).map(|k| format!("i{k}: i32")).collect();
        for (v, text, size) in self.ints {
            e.scopes[root].ints.push((*v, text.clone(), Some(top(*size))));
            parameters.push(format!("{text}: i32"));
        }
        for (v, text) in self.nums {
            e.scopes[root].nums.push((*v, text.clone()));
            parameters.push(format!("{text}: f32"));
        }
        let value = body(&mut e, root)?;
        let code = e.close(root);
        let text = format!("fn {name}({}) -> {ty} {{\n{code}    return {};\n}}\n", parameters.join(", "), bare(&value));
        Ok(Function { text, turns: e.turns })
    }
}
