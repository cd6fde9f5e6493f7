//! The counter-based random number behind `Idx::Rand` of a cell, and the error function.

/// One round of integer mixing (C. Wellons' "lowbias32": every output bit depends on every input
/// bit with bias under 0.2 %). The WGSL twin is printed beside every shader that needs it.
pub fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// 24 random bits as a function of their four keys. 24, because every such integer is exact in
/// f32, so `bits * 2^-24` is the same uniform number in [0, 1) on every backend.
pub fn bits(key: u32, seed: u32, step: u32, counter: u32) -> u32 {
    let h = mix(key);
    let h = mix(h.wrapping_add(seed));
    let h = mix(h.wrapping_add(step));
    mix(h.wrapping_add(counter)) >> 8
}

/// The key of a node's stable name (FNV-1a).
pub fn key_of(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// The error function in f64. Maclaurin series below 2.5, where its terms stay under 60; the
/// continued fraction of erfc above. Relative error below 1e-14 (Abramowitz & Stegun 7.1.5, 7.1.14).
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let value = if a < 2.5 {
        let (mut term, mut total, mut n) = (a, a, 0.0);
        while term.abs() > 1e-17 * total.abs() {
            n += 1.0;
            term *= -a * a / n;
            total += term / (2.0 * n + 1.0);
        }
        total * std::f64::consts::FRAC_2_SQRT_PI
    } else if a < 6.0 {
        let mut tail = a;
        for k in (1..=60).rev() {
            tail = a + 0.5 * f64::from(k) / tail;
        }
        1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt())
    } else {
        1.0
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_matches_tabulated_values() {
        // Abramowitz & Stegun, table 7.1.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_792_9),
            (2.0, 0.995_322_265_0),
            (2.49, 0.999_570_712_1),
            (3.0, 0.999_977_909_5),
        ] {
            assert!((erf(x) - y).abs() < 5e-8, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert!((erf(2.499_999_999) - erf(2.5)).abs() < 1e-11);
    }

    #[test]
    fn bits_are_uniform_and_keyed() {
        let n = 100_000;
        let mean = (0..n).map(|i| f64::from(bits(7, 1, 2, i)) / 16_777_216.0).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let a = bits(1, 1, 1, 1);
        assert!([bits(2, 1, 1, 1), bits(1, 2, 1, 1), bits(1, 1, 2, 1), bits(1, 1, 1, 2)].iter().all(|&b| b != a));
    }
}
