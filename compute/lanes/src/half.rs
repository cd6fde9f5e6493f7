//! IEEE binary16 ("half"): 1 sign, 5 exponent, 10 mantissa bits; 65,504 is its largest number. Rounding is to
//! nearest, ties to even, as every device does it; what exceeds the largest by half a step becomes infinite.

/// The nearest half, as f32. Without branches, so that loops over lanes vectorise.
#[inline(always)]
pub fn round_f32(x: f32) -> f32 {
    let size = x.abs();
    let bits = size.to_bits();
    // 13 bits of the mantissa go. NaN does not come here, so nothing wraps.
    let near = f32::from_bits((bits.wrapping_add(0xfff + ((bits >> 13) & 1))) & !0x1fff);
    let large = if near > 65_504.0 { f32::INFINITY } else { near };
    // Below 2^-14 halves are multiples of 2^-24, the last place of 0.5.
    let small = (size + 0.5) - 0.5;
    let y = if size < 6.103_515_6e-5 { small } else { large };
    if x.is_nan() { x } else { y.copysign(x) }
}

/// The nearest half, as f64: rounded once.
#[inline(always)]
pub fn round_f64(x: f64) -> f64 {
    let size = x.abs();
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(-14);
    let place = 2f64.powi(exponent - 10);
    let near = (size / place).round_ties_even() * place;
    let y = if near > 65_504.0 { f64::INFINITY } else { near };
    if x.is_finite() { y.copysign(x) } else { x }
}

/// binary16 bits to f32, exactly.
pub fn from_bits(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from((bits >> 10) & 0x1f);
    let mantissa = u32::from(bits & 0x3ff);
    match exponent {
        // Subnormal: mantissa * 2^-24, exact in f32.
        0 => f32::from_bits(sign | (mantissa as f32 * 2f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | (mantissa << 13)),
        // Exponent bias 15 becomes 127.
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13)),
    }
}

/// The bits of the nearest half.
pub fn to_bits(x: f32) -> u16 {
    let near = round_f32(x);
    let (sign, size) = (((near.to_bits() >> 16) & 0x8000) as u16, near.abs());
    let bits = size.to_bits();
    sign | match bits {
        0x7f80_0000 => 0x7c00,
        0x7f80_0001.. => 0x7e00,
        0x3880_0000.. => ((bits - 0x3800_0000) >> 13) as u16,
        _ => (size * 16_777_216.0) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // Table of examples in the IEEE binary16 article.
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0x7bff, 65504.0),
            (0xc000, -2.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(from_bits(bits), value, "{bits:#06x}");
        }
        assert!(from_bits(0x7e00).is_nan());
        assert_eq!(from_bits(0x8000).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn every_half_is_its_own_nearest() {
        for bits in 0..=u16::MAX {
            let x = from_bits(bits);
            if x.is_nan() {
                assert!(round_f32(x).is_nan() && round_f64(x.into()).is_nan() && from_bits(to_bits(x)).is_nan());
                continue;
            }
            assert_eq!(to_bits(x), bits, "{x}");
            assert_eq!(round_f32(x).to_bits(), x.to_bits(), "{x}");
            assert_eq!(round_f64(x.into()).to_bits(), f64::from(x).to_bits(), "{x}");
        }
    }

    /// Between two neighbours: the nearer one, and in the middle the even one.
    #[test]
    fn what_lies_between_goes_to_the_nearest_and_ties_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (from_bits(bits), from_bits(bits + 1));
            let middle = (low + high) / 2.0;
            let even = if bits % 2 == 0 { low } else { high };
            for (x, want) in [(middle.next_down(), low), (middle, even), (middle.next_up(), high)] {
                for (x, want) in [(x, want), (-x, -want)] {
                    assert_eq!(round_f32(x), want, "{x}");
                    assert_eq!(round_f64(x.into()), f64::from(want), "{x}");
                }
            }
        }
        for (x, want) in [(65_519.996, 65_504.0), (65_520.0, f32::INFINITY), (1e30, f32::INFINITY)] {
            assert_eq!((round_f32(x), round_f32(-x)), (want, -want));
            assert_eq!(round_f64(f64::from(-x)), f64::from(-want));
        }
        // The double nearest below a tie is no tie, which a detour over f32 would make of it.
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!((round_f64(tie), round_f64(tie.next_up())), (1.0, 1.0 + 2f64.powi(-10)));
    }
}
