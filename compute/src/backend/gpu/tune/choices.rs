//! Which tiling each class of products takes: plain data, text by text.

use std::collections::BTreeMap;

use super::Tiling;

/// Tilings by class of products. Kept as their texts, as in files: each is one that [`Tiling`] reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
    pub fn get(&self, class: &str) -> Option<Tiling> {
        self.0.get(class)?.parse().ok()
    }

    pub fn insert(&mut self, class: &str, tiling: Tiling) {
        self.0.insert(class.into(), tiling.to_string());
    }

    /// Classes with a choice.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the other's, which win.
    pub fn extend(&mut self, other: &Choices) {
        for (class, text) in &other.0 {
            self.0.insert(class.clone(), text.clone());
        }
    }

    /// As text by text, for a file.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// From text by text; entries that are none are left out, and told.
    pub fn from_texts(texts: &BTreeMap<String, String>) -> (Choices, Vec<String>) {
        let (mut choices, mut wrong) = (Choices::default(), vec![]);
        for (class, text) in texts {
            match text.parse() {
                _ if !is_class(class) => wrong.push(format!("{class:?} is no class of products")),
                Ok(tiling) => choices.insert(class, tiling),
                Err(e) => wrong.push(format!("{class}: {e}")),
            }
        }
        (choices, wrong)
    }
}

/// Whether a text has the form of a class: `matmul 1x64x16x1024 stored f32`.
fn is_class(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, sizes, operands, precision] = words[..] else { return false };
    let sizes: Vec<&str> = sizes.split('x').collect();
    let power = |size: &&str| size.parse().is_ok_and(usize::is_power_of_two);
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    sizes.len() == 4 && sizes.iter().all(power) && [kind, operands, precision].into_iter().all(word)
}
