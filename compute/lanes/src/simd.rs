//! Loops over lanes, compiled three times on x86-64: for every machine, for AVX2 and for AVX-512. All give
//! the same bits: no multiply and add is ever contracted here.

use crate::Float;
use crate::kinds::{Bin, Cmp, Red, Un};
#[cfg(target_arch = "x86_64")]
use crate::machine::{Machine, machine};

/// The place of what was not found yet.
pub const NOWHERE: u32 = u32::MAX;

/// An operand of a lane loop.
#[derive(Clone, Copy)]
pub enum Src<'a, T> {
    S(T),
    V(&'a [T]),
}

#[inline(always)]
fn map1<T: Float>(d: &mut [T], a: Src<T>, f: impl Fn(T) -> T) {
    match a {
        Src::S(x) => d.fill(f(x)),
        Src::V(a) => d.iter_mut().zip(a).for_each(|(d, &x)| *d = f(x)),
    }
}

#[inline(always)]
fn map2<T: Float>(d: &mut [T], a: Src<T>, b: Src<T>, f: impl Fn(T, T) -> T) {
    match (a, b) {
        (Src::S(x), Src::S(y)) => d.fill(f(x, y)),
        (Src::V(a), Src::S(y)) => d.iter_mut().zip(a).for_each(|(d, &x)| *d = f(x, y)),
        (Src::S(x), Src::V(b)) => d.iter_mut().zip(b).for_each(|(d, &y)| *d = f(x, y)),
        (Src::V(a), Src::V(b)) => d.iter_mut().zip(a).zip(b).for_each(|((d, &x), &y)| *d = f(x, y)),
    }
}

#[inline(always)]
fn fold1<T: Float>(d: &mut [T], a: Src<T>, f: impl Fn(T, T) -> T) {
    match a {
        Src::S(x) => d.iter_mut().for_each(|d| *d = f(*d, x)),
        Src::V(a) => d.iter_mut().zip(a).for_each(|(d, &x)| *d = f(*d, x)),
    }
}

#[inline(always)]
fn unary_body<T: Float>(op: Un, d: &mut [T], a: Src<T>) {
    match op {
        Un::Neg => map1(d, a, |x| -x),
        Un::Exp => map1(d, a, T::exp),
        Un::Log => map1(d, a, T::ln),
        Un::Sqrt => map1(d, a, T::sqrt),
        Un::Tanh => map1(d, a, T::tanh),
        Un::Erf => map1(d, a, T::erf),
        Un::Abs => map1(d, a, T::abs),
        Un::Floor => map1(d, a, T::floor),
        Un::Half => map1(d, a, T::half),
    }
}

#[inline(always)]
fn binary_body<T: Float>(op: Bin, d: &mut [T], a: Src<T>, b: Src<T>) {
    match op {
        Bin::Add => map2(d, a, b, |x, y| x + y),
        Bin::Sub => map2(d, a, b, |x, y| x - y),
        Bin::Mul => map2(d, a, b, |x, y| x * y),
        Bin::Div => map2(d, a, b, |x, y| x / y),
        Bin::Pow => map2(d, a, b, T::powf),
        Bin::Min => map2(d, a, b, |x, y| if y < x { y } else { x }),
        Bin::Max => map2(d, a, b, |x, y| if y > x { y } else { x }),
    }
}

#[inline(always)]
fn compare_body<T: Float>(op: Cmp, d: &mut [T], a: Src<T>, b: Src<T>) {
    let pick = |c: bool| if c { T::ONE } else { T::ZERO };
    match op {
        Cmp::Lt => map2(d, a, b, |x, y| pick(x < y)),
        Cmp::Le => map2(d, a, b, |x, y| pick(x <= y)),
        Cmp::Gt => map2(d, a, b, |x, y| pick(x > y)),
        Cmp::Ge => map2(d, a, b, |x, y| pick(x >= y)),
        Cmp::Eq => map2(d, a, b, |x, y| pick(x == y)),
        Cmp::Ne => map2(d, a, b, |x, y| pick(x != y)),
    }
}

#[inline(always)]
fn fold_body<T: Float>(red: Red, d: &mut [T], a: Src<T>) {
    match red {
        Red::Sum => fold1(d, a, |x, y| x + y),
        Red::Max => fold1(d, a, |x, y| if y > x { y } else { x }),
        Red::Min => fold1(d, a, |x, y| if y < x { y } else { x }),
    }
}

#[inline(always)]
fn mul_acc_body<T: Float>(d: &mut [T], a: Src<T>, b: Src<T>) {
    match (a, b) {
        (Src::S(x), Src::S(y)) => d.iter_mut().for_each(|d| *d = *d + x * y),
        (Src::V(a), Src::S(y)) => d.iter_mut().zip(a).for_each(|(d, &x)| *d = *d + x * y),
        (Src::S(x), Src::V(b)) => d.iter_mut().zip(b).for_each(|(d, &y)| *d = *d + x * y),
        (Src::V(a), Src::V(b)) => d.iter_mut().zip(a).zip(b).for_each(|((d, &x), &y)| *d = *d + x * y),
    }
}

