//! Compiling indices: linear forms to integer registers, offsets of loads and their checks.

use super::compile::{Compiler, Over};
use super::lin::{Along, Atom, Lin};
use crate::cell::{IdxOp, Var};
use crate::sorting::sorted;
use lanes::instr::{Instr, Int};

impl Compiler<'_> {
    /// A constant.
    pub(super) fn int_const(&mut self, c: i64) -> u32 {
        self.emit(0, false, Self::new_i, |d| Instr::IConst(d, c)).0
    }

    /// Compiles a form; also the scope it belongs to and whether computing it may fail.
    pub(super) fn int(&mut self, l: &Lin) -> Result<(Int, usize, bool), String> {
        let mut uniform = vec![];
        let mut affine = vec![];
        let mut general = vec![];
        let mut risky_any = false;
        let tile = self.tile();
        if let Some((t, lane)) = tile {
            match self.lins.along(l, t) {
                Along::None => {}
                // The register of the rows holds the place in all of them.
                Along::Flat(k) => affine.push((self.axis_depth, t.row as u32, 1, k)),
                Along::Row(k) => {
                    let (place, n) = (Int::A(lane.base, 1), Int::U(self.int_const(t.length)));
                    let (g, depth) =
                        self.emit(lane.depth, false, Self::new_g, |dst| Instr::GOp(dst, IdxOp::Mod, place, n));
                    general.push((depth, Int::G(g), k));
                }
                Along::Else => return Err("a form that no tile has".into()),
            }
        }
        for (a, k) in &l.terms {
            if let (Atom::Axis(x), Some((t, _))) = (a, tile)
                && [t.row, t.lane].contains(&self.lins.group(*x))
            {
                continue;
            }
            // The last of a group carries the flat position of them all.
            if !self.lins.carries(a) {
                continue;
            }
            let (at, depth, risky) = self.atom(a)?;
            risky_any |= risky;
            match at {
                Int::U(r) => uniform.push((depth, r, *k)),
                Int::A(r, s) => affine.push((depth, r, s, *k)),
                Int::G(_) => general.push((depth, at, *k)),
            }
        }
        // Outer terms first: each partial sum is then computed as far out as it can be.
        let uniform = sorted(uniform, |a, b| a.0.cmp(&b.0));
        let (mut sum, mut depth) = (None, 0);
        if l.c != 0 || (uniform.is_empty() && affine.is_empty()) {
            sum = Some(self.int_const(l.c));
        }
        let mut stride = 0i64;
        let affine_terms: Vec<(usize, u32, i64)> = affine.iter().map(|&(d, r, _, k)| (d, r, k)).collect();
        for &(_, _, s, k) in &affine {
            stride = stride.wrapping_add(s.wrapping_mul(k));
        }
        for (d, r, k) in uniform.into_iter().chain(affine_terms) {
            depth = depth.max(d);
            sum = Some(match sum {
                None if k == 1 => r,
                _ => {
                    let a = match sum {
                        Some(a) => a,
                        None => self.int_const(0),
                    };
                    self.emit(depth, risky_any, Self::new_i, |dst| Instr::IMulAdd(dst, a, r, k)).0
                }
            });
        }
        let base = match sum {
            Some(r) => r,
            None => self.int_const(0),
        };
        let mut out = if stride != 0 { Int::A(base, stride) } else { Int::U(base) };
        for (d, g, k) in general {
            depth = depth.max(d);
            let (r, _) = self.emit(depth, risky_any, Self::new_g, |dst| Instr::GMulAdd(dst, out, g, k));
            out = Int::G(r);
        }
        Ok((out, depth, risky_any))
    }

    fn atom(&mut self, a: &Atom) -> Result<(Int, usize, bool), String> {
        Ok(match a {
            Atom::Axis(k) => match self.lane {
                Some(l) if l.over == Over::Axis(*k) => (Int::A(l.base, 1), l.depth, false),
                Some(l) if l.over == Over::All => (Int::G(*k as u32), l.depth, false),
                _ => (Int::U(*k as u32), self.axis_depth, false),
            },
            Atom::Var(v) => self.variable(*v)?,
            Atom::Op(op, x, y) => {
                let risky = matches!(op, IdxOp::Div | IdxOp::Mod) && self.lins.interval(y).0 <= 0;
                let ((x, dx, rx), (y, dy, ry)) = (self.int(x)?, self.int(y)?);
                let (depth, risky) = (dx.max(dy), risky | rx | ry);
                match (x, y) {
                    (Int::U(p), Int::U(q)) => {
                        let (r, d) = self.emit(depth, risky, Self::new_i, |dst| Instr::IOp(dst, *op, p, q));
                        (Int::U(r), d, risky)
                    }
                    _ => {
                        let (r, d) = self.emit(depth, risky, Self::new_g, |dst| Instr::GOp(dst, *op, x, y));
                        (Int::G(r), d, risky)
                    }
                }
            }
            Atom::Load(input, ix) => {
                let (at, depth, risky) = self.offset(*input, ix)?;
                let input = *input as u32;
                match at {
                    Int::U(p) => {
                        let (r, d) = self.emit(depth, risky, Self::new_i, |dst| Instr::ILoad(dst, input, p));
                        (Int::U(r), d, risky)
                    }
                    _ => {
                        let (r, d) = self.emit(depth, risky, Self::new_g, |dst| Instr::GLoad(dst, input, at));
                        (Int::G(r), d, risky)
                    }
                }
            }
            Atom::Rand(key, parts) => {
                let mut at = [Int::U(0); 3];
                let (mut depth, mut risky) = (0, false);
                for (slot, part) in at.iter_mut().zip(&**parts) {
                    let (v, d, r) = self.int(part)?;
                    *slot = v;
                    depth = depth.max(d);
                    risky |= r;
                }
                match at {
                    [Int::U(a), Int::U(b), Int::U(c)] => {
                        let (r, d) = self.emit(depth, risky, Self::new_i, |dst| Instr::IRand(dst, *key, [a, b, c]));
                        (Int::U(r), d, risky)
                    }
                    _ => {
                        let (r, d) = self.emit(depth, risky, Self::new_g, |dst| Instr::GRand(dst, *key, at));
                        (Int::G(r), d, risky)
                    }
                }
            }
        })
    }

    fn variable(&self, v: Var) -> Result<(Int, usize, bool), String> {
        if let Some(l) = self.lane
            && l.over == Over::Var(v)
        {
            return Ok((Int::A(l.base, 1), l.depth, false));
        }
        let (r, depth) = self.vars.get(&v).ok_or_else(|| format!("index {} is not bound", v.0))?;
        Ok((Int::U(*r), *depth, false))
    }

    /// Whether `l >= 0` here, from its interval or from the conditions around.
    fn not_negative(&self, l: &Lin) -> Result<(), bool> {
        if self.lins.interval(l).0 >= 0 {
            return Ok(());
        }
        let known = self.facts.iter().any(|(_, f)| self.lins.interval(&l.clone().plus(f, -1)).0 >= 0);
        Err(known)
    }

    /// The flat offset of a load, checked along every axis where nothing proves it inside. The
    /// flag says that it must stay where it is.
    pub(super) fn offset(&mut self, input: usize, ix: &[Lin]) -> Result<(Int, usize, bool), String> {
        let shape = self.lins.inputs.get(input).ok_or_else(|| format!("there is no input {input}"))?.shape.clone();
        if shape.len() != ix.len() {
            return Err(format!("input {input} has {} axes, the load gives {}", shape.len(), ix.len()));
        }
        let mut pinned = false;
        let mut low = 0;
        for (axis, (l, &d)) in ix.iter().zip(&shape).enumerate() {
            let dim = d as i64;
            let room = Lin::constant(dim - 1).plus(l, -1);
            let sides = [self.not_negative(l), self.not_negative(&room)];
            pinned |= sides.iter().any(|s| s.is_err());
            if sides.contains(&Err(false)) {
                let (at, depth, _) = self.int(l)?;
                let input = input as u32;
                let check = Instr::Check { input, axis: axis as u32, dim, at };
                let to = self.place(depth, true);
                if !self.scopes[to].list.contains(&check) {
                    self.scopes[to].list.push(check);
                }
                low = low.max(to);
            }
        }
        let (at, depth, risky) = self.int(&self.lins.offset(input, ix))?;
        Ok((at, depth.max(low), risky | pinned))
    }
}
