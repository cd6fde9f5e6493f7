//! One line of plain text: `y[m, n] = Σ(k=0..4) a[m, k]·b[k, n]`.

use super::Style;
use crate::cell::Red;

/// Plain text.
pub struct Text;

/// A number as a person writes it: integers bare, others with six significant digits.
pub fn number(v: f64) -> String {
    if v == f64::INFINITY {
        "∞".into()
    } else if v == f64::NEG_INFINITY {
        "−∞".into()
    } else if v.is_nan() {
        "NaN".into()
    } else if v == v.trunc() && v.abs() < 1e15 {
        format!("{v:.0}").replace('-', "−")
    } else {
        let digits = (5 - v.abs().log10().floor() as i32).clamp(0, 17);
        let plain = if (1e-4..1e7).contains(&v.abs()) {
            let fixed = format!("{v:.*}", digits as usize);
            if fixed.contains('.') { fixed.trim_end_matches('0').trim_end_matches('.').into() } else { fixed }
        } else {
            format!("{v:.5e}")
        };
        plain.replace('-', "−")
    }
}

impl Style for Text {
    fn number(&self, v: f64) -> String {
        number(v)
    }

    fn name(&self, s: &str) -> String {
        s.into()
    }

    fn operator(&self, a: String, symbol: &str, b: String) -> String {
        match symbol {
            "·" | "/" => format!("{a}{symbol}{b}"),
            _ => format!("{a} {} {b}", symbol.trim()),
        }
    }

    fn negative(&self, a: String) -> String {
        format!("−{a}")
    }

    fn parens(&self, a: String) -> String {
        format!("({a})")
    }

    fn fraction(&self, a: String, b: String) -> String {
        format!("{a} / {b}")
    }

    fn power(&self, a: String, b: String) -> String {
        format!("{a}^{b}")
    }

    fn root(&self, a: String) -> String {
        format!("√({a})")
    }

    fn absolute(&self, a: String) -> String {
        format!("|{a}|")
    }

    fn floor(&self, a: String) -> String {
        format!("⌊{a}⌋")
    }

    fn call(&self, f: &str, args: Vec<String>) -> String {
        format!("{f}({})", args.join(", "))
    }

    fn element(&self, tensor: &str, index: Vec<String>) -> String {
        if index.is_empty() { tensor.into() } else { format!("{tensor}[{}]", index.join(", ")) }
    }

    fn reduction(&self, red: Red, var: String, lo: String, last: String, body: String) -> String {
        let symbol = match red {
            Red::Sum => "Σ",
            Red::Max => "max",
            Red::Min => "min",
        };
        format!("{symbol}({var}={lo}..{last}) {body}")
    }

    fn cases(&self, yes: String, cond: String, no: String) -> String {
        format!("{{{yes} if {cond} else {no}}}")
    }

    fn binding(&self, name: String, value: String, body: String) -> String {
        format!("{body} where {name} = {value}")
    }

    fn equation(&self, left: String, right: String) -> String {
        format!("{left} = {right}")
    }

    fn fraction_is_atom(&self) -> bool {
        false
    }
}
