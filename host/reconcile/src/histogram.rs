//! A histogram of durations with fixed buckets, in plain numbers.

use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds; above the last there is one more. From a pass that
/// finds nothing to do to a key that waits out a long backoff of others.
const BOUNDS_MS: [f64; 16] = [
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0,
    60_000.0, 300_000.0,
];

/// How many durations fell into which bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BOUNDS_MS.len()],
    above: u64,
    sum: Duration,
}

impl Histogram {
    /// Counts one duration: in the first bucket whose bound is not below it.
    pub(crate) fn observe(&mut self, took: Duration) {
        let millis = took.as_secs_f64() * 1e3;
        let bucket = BOUNDS_MS
            .iter()
            .zip(&mut self.counts)
            .find(|(bound, _)| millis <= **bound)
            .map_or(&mut self.above, |(_, count)| count);
        *bucket += 1;
        self.sum += took;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Upper bound in seconds and count of each bucket, not cumulative; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let last = (f64::INFINITY, self.above);
        BOUNDS_MS
            .into_iter()
            .map(|millis| millis / 1e3)
            .zip(self.counts)
            .chain([last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_reaches_it() {
        let mut histogram = Histogram::default();
        for micros in [0, 250, 251, 1_000, 300_000_000, 300_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let filled: Vec<(f64, u64)> = histogram.buckets().filter(|(_, n)| *n > 0).collect();
        let wanted = [
            (0.00025, 2),
            (0.0005, 1),
            (0.001, 1),
            (300.0, 1),
            (f64::INFINITY, 1),
        ];
        assert_eq!(filled, wanted);
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.sum(), Duration::from_micros(600_001_502));
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS_MS.is_sorted_by(|a, b| a < b));
    }
}
