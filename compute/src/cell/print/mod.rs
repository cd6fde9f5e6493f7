//! Prints a definition for the reader: one line of plain text, or MathML. One walk over the cell,
//! two [`Style`]s; nothing is written per op.

mod mathml;
mod text;

pub use mathml::MathMl;
pub use text::Text;

use super::{Bin, Cell, Cmp, Cond, Idx, IdxOp, Red, Un, Var};

/// What the inputs and axes are called.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub inputs: Vec<String>,
    pub axes: Vec<String>,
}

impl Names {
    pub fn new(inputs: &[&str], axes: &[&str], rank: usize) -> Names {
        const SPARE: [&str; 8] = ["p", "q", "r", "s", "t", "u", "v", "z"];
        let mut names: Vec<String> = axes.iter().map(|s| (*s).to_string()).collect();
        if names.is_empty() {
            // A matrix reads as rows and columns; higher ranks get letters.
            let usual: &[&str] = match rank {
                1 => &["n"],
                2 => &["m", "n"],
                3 => &["b", "m", "n"],
                4 => &["b", "c", "h", "w"],
                _ => &SPARE,
            };
            names = (0..rank).map(|k| usual.get(k).map_or_else(|| format!("i{k}"), |s| (*s).to_string())).collect();
        }
        Names { inputs: inputs.iter().map(|s| (*s).to_string()).collect(), axes: names }
    }

    fn input(&self, i: usize) -> String {
        self.inputs.get(i).cloned().unwrap_or_else(|| format!("in{i}"))
    }

    fn axis(&self, k: usize) -> String {
        self.axes.get(k).cloned().unwrap_or_else(|| format!("i{k}"))
    }
}

/// How a piece binds: higher binds tighter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Sum,
    Product,
    Power,
    Atom,
}

/// Pieces of notation. Strings in, strings out.
pub trait Style {
    fn number(&self, v: f64) -> String;
    fn name(&self, s: &str) -> String;
    fn operator(&self, a: String, symbol: &str, b: String) -> String;
    fn negative(&self, a: String) -> String;
    fn parens(&self, a: String) -> String;
    fn fraction(&self, a: String, b: String) -> String;
    fn power(&self, a: String, b: String) -> String;
    fn root(&self, a: String) -> String;
    fn absolute(&self, a: String) -> String;
    fn floor(&self, a: String) -> String;
    fn call(&self, f: &str, args: Vec<String>) -> String;
    fn element(&self, tensor: &str, index: Vec<String>) -> String;
    fn reduction(&self, red: Red, var: String, lo: String, last: String, body: String) -> String;
    fn cases(&self, yes: String, cond: String, no: String) -> String;
    fn binding(&self, name: String, value: String, body: String) -> String;
    fn equation(&self, left: String, right: String) -> String;
    /// Whether a fraction needs no parentheses around its parts.
    fn fraction_is_atom(&self) -> bool;
}

/// `y[axes] = definition`.
pub fn equation(style: &dyn Style, output: &str, cell: &Cell, names: &Names, rank: usize) -> String {
    let p = Printer { style, names };
    let index = (0..rank).map(|k| style.name(&names.axis(k))).collect();
    style.equation(style.element(output, index), p.cell(cell).0)
}

/// The definition alone.
pub fn expression(style: &dyn Style, cell: &Cell, names: &Names) -> String {
    Printer { style, names }.cell(cell).0
}

struct Printer<'a> {
    style: &'a dyn Style,
    names: &'a Names,
}

