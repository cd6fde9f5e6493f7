//! The two number types of the interpreter. f64 uses the standard library; f32 has its own
//! branch-free exp, log, tanh and erf, so that loops over lanes vectorise.
//!
//! The polynomials are Chebyshev fits made for these intervals; errors stay below 4 units in the
//! last place (tested against f64).

use crate::{Program, Scratch, View};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Float:
    Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + std::fmt::Debug
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    fn from_f64(v: f64) -> Self;
    fn from_i64(v: i64) -> Self;
    fn from_u8(v: u8) -> Self;
    fn to_f64(self) -> f64;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    fn abs(self) -> Self;
    fn floor(self) -> Self;
    /// The nearest number of IEEE binary16.
    fn half(self) -> Self;
    fn powf(self, e: Self) -> Self;
    /// Neither infinite nor NaN.
    fn finite(self) -> bool;
    /// [`Program::run`] for this type: compiled here, with the loops, and not again by each caller.
    fn run(
        program: &Program,
        inputs: &[View<Self>],
        start: usize,
        out: &mut [Self],
        scratch: &mut Scratch<Self>,
    ) -> Result<(), String>;
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    fn from_f64(v: f64) -> f64 {
        v
    }

    fn from_i64(v: i64) -> f64 {
        v as f64
    }

    fn from_u8(v: u8) -> f64 {
        v.into()
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn exp(self) -> f64 {
        f64::exp(self)
    }

    fn ln(self) -> f64 {
        f64::ln(self)
    }

    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    fn tanh(self) -> f64 {
        f64::tanh(self)
    }

    fn erf(self) -> f64 {
        crate::rand::erf(self)
    }

    fn abs(self) -> f64 {
        f64::abs(self)
    }

    fn floor(self) -> f64 {
        f64::floor(self)
    }

    fn half(self) -> f64 {
        crate::half::round_f64(self)
    }

    fn powf(self, e: f64) -> f64 {
        f64::powf(self, e)
    }

    fn finite(self) -> bool {
        self.is_finite()
    }

    fn run(
        program: &Program,
        inputs: &[View<Self>],
        start: usize,
        out: &mut [Self],
        scratch: &mut Scratch<Self>,
    ) -> Result<(), String> {
        program.execute(inputs, start, out, scratch)
    }
}

/// Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn horner<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut y = 0.0;
    for k in (0..N).rev() {
        y = y * x + c[k];
    }
    y
}

/// e^x = 2^n e^r with |r| <= ln 2 / 2; the power of two in two steps, so that results down to the
/// smallest denormal are right.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let hi = if x > 89.0 { 89.0 } else { x };
    let v = if hi < -104.5 { -104.5 } else { hi };
    let t = v * std::f32::consts::LOG2_E + ROUND;
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let k = t - ROUND;
    let r = (v - k * 0.693_359_4) + k * 2.121_944_4e-4;
    let p = horner(r, [0.5, 1.666_657_3e-1, 4.166_645_7e-2, 8.363_776e-3, 1.393_454_5e-3]);
    let y = 1.0 + (r + r * r * p);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    y * power(half) * power(n.wrapping_sub(half))
}

/// log x = n ln 2 + log m with m in [sqrt 1/2, sqrt 2).
#[inline(always)]
fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits() as i32;
    // Subtracting the bits of sqrt 1/2 puts the break of the exponent there.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let n = (shifted >> 23) - if tiny { 23 } else { 0 };
    let m = f32::from_bits((bits.wrapping_sub(shifted & !0x7f_ffff)) as u32);
    let (r, k) = (m - 1.0, n as f32);
    let p = horner(
        r,
        [
            3.333_333e-1,
            -2.499_999e-1,
            2.000_070_7e-1,
            -1.666_848e-1,
            1.424_993_7e-1,
            -1.241_105_1e-1,
            1.166_151_1e-1,
            -1.157_120_1e-1,
            7.149_754e-2,
        ],
    );
    let rr = r * r;
    let y = r + (rr * r * p - 0.5 * rr + k * -2.121_944_4e-4) + k * 0.693_359_4;
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    let (a, z) = (x.abs(), x * x);
    let p = horner(z, [-3.333_333e-1, 1.333_278_2e-1, -5.385_25e-2, 2.100_364_1e-2, -6.104_948e-3]);
    let small = x + x * z * p;
    let large = (1.0 - 2.0 / (exp(a + a) + 1.0)).copysign(x);
    let y = if a < 0.625 { small } else { large };
    if x.is_nan() { x } else { y }
}

