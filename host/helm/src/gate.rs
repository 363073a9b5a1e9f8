//! Lets so many renders run at once; the others wait, but not for ever.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
}

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: Mutex::new(places.max(1)),
            freed: Condvar::new(),
        }
    }

    /// A place; none if none is free in time.
    pub(crate) fn enter(&self, wait: Duration) -> Option<Place<'_>> {
        let mut free = self.free.lock();
        self.freed
            .wait_while_for(&mut free, |free| *free == 0, wait);
        *free = free.checked_sub(1)?;
        Some(Place { gate: self })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut free = self.gate.free.lock();
        *free = free.saturating_add(1);
        drop(free);
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_in_time_goes_away_and_a_freed_one_is_taken() {
        let gate = Gate::new(1);
        let place = gate.enter(Duration::ZERO).unwrap();
        assert!(gate.enter(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(Duration::from_secs(60)).is_some());
            drop(place);
            assert!(waiting.join().unwrap());
        });
        assert!(gate.enter(Duration::ZERO).is_some());
    }
}
