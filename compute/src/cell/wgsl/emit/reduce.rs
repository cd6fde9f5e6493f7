//! Reductions: where they may be computed, which are the same, and their loops (tiled, unrolled,
//! counted).

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Emitter, Printed, bare, number};
use crate::cell::wgsl::range::Range;
use crate::cell::wgsl::{CHAIN, PrintError, free};
use crate::cell::{Cell, Idx, Red, Var};

impl Emitter<'_> {
    /// The outermost scope a reduction may move to.
    pub(super) fn home(&self, c: &Cell, s: usize) -> usize {
        let mut free = BTreeSet::new();
        free::cell(c, &mut vec![], &mut free);
        let mut at = s;
        while let Some(parent) = self.scopes[at].parent {
            let scope = &self.scopes[at];
            let bound =
                scope.ints.iter().any(|(v, ..)| free.contains(v)) || scope.nums.iter().any(|(v, _)| free.contains(v));
            if scope.lazy || bound {
                break;
            }
            at = parent;
        }
        at
    }

    /// A text that two reductions share exactly when they have the same value in this scope.
    pub(super) fn key(&self, c: &Cell, s: usize) -> Printed {
        let mut key = String::new();
        let mut free = BTreeSet::new();
        free::cell(c, &mut vec![], &mut free);
        for v in free {
            let name = self.int_name(v, s).or_else(|_| self.num_name(v, s))?;
            let _ = write!(key, "{}.{}={name};", v.0, v.1);
        }
        free::canonical(c, &mut vec![], &mut key);
        Ok(key)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one Reduce form, used once")]
    pub(super) fn reduce(&mut self, red: Red, v: Var, lo: &Idx, hi: &Idx, body: &Cell, s: usize) -> Printed {
        let known = self.known(s);
        let (from, to) = (known.range(lo, self.reads), known.range(hi, self.reads));
        let longest = from.zip(to).map_or(i64::from(i32::MAX), |(f, t)| (t.1 - f.0).max(0));
        let (lo, hi) = (self.idx(lo, s)?, self.idx(hi, s)?);
        // Tiles of a long sum, outermost first: 1,024^2, 1,024.
        let mut tiles = vec![];
        let mut step = CHAIN;
        while red == Red::Sum && longest > step && tiles.len() < 2 {
            tiles.insert(0, step);
            step *= CHAIN;
        }
        let stem = match red {
            Red::Sum => "sum",
            Red::Max => "top",
            Red::Min => "low",
        };
        let total = self.fresh(stem);
        self.line(s, &format!("var {total} = {};", number(red.identity())));
        let range = from.zip(to).map(|(f, t)| (f.0, (t.1 - 1).max(f.0)));
        let start = match (from, to) {
            (Some((a, b)), Some((c, d))) if a == b && c == d => Some(a),
            _ => None,
        };
        self.loops(&Loop { red, v, body, range, longest, start }, (&lo, &hi), &tiles, &total, s)?;
        Ok(total)
    }

    fn loops(
        &mut self,
        l: &Loop,
        (lo, hi): (&str, &str),
        tiles: &[i64],
        total: &str,
        s: usize,
    ) -> Result<(), PrintError> {
        let name = self.fresh(l.v.0);
        let inner = self.open(Some(s), false);
        if let [step, rest @ ..] = tiles {
            self.count(l.longest / step + 1, s);
            let part = self.fresh("part");
            self.line(inner, &format!("var {part} = 0.0f;"));
            let stop = format!("min({name} + {step}, {hi})");
            self.loops(l, (&name, &stop), rest, &part, inner)?;
            self.line(inner, &format!("{total} += {part};"));
            // The head comes last: what the body needs from outside is by now before it.
            self.line(s, &format!("for (var {name} = {lo}; {name} < {hi}; {name} += {step}) {{"));
        } else {
            // Long loops take several steps a turn: some devices stop after 65,535 turns.
            let unroll = if l.longest > 4 * CHAIN { UNROLL } else { 1 };
            self.inner += 1;
            let before = self.inner;
            let times = self.scopes[s].times;
            self.scopes[inner].times = times.saturating_mul(u64::try_from(l.longest).unwrap_or(0).max(1));
            let mut index = name.clone();
            let short = l.start.filter(|_| self.flat && l.longest <= SHORT);
            if unroll > 1 || short.is_some() {
                index = self.fresh(l.v.0);
                self.scopes[inner].indent += 1;
            }
            self.scopes[inner].ints.push((l.v, index.clone(), l.range));
            let value = self.cell(l.body, inner)?;
            let value = bare(&value);
            let step = match l.red {
                Red::Sum => format!("{total} += {value};"),
                Red::Max => format!("{total} = max_of({total}, {value});"),
                Red::Min => format!("{total} = min_of({total}, {value});"),
            };
            self.line(inner, &step);
            if let (Some(start), true) = (short, self.inner == before) {
                let body = self.close(inner);
                for k in start..start + l.longest {
                    self.line(s, "{");
                    self.scopes[inner].indent = self.scopes[s].indent + 1;
                    self.line(inner, &format!("let {index} = {k};"));
                    let head = self.close(inner);
                    self.scopes[s].code += &(head + &body);
                    self.line(s, "}");
                }
                return Ok(());
            }
            self.count(l.longest / unroll + 1, s);
            if unroll == 1 && short.is_some() {
                self.line(s, &format!("for (var {name} = {lo}; {name} < {hi}; {name}++) {{"));
                let body = self.close(inner);
                self.scopes[inner].indent = self.scopes[s].indent + 1;
                self.line(inner, &format!("let {index} = {name};"));
                self.scopes[inner].code += &body;
            } else if unroll == 1 {
                self.line(s, &format!("for (var {name} = {lo}; {name} < {hi}; {name}++) {{"));
            } else {
                self.line(s, &format!("for (var {name} = {lo}; {name} < {hi}; {name} += {unroll}) {{"));
                let body = self.close(inner);
                let pad = "    ".repeat(self.scopes[s].indent + 1);
                for k in 0..unroll {
                    let head = format!("{pad}if ({name} + {k} < {hi}) {{\n{pad}    let {index} = {name} + {k};\n");
                    self.scopes[inner].code += &format!("{head}{body}{pad}}}\n");
                }
            }
        }
        let code = self.close(inner);
        self.scopes[s].code += &code;
        self.line(s, "}");
        Ok(())
    }

    /// Notes a loop of that many turns in a scope.
    fn count(&mut self, turns: i64, s: usize) {
        let turns = u64::try_from(turns).unwrap_or(0);
        self.turns = self.turns.saturating_add(self.scopes[s].times.saturating_mul(turns));
    }
}

/// The longest loop that flat code writes out.
const SHORT: i64 = 8;

/// Steps a turn of a long loop.
const UNROLL: i64 = 16;

/// A reduction on its way into loops.
struct Loop<'c> {
    red: Red,
    v: Var,
    body: &'c Cell,
    range: Option<Range>,
    /// The most terms it can have.
    longest: i64,
    /// Its first index, if both bounds are constants.
    start: Option<i64>,
}