/// erf as x (1 + P(x^2)) below 1, and from log erfc above.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let (a, z) = (x.abs(), x * x);
    let p = horner(
        z,
        [1.283_791_7e-1, -3.761_262_7e-1, 1.128_359_8e-1, -2.685_433e-2, 5.189_312e-3, -8.018_855e-4, 7.882_497e-5],
    );
    let small = x + x * p;
    let t = if a > 4.1 { 4.1 } else { a };
    let q = horner(
        t,
        [
            -3.499_792e-4,
            1.130_392_6,
            6.314_701e-1,
            1.105_209_4e-1,
            -2.675_584e-2,
            4.921_84e-3,
            -6.472_138e-4,
            5.577_210_6e-5,
            -2.694_133e-6,
            4.962_086e-8,
        ],
    );
    let large = (1.0 - exp(-q)).copysign(x);
    let y = if a < 0.95 { small } else { large };
    if x.is_nan() { x } else { y }
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    fn from_f64(v: f64) -> f32 {
        v as f32
    }

    fn from_i64(v: i64) -> f32 {
        v as f32
    }

    #[inline(always)]
    fn from_u8(v: u8) -> f32 {
        v.into()
    }

    fn to_f64(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn exp(self) -> f32 {
        exp(self)
    }

    #[inline(always)]
    fn ln(self) -> f32 {
        ln(self)
    }

    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh(self)
    }

    #[inline(always)]
    fn erf(self) -> f32 {
        erf(self)
    }

    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }

    #[inline(always)]
    fn floor(self) -> f32 {
        f32::floor(self)
    }

    #[inline(always)]
    fn half(self) -> f32 {
        crate::half::round_f32(self)
    }

    #[inline(always)]
    fn powf(self, e: f32) -> f32 {
        f32::powf(self, e)
    }

    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }

    fn run(
        program: &Program,
        inputs: &[View<Self>],
        start: usize,
        out: &mut [Self],
        scratch: &mut Scratch<Self>,
    ) -> Result<(), String> {
        program.execute(inputs, start, out, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the exact result.
    fn ulps(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
        (0..=200_000)
            .map(|k| {
                let x = from + (to - from) * k as f32 / 200_000.0;
                let y = exact(x.into());
                let ulp = f64::from((y as f32).abs().next_up() - (y as f32).abs());
                (f64::from(f(x)) - y).abs() / ulp
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn f32_functions_are_close_to_f64() {
        for (name, error) in [
            ("exp", ulps(exp, f64::exp, -103.0, 88.7)),
            ("exp near 0", ulps(exp, f64::exp, -1.0, 1.0)),
            ("ln", ulps(ln, f64::ln, 1e-3, 3.0)),
            ("ln far", ulps(ln, f64::ln, 1.0, 1e30)),
            ("ln denormal", ulps(ln, f64::ln, 1e-44, 1e-38)),
            ("tanh", ulps(tanh, f64::tanh, -10.0, 10.0)),
            ("tanh near 0", ulps(tanh, f64::tanh, -1e-2, 0.9)),
            ("erf", ulps(erf, crate::rand::erf, -5.0, 5.0)),
            ("erf near 0", ulps(erf, crate::rand::erf, -1e-2, 1.1)),
        ] {
            assert!(error < 4.0, "{name}: {error} ulp");
        }
    }

    #[test]
    fn f32_functions_at_the_edges() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(erf(f32::NEG_INFINITY), -1.0);
        assert!(tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
    }
}
