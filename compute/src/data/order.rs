//! Who is in the validation part, and the order of an epoch. Pure functions of their arguments:
//! the same on every machine, so a run resumes without saved generator state.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood 2014) read as a counter: draw `k` of a stream is
//! `mix(key + (k + 1) * GOLDEN)`. The key of epoch `e` is `mix(mix(seed) + e * GOLDEN)`, so epochs
//! of neighbouring seeds do not share streams. Bounded draws follow Lemire 2019 (multiply, keep the
//! high half, reject the few biased low halves); the shuffle is Fisher-Yates from the end.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Stream {
    state: u64,
}

impl Stream {
    fn new(seed: u64, stream: u64) -> Stream {
        Stream { state: mix(mix(seed).wrapping_add(stream.wrapping_mul(GOLDEN))) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A uniform number below `n`; 0 when `n` is 0.
    fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.next()) * u128::from(n);
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n.max(1) {
                return (product >> 64) as u64;
            }
        }
    }

    fn shuffle(&mut self, items: &mut [u32]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

/// The order in which epoch `epoch` visits images `0..n`. `n` is at most `u32::MAX`.
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n.min(u32::MAX as usize) as u32).collect();
    Stream::new(seed, epoch).shuffle(&mut order);
    order
}

/// Splits `0..labels.len()` into train and validation so that each class gives `fraction` of its
/// images (rounded) to validation, but never its last one. Both parts are in ascending order; which
/// images are drawn depends on `seed` only.
pub fn stratified_split(labels: &[u32], fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    let mut by_class = std::collections::BTreeMap::<u32, Vec<u32>>::new();
    for (i, &label) in labels.iter().enumerate() {
        by_class.entry(label).or_default().push(i as u32);
    }
    let mut held_out = vec![false; labels.len()];
    for (label, mut members) in by_class {
        // Streams from the top: epochs of the same seed count from 0.
        Stream::new(seed, u64::MAX - u64::from(label)).shuffle(&mut members);
        let wanted = (fraction * members.len() as f64).round() as usize;
        for image in &members[..wanted.min(members.len() - 1)] {
            held_out[*image as usize] = true;
        }
    }
    (0..labels.len() as u32).partition(|image| !held_out[*image as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of SplitMix64 for seed 1234567, as published with its reference code.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut stream = Stream { state: 1_234_567 };
        let got: Vec<u64> = (0..3).map(|_| stream.next()).collect();
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_permutation_visits_each_image_once() {
        for n in [0, 1, 2, 7, 1000] {
            let mut order = permutation(n, 3, 5);
            order.sort_unstable();
            assert_eq!(order, (0..n as u32).collect::<Vec<_>>());
        }
        assert_ne!(permutation(100, 0, 0), permutation(100, 0, 1));
        assert_ne!(permutation(100, 0, 0), permutation(100, 1, 0));
        assert_eq!(permutation(100, 4, 2), permutation(100, 4, 2));
    }

    /// Pinned: a change of the shuffle would silently change every recorded run. The two orders
    /// were computed by an independent Python program from the description above.
    #[test]
    fn the_order_is_pinned() {
        assert_eq!(permutation(10, 0, 0), [4, 9, 2, 5, 1, 7, 6, 0, 3, 8]);
        assert_eq!(permutation(10, 7, 3), [6, 1, 2, 7, 3, 9, 8, 4, 0, 5]);
    }

    /// Over 6,000 shuffles of 4, each of the 24 orders is expected 250 times; 5 sigma is 77.
    #[test]
    fn all_orders_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::<Vec<u32>, i32>::new();
        for epoch in 0..6000 {
            *counts.entry(permutation(4, 11, epoch)).or_default() += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|n| (n - 250).abs() < 77), "{counts:?}");
    }

    #[test]
    fn the_split_is_stratified_disjoint_and_deterministic() {
        let labels: Vec<u32> = (0..1000).map(|i| if i % 10 == 0 { 7 } else { i % 2 }).collect();
        let (train, validation) = stratified_split(&labels, 0.1, 5);
        assert_eq!(train.len() + validation.len(), 1000);
        let held = |c| validation.iter().filter(|&&i| labels[i as usize] == c).count();
        let all = |c| labels.iter().filter(|&&l| l == c).count();
        for class in [0, 1, 7] {
            assert_eq!(held(class), (all(class) as f64 * 0.1).round() as usize);
        }
        let mut both = [train.clone(), validation.clone()].concat();
        both.sort_unstable();
        assert_eq!(both, (0..1000).collect::<Vec<_>>());
        assert_eq!(stratified_split(&labels, 0.1, 5), (train, validation.clone()));
        assert_ne!(stratified_split(&labels, 0.1, 6).1, validation);
    }

    #[test]
    fn split_extremes() {
        assert_eq!(stratified_split(&[], 0.5, 0), (vec![], vec![]));
        assert_eq!(stratified_split(&[0, 1, 2], 0.0, 0), (vec![0, 1, 2], vec![]));
        assert_eq!(stratified_split(&[0, 1, 2], f64::NAN, 0).1, Vec::<u32>::new());
        // A class never loses its last image.
        let (train, validation) = stratified_split(&[0, 0, 0, 5], 1.0, 0);
        assert_eq!((train.len(), validation.len()), (2, 2));
        assert!(train.contains(&3));
    }
}
