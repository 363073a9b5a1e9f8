//! What a reading means, and when to look again. Pure.

use super::meter::Reading;
use super::reserve;
use std::time::Duration;

/// As fast as memory can be filled here: pages are touched at about this rate by one core.
const FILL_BYTES_PER_SECOND: u64 = 512 << 20;
const SHORTEST: Duration = Duration::from_millis(5);
/// Between two looks where there is no hurry.
pub(crate) const LONGEST: Duration = Duration::from_millis(500);

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Enough is free.
    Roomy,
    /// More than four fifths are used.
    Tight,
    /// The reserve is touched.
    Full,
}

impl Level {
    /// What this reading means.
    pub(crate) fn of(reading: Reading) -> Self {
        let Some(limit) = reading.limit else {
            return Self::Roomy;
        };
        if reading.used.saturating_add(reserve(limit)) > limit {
            Self::Full
        } else if reading.used > limit / 5 * 4 {
            Self::Tight
        } else {
            Self::Roomy
        }
    }
}

/// Whether use has sunk so far that crossing into [`Level::Tight`] is news again.
pub(crate) fn relaxed(reading: Reading) -> bool {
    reading
        .limit
        .is_none_or(|limit| reading.used < limit / 10 * 7)
}

/// Whether the end is so near that waiting for good order would be too late.
pub(crate) fn at_the_edge(reading: Reading) -> bool {
    reading
        .limit
        .is_some_and(|limit| reading.used.saturating_add(reserve(limit) / 4) > limit)
}

/// The next look comes before the reserve can be used up, however fast memory fills.
pub(crate) fn pause(reading: Reading) -> Duration {
    let Some(limit) = reading.limit else {
        return LONGEST;
    };
    let room = limit
        .saturating_sub(reserve(limit))
        .saturating_sub(reading.used);
    let millis = room.saturating_mul(1000) / FILL_BYTES_PER_SECOND;
    Duration::from_millis(millis).clamp(SHORTEST, LONGEST)
}
