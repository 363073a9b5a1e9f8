//! What an act call has beside a pure one: a way out, and a way to be stopped.

use crate::http::Outgoing;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Stops a call from another thread; clones stop the same call.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// The guest ends at the next tick, or when the host function that it is in returns; a sleep
    /// returns at once.
    pub fn stop(&self) {
        *self.0.stopped.lock() = true;
        self.0.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        *self.0.stopped.lock()
    }

    /// Waits so long, or until it is stopped; whether it is.
    fn wait(&self, time: Duration) -> bool {
        let mut stopped = self.0.stopped.lock();
        self.0
            .changed
            .wait_while_for(&mut stopped, |stopped| !*stopped, time);
        *stopped
    }
}

/// The call was stopped. Travels through the engine as the error of the tick.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// What an act call has beside a pure one.
#[derive(Clone, Default)]
pub struct Outside {
    /// Sends its requests; none = not granted, and not linked.
    pub outgoing: Option<Arc<dyn Outgoing>>,
    /// Stops it.
    pub stop: Stop,
}

impl Outside {
    /// Whether the call goes on.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        if self.stop.is_stopped() {
            Err(Stopped)
        } else {
            Ok(())
        }
    }

    /// Waits so long, or until the call is stopped.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), Stopped> {
        if self.stop.wait(time) {
            Err(Stopped)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("outgoing", &self.outgoing.is_some())
            .finish_non_exhaustive()
    }
}
