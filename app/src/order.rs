//! Lists in order, and maps: one sort for the whole page, where the standard library brings one into the
//! download for each type of item (and a map collected from pairs sorts them first).

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The items in the order of `compare`; equal ones stay as they were.
pub fn sorted<T>(items: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    fn places(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
        let mut places: Vec<usize> = (0..count).collect();
        places.sort_by(|a, b| compare(*a, *b));
        places
    }
    let places = places(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    places.into_iter().filter_map(|k| items[k].take()).collect()
}

/// A map of the pairs; of equal keys the last counts.
pub fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        map.insert(key, value);
    }
    map
}
