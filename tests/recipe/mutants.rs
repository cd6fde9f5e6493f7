//! Mutants of recipes and overrides, and the largest texts: no panic, bounded memory, short
//! messages that name a place in the text.

use super::{FULL, check_round_trip, parse};
use crate::heap::peak_bytes;
use compute::recipe::{Place, Recipe, keys, shipped};

/// SplitMix64: the mutants are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Texts that stand in for a token.
const STRANGE: &[&str] = &[
    "",
    "0",
    "-1",
    "1e999",
    "-0.0",
    "nan",
    "inf",
    "99999999999999999999",
    "0x7fffffffffffffff",
    "1_000",
    "0.5",
    "true",
    "\"\"",
    "''",
    "[]",
    "[[]]",
    "{}",
    "{ mean = 1 }",
    "[[data]]",
    "[data]",
    "[model.layers]",
    "1979-05-27",
    "\"\\u0000\"",
    "\"\\U0010ffff\"",
    "\u{202e}",
    "\u{0}",
    "é",
    "図",
    "\u{feff}",
    "\r",
    "#",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    ":",
    "x",
    "3x5",
    "3x",
    "x3",
    "no-",
    "no-bias",
    "classes",
    "kernel",
    "conv",
    "kernel 3 kernel 3",
    "none",
    "name = \"mlp\"",
    "steps = 3",
    "model.layers",
    "a.b.c.d",
    "\\",
];

/// A text as tokens: runs of word characters, and every other character.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let mut inside = false;
    for (at, c) in text.char_indices() {
        if !(inside && word(c)) && at > start {
            tokens.push(&text[start..at]);
            start = at;
        }
        inside = word(c);
    }
    tokens.push(&text[start..]);
    tokens
}

fn mutate(random: &mut Random, text: &str) -> String {
    let mut tokens: Vec<String> = tokens(text).into_iter().map(str::to_string).collect();
    for _ in 0..1 + random.below(3) {
        let (a, b) = (random.below(tokens.len()), random.below(tokens.len()));
        match random.below(10) {
            0 => tokens[a].clear(),
            1 => tokens[a] = tokens[a].repeat(2),
            2 => tokens.swap(a, b),
            3 => tokens[a] = random.pick(STRANGE).to_string(),
            4 => tokens[a].push_str(random.pick(STRANGE)),
            5 => tokens[a] = tokens[b].clone(),
            6 => tokens.truncate(a.max(1)),
            // One letter of a word goes.
            7 => {
                tokens[a].pop();
            }
            8 => {
                let depth = 1 + random.below(120);
                let open = random.pick(&["[", "{a=", "a.", "[a.", "\"", "[["]);
                tokens[a] = open.repeat(depth);
            }
            _ => {
                let (from, to) = (a.min(b), a.max(b).min(a.min(b) + 20));
                let part = tokens[from..to].concat();
                tokens[to].push_str(&part);
            }
        }
    }
    tokens.concat()
}

#[test]
fn mutants_neither_panic_nor_allocate_without_bound() {
    let mut texts: Vec<&str> = shipped().iter().map(|(_, text, _)| *text).collect();
    texts.push(FULL);
    let random = &mut Random(7);
    let (mut good, mut bad, mut worst) = (0, 0, 0.0f64);
    for round in 0..120_000 {
        let text = random.pick(&texts);
        // Every third round mutates overrides, the rest the text.
        let (text, sets) = if round % 3 == 0 {
            let key = keys::KEYS[random.below(keys::KEYS.len())].path;
            let value = random.pick(STRANGE);
            let set = match random.below(2) {
                0 => format!("{key}={value}"),
                _ => mutate(random, &format!("{key}={value}")),
            };
            (text.to_string(), vec![set])
        } else {
            (mutate(random, text), vec![])
        };
        let (parsed, peak) = peak_bytes(|| Recipe::parse("x.toml", &text, &sets));
        let size = text.len() + sets.iter().map(String::len).sum::<usize>();
        worst = worst.max(peak as f64 / size.max(1) as f64);
        assert!(peak <= 100_000 + 400 * size, "{peak} bytes for {size}: {text}");
        match parsed {
            Ok(recipe) => {
                good += 1;
                if round % 8 == 0 {
                    check_round_trip(&recipe);
                }
            }
            Err(error) => {
                bad += 1;
                let message = error.to_string();
                assert!(message.len() < 1000, "{message}");
                assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
                if let Place::Line { line, column, .. } = error.place {
                    let line = text.split('\n').nth(line - 1).unwrap();
                    assert!(column <= line.chars().count() + 1, "{message}\n{text}");
                }
            }
        }
    }
    // Both sides were tried, not only one.
    assert!(good > 5_000 && bad > 50_000, "{good} good, {bad} bad");
    println!("{good} good, {bad} bad, at most {worst:.0} bytes held a byte of input");
}

#[test]
fn the_largest_texts_stay_within_bounds() {
    let fill = |part: &str| part.repeat(((1 << 20) - 100) / part.len());
    let hostile = [
        format!("a=[{}", fill("[],")),
        format!("[data]\n{}", fill("\n[a]")),
        fill("[[a]]\n"),
        fill("a.b={}\n"),
        format!("[model]\nlayers=[{}]", fill("\"relu\",")),
        format!("[data]\n{}=1", fill("k")),
        format!("[data]\nset=\"{}\"", fill("é")),
        fill("\u{202e}"),
    ];
    for text in hostile {
        let (parsed, peak) = peak_bytes(|| parse(&text, &[]));
        let start: String = text.chars().take(20).collect();
        assert!(parsed.unwrap_err().to_string().len() < 1000, "{start}");
        assert!(text.len() <= 1 << 20 && text.len() > (1 << 20) - 200, "{start}");
        assert!(peak < 400 << 20, "{peak} bytes for {start}");
    }
}
