//! Interval analysis of index expressions: which are certain not to be negative, and how long a
//! reduction can be. Bounds are inclusive; `None` means unknown.

use crate::cell::{Idx, IdxOp, Var};
use crate::tensor::DType;

use super::Read;

/// Lowest and highest value.
pub type Range = (i64, i64);

/// What is known about the names in an expression.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub axes: Vec<Range>,
    /// Innermost last.
    pub vars: Vec<(Var, Option<Range>)>,
}

impl Known {
    /// The bounds of `i`.
    pub fn range(&self, i: &Idx, reads: &[Read]) -> Option<Range> {
        match i {
            Idx::Axis(k) => self.axes.get(*k).copied(),
            Idx::Var(v) => self.vars.iter().rev().find(|(w, _)| w == v).and_then(|(_, r)| *r),
            Idx::Const(c) => Some((*c, *c)),
            Idx::Bin(op, a, b) => combine(*op, self.range(a, reads), self.range(b, reads)),
            // A label or counter past 2^31 would not be a valid index.
            Idx::Load(input, _) => match reads.get(*input)?.dtype {
                DType::U8 => Some((0, 255)),
                DType::U32 => Some((0, i32::MAX.into())),
                DType::F32 | DType::F16 => None,
            },
            Idx::Rand(_) => Some((0, (1 << 24) - 1)),
        }
    }

    /// Whether `i` is certainly 0 or more.
    pub fn natural(&self, i: &Idx, reads: &[Read]) -> bool {
        self.range(i, reads).is_some_and(|r| r.0 >= 0)
    }
}

fn combine(op: IdxOp, a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (op, a, b) {
        // Half known is enough for these.
        (IdxOp::Mod, _, Some((lo, hi))) if lo > 0 => match a {
            Some((0.., top)) => Some((0, top.min(hi - 1))),
            _ => Some((0, hi - 1)),
        },
        (IdxOp::Max, Some((lo, _)), None) | (IdxOp::Max, None, Some((lo, _))) => Some((lo, i64::from(i32::MAX))),
        (_, Some((al, ah)), Some((bl, bh))) => {
            let corners = |f: fn(i64, i64) -> Option<i64>| {
                let all = [f(al, bl)?, f(al, bh)?, f(ah, bl)?, f(ah, bh)?];
                Some((*all.iter().min()?, *all.iter().max()?))
            };
            match op {
                IdxOp::Add => Some((al.checked_add(bl)?, ah.checked_add(bh)?)),
                IdxOp::Sub => Some((al.checked_sub(bh)?, ah.checked_sub(bl)?)),
                IdxOp::Mul => corners(i64::checked_mul),
                IdxOp::Div if bl > 0 => corners(|x, y| Some(x.div_euclid(y))),
                IdxOp::Min => Some((al.min(bl), ah.min(bh))),
                IdxOp::Max => Some((al.max(bl), ah.max(bh))),
                IdxOp::Div | IdxOp::Mod => None,
            }
        }
        _ => None,
    }
}
