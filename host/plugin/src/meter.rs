//! Clocks of one call: CPU time of this thread, time on the clock, and the time of day for `act`.
//!
//! The one place of this crate that reads clocks. A call's CPU time is a
//! property of the thread it runs on, so it cannot come in as a parameter.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// Started when a call begins; read on the same thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    cpu: Duration,
    wall: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            cpu: read(ClockId::ThreadCPUTime),
            wall: read(ClockId::Monotonic),
        }
    }

    /// CPU time of this thread since the start.
    pub(crate) fn cpu(&self) -> Duration {
        read(ClockId::ThreadCPUTime).saturating_sub(self.cpu)
    }

    /// Time on the clock since the start.
    pub(crate) fn wall(&self) -> Duration {
        read(ClockId::Monotonic).saturating_sub(self.wall)
    }
}

/// The time of day, since the epoch.
pub(crate) fn wall_clock() -> Duration {
    read(ClockId::Realtime)
}

fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or_default(),
        u32::try_from(tv_nsec).unwrap_or_default(),
    )
}

/// The time that a running guest has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Stopwatch,
    cpu: Duration,
    wall: Duration,
}

/// The guest ran too long. Travels through the engine as the error of the tick.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("ran longer than {limit:?}")]
pub(crate) struct OutOfTime {
    pub(crate) limit: Duration,
}

impl Deadline {
    /// From now on.
    pub(crate) fn start(cpu: Duration, wall: Duration) -> Self {
        Self {
            started: Stopwatch::start(),
            cpu,
            wall,
        }
    }

    /// Time on the clock that is left.
    pub(crate) fn left(&self) -> Duration {
        self.wall.saturating_sub(self.started.wall())
    }

    /// Whether so much time on the clock is left.
    pub(crate) fn allows(&self, more: Duration) -> Result<(), OutOfTime> {
        if more > self.left() {
            Err(OutOfTime { limit: self.wall })
        } else {
            Ok(())
        }
    }

    /// Whether time is left.
    pub(crate) fn check(&self) -> Result<(), OutOfTime> {
        let wall = self.started.wall();
        // A thread has no more CPU time than the clock: mostly one cheap clock is enough.
        if wall <= self.cpu && wall <= self.wall {
            return Ok(());
        }
        if self.started.cpu() > self.cpu {
            Err(OutOfTime { limit: self.cpu })
        } else if wall > self.wall {
            Err(OutOfTime { limit: self.wall })
        } else {
            Ok(())
        }
    }
}