impl Printer<'_> {
    fn at_least(&self, level: Level, (text, has): (String, Level)) -> String {
        if has < level { self.style.parens(text) } else { text }
    }

    fn var(&self, v: Var) -> String {
        self.style.name(v.0)
    }

    fn cell(&self, cell: &Cell) -> (String, Level) {
        let s = self.style;
        match cell {
            Cell::Const(v) => (s.number(*v), if *v < 0.0 { Level::Sum } else { Level::Atom }),
            Cell::Int(i) => self.idx(i),
            Cell::Load(input, ix) => {
                (s.element(&self.names.input(*input), ix.iter().map(|i| self.idx(i).0).collect()), Level::Atom)
            }
            Cell::Local(v) => (self.var(*v), Level::Atom),
            Cell::Let(v, value, body) => (s.binding(self.var(*v), self.cell(value).0, self.cell(body).0), Level::Sum),
            Cell::Un(op, x) => self.unary(*op, x),
            Cell::Bin(op, a, b) => self.binary(*op, a, b),
            Cell::If(c, yes, no) => (s.cases(self.cell(yes).0, self.cond(c), self.cell(no).0), Level::Atom),
            Cell::Reduce(red, v, lo, hi, body) => {
                let last = hi.clone() - 1;
                let body = self.at_least(Level::Product, self.cell(body));
                (s.reduction(*red, self.var(*v), self.idx(lo).0, self.idx(&last).0, body), Level::Product)
            }
        }
    }

    fn unary(&self, op: Un, x: &Cell) -> (String, Level) {
        let s = self.style;
        let inner = || self.cell(x).0;
        match op {
            Un::Neg => (s.negative(self.at_least(Level::Product, self.cell(x))), Level::Sum),
            Un::Exp => (s.call("exp", vec![inner()]), Level::Atom),
            Un::Log => (s.call("log", vec![inner()]), Level::Atom),
            Un::Tanh => (s.call("tanh", vec![inner()]), Level::Atom),
            Un::Erf => (s.call("erf", vec![inner()]), Level::Atom),
            Un::Sqrt => (s.root(inner()), Level::Atom),
            Un::Abs => (s.absolute(inner()), Level::Atom),
            Un::Floor => (s.floor(inner()), Level::Atom),
            Un::Half => (s.call("half", vec![inner()]), Level::Atom),
        }
    }

    fn binary(&self, op: Bin, a: &Cell, b: &Cell) -> (String, Level) {
        let s = self.style;
        let (pa, pb) = (self.cell(a), self.cell(b));
        let tight = |p| self.at_least(Level::Power, p);
        match op {
            Bin::Add => (s.operator(pa.0, "+", pb.0), Level::Sum),
            Bin::Sub => (s.operator(pa.0, "−", self.at_least(Level::Product, pb)), Level::Sum),
            Bin::Mul => {
                (s.operator(self.at_least(Level::Product, pa), "·", self.at_least(Level::Product, pb)), Level::Product)
            }
            Bin::Div if s.fraction_is_atom() => (s.fraction(pa.0, pb.0), Level::Atom),
            Bin::Div => (s.fraction(self.at_least(Level::Product, pa), tight(pb)), Level::Product),
            Bin::Pow => (s.power(self.at_least(Level::Atom, pa), self.at_least(Level::Atom, pb)), Level::Power),
            Bin::Min => (s.call("min", vec![pa.0, pb.0]), Level::Atom),
            Bin::Max => (s.call("max", vec![pa.0, pb.0]), Level::Atom),
        }
    }

    fn idx(&self, i: &Idx) -> (String, Level) {
        let s = self.style;
        match i {
            Idx::Axis(k) => (s.name(&self.names.axis(*k)), Level::Atom),
            Idx::Var(v) => (self.var(*v), Level::Atom),
            Idx::Const(c) => (s.number(*c as f64), if *c < 0 { Level::Sum } else { Level::Atom }),
            Idx::Load(input, ix) => {
                (s.element(&self.names.input(*input), ix.iter().map(|i| self.idx(i).0).collect()), Level::Atom)
            }
            Idx::Rand(r) => {
                let parts = [&r.seed, &r.step, &r.counter].map(|i| self.idx(i).0);
                (s.call("random", parts.to_vec()), Level::Atom)
            }
            Idx::Bin(op, a, b) => {
                let (pa, pb) = (self.idx(a), self.idx(b));
                match op {
                    IdxOp::Add => (s.operator(pa.0, "+", pb.0), Level::Sum),
                    IdxOp::Sub => (s.operator(pa.0, "−", self.at_least(Level::Product, pb)), Level::Sum),
                    IdxOp::Mul => (
                        s.operator(self.at_least(Level::Product, pa), "·", self.at_least(Level::Product, pb)),
                        Level::Product,
                    ),
                    IdxOp::Div => {
                        let (a, b) = (self.at_least(Level::Product, pa), self.at_least(Level::Power, pb));
                        (s.floor(s.operator(a, "/", b)), Level::Atom)
                    }
                    IdxOp::Mod => (
                        s.operator(self.at_least(Level::Power, pa), " mod ", self.at_least(Level::Power, pb)),
                        Level::Sum,
                    ),
                    IdxOp::Min => (s.call("min", vec![pa.0, pb.0]), Level::Atom),
                    IdxOp::Max => (s.call("max", vec![pa.0, pb.0]), Level::Atom),
                }
            }
        }
    }

    fn cond(&self, c: &Cond) -> String {
        let s = self.style;
        let compare = |op: &Cmp, a: String, b: String| {
            let symbol = match op {
                Cmp::Lt => "<",
                Cmp::Le => "≤",
                Cmp::Gt => ">",
                Cmp::Ge => "≥",
                Cmp::Eq => "=",
                Cmp::Ne => "≠",
            };
            s.operator(a, symbol, b)
        };
        match c {
            Cond::Num(op, a, b) => compare(op, self.cell(a).0, self.cell(b).0),
            Cond::Idx(op, a, b) => compare(op, self.idx(a).0, self.idx(b).0),
            Cond::Finite(x) => s.call("finite", vec![self.cell(x).0]),
            Cond::And(a, b) => s.operator(self.cond(a), " and ", self.cond(b)),
            Cond::Or(a, b) => s.operator(self.cond(a), " or ", self.cond(b)),
            Cond::Not(a) => s.call("not", vec![self.cond(a)]),
        }
    }
}
