//! A token bucket: it slows down a key that never comes to rest.

use std::time::Duration;
use tokio::time::Instant;

/// Passes that a key may have at once.
pub(crate) const BURST: u32 = 100;
/// After that, one in this time.
pub(crate) const REFILL: Duration = Duration::from_secs(1);

/// Slows down a key that never comes to rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u32,
    refilled: Option<Instant>,
}

impl Bucket {
    pub(crate) const FULL: Self = Self {
        tokens: BURST,
        refilled: None,
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
        if self.tokens == 0 {
            let next = self.refilled.unwrap_or(now) + REFILL;
            return Err(next.saturating_duration_since(now));
        }
        self.tokens -= 1;
        Ok(())
    }

    /// When it is full again if nothing is taken.
    pub(crate) fn full_at(&self, now: Instant) -> Instant {
        let missing = BURST.saturating_sub(self.tokens);
        self.refilled
            .map_or(now, |since| since + REFILL.saturating_mul(missing))
    }
}
