//! How numbers and elements are written.

/// Up to four significant digits, with a real minus sign; as a power of ten where zeros would pile up.
/// Zeros at the end are left out where the number really ends there, so that columns keep their width.
pub fn number(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "∞" } else { "−∞" }.into();
    }
    if v == 0.0 {
        return "0".into();
    }
    let size = v.abs();
    let text = if v.fract() == 0.0 && size < 1e5 {
        format!("{v:.0}")
    } else if (1e-3..9999.5).contains(&size) {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        exact(v, digits).unwrap_or_else(|| format!("{v:.digits$}"))
    } else {
        format!("{v:.2e}")
    };
    text.replace('-', "−")
}

/// The shortest text with at most `digits` places that is the number itself, up to the rounding of f32.
fn exact(v: f64, digits: usize) -> Option<String> {
    (0..=digits).map(|d| format!("{v:.d$}")).find(|t| t.parse().is_ok_and(|w: f64| (w - v).abs() <= 2e-7 * v.abs()))
}

/// How many places the numbers of a column share: enough for four or five digits of the largest, no
/// more than the numbers have. `None` where they are too small or too large for that.
pub fn places(column: &[f32]) -> Option<usize> {
    let finite = || column.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite());
    let most = finite().fold(0.0f64, |m, v| m.max(v.abs()));
    if !(1e-3..9999.5).contains(&most) {
        return None;
    }
    let digits = (if most < 1.0 { 3 } else { 4 } - most.log10().floor() as i32).clamp(0, 5) as usize;
    let needed = |v: f64| exact(v, digits).map_or(digits, |t| t.split_once('.').map_or(0, |(_, rest)| rest.len()));
    finite().map(needed).max()
}

/// A number among others with the same `places`; 0, and one that would vanish,
/// keep their own digits.
pub fn aligned(v: f64, places: Option<usize>) -> String {
    match places {
        Some(d) if v.is_finite() && (v.abs() >= 0.5 * 0.1f64.powi(d as i32)) => format!("{v:.d$}").replace('-', "−"),
        _ => number(v),
    }
}

/// `p[0, 2]`
pub fn element(name: &str, index: &[usize]) -> String {
    if index.is_empty() {
        return name.into();
    }
    let at: Vec<String> = index.iter().map(usize::to_string).collect();
    format!("{name}[{}]", at.join(", "))
}

/// A number as a subscript: `a₁₂`.
pub fn subscript(k: usize) -> String {
    let digit = |c: char| c.to_digit(10).and_then(|d| char::from_u32(0x2080 + d));
    k.to_string().chars().filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (v, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (-0.5, "−0.5"),
            (0.659_041, "0.6590"),
            (f64::from(1.3f32), "1.3"),
            (123.456, "123.5"),
            (9_999.4, "9999"),
            (12_345.6, "1.23e4"),
            (15_690.0, "15690"),
            (0.000_254, "2.54e−4"),
            (f64::NEG_INFINITY, "−∞"),
        ] {
            assert_eq!(number(v), text);
        }
    }

    #[test]
    fn a_column_shares_its_places() {
        let column = [0.2293, -0.152_49, -0.007_594, 0.0];
        let texts: Vec<String> = column.iter().map(|v| aligned(f64::from(*v), places(&column))).collect();
        assert_eq!(texts, ["0.2293", "−0.1525", "−0.0076", "0"]);
        assert_eq!(places(&[1.0, -2.0, 0.0]), Some(0));
        assert_eq!(places(&[1.0, 0.5]), Some(1));
        assert_eq!(places(&[4.1e-8, 1.0e-9]), None);
        assert_eq!(aligned(1e-6, places(&[0.25, 1e-6])), "1.00e−6");
    }
}
