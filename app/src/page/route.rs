//! The address. Everything worth keeping is in it, behind `#`, so that the page works from any
//! static host: `#/softmax?lang=zh&c=2.5`. A link reproduces what the sender saw.

use std::collections::BTreeMap;

use wasm_bindgen::JsCast;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::Closure;
use web_sys::{UrlSearchParams, window};

use crate::prelude::*;

/// Chapter and parameters.
#[derive(Clone, Debug, Default, PartialEq)]
struct Address {
    path: String,
    query: BTreeMap<String, String>,
}

impl Address {
    fn read() -> Address {
        let hash = window().and_then(|w| w.location().hash().ok()).unwrap_or_default();
        let hash = hash.trim_start_matches('#').trim_start_matches('/');
        let (path, query) = hash.split_once('?').unwrap_or((hash, ""));
        let mut out = Address { path: path.into(), query: BTreeMap::new() };
        if let Ok(params) = UrlSearchParams::new_with_str(query) {
            for entry in js_sys::try_iter(&params).ok().flatten().into_iter().flatten().flatten() {
                let pair = js_sys::Array::from(&entry);
                if let (Some(k), Some(v)) = (pair.get(0).as_string(), pair.get(1).as_string()) {
                    out.query.insert(k, v);
                }
            }
        }
        out
    }

    fn print(&self) -> String {
        let mut out = format!("#/{}", self.path);
        let Ok(params) = UrlSearchParams::new() else { return out };
        for (k, v) in &self.query {
            params.append(k, v);
        }
        if !self.query.is_empty() {
            out += &format!("?{}", String::from(params.to_string()).replace("%2C", ","));
        }
        out
    }
}

/// A parameter of the address before the page has started.
pub fn query(name: &str) -> Option<String> {
    Address::read().query.remove(name)
}

/// The address as the page knows it.
#[derive(Clone, Copy)]
pub struct Router {
    address: RwSignal<Address>,
    /// The chapter's name; empty for the first screen.
    pub path: Memo<String>,
}

impl Router {
    pub fn start() -> Router {
        let address = RwSignal::new(Address::read());
        let path = memo(move || address.with(|a| a.path.clone()));
        let changed = Closure::<dyn Fn()>::new(move || {
            let now = Address::read();
            if address.get_untracked() != now {
                address.set(now);
            }
        });
        if let Some(w) = window() {
            let _ = w.add_event_listener_with_callback("hashchange", changed.as_ref().unchecked_ref());
        }
        changed.forget();
        Router { address, path }
    }

    /// The value that a parameter has now, without listening to it.
    pub fn get(self, name: &str) -> Option<String> {
        self.address.with_untracked(|a| a.query.get(name).cloned())
    }

    /// Sets or removes a parameter, without a new entry in the history: dragging makes many.
    pub fn set(self, name: &str, value: Option<String>) {
        let mut next = self.address.get_untracked();
        match value {
            Some(v) => next.query.insert(name.into(), v),
            None => next.query.remove(name),
        };
        if next == self.address.get_untracked() {
            return;
        }
        if let Some(h) = window().and_then(|w| w.history().ok()) {
            // A browser that refuses (too many changes a second) keeps the last address.
            let _ = h.replace_state_with_url(&JsValue::NULL, "", Some(&next.print()));
        }
        self.address.set(next);
    }
}

/// The page's address.
pub fn router() -> Router {
    expect_context()
}

/// A signal of one number that lives in the address under `name`; left out where it is `default`.
pub fn number(name: &'static str, default: f64) -> RwSignal<f64> {
    let router = router();
    let start = router.get(name).and_then(|v| v.parse().ok()).filter(|v: &f64| v.is_finite()).unwrap_or(default);
    let signal = RwSignal::new(start);
    effect(move || {
        let v = signal.get();
        router.set(name, (v != default).then(|| short(v)));
    });
    signal
}

/// A signal of numbers, like [`number`].
pub fn numbers(name: &'static str, default: Vec<f32>) -> RwSignal<Vec<f32>> {
    let router = router();
    let parse = |v: String| v.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>().ok();
    let fits = |v: &Vec<f32>| v.len() == default.len() && v.iter().all(|x| x.is_finite());
    let start = router.get(name).and_then(parse).filter(fits).unwrap_or_else(|| default.clone());
    let signal = RwSignal::new(start);
    effect(move || {
        let v = signal.get();
        let text = v.iter().map(|x| short(f64::from(*x))).collect::<Vec<_>>().join(",");
        router.set(name, (v != default).then_some(text));
    });
    signal
}

/// A signal of a choice among words, like [`number`]; the first is the default.
pub fn choice(name: &'static str, words: &'static [&'static str]) -> RwSignal<usize> {
    choice_or(name, words, 0)
}

/// [`choice`] with another default.
pub fn choice_or(name: &'static str, words: &'static [&'static str], default: usize) -> RwSignal<usize> {
    let router = router();
    let start = router.get(name).and_then(|v| words.iter().position(|w| *w == v)).unwrap_or(default);
    let signal = RwSignal::new(start);
    effect(move || {
        let k = signal.get();
        router.set(name, (k != default).then(|| words.get(k).copied().unwrap_or_default().to_string()));
    });
    signal
}

/// At most four digits after the point: what an address needs.
fn short(v: f64) -> String {
    let text = format!("{v:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}
