//! Sorting and collecting by one copy of the standard library's code, instead of one for each type of
//! element: each would be five kilobytes of the page's download.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The items in the order of `compare`; equal ones stay as they were.
pub fn sorted<T>(items: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let places = places(items.len(), &|a, b| compare(&items[a], &items[b]));
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    places.into_iter().filter_map(|k| items[k].take()).collect()
}

fn places(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

/// A map of the pairs; of equal keys the last counts. (`collect` would sort the pairs first.)
pub fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut out = BTreeMap::new();
    out.extend(pairs);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_does() {
        let items: Vec<(u32, usize)> = (0..500).map(|k| (lanes::rand::mix(k) % 20, k as usize)).collect();
        let mut theirs = items.clone();
        theirs.sort_by_key(|x| x.0);
        assert_eq!(sorted(items.clone(), |a, b| a.0.cmp(&b.0)), theirs);
        assert_eq!(map_of(items.clone()), items.into_iter().collect());
        assert_eq!(sorted(Vec::<String>::new(), |a, b| a.cmp(b)), Vec::<String>::new());
    }
}
