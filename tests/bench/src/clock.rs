//! The bench's clocks: processor time of this process, and waiting.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// User and system time of all threads of this process.
pub(crate) fn processor_time() -> Result<Duration> {
    read(ClockId::ProcessCPUTime)
}

/// Time on a clock that does not go backwards.
pub(crate) fn now() -> Result<Duration> {
    read(ClockId::Monotonic)
}

/// Time since 1970, as the API server has it.
pub(crate) fn wall() -> Result<Duration> {
    read(ClockId::Realtime)
}

fn read(clock: ClockId) -> Result<Duration> {
    Duration::try_from(clock_gettime(clock)).context("the clock is before its start")
}

/// Lets time pass: what is measured is what a process does and holds after it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the bench that sleeps; tests do not"
)]
pub(crate) fn pass(time: Duration) {
    std::thread::sleep(time);
}