#[inline(always)]
fn keep_larger_body<T: Float>(best: &mut [T], place: &mut [u32], x: &[T], step: usize, first: u32) {
    #[inline(always)]
    fn go<'a, T: Float>(best: &mut [T], place: &mut [u32], x: impl Iterator<Item = &'a T>, step: u32, first: u32) {
        let mut at = first;
        for ((b, p), &x) in best.iter_mut().zip(place).zip(x) {
            let take = (x > *b) | ((*p == NOWHERE) & (x == *b));
            *b = if take { x } else { *b };
            *p = if take { at } else { *p };
            at = at.wrapping_add(step);
        }
    }
    match step {
        1 => go(best, place, x.iter(), 1, first),
        2 => {
            let (pairs, rest) = x.as_chunks::<2>();
            let n = pairs.len().min(best.len());
            go(&mut best[..n], &mut place[..n], pairs.iter().map(|p| &p[0]), 2, first);
            go(&mut best[n..], &mut place[n..], rest.iter(), 2, first + 2 * n as u32);
        }
        _ => go(best, place, x.iter().step_by(step), step as u32, first),
    }
}

#[inline(always)]
fn select_body<T: Float>(d: &mut [T], m: &[T], a: Src<T>, b: Src<T>) {
    #[inline(always)]
    fn go<T: Float>(d: &mut [T], m: &[T], a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) {
        for (((d, &m), x), y) in d.iter_mut().zip(m).zip(a).zip(b) {
            *d = if m != T::ZERO { x } else { y };
        }
    }
    use std::iter::repeat;
    match (a, b) {
        (Src::S(x), Src::S(y)) => go(d, m, repeat(x), repeat(y)),
        (Src::V(a), Src::S(y)) => go(d, m, a.iter().copied(), repeat(y)),
        (Src::S(x), Src::V(b)) => go(d, m, repeat(x), b.iter().copied()),
        (Src::V(a), Src::V(b)) => go(d, m, a.iter().copied(), b.iter().copied()),
    }
}

/// A public function in three versions.
macro_rules! versions {
    ($($(#[$doc:meta])* $name:ident $avx2:ident $avx512:ident $body:ident ($($arg:ident: $ty:ty),*);)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn $avx2<T: Float>($($arg: $ty),*) {
            $body($($arg),*);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
        fn $avx512<T: Float>($($arg: $ty),*) {
            $body($($arg),*);
        }

        $(#[$doc])*
        pub fn $name<T: Float>($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            match machine() {
                // SAFETY: the machine has what the function asks for.
                Machine::Avx512 => return unsafe { $avx512($($arg),*) },
                // SAFETY: as above.
                Machine::Avx2 => return unsafe { $avx2($($arg),*) },
                Machine::Any => {}
            }
            $body($($arg),*);
        }
    )*};
}

versions! {
    /// `d = op a`
    unary unary_avx2 unary_avx512 unary_body(op: Un, d: &mut [T], a: Src<T>);
    /// `d = a op b`
    binary binary_avx2 binary_avx512 binary_body(op: Bin, d: &mut [T], a: Src<T>, b: Src<T>);
    /// `d = a op b` as 0 or 1
    compare compare_avx2 compare_avx512 compare_body(op: Cmp, d: &mut [T], a: Src<T>, b: Src<T>);
    /// `d = d red a`
    fold fold_avx2 fold_avx512 fold_body(red: Red, d: &mut [T], a: Src<T>);
    /// `d = d + a * b`, rounded twice
    mul_acc mul_acc_avx2 mul_acc_avx512 mul_acc_body(d: &mut [T], a: Src<T>, b: Src<T>);
    /// Where `x[i * step]` is larger than `best[i]`, or the first equal one, it takes its place, and `place[i]` becomes
    /// `first + i * step`.
    keep_larger keep_larger_avx2 keep_larger_avx512 keep_larger_body(best: &mut [T], place: &mut [u32], x: &[T], step: usize, first: u32);
    /// `d = if m != 0 { a } else { b }`
    select select_avx2 select_avx512 select_body(d: &mut [T], m: &[T], a: Src<T>, b: Src<T>);
}

/// Folds lanes into one number, by halves: the order depends on the length alone.
pub fn reduce<T: Float>(red: Red, lanes: &mut [T]) -> T {
    let mut n = lanes.len();
    while n > 1 {
        let half = n.div_ceil(2);
        let (a, b) = lanes[..n].split_at_mut(half);
        fold(red, &mut a[..b.len()], Src::V(b));
        n = half;
    }
    lanes.first().copied().unwrap_or_else(|| T::from_f64(red.identity()))
}
