//! The printer proper. It walks a cell once and writes statements into scopes; a cell's value is
//! always an expression text that is valid in the scope it was asked for.
//!
//! Scopes form a tree: the function, the body of each loop, and each branch that may not be taken.
//! A reduction is written into the outermost loop scope in which all its free names are bound
//! (never out of a branch), and once per scope: that alone turns softmax as defined, O(n^2) a
//! element, into O(n).

mod frame;
mod reduce;

pub use frame::Frame;

use super::range::{Known, Range};
use super::{Access, PrintError, Read, element, flat_index, free, per_word};
use crate::cell::{Bin, Cell, Cmp, Cond, Idx, IdxOp, Un, Var};
use crate::tensor::DType;

type Printed = Result<String, PrintError>;

/// A block of statements under way.
struct Scope {
    parent: Option<usize>,
    /// A branch: nothing moves out of it.
    lazy: bool,
    code: String,
    indent: usize,
    /// How often the block runs at most.
    times: u64,
    ints: Vec<(Var, String, Option<Range>)>,
    nums: Vec<(Var, String)>,
    /// Reductions (by canonical text) and calls already written in this scope, and their names.
    done: Vec<(String, String)>,
}

struct Emitter<'a> {
    function: &'a str,
    reads: &'a [Read],
    axes: Vec<Range>,
    scopes: Vec<Scope>,
    names: usize,
    /// Turns of all loops so far, those of called functions included.
    turns: u64,
    /// Writes out short innermost loops.
    flat: bool,
    /// Loops and calls so far, to tell which loops are innermost.
    inner: usize,
}

/// Without the parentheses around the whole.
fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let mut depth = 0i32;
    for c in inner.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth < 0 {
            return text;
        }
    }
    inner
}

/// The f32 nearest to a constant, exactly.
fn number(v: f64) -> String {
    let x = v as f32;
    if !x.is_finite() {
        return format!("from_bits(0x{:08x}u)", x.to_bits());
    }
    if x.is_sign_negative() { format!("({x:?}f)") } else { format!("{x:?}f") }
}

