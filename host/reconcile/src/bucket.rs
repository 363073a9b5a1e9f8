//! A token bucket that slows down a key which never comes to rest, and the breaker that says so.
//!
//! # Contract
//! A key may have 100 passes at once and then one a second. The breaker opens when there are none
//! left and at least a quarter of the passes since it was last full wrote something (each write may
//! start one that finds nothing to do): it is not just noise. It closes when half of them are back.

use std::time::Duration;
use tokio::time::Instant;

/// Passes that a key may have at once.
const BURST: u32 = 100;
/// After that, one in this time.
const REFILL: Duration = Duration::from_secs(1);
/// What must be there for the breaker to close.
const HALF: u32 = BURST / 2;

/// Slows down a key that never comes to rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u32,
    refilled: Option<Instant>,
    /// Passes since it was last full.
    passes: u32,
    /// Of these: wrote something.
    worked: u32,
    open: bool,
}

impl Bucket {
    pub(crate) const FULL: Self = Self {
        tokens: BURST,
        refilled: None,
        passes: 0,
        worked: 0,
        open: false,
    };

    /// Takes a token, or says how long there is none.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = *self.refilled.get_or_insert(now);
        let gained = now.saturating_duration_since(since).as_secs() / REFILL.as_secs().max(1);
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(gained).min(BURST);
            self.refilled = Some(since + REFILL.saturating_mul(gained));
        }
        if self.tokens >= HALF {
            self.open = false;
        }
        if self.tokens == BURST {
            (self.passes, self.worked) = (0, 0);
        }
        if self.tokens == 0 {
            self.open |= self.worked.saturating_mul(4) >= self.passes;
            let next = self.refilled.unwrap_or(now) + REFILL;
            return Err(next.saturating_duration_since(now));
        }
        self.tokens -= 1;
        self.passes = self.passes.saturating_add(1);
        Ok(())
    }

    /// A pass wrote something.
    pub(crate) fn worked(&mut self) {
        self.worked = self.worked.saturating_add(1);
    }

    /// Whether the breaker is open: the key is slowed down for what it does itself.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// When a breaker that is open closes if nothing is taken.
    pub(crate) fn closes_at(&self, now: Instant) -> Option<Instant> {
        self.open.then(|| self.reaches(HALF, now))
    }

    /// When it is full again if nothing is taken.
    pub(crate) fn full_at(&self, now: Instant) -> Instant {
        self.reaches(BURST, now)
    }

    fn reaches(&self, tokens: u32, now: Instant) -> Instant {
        let missing = tokens.saturating_sub(self.tokens);
        self.refilled
            .map_or(now, |since| since + REFILL.saturating_mul(missing))
    }
}
