//! The instructions of a compiled cell, and the sharing of lane registers between values whose
//! lives do not overlap.
//!
//! Four register files: `i` one integer, `s` one number, `g` one integer a lane, `l` one number a
//! lane. A condition is a number, 0 or 1 (an `i` register when it is the same for all lanes).

use crate::kinds::{Bin, Cmp, IdxOp, Red, Un};

/// A number: the same for all lanes, one a lane, or a run of an f32 input read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Val {
    S(u32),
    L(u32),
    /// Input, and the `i` register with the offset of lane 0.
    M(u32, u32),
}

/// An integer: the same for all lanes, `i + stride * lane`, or one a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Int {
    U(u32),
    A(u32, i64),
    G(u32),
}

/// How a bound on the lanes follows from `base + stride * lane >= 0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// `-floor((base + add) / s)`
    Ceil,
    /// `floor((base + add) / s) + 1`
    Floor,
}

/// Partial sums: after every `every` rounds `part` is added to `total` and cleared, so that no
/// chain of additions grows long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flush {
    pub red: Red,
    pub part: Val,
    pub total: Val,
    pub every: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Instr {
    // Integers, first register the destination.
    IConst(u32, i64),
    IOp(u32, IdxOp, u32, u32),
    /// `a + x * k`
    IMulAdd(u32, u32, u32, i64),
    /// `x op 0` as 0 or 1
    ICmp(u32, Cmp, u32),
    ILoad(u32, u32, u32),
    IRand(u32, u32, [u32; 3]),
    IBound {
        dst: u32,
        bound: Bound,
        base: u32,
        add: i64,
        s: i64,
    },
    ISCmp(u32, Cmp, u32, u32),
    ISFinite(u32, u32),
    // Integers a lane.
    GOp(u32, IdxOp, Int, Int),
    GMulAdd(u32, Int, Int, i64),
    GLoad(u32, u32, Int),
    GRand(u32, u32, [Int; 3]),
    // Numbers.
    /// The bits of an f64, so that instructions compare.
    SConst(u32, u64),
    SInt(u32, u32),
    SLoad(u32, u32, u32),
    SUn(u32, Un, u32),
    SBin(u32, Bin, u32, u32),
    SMove(u32, u32),
    SAcc(u32, Red, u32),
    SMulAcc(u32, u32, u32),
    // Numbers a lane.
    LInt(u32, Int),
    LLoad(u32, u32, Int),
    LUn(u32, Un, Val),
    LBin(u32, Bin, Val, Val),
    LCmp(u32, Cmp, Val, Val),
    LCmpInt(u32, Cmp, Int),
    LFinite(u32, Val),
    LSelect(u32, Val, Val, Val),
    /// A copy into the active lanes.
    LMove(u32, Val),
    /// All lanes of the block, active or not.
    LFill(u32, u64),
    LAcc(u32, Red, Val),
    LMulAcc(u32, Val, Val),
    /// The lanes `0..n` of the last register made one number.
    SReduce(u32, Red, u32, u32),
    /// Every (active) lane must lie in `0..dim` along an axis of an input.
    Check {
        input: u32,
        axis: u32,
        dim: i64,
        at: Int,
    },
    // Structure.
    Loop {
        var: u32,
        lo: u32,
        hi: u32,
        flush: Option<Flush>,
        body: Vec<Instr>,
    },
    /// The same with blocks of lanes over the variable; `base` is the value at lane 0.
    LaneLoop {
        base: u32,
        lo: u32,
        hi: u32,
        flush: Option<Flush>,
        body: Vec<Instr>,
    },
    If {
        cond: u32,
        body: Vec<Instr>,
    },
    /// Restricts the lanes to `lo..hi` and to those where the bits are not 0.
    Masked {
        lo: Option<u32>,
        hi: Option<u32>,
        bits: Option<Val>,
        body: Vec<Instr>,
    },
}

/// Which lane file a register belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    L,
    G,
}

