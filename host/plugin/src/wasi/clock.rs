//! `wasi:clocks`: the input's `now` in pure hooks, the host's clock in `act`.

use super::poll::{self, Pollable};
use crate::meter::{Stopwatch, wall_clock};
use crate::state::CallState;
use std::time::Duration;
use wasmtime::component::{ComponentType, Linker, Lower, Resource};
use wasmtime::{Result, StoreContextMut};

/// What a plugin gets.
pub(super) const GIVEN: &str = "the situation's `now`, which stands still; the host's clock in act";

/// What the monotonic clock shows when a call begins: runtimes take 0 for a broken clock, and some
/// subtract from it.
const BEGIN: Duration = Duration::from_secs(86_400);

/// The clocks of one call.
#[derive(Debug)]
pub(super) enum Clock {
    /// Stands still.
    Frozen {
        /// What the wall clock showed at first, since the epoch.
        now: Duration,
        /// How far sleeps have moved it.
        slept: Duration,
    },
    /// Goes on.
    Real(Stopwatch),
}

impl Clock {
    /// Stands still at this time; none = at the epoch.
    pub(super) fn frozen(now: Option<jiff::Timestamp>) -> Self {
        let since_epoch = now.and_then(|now| Duration::try_from(now.as_duration()).ok());
        Self::Frozen {
            now: since_epoch.unwrap_or_default(),
            slept: Duration::ZERO,
        }
    }

    pub(super) fn real() -> Self {
        Self::Real(Stopwatch::start())
    }

    /// Since the epoch.
    fn wall(&self) -> Duration {
        match self {
            Self::Frozen { now, slept } => now.saturating_add(*slept),
            Self::Real(_) => wall_clock(),
        }
    }

    /// Nanoseconds since some time before the call.
    pub(super) fn monotonic(&self) -> u64 {
        let passed = match self {
            Self::Frozen { slept, .. } => *slept,
            Self::Real(started) => started.wall(),
        };
        nanoseconds(BEGIN.saturating_add(passed))
    }
}

impl CallState {
    /// Waits until the monotonic clock shows this.
    ///
    /// # Errors
    /// The call has not so much time left, or is stopped.
    pub(super) fn sleep_until(&mut self, instant: u64) -> Result<()> {
        self.check()?;
        let now = self.wasi.clock.monotonic();
        let more = Duration::from_nanos(instant.saturating_sub(now));
        match &mut self.wasi.clock {
            Clock::Frozen { slept, .. } => {
                *slept = slept.saturating_add(more);
                Ok(())
            }
            Clock::Real(_) => {
                // Who cannot be woken in time needs no thread until then.
                self.deadline.allows(more)?;
                Ok(self.outside.wait(more)?)
            }
        }
    }
}

/// `datetime`, as the interface has it.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct DateTime {
    seconds: u64,
    nanoseconds: u32,
}

impl From<Duration> for DateTime {
    fn from(since_epoch: Duration) -> Self {
        Self {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut wall = linker.instance("wasi:clocks/wall-clock@0.2.0")?;
    wall.func_wrap("now", |store: StoreContextMut<'_, CallState>, (): ()| {
        store.data().check()?;
        Ok((DateTime::from(store.data().wasi.clock.wall()),))
    })?;
    wall.func_wrap("resolution", |_: StoreContextMut<'_, CallState>, (): ()| {
        Ok((DateTime::from(Duration::from_nanos(1)),))
    })?;
    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    monotonic.func_wrap("now", |store: StoreContextMut<'_, CallState>, (): ()| {
        store.data().check()?;
        Ok((store.data().wasi.clock.monotonic(),))
    })?;
    monotonic.func_wrap("resolution", |_: StoreContextMut<'_, CallState>, (): ()| {
        Ok((1_u64,))
    })?;
    monotonic.func_wrap("subscribe-instant", subscribe_instant)?;
    monotonic.func_wrap("subscribe-duration", subscribe_duration)
}

type Subscribed = Result<(Resource<Pollable>,)>;

fn subscribe_instant(mut store: StoreContextMut<'_, CallState>, (instant,): (u64,)) -> Subscribed {
    Ok((poll::push(store.data_mut(), Pollable::At(instant))?,))
}

fn subscribe_duration(
    mut store: StoreContextMut<'_, CallState>,
    (duration,): (u64,),
) -> Subscribed {
    let state = store.data_mut();
    let instant = state.wasi.clock.monotonic().saturating_add(duration);
    Ok((poll::push(state, Pollable::At(instant))?,))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
