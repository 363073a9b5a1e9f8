//! When the API server is asked again what it serves.

use std::time::Duration;

/// When the API server is asked again what it serves: at once after a change of a CRD, and then at
/// growing intervals while a kind that a registration needs is missing.
pub(super) struct Rediscover {
    at: Option<Duration>,
    pause: Duration,
}

impl Rediscover {
    const FIRST: Duration = Duration::from_millis(250);
    const LAST: Duration = Duration::from_secs(30);

    pub(super) fn now() -> Self {
        Self {
            at: Some(Duration::ZERO),
            pause: Self::FIRST,
        }
    }

    pub(super) fn due(&self) -> bool {
        self.at.is_some_and(|at| at <= crate::clock::monotonic())
    }

    pub(super) fn done(&mut self) {
        self.at = None;
    }

    /// Once more after a pause, unless one is under way.
    pub(super) fn later(&mut self) {
        let now = crate::clock::monotonic();
        if self.at.is_none_or(|at| at <= now) {
            self.at = Some(now.saturating_add(self.pause));
            self.pause = self.pause.saturating_mul(2).min(Self::LAST);
        }
    }

    pub(super) fn wait(&self) -> Duration {
        let idle = Duration::from_secs(300);
        self.at
            .map_or(idle, |at| at.saturating_sub(crate::clock::monotonic()))
    }
}