impl Instr {
    /// The nested instructions.
    fn body_mut(&mut self) -> Option<&mut Vec<Instr>> {
        match self {
            Instr::Loop { body, .. }
            | Instr::LaneLoop { body, .. }
            | Instr::If { body, .. }
            | Instr::Masked { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Calls `f` for every lane register named here (not in the body); destinations last.
    fn lanes(&mut self, f: &mut dyn FnMut(File, &mut u32)) {
        fn val(v: &mut Val, f: &mut dyn FnMut(File, &mut u32)) {
            if let Val::L(r) = v {
                f(File::L, r);
            }
        }
        fn int(v: &mut Int, f: &mut dyn FnMut(File, &mut u32)) {
            if let Int::G(r) = v {
                f(File::G, r);
            }
        }
        use Instr::*;
        match self {
            GOp(d, _, a, b) | GMulAdd(d, a, b, _) => {
                int(a, f);
                int(b, f);
                f(File::G, d);
            }
            GLoad(d, _, a) => {
                int(a, f);
                f(File::G, d);
            }
            GRand(d, _, parts) => {
                parts.iter_mut().for_each(|p| int(p, f));
                f(File::G, d);
            }
            LInt(d, a) | LLoad(d, _, a) | LCmpInt(d, _, a) => {
                int(a, f);
                f(File::L, d);
            }
            LUn(d, _, a) | LFinite(d, a) | LMove(d, a) | LAcc(d, _, a) => {
                val(a, f);
                f(File::L, d);
            }
            LBin(d, _, a, b) | LCmp(d, _, a, b) | LMulAcc(d, a, b) => {
                val(a, f);
                val(b, f);
                f(File::L, d);
            }
            LSelect(d, m, a, b) => {
                val(m, f);
                val(a, f);
                val(b, f);
                f(File::L, d);
            }
            LFill(d, _) | SReduce(_, _, d, _) => f(File::L, d),
            Check { at, .. } => int(at, f),
            Loop { flush, .. } | LaneLoop { flush, .. } => {
                if let Some(fl) = flush {
                    val(&mut fl.part, f);
                    val(&mut fl.total, f);
                }
            }
            Masked { bits: Some(b), .. } => val(b, f),
            _ => {}
        }
    }

    fn all_lanes(&mut self, f: &mut dyn FnMut(File, &mut u32)) {
        self.lanes(f);
        if let Some(body) = self.body_mut() {
            body.iter_mut().for_each(|i| i.all_lanes(f));
        }
    }
}

/// Numbers of lane registers after sharing.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneCounts {
    pub l: usize,
    pub g: usize,
}

#[derive(Default)]
struct Pool {
    map: Vec<Option<u32>>,
    free: Vec<u32>,
    made: u32,
}

/// Renumbers the lane registers of a nested program. `pinned` registers (of the `g` file) keep
/// their numbers and are never shared; `keep` lives until the end of the last list.
pub fn allocate(lists: &mut [Vec<Instr>], pinned_g: u32, keep: &mut Val) -> LaneCounts {
    let mut pools = [Pool::default(), Pool::default()];
    pools[File::G as usize].made = pinned_g;
    pools[File::G as usize].map = (0..pinned_g).map(Some).collect();
    // The lists nest by position: values of an earlier list live through the later ones.
    let n = lists.len();
    for k in 0..n {
        let (head, tail) = lists.split_at_mut(k + 1);
        let mut later: Vec<(File, u32)> = vec![];
        for list in tail {
            list.iter_mut().for_each(|i| i.all_lanes(&mut |file, r| later.push((file, *r))));
        }
        if let Val::L(r) = keep {
            later.push((File::L, *r));
        }
        if let Some(list) = head.last_mut() {
            allocate_list(list, &mut pools, &later);
        }
    }
    if let Val::L(r) = keep {
        *r = pools[0].map.get(*r as usize).copied().flatten().unwrap_or(0);
    }
    LaneCounts { l: pools[0].made as usize, g: pools[1].made as usize }
}

fn allocate_list(list: &mut [Instr], pools: &mut [Pool; 2], later: &[(File, u32)]) {
    // Last position of every register that first appears in this list.
    let mut last: Vec<(File, u32, usize)> = vec![];
    for (at, instr) in list.iter_mut().enumerate() {
        instr.all_lanes(&mut |file, r| {
            let known = pools[file as usize].map.get(*r as usize).copied().flatten().is_some();
            if !known {
                match last.iter_mut().find(|(f, x, _)| *f == file && x == r) {
                    Some(entry) => entry.2 = at,
                    None => last.push((file, *r, at)),
                }
            }
        });
    }
    for (at, instr) in list.iter_mut().enumerate() {
        // Only registers whose first appearance is in this list itself are made here; those that
        // live inside a nested body are made (and freed) by the recursion.
        instr.lanes(&mut |file, r| *r = pools[file as usize].get(*r));
        if let Some(body) = instr.body_mut() {
            allocate_list(body, pools, later);
        }
        for (file, r, end) in &last {
            if *end == at && !later.contains(&(*file, *r)) {
                pools[*file as usize].release(*r);
            }
        }
    }
}

impl Pool {
    fn get(&mut self, r: u32) -> u32 {
        let at = r as usize;
        if self.map.len() <= at {
            self.map.resize(at + 1, None);
        }
        *self.map[at].get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.made += 1;
                self.made - 1
            })
        })
    }

    fn release(&mut self, r: u32) {
        if let Some(Some(slot)) = self.map.get(r as usize).copied() {
            self.map[r as usize] = None;
            self.free.push(slot);
        }
    }
}
