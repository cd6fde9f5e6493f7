//! When two kernels have one text: they share a pipeline, and the page shows them as one.

/// A text without its comments, with the names of its buffers and functions, which number the nodes of a
/// graph (`b12`, `n7`, `p7_2`), counted from their first use: two kernels that differ in nothing else are one.
pub fn nameless(code: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let plain: Vec<&str> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = plain.join("\n");
    let (mut seen, mut out) = (Vec::<&str>::new(), String::with_capacity(code.len()));
    let mut rest = code.as_str();
    while let Some(start) = rest.find(inside) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !inside(c)).unwrap_or(from.len()));
        out += before;
        let number = ["b", "n", "p", "v", "f_"].iter().find_map(|p| word.strip_prefix(p));
        let counts =
            |d: &str| d.starts_with(|c: char| c.is_ascii_digit()) && d.bytes().all(|c| c.is_ascii_digit() || c == b'_');
        if number.is_some_and(counts) {
            let k = seen.iter().position(|s| *s == word).unwrap_or_else(|| {
                seen.push(word);
                seen.len() - 1
            });
            out += &format!("${k}");
        } else {
            out += word;
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_numbered_names_alone_are_one() {
        let text = |b: &str, n: &str| format!("var {b}: f32; fn {n}() {{ return {b} + f_1 * n; }}");
        assert_eq!(nameless(&text("b3", "n77")), nameless(&text("b15", "n8")));
        assert_eq!(nameless("// w(6)\nb1"), nameless("// w(7)\nb1"));
        assert_ne!(nameless("b1 - b2 + b1"), nameless("b1 - b2 + b2"));
        assert_ne!(nameless("f32(b1)"), nameless("i32(b1)"));
        assert_eq!(nameless("v7_2(p7_2(b1))"), nameless("v9_2(p9_2(b4))"));
        assert_ne!(nameless("v7(at)"), nameless("v7(to)"));
    }
}
