//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use super::Pace;

/// A small generator of jitter (splitmix64); nothing depends on its quality.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Shortens a wait at random by up to half.
    pub(crate) fn shorten(&mut self, wait: Duration) -> Duration {
        let half = wait / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let cut = if nanos == 0 { 0 } else { self.next() % nanos };
        wait.saturating_sub(Duration::from_nanos(cut))
    }
}

/// The wait before attempt number `attempt` (from 0), without jitter.
pub(crate) fn wait(pace: &Pace, attempt: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX);
    pace.first.saturating_mul(factor).min(pace.last)
}

/// A seed that differs from process to process.
pub(crate) fn process_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_bounds(
            first in 1_u64..5_000, more in 0_u64..60_000, attempt in 0_u32..80, seed: u64,
        ) {
            let pace = Pace {
                first: Duration::from_millis(first),
                last: Duration::from_millis(first + more),
            };
            let plain = wait(&pace, attempt);
            prop_assert!(plain >= pace.first && plain <= pace.last);
            prop_assert!(wait(&pace, attempt + 1) >= plain);
            let jittered = Jitter::new(seed).shorten(plain);
            prop_assert!(jittered <= plain && jittered >= plain / 2);
        }
    }
}
