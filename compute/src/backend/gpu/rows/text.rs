//! The text of a kernel of rows: a function for each value and output, and the loops that call them.

use std::collections::{BTreeMap, BTreeSet};

use super::{LowerError, Rows};
use crate::cell::rows::{Value, is_inside};
use crate::cell::wgsl::{CHAIN, Frame, Read, free};
use crate::cell::{Cell, Idx, Red, Var};
use crate::tensor::strides;

/// Elements that one turn of a loop takes.
const UNROLL: usize = 8;

/// Functions, the body of `main`, and the loop turns of an invocation.
pub(super) struct Text {
    pub functions: String,
    pub main: String,
    pub turns: u64,
}

/// A text that stands for a value or an output: a call, and the elements of the row that it needs.
struct Call {
    /// With `COLUMN` for the column's index.
    text: String,
    elements: Vec<usize>,
}

struct Writer<'a> {
    rows: &'a Rows,
    dims: &'a [usize],
    reads: &'a [Read],
    shapes: &'a [&'a [usize]],
    lanes: usize,
    /// Elements of the row that are read: of which input, and where.
    elements: Vec<(usize, Vec<Idx>)>,
    functions: String,
}

/// Numbers of the names of elements.
const ELEMENT: u32 = 1 << 25;

impl Text {
    /// `whole`: which outputs have an element for each column. An invocation keeps up to `held` elements.
    pub fn new(
        rows: &Rows,
        dims: &[usize],
        reads: &[Read],
        shapes: &[&[usize]],
        whole: &[bool],
        lanes: usize,
        held: usize,
    ) -> Result<Text, LowerError> {
        let mut w = Writer { rows, dims, reads, shapes, lanes, elements: vec![], functions: String::new() };
        let mut calls = vec![];
        for (name, value) in &rows.values {
            calls.push(w.value(*name, value)?);
        }
        let mut outputs = vec![];
        for (k, (cell, _)) in rows.outputs.iter().enumerate() {
            outputs.push(w.number(&format!("element{}", k + 1), cell)?);
        }
        for k in 0..w.elements.len() {
            w.functions += &w.element(k)?;
        }
        let each = rows.columns.div_ceil(lanes);
        let keeps = each * w.elements.len().max(1) <= held;
        let mut main = w.indices();
        let mut turns = 0;
        if keeps {
            let all: Vec<usize> = (0..w.elements.len()).collect();
            // The last may lie beyond the row.
            let partial = each * lanes > rows.columns;
            for k in 0..each {
                let word = if partial && k + 1 == each { "var" } else { "let" };
                let read = |e: &usize| match word {
                    "let" => format!("    let x{e}_{k} = {};\n", w.read(*e).replace("COLUMN", &w.column("", k))),
                    _ => format!("    var x{e}_{k} = 0.0f;\n"),
                };
                main.extend(all.iter().map(read));
            }
            if partial {
                let last = each - 1;
                let set: Vec<String> = all.iter().map(|e| format!("x{e}_{last} = {};", w.read(*e))).collect();
                main += &w.step("    ", &w.column("", last), false, &set);
            }
        }
        let passes = w.passes();
        for pass in 0..=passes.iter().copied().max().unwrap_or(0) {
            let here: Vec<usize> = (0..calls.len()).filter(|k| passes[*k] == pass).collect();
            let reduces = |k: &&usize| matches!(rows.values[**k].1, Value::Reduce(..));
            let reduced: Vec<usize> = here.iter().filter(reduces).copied().collect();
            if !reduced.is_empty() {
                main += &w.reduce(&reduced, &calls, each, keeps, &mut turns);
            }
            for k in here.iter().filter(|k| !reduces(k)) {
                main += &format!("    let {} = {};\n", w.name(*k), calls[*k].text.replace("COLUMN", "0"));
            }
        }
        main += &w.write(&outputs, whole, each, keeps, &mut turns);
        Ok(Text { functions: w.functions, main, turns })
    }
}

fn red_name(red: Red) -> &'static str {
    match red {
        Red::Sum => "sum",
        Red::Max => "top",
        Red::Min => "low",
    }
}

/// `a = a + b`, or the larger or smaller.
fn merge(red: Red, into: &str, term: &str) -> String {
    match red {
        Red::Sum => format!("{into} += {term};"),
        Red::Max => format!("{into} = max_of({into}, {term});"),
        Red::Min => format!("{into} = min_of({into}, {term});"),
    }
}

