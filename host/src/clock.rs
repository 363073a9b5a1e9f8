//! Wall and monotonic time: the one module that asks the machine for it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// When the process first asked.
static START: LazyLock<Instant> = LazyLock::new(now_instant);

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
fn now_instant() -> Instant {
    Instant::now()
}

/// Wall-clock time, UTC.
pub(crate) fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Time since the process began; never goes back.
pub(crate) fn monotonic() -> Duration {
    now_instant().saturating_duration_since(*START)
}
