//! Presentation MathML, as every current browser shows it without a script.

use super::Style;
use super::text::number;
use crate::cell::Red;

/// MathML Core.
pub struct MathMl;

fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn row(inner: impl AsRef<str>) -> String {
    format!("<mrow>{}</mrow>", inner.as_ref())
}

fn list(items: Vec<String>) -> String {
    items.join("<mo separator=\"true\">,</mo>")
}

impl Style for MathMl {
    fn number(&self, v: f64) -> String {
        format!("<mn>{}</mn>", number(v))
    }

    fn name(&self, s: &str) -> String {
        format!("<mi>{}</mi>", escape(s))
    }

    fn operator(&self, a: String, symbol: &str, b: String) -> String {
        let word = symbol.trim();
        if word.chars().all(char::is_alphabetic) {
            format!("{a}<mtext>&#160;{word}&#160;</mtext>{b}")
        } else {
            format!("{a}<mo>{}</mo>{b}", escape(word))
        }
    }

    fn negative(&self, a: String) -> String {
        format!("<mo form=\"prefix\">−</mo>{a}")
    }

    fn parens(&self, a: String) -> String {
        row(format!("<mo>(</mo>{a}<mo>)</mo>"))
    }

    fn fraction(&self, a: String, b: String) -> String {
        format!("<mfrac>{}{}</mfrac>", row(a), row(b))
    }

    fn power(&self, a: String, b: String) -> String {
        format!("<msup>{}{}</msup>", row(a), row(b))
    }

    fn root(&self, a: String) -> String {
        format!("<msqrt>{a}</msqrt>")
    }

    fn absolute(&self, a: String) -> String {
        row(format!("<mo>|</mo>{a}<mo>|</mo>"))
    }

    fn floor(&self, a: String) -> String {
        row(format!("<mo>⌊</mo>{a}<mo>⌋</mo>"))
    }

    fn call(&self, f: &str, args: Vec<String>) -> String {
        row(format!("<mi>{}</mi><mo>&#8289;</mo><mo>(</mo>{}<mo>)</mo>", escape(f), list(args)))
    }

    fn element(&self, tensor: &str, index: Vec<String>) -> String {
        let name = self.name(tensor);
        if index.is_empty() { name } else { format!("<msub>{name}{}</msub>", row(list(index))) }
    }

    fn reduction(&self, red: Red, var: String, lo: String, last: String, body: String) -> String {
        match red {
            Red::Sum => row(format!(
                "<munderover><mo>∑</mo>{}{}</munderover>{body}",
                row(format!("{var}<mo>=</mo>{lo}")),
                row(last)
            )),
            Red::Max | Red::Min => {
                let symbol = if red == Red::Max { "max" } else { "min" };
                row(format!(
                    "<munder><mo>{symbol}</mo>{}</munder>{body}",
                    row(format!("{var}<mo>=</mo>{lo}<mo>…</mo>{last}"))
                ))
            }
        }
    }

    fn cases(&self, yes: String, cond: String, no: String) -> String {
        let line = |value: String, when: String| format!("<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>");
        row(format!(
            "<mo>{{</mo><mtable columnalign=\"left\">{}{}</mtable>",
            line(row(yes), row(format!("<mtext>if&#160;</mtext>{cond}"))),
            line(row(no), "<mtext>else</mtext>".into())
        ))
    }

    fn binding(&self, name: String, value: String, body: String) -> String {
        row(format!("{body}<mtext>&#160;where&#160;</mtext>{name}<mo>=</mo>{value}"))
    }

    fn equation(&self, left: String, right: String) -> String {
        format!("<math display=\"block\">{}</math>", row(format!("{left}<mo>=</mo>{right}")))
    }

    fn fraction_is_atom(&self) -> bool {
        true
    }
}
