//! One thread that ticks the engine's epoch while any guest runs, and sleeps while none does.
//!
//! It goes on ticking for a while after the last guest: most run for less than a tick, one after the
//! other, and to wake a thread costs as much as to run a small one.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use wasmtime::Engine;

/// Ticks without a guest before it sleeps.
const LINGERS: u32 = 20;

/// The ticking thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The epoch ticks for as long as this lives.
#[derive(Debug)]
pub(crate) struct Ticking<'a> {
    shared: &'a Shared,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Ticks since a guest ran.
    idle: u32,
    /// Whether the thread waits for a guest.
    asleep: bool,
    stopped: bool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = {
            let (shared, engine) = (Arc::clone(&shared), engine.weak());
            std::thread::Builder::new()
                .name("plugin-ticker".to_owned())
                .spawn(move || {
                    while shared.sleep(tick) {
                        let Some(engine) = engine.upgrade() else {
                            return;
                        };
                        engine.increment_epoch();
                    }
                })?
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Ticks until the result is dropped.
    pub(crate) fn begin(&self) -> Ticking<'_> {
        let mut state = self.shared.state.lock();
        state.running = state.running.saturating_add(1);
        state.idle = 0;
        if state.asleep {
            self.shared.changed.notify_all();
        }
        Ticking {
            shared: &self.shared,
        }
    }
}

impl Shared {
    /// Sleeps for a tick, or for as long as no guest runs; false = stop.
    fn sleep(&self, tick: Duration) -> bool {
        let mut state = self.state.lock();
        if state.running == 0 && state.idle >= LINGERS {
            state.asleep = true;
            self.changed
                .wait_while(&mut state, |state| state.running == 0 && !state.stopped);
            state.asleep = false;
        }
        if state.running == 0 {
            state.idle = state.idle.saturating_add(1);
        }
        if !state.stopped {
            self.changed.wait_for(&mut state, tick);
        }
        !state.stopped
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.running = state.running.saturating_sub(1);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked: it only counts.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A guest that begins while the thread sleeps would otherwise run for ever.
    #[test]
    fn a_guest_that_begins_while_the_thread_sleeps_is_ticked() {
        let shared = Arc::new(Shared::default());
        let (ticks, ticked) = mpsc::channel();
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while shared.sleep(Duration::from_millis(1)) {
                    ticks.send(()).unwrap();
                }
            })
        };
        let ticker = Ticker {
            shared: Arc::clone(&shared),
            thread: Some(thread),
        };
        for _ in 0..2 {
            while !shared.state.lock().asleep {
                std::thread::yield_now();
            }
            while ticked.try_recv().is_ok() {}
            let ticking = ticker.begin();
            for _ in 0..2 {
                ticked.recv_timeout(Duration::from_secs(20)).unwrap();
            }
            drop(ticking);
        }
    }
}