impl Emitter<'_> {
    fn open(&mut self, parent: Option<usize>, lazy: bool) -> usize {
        let indent = parent.map_or(1, |p| self.scopes[p].indent + 1);
        let times = parent.map_or(1, |p| self.scopes[p].times);
        let scope =
            Scope { parent, lazy, code: String::new(), indent, times, ints: vec![], nums: vec![], done: vec![] };
        self.scopes.push(scope);
        self.scopes.len() - 1
    }

    fn close(&mut self, s: usize) -> String {
        std::mem::take(&mut self.scopes[s].code)
    }

    fn line(&mut self, s: usize, text: &str) {
        let indent = self.scopes[s].indent;
        for _ in 0..indent {
            self.scopes[s].code += "    ";
        }
        self.scopes[s].code += text;
        self.scopes[s].code.push('\n');
    }

    fn fresh(&mut self, stem: &str) -> String {
        self.names += 1;
        let stem = if stem.chars().all(|c| c.is_ascii_alphanumeric()) { stem } else { "v" };
        format!("{stem}_{}", self.names)
    }

    fn unbound(&self, v: Var) -> PrintError {
        PrintError::Unbound { function: self.function.into(), name: v.0 }
    }

    /// The names bound in a scope and around it, outermost first, for interval analysis.
    fn known(&self, s: usize) -> Known {
        let mut chain = vec![];
        let mut at = Some(s);
        while let Some(k) = at {
            chain.push(k);
            at = self.scopes[k].parent;
        }
        let vars = chain.iter().rev().flat_map(|&k| self.scopes[k].ints.iter().map(|(v, _, r)| (*v, *r))).collect();
        Known { axes: self.axes.clone(), vars }
    }

    fn find<T>(&self, s: usize, get: impl Fn(&Scope) -> Option<T>) -> Option<T> {
        let mut at = Some(s);
        while let Some(k) = at {
            if let Some(found) = get(&self.scopes[k]) {
                return Some(found);
            }
            at = self.scopes[k].parent;
        }
        None
    }

    fn int_name(&self, v: Var, s: usize) -> Printed {
        self.find(s, |sc| sc.ints.iter().rev().find(|(w, ..)| *w == v).map(|(_, n, _)| n.clone()))
            .ok_or_else(|| self.unbound(v))
    }

    fn num_name(&self, v: Var, s: usize) -> Printed {
        self.find(s, |sc| sc.nums.iter().rev().find(|(w, _)| *w == v).map(|(_, n)| n.clone()))
            .ok_or_else(|| self.unbound(v))
    }

    fn idx(&mut self, i: &Idx, s: usize) -> Printed {
        Ok(match i {
            Idx::Axis(k) => format!("i{k}"),
            Idx::Var(v) => self.int_name(*v, s)?,
            Idx::Const(c) if *c < 0 => format!("({c})"),
            Idx::Const(c) => c.to_string(),
            Idx::Bin(op, a, b) => {
                let natural = self.known(s).natural(a, self.reads);
                let power = match **b {
                    Idx::Const(d) if d > 0 && d & (d - 1) == 0 => Some(d),
                    _ => None,
                };
                let (a, b) = (self.idx(a, s)?, self.idx(b, s)?);
                match (op, power) {
                    (IdxOp::Add, _) => format!("({a} + {b})"),
                    (IdxOp::Sub, _) => format!("({a} - {b})"),
                    (IdxOp::Mul, _) => format!("({a} * {b})"),
                    (IdxOp::Min, _) => format!("min({a}, {b})"),
                    (IdxOp::Max, _) => format!("max({a}, {b})"),
                    // An arithmetic shift and a mask are floored for either sign.
                    (IdxOp::Div, Some(d)) => format!("({a} >> {}u)", d.trailing_zeros()),
                    (IdxOp::Mod, Some(d)) => format!("({a} & {})", d - 1),
                    (IdxOp::Div, None) if natural => format!("({a} / {b})"),
                    (IdxOp::Mod, None) if natural => format!("({a} % {b})"),
                    (IdxOp::Div, None) => format!("div_floor({}, {})", bare(&a), bare(&b)),
                    (IdxOp::Mod, None) => format!("mod_floor({}, {})", bare(&a), bare(&b)),
                }
            }
            Idx::Load(input, ix) => format!("i32({})", self.load(*input, ix, s)?.0),
            Idx::Rand(r) => {
                let part = |e: &mut Self, i: &Idx| -> Printed {
                    Ok(match i {
                        Idx::Const(c) => format!("{}u", *c as u32),
                        other => format!("u32({})", bare(&e.idx(other, s)?)),
                    })
                };
                let (seed, step, counter) = (part(self, &r.seed)?, part(self, &r.step)?, part(self, &r.counter)?);
                format!("random_bits({}u, {seed}, {step}, {counter})", r.key)
            }
        })
    }

    /// An element of an input as stored, and its type.
    fn load(&mut self, input: usize, ix: &[Idx], s: usize) -> Result<(String, DType), PrintError> {
        let Some(read) = self.reads.get(input) else {
            return Err(PrintError::NoInput { function: self.function.into(), input, given: self.reads.len() });
        };
        if read.shape.len() != ix.len() {
            let (expected, got) = (read.shape.len(), ix.len());
            return Err(PrintError::Rank { function: self.function.into(), input, expected, got });
        }
        let (access, dtype, turns) = (read.access.clone(), read.dtype, read.turns);
        let text = match access {
            Access::Given(text) => text,
            Access::Call(name) => {
                let mut arguments = vec![];
                for i in ix {
                    let text = self.idx(i, s)?;
                    arguments.push(bare(&text).to_string());
                }
                // A call may stand for a whole convolution: the same one is made once.
                let call = format!("{name}({})", arguments.join(", "));
                let known = self.find(s, |sc| sc.done.iter().find(|(k, _)| *k == call).map(|(_, n)| n.clone()));
                match known {
                    Some(name) => name,
                    None => {
                        let name = self.fresh("f");
                        self.inner += 1;
                        self.turns = self.turns.saturating_add(self.scopes[s].times.saturating_mul(turns));
                        self.line(s, &format!("let {name} = {call};"));
                        self.scopes[s].done.push((call, name.clone()));
                        name
                    }
                }
            }
            Access::Buffer(name) => {
                let shape = read.shape.clone();
                let flat = self.idx(&flat_index(ix, &shape), s)?;
                if per_word(dtype) > 1 {
                    let at = self.fresh("at");
                    self.line(s, &format!("let {at} = {};", bare(&flat)));
                    element(dtype, &name, &at)
                } else {
                    element(dtype, &name, bare(&flat))
                }
            }
        };
        Ok((text, dtype))
    }

    fn cell(&mut self, c: &Cell, s: usize) -> Printed {
        Ok(match c {
            Cell::Const(v) => number(*v),
            Cell::Int(i) => format!("f32({})", bare(&self.idx(i, s)?)),
            Cell::Load(input, ix) => match self.load(*input, ix, s)? {
                (text, DType::F32 | DType::F16) => text,
                (text, _) => format!("f32({text})"),
            },
            Cell::Local(v) => self.num_name(*v, s)?,
            Cell::Let(v, value, body) => {
                let value = self.cell(value, s)?;
                let name = self.fresh(v.0);
                self.line(s, &format!("let {name} = {};", bare(&value)));
                self.scopes[s].nums.push((*v, name));
                let out = self.cell(body, s)?;
                self.scopes[s].nums.pop();
                out
            }
            Cell::Un(op, x) => {
                if let Cell::Const(v) = **x {
                    return Ok(number(op.apply(v)));
                }
                let x = self.cell(x, s)?;
                let x = bare(&x);
                match op {
                    Un::Neg => format!("(-({x}))"),
                    Un::Exp => format!("exp_of({x})"),
                    Un::Log => format!("log({x})"),
                    Un::Sqrt => format!("sqrt({x})"),
                    Un::Tanh => format!("tanh_of({x})"),
                    Un::Erf => format!("erf_of({x})"),
                    Un::Abs => format!("abs({x})"),
                    Un::Floor => format!("floor({x})"),
                    Un::Half => format!("half_of({x})"),
                }
            }
            Cell::Bin(op, a, b) => {
                if let (Cell::Const(a), Cell::Const(b)) = (&**a, &**b) {
                    return Ok(number(op.apply(*a, *b)));
                }
                let squared = *op == Bin::Pow && **b == Cell::Const(2.0);
                let a = self.cell(a, s)?;
                if squared {
                    return Ok(format!("square({})", bare(&a)));
                }
                let b = self.cell(b, s)?;
                let call = |f: &str| format!("{f}({}, {})", bare(&a), bare(&b));
                match op {
                    Bin::Add => format!("({a} + {b})"),
                    Bin::Sub => format!("({a} - {b})"),
                    Bin::Mul => format!("({a} * {b})"),
                    Bin::Div => format!("({a} / {b})"),
                    Bin::Pow => call("pow_of"),
                    Bin::Min => call("min_of"),
                    Bin::Max => call("max_of"),
                }
            }
            Cell::If(cond, yes, no) if free::trivial(yes) && free::trivial(no) => {
                let cond = self.cond(cond, s)?;
                let (yes, no) = (self.cell(yes, s)?, self.cell(no, s)?);
                format!("select({}, {}, {})", bare(&no), bare(&yes), bare(&cond))
            }
            Cell::If(cond, yes, no) => {
                let cond = self.cond(cond, s)?;
                let name = self.fresh("t");
                self.line(s, &format!("var {name}: f32;"));
                self.branch(s, &format!("if ({}) {{", bare(&cond)), &name, yes)?;
                self.branch(s, "} else {", &name, no)?;
                self.line(s, "}");
                name
            }
            Cell::Reduce(red, v, lo, hi, body) => {
                let home = self.home(c, s);
                let key = self.key(c, home)?;
                let known = self.find(home, |sc| sc.done.iter().find(|(k, _)| *k == key).map(|(_, n)| n.clone()));
                match known {
                    Some(name) => name,
                    None => {
                        let name = self.reduce(*red, *v, lo, hi, body, home)?;
                        self.scopes[home].done.push((key, name.clone()));
                        name
                    }
                }
            }
        })
    }

    fn branch(&mut self, s: usize, head: &str, name: &str, value: &Cell) -> Result<(), PrintError> {
        self.line(s, head);
        let inner = self.open(Some(s), true);
        let value = self.cell(value, inner)?;
        self.line(inner, &format!("{name} = {};", bare(&value)));
        let code = self.close(inner);
        self.scopes[s].code += &code;
        Ok(())
    }

    fn cond(&mut self, c: &Cond, s: usize) -> Printed {
        let sign = |op: &Cmp| match op {
            Cmp::Lt => "<",
            Cmp::Le => "<=",
            Cmp::Gt => ">",
            Cmp::Ge => ">=",
            Cmp::Eq => "==",
            Cmp::Ne => "!=",
        };
        Ok(match c {
            Cond::Num(op, a, b) => format!("({} {} {})", self.cell(a, s)?, sign(op), self.cell(b, s)?),
            Cond::Idx(op, a, b) => format!("({} {} {})", self.idx(a, s)?, sign(op), self.idx(b, s)?),
            Cond::Finite(x) => {
                let x = self.cell(x, s)?;
                format!("is_finite({})", bare(&x))
            }
            Cond::Not(a) => format!("(!{})", self.cond(a, s)?),
            Cond::And(a, b) | Cond::Or(a, b) => {
                let both = matches!(c, Cond::And(..));
                let a = self.cond(a, s)?;
                // The right side is only evaluated where it decides.
                let inner = self.open(Some(s), true);
                let b = self.cond(b, inner)?;
                let code = self.close(inner);
                if code.is_empty() {
                    return Ok(format!("({a} {} {b})", if both { "&&" } else { "||" }));
                }
                let name = self.fresh("c");
                self.line(s, &format!("var {name} = {};", bare(&a)));
                self.line(s, &if both { format!("if ({name}) {{") } else { format!("if (!{name}) {{") });
                self.scopes[s].code += &code;
                let indent = self.scopes[s].indent;
                self.scopes[s].indent += 1;
                self.line(s, &format!("{name} = {};", bare(&b)));
                self.scopes[s].indent = indent;
                self.line(s, "}");
                name
            }
        })
    }
}
