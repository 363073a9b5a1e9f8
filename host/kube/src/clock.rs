//! The two clocks of leader election and events, and the one place that reads them.
//!
//! # Why
//! A lease must be judged on a clock that goes on while the machine is suspended, which neither
//! tokio's timer nor `std::time::Instant` promises: Linux' `CLOCK_BOOTTIME` does.

use std::time::Duration;

pub use jiff::Timestamp;

/// Source of time.
pub trait Clock: Send + Sync {
    /// Time since boot, suspension included. Never goes backwards.
    fn since_boot(&self) -> Duration;

    /// Wall-clock time, for what people read.
    fn now(&self) -> Timestamp;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both parts are never negative: the clock starts at boot.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Kubernetes' `MicroTime`: RFC 3339 with exactly six digits of a second, in UTC.
pub(crate) fn micro_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_time_has_six_digits() {
        let time = Timestamp::from_second(1_700_000_000).expect("in range");
        assert_eq!(micro_time(time), "2023-11-14T22:13:20.000000Z");
    }

    #[test]
    fn the_boot_clock_moves_forwards() {
        let first = SystemClock.since_boot();
        let second = SystemClock.since_boot();
        assert!(first > Duration::ZERO);
        assert!(second >= first);
    }
}
