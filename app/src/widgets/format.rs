//! How numbers and elements are written.

/// Up to four significant digits, with a real minus sign; as a power of ten where zeros would pile up.
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
    } else if (1e-3..1e5).contains(&size) {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{v:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
    } else {
        format!("{v:.2e}")
    };
    text.replace('-', "−")
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