impl Writer<'_> {
    fn name(&self, k: usize) -> String {
        format!("{}{k}", self.rows.values[k].0.0)
    }

    fn names(&self, of: BTreeSet<Var>) -> (Vec<(Var, String, usize)>, Vec<(Var, String)>) {
        let (mut ints, mut nums) = (vec![], vec![]);
        for v in of {
            match self.rows.values.iter().position(|(name, _)| *name == v) {
                Some(k) if matches!(self.rows.values[k].1, Value::Index(_)) => {
                    ints.push((v, self.name(k), i32::MAX as usize));
                }
                Some(k) => nums.push((v, self.name(k))),
                None => nums.push((v, format!("x{}", v.1 - ELEMENT))),
            }
        }
        (ints, nums)
    }

    fn value(&mut self, name: Var, value: &Value) -> Result<Call, LowerError> {
        let at = self.rows.values.iter().position(|(n, _)| *n == name).unwrap_or(0);
        let function = format!("{}_{at}", name.0);
        match value {
            Value::Reduce(_, cell) | Value::Number(cell) => self.number(&function, cell),
            Value::Index(idx) => {
                let mut used = BTreeSet::new();
                free::cell(&Cell::Int(idx.clone()), &mut vec![], &mut used);
                let (ints, nums) = self.names(used);
                let frame = self.frame(&function, &ints, &nums);
                self.functions += &frame.index(idx)?.text;
                Ok(self.call(&function, &ints, &nums))
            }
        }
    }

    /// Prints the function of a cell; the elements of the row that it reads become parameters.
    fn number(&mut self, function: &str, cell: &Cell) -> Result<Call, LowerError> {
        let cell = self.with_elements(cell);
        let mut used = BTreeSet::new();
        free::cell(&cell, &mut vec![], &mut used);
        let (ints, nums) = self.names(used);
        let text = self.frame(function, &ints, &nums).number(&cell)?.text;
        self.functions += &text;
        Ok(self.call(function, &ints, &nums))
    }

    fn frame<'b>(&'b self, name: &'b str, ints: &'b [(Var, String, usize)], nums: &'b [(Var, String)]) -> Frame<'b> {
        Frame { name, shape: self.dims, ints, nums, reads: self.reads, flat: false }
    }

    fn call(&self, function: &str, ints: &[(Var, String, usize)], nums: &[(Var, String)]) -> Call {
        let axis = |k: usize| if k == self.rows.axis { "COLUMN".to_string() } else { format!("i{k}") };
        let mut arguments: Vec<String> = (0..self.dims.len()).map(axis).collect();
        arguments.extend(ints.iter().map(|(_, name, _)| name.clone()));
        let mut elements = vec![];
        for (v, name) in nums {
            if v.1 >= ELEMENT {
                elements.push((v.1 - ELEMENT) as usize);
                arguments.push(format!("ELEMENT{}", v.1 - ELEMENT));
            } else {
                arguments.push(name.clone());
            }
        }
        Call { text: format!("{function}({})", arguments.join(", ")), elements }
    }

    /// A cell with names in the place of what it always reads at its own column.
    fn with_elements(&mut self, c: &Cell) -> Cell {
        match c {
            Cell::Load(input, ix) => {
                let number = self.reads[*input].dtype.is_float();
                let varies = ix.iter().any(|i| i.uses_axis(self.rows.axis));
                if !number || !varies || !is_inside(self.shapes, self.dims, *input, ix) {
                    return c.clone();
                }
                let key = (*input, ix.clone());
                let k = self.elements.iter().position(|e| *e == key).unwrap_or_else(|| {
                    self.elements.push(key);
                    self.elements.len() - 1
                });
                Cell::Local(Var("x", ELEMENT + k as u32))
            }
            Cell::Let(v, a, b) => Cell::Let(*v, self.with_elements(a).into(), self.with_elements(b).into()),
            Cell::Un(op, a) => Cell::Un(*op, self.with_elements(a).into()),
            Cell::Bin(op, a, b) => Cell::Bin(*op, self.with_elements(a).into(), self.with_elements(b).into()),
            Cell::If(c, a, b) => Cell::If(c.clone(), self.with_elements(a).into(), self.with_elements(b).into()),
            _ => c.clone(),
        }
    }

    /// The function that reads an element.
    fn element(&self, k: usize) -> Result<String, LowerError> {
        let (input, ix) = &self.elements[k];
        let cell = Cell::Load(*input, ix.clone());
        Ok(self.frame(&format!("element_of_row_{k}"), &[], &[]).number(&cell)?.text)
    }

    fn read(&self, k: usize) -> String {
        let axis = |k: usize| if k == self.rows.axis { "COLUMN".to_string() } else { format!("i{k}") };
        let arguments: Vec<String> = (0..self.dims.len()).map(axis).collect();
        format!("element_of_row_{k}({})", arguments.join(", "))
    }

    /// The row's indices, and the lane.
    fn indices(&self) -> String {
        let mut row = self.dims.to_vec();
        row[self.rows.axis] = 1;
        let mut out = String::new();
        for (k, (d, s)) in row.iter().zip(strides(&row)).enumerate().filter(|(k, _)| *k != self.rows.axis) {
            out += &format!("    let i{k} = row / {s} % {d};\n");
        }
        if self.lanes > 1 {
            out += "    let lane = i32(invocation);\n";
        }
        out
    }

    /// Which pass a value belongs to: numbers after the reductions of the pass that they need.
    fn passes(&self) -> Vec<usize> {
        let mut passes: BTreeMap<Var, usize> = BTreeMap::new();
        let mut out = vec![];
        for (name, value) in &self.rows.values {
            let mut used = BTreeSet::new();
            match value {
                Value::Reduce(_, c) | Value::Number(c) => free::cell(c, &mut vec![], &mut used),
                Value::Index(i) => free::cell(&Cell::Int(i.clone()), &mut vec![], &mut used),
            }
            let latest = used.iter().filter_map(|v| passes.get(v)).copied().max().unwrap_or(0);
            let pass = latest + usize::from(matches!(value, Value::Reduce(..)));
            passes.insert(*name, pass);
            out.push(pass);
        }
        out
    }

    /// `lane + 64` and the like.
    fn column(&self, from: &str, k: usize) -> String {
        match (from, self.lanes, k) {
            ("", 1, _) => k.to_string(),
            ("", _, 0) => "lane".into(),
            ("", n, _) => format!("lane + {}", k * n),
            (from, _, 0) => from.into(),
            (from, n, _) => format!("{from} + {}", k * n),
        }
    }

    /// All elements of an invocation, written out; `body(k)` are statements for the k-th.
    fn steps(&self, each: usize, body: impl Fn(usize) -> Vec<String>) -> String {
        let step = |k: usize| {
            let full = (k + 1) * self.lanes <= self.rows.columns;
            self.step("    ", &self.column("", k), full, &body(k))
        };
        (0..each).map(step).collect()
    }

    /// Statements for the element at a column, which may be beyond the last unless it is `full`.
    fn step(&self, pad: &str, column: &str, full: bool, statements: &[String]) -> String {
        let mut text = statements.join(" ").replace("COLUMN", column);
        if !full {
            text = format!("if ({column} < {}) {{ {text} }}", self.rows.columns);
        } else if text.contains("let ") {
            text = format!("{{ {text} }}");
        }
        format!("{pad}{text}\n")
    }

    /// The statements of calls for one element: what they read, unless it is kept, and what they do.
    fn statements(&self, calls: &[(&Call, String)], kept: Option<usize>) -> Vec<String> {
        let mut needs: Vec<usize> = calls.iter().flat_map(|(c, _)| c.elements.iter().copied()).collect();
        needs.sort_unstable();
        needs.dedup();
        let mut out = vec![];
        if kept.is_none() {
            out.extend(needs.iter().map(|e| format!("let x{e} = {};", self.read(*e))));
        }
        for (call, statement) in calls {
            let mut text = call.text.clone();
            // The largest number first: ELEMENT1 is the beginning of ELEMENT10.
            for e in call.elements.iter().rev() {
                let name = kept.map_or(format!("x{e}"), |k| format!("x{e}_{k}"));
                text = text.replace(&format!("ELEMENT{e}"), &name);
            }
            out.push(statement.replace("CALL", &text));
        }
        out
    }

    /// A loop over the elements of an invocation that are not kept, `pad`ded; `limit` is where it ends.
    fn walk(&self, pad: &str, from: &str, limit: &str, body: &[String]) -> String {
        let step = UNROLL * self.lanes;
        let mut out = format!("{pad}for (var at = {from}; at < {limit}; at += {step}) {{\n");
        for k in 0..UNROLL {
            out += &self.step(&format!("{pad}    "), &self.column("at", k), k == 0, body);
        }
        out + pad + "}\n"
    }

    /// One pass: reductions that do not need each other.
    fn reduce(&self, which: &[usize], calls: &[Call], each: usize, keeps: bool, turns: &mut u64) -> String {
        let red = |k: usize| match self.rows.values[k].1 {
            Value::Reduce(red, _) => red,
            _ => Red::Sum,
        };
        let start = |k: usize| match red(k) {
            Red::Sum => "0.0f".to_string(),
            other => format!("from_bits(0x{:08x}u)", (other.identity() as f32).to_bits()),
        };
        let own = |k: usize, what: &str| format!("{what}_{}", self.name(k));
        let mut out: String = which.iter().map(|&k| format!("    var {} = {};\n", own(k, "own"), start(k))).collect();
        let terms = |what: &str, kept: Option<usize>| {
            let all: Vec<_> = which.iter().map(|&k| (&calls[k], merge(red(k), &own(k, what), "CALL"))).collect();
            self.statements(&all, kept)
        };
        let first = self.column("", 0);
        let block = CHAIN as usize * self.lanes;
        if keeps {
            out += &self.steps(each, |k| terms("own", Some(k)));
        } else if each <= CHAIN as usize {
            *turns += each.div_ceil(UNROLL) as u64;
            let first = if self.lanes == 1 { "0".into() } else { first };
            out += &self.walk("    ", &first, &self.rows.columns.to_string(), &terms("own", None));
        } else {
            // A part is a chain of its own.
            *turns += (each.div_ceil(UNROLL) + each.div_ceil(CHAIN as usize)) as u64;
            let columns = self.rows.columns;
            out += &format!("    for (var block = 0; block < {columns}; block += {block}) {{\n");
            which.iter().for_each(|&k| out += &format!("        var {} = {};\n", own(k, "part"), start(k)));
            let from = if self.lanes == 1 { "block".into() } else { format!("block + {first}") };
            out += &self.walk("        ", &from, &format!("min(block + {block}, {columns})"), &terms("part", None));
            let merged = |&k: &usize| format!("        {}\n", merge(red(k), &own(k, "own"), &own(k, "part")));
            out.extend(which.iter().map(merged));
            out += "    }\n";
        }
        for &k in which {
            let own = own(k, "own");
            let all = if self.lanes == 1 { own } else { format!("across_{}(lane, {own})", red_name(red(k))) };
            out += &format!("    let {} = {all};\n", self.name(k));
        }
        out
    }

    /// The outputs.
    fn write(&self, calls: &[Call], whole: &[bool], each: usize, keeps: bool, turns: &mut u64) -> String {
        let inner: usize = self.dims[self.rows.axis + 1..].iter().product();
        let columns = self.rows.columns;
        let at = match inner {
            1 => format!("row * {columns} + COLUMN"),
            _ => format!("(row / {inner} * {columns} + COLUMN) * {inner} + row % {inner}"),
        };
        let name = super::super::kernel::output_name;
        let (mut every, mut single) = (vec![], String::new());
        for (k, call) in calls.iter().enumerate() {
            if whole[k] {
                every.push((call, format!("{}[{at}] = CALL;", name(k))));
            } else {
                single += &format!("        {}[row] = {};\n", name(k), call.text.replace("COLUMN", "0"));
            }
        }
        let mut out = String::new();
        if !every.is_empty() && keeps {
            out += &self.steps(each, |k| self.statements(&every, Some(k)));
        } else if !every.is_empty() {
            *turns += each.div_ceil(UNROLL) as u64;
            let first = if self.lanes == 1 { "0".into() } else { self.column("", 0) };
            out += &self.walk("    ", &first, &columns.to_string(), &self.statements(&every, None));
        }
        match (single.is_empty(), self.lanes) {
            (true, _) => out,
            (false, 1) => out + &single.replace("        ", "    "),
            (false, _) => format!("{out}    if (lane == 0) {{\n{single}    }}\n"),
        }
    }
}
