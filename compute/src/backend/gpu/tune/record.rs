//! Choices as a file: beside a run, and natively in the cache, with the adapter that they were measured on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Choices;
use crate::backend::DeviceInfo;

/// Raised when there is more to choose from: what was found before is worth another search. It still says how a run
/// is cut.
const GENERATION: u32 = 2;

/// A file of choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub adapter: String,
    pub driver: String,
    /// Files of the first generation do not say.
    #[serde(default)]
    generation: u32,
    choices: BTreeMap<String, String>,
}

impl Record {
    pub fn of(info: &DeviceInfo, choices: &Choices) -> Record {
        Record {
            adapter: info.name.clone(),
            driver: info.detail.clone(),
            generation: GENERATION,
            choices: choices.texts().clone(),
        }
    }

    /// Whether all that there is to choose from now was there.
    pub fn is_current(&self) -> bool {
        self.generation == GENERATION
    }

    /// Classes with a choice.
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// Errors: what is wrong with the file.
    pub fn parse(bytes: &[u8]) -> Result<Record, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("it is damaged: {e}"))
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String, String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        Ok(text + "\n")
    }

    /// What of it can be read; entries that are none are left out, and told.
    pub fn choices(&self) -> (Choices, Vec<String>) {
        Choices::from_texts(&self.choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut choices = Choices::default();
        choices.insert("matmul 1x64x16x1024 stored f32", "tiled 2x1 by 256 split 4".parse().unwrap());
        choices.insert("conv2d_forward 2x8x1024x32 computed-b f32", "rows 1x4 by 64".parse().unwrap());
        let choices = choices.texts().clone();
        let (adapter, driver) = ("NVIDIA H100 80GB/HBM3".into(), "Vulkan, NVIDIA 570.86".into());
        Record { adapter, driver, generation: GENERATION, choices }
    }

    #[test]
    fn older_files_are_read_and_known_as_such() {
        let text = record().to_json().unwrap().replace("\"generation\": 2,", "");
        let old = Record::parse(text.as_bytes()).unwrap();
        assert!(record().is_current() && !old.is_current());
        assert_eq!(old.choices(), record().choices());
    }

    /// Every cut and many changed bytes: read without a panic, as nothing or as entries that are whole.
    #[test]
    fn broken_files_are_survived() {
        let whole = record().to_json().unwrap().into_bytes();
        assert_eq!(Record::parse(&whole), Ok(record()));
        let some = record().choices().0;
        assert_eq!(some.len(), 2);
        for end in 0..whole.len() - 2 {
            assert!(Record::parse(&whole[..end]).is_err_and(|e| e.starts_with("it is damaged")), "{end}");
        }
        let (mut refused, mut partly) = (0, 0);
        for k in 0..2000u32 {
            let mut bytes = whole.clone();
            let at = crate::cell::rand::mix(k) as usize % bytes.len();
            bytes[at] = (crate::cell::rand::mix(k + 5000) >> 24) as u8;
            match Record::parse(&bytes) {
                Err(_) => refused += 1,
                Ok(record) => {
                    let (choices, wrong) = record.choices();
                    assert!(choices.len() + wrong.len() <= 2);
                    partly += usize::from(choices != some);
                }
            }
        }
        assert!(refused > 500 && partly > 200, "{refused} refused, {partly} partly read");
    }
}
