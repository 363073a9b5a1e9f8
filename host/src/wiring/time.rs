//! The engine's clock and chance over the machine's.

use kybern_reconcile::{Clock, Entropy};
use std::hash::{BuildHasher, RandomState};

/// The machine's wall clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        crate::clock::wall()
    }
}

/// Chance for jitter; not for secrets.
pub(crate) struct Jitter;

impl Entropy for Jitter {
    fn unit(&self) -> f64 {
        // Each RandomState has keys of its own, which the operating system seeded.
        let bits = RandomState::new().hash_one(crate::clock::monotonic()) >> 40;
        let numerator = u32::try_from(bits).unwrap_or_default();
        f64::from(numerator) / f64::from(1_u32 << 24)
    }
}

/// A word that differs from process to process, also under one host name and process id.
pub(crate) fn random_word() -> u32 {
    let bits = RandomState::new().hash_one(crate::clock::wall().as_nanosecond()) >> 32;
    u32::try_from(bits).unwrap_or_default()
}
