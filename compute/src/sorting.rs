//! Sorting and collecting by one copy of the standard library's code, instead of one for each type of
//! element: each would be five kilobytes of the page's download.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Sorts stably by `compare`.
pub fn sort_by<T>(items: &mut Vec<T>, mut compare: impl FnMut(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    places(&mut order, &mut |a, b| compare(&items[a], &items[b]));
    let mut from: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.into_iter().filter_map(|k| from[k].take()));
}

/// Sorts stably by a key.
pub fn sort_by_key<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

fn places(order: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    order.sort_by(|a, b| compare(*a, *b));
}

/// A map of pairs, of which the last of a key counts. (`collect` would sort them first.)
pub fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
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
        let (mut ours, mut theirs) = (items.clone(), items.clone());
        sort_by_key(&mut ours, |x| x.0);
        theirs.sort_by_key(|x| x.0);
        assert_eq!(ours, theirs);
        assert_eq!(map(items.clone()), items.into_iter().collect());
        sort_by(&mut Vec::<String>::new(), |a, b| a.cmp(b));
    }
}
