//! `HistogramProto` with TensorBoard's default exponential buckets.
//!
//! Limits are `0` and `+-1e-12 * 1.1^k` below 1e20, closed by the largest double; bucket `i` holds
//! `limit[i-1] <= v < limit[i]`. Runs of empty buckets are written as one, and only the span with
//! values is kept, with one empty bucket on its left to give its lower edge.
//! Sources: TensorFlow `core/lib/histogram/histogram.cc`; `summary.proto` (field numbers).

use super::proto::Message;
use std::sync::LazyLock;

/// Counts by bucket with the moments that TensorBoard shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub min: f64,
    pub max: f64,
    pub num: f64,
    pub sum: f64,
    pub sum_squares: f64,
    /// Upper edges of the written buckets.
    pub limits: Vec<f64>,
    /// Values in each.
    pub counts: Vec<f64>,
}

/// Upper edges for `v >= 0`: 1e-12, 1.1e-12, ..., the largest double.
struct Buckets {
    limits: Vec<f64>,
    /// By the top 12 bits below the sign of an f32 (exponent and four bits of mantissa): the
    /// bucket of the smallest such number. Neighbours differ by at most 1/16, a bucket by 1/10,
    /// so one or two steps from here find the bucket; a search per value costs ten.
    start: Vec<usize>,
}

static BUCKETS: LazyLock<Buckets> = LazyLock::new(|| {
    let mut limits = Vec::new();
    let mut v = 1e-12;
    while v < 1e20 {
        limits.push(v);
        v *= 1.1;
    }
    limits.push(f64::MAX);
    let start = (0..1u32 << 12)
        .map(|key| {
            let low = f64::from(f32::from_bits(key << 19));
            let last = limits.len() - 1;
            limits.partition_point(|&l| l <= low).min(last)
        })
        .collect();
    Buckets { limits, start }
});

impl Buckets {
    /// The bucket of a finite magnitude.
    fn index(&self, magnitude: f32) -> usize {
        let mut i = self.start[(magnitude.to_bits() >> 19) as usize & 0xfff];
        while self.limits[i] <= f64::from(magnitude) {
            i += 1;
        }
        i
    }
}

impl Histogram {
    /// Counts the finite values.
    pub fn of(values: impl Iterator<Item = f32>) -> Histogram {
        let b = &*BUCKETS;
        let n = b.limits.len();
        // Ascending: `-MAX..-1e-12` (upper edges of the negatives, mirrored), 0, then positives.
        let mut negative = vec![0u64; n];
        let mut positive = vec![0u64; n];
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut num, mut sum, mut sum_squares) = (0u64, 0.0, 0.0);
        for v in values.filter(|v| v.is_finite()) {
            let x = f64::from(v);
            min = min.min(x);
            max = max.max(x);
            num += 1;
            sum += x;
            sum_squares += x * x;
            // A negative on an edge belongs to the bucket above it, a magnitude on an edge to the
            // next: f32 never equals the edges (they are not f32 numbers), so both agree.
            let side = if v < 0.0 { &mut negative } else { &mut positive };
            side[b.index(v.abs())] += 1;
        }
        if num == 0 {
            (min, max) = (0.0, 0.0);
        }
        let upper = |i: usize| if i == 0 { 0.0 } else { -b.limits[i - 1] };
        let all = (0..n).rev().map(|i| (upper(i), negative[i])).chain((0..n).map(|i| (b.limits[i], positive[i])));
        let (limits, counts) = compact(all);
        Histogram { min, max, num: num as f64, sum, sum_squares, limits, counts }
    }

    /// `HistogramProto { min 1, max 2, num 3, sum 4, sum_squares 5, bucket_limit 6, bucket 7 }`.
    pub fn to_message(&self) -> Message {
        Message::new()
            .double(1, self.min)
            .double(2, self.max)
            .double(3, self.num)
            .double(4, self.sum)
            .double(5, self.sum_squares)
            .doubles(6, &self.limits)
            .doubles(7, &self.counts)
    }
}

/// Counts in `bins` equal steps from the smallest to the largest finite value: for drawing. The bounds
/// and the counts; without values, `(0, 0)` and nothing.
pub fn even(values: &[f32], bins: usize) -> ((f64, f64), Vec<u64>) {
    let finite = || values.iter().copied().filter(|v| v.is_finite()).map(f64::from);
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high || bins == 0 {
        return ((0.0, 0.0), vec![]);
    }
    let mut counts = vec![0; bins];
    let width = (high - low) / bins as f64;
    for v in finite() {
        let k = if width > 0.0 { ((v - low) / width) as usize } else { bins / 2 };
        counts[k.min(bins - 1)] += 1;
    }
    ((low, high), counts)
}

/// Joins runs of empty buckets and drops the empty tail.
fn compact(all: impl Iterator<Item = (f64, u64)>) -> (Vec<f64>, Vec<f64>) {
    let mut limits: Vec<f64> = Vec::new();
    let mut counts: Vec<f64> = Vec::new();
    for (limit, count) in all {
        if count == 0 && counts.last() == Some(&0.0) {
            limits.pop();
            counts.pop();
        }
        limits.push(limit);
        counts.push(count as f64);
    }
    if counts.len() > 1 && counts.last() == Some(&0.0) {
        limits.pop();
        counts.pop();
    }
    (limits, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut v = 1e-14f32;
        let mut values = vec![0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE];
        while v < 1e22 {
            values.extend([v, -v]);
            v *= 1.013;
        }
        for &x in &values {
            let h = Histogram::of([x].into_iter());
            assert_eq!(h.counts.iter().sum::<f64>(), 1.0);
            let i = h.counts.iter().position(|&c| c == 1.0).unwrap();
            assert_eq!(i + 1, h.counts.len(), "nothing after the last value");
            assert!(f64::from(x) < h.limits[i], "{x}: {:?}", h.limits);
            if let Some(&low) = i.checked_sub(1).and_then(|k| h.limits.get(k)) {
                assert!(low <= f64::from(x), "{x}: {:?}", h.limits);
            }
        }
        let h = Histogram::of(values.iter().copied());
        assert_eq!(h.counts.iter().sum::<f64>(), values.len() as f64);
        assert!(h.limits.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn equal_steps() {
        assert_eq!(even(&[0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN], 4), ((0.0, 4.0), vec![1, 1, 1, 2]));
        assert_eq!(even(&[2.5; 3], 3), ((2.5, 2.5), vec![0, 3, 0]));
        assert_eq!(even(&[f32::INFINITY], 3), ((0.0, 0.0), vec![]));
    }

    #[test]
    fn moments_by_hand_and_non_finite_left_out() {
        let h = Histogram::of([1.0, -2.0, 3.0, f32::NAN, f32::INFINITY].into_iter());
        assert_eq!((h.min, h.max, h.num), (-2.0, 3.0, 3.0));
        assert_eq!((h.sum, h.sum_squares), (2.0, 14.0));
        assert_eq!(h.counts.iter().filter(|&&c| c > 0.0).count(), 3);
    }

    #[test]
    fn nothing_to_count_is_one_empty_bucket() {
        let h = Histogram::of(std::iter::empty());
        assert_eq!((h.num, h.counts), (0.0, vec![0.0]));
    }
}
