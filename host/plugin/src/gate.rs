//! Lets in as many calls as there are instances; the others wait, but not for ever.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// Lets in as many calls as there are instances.
///
/// It stands in front of the pool because an exhausted pool is an error, not a wait.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<u32>,
    freed: Condvar,
}

/// One call is inside for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    gate: &'a Gate,
}

impl Gate {
    pub(crate) fn new(places: u32) -> Self {
        Self {
            free: Mutex::new(places),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place, at most `wait`; none = nobody left in time.
    pub(crate) fn enter(&self, wait: Duration) -> Option<Pass<'_>> {
        let mut free = self.free.lock();
        if *free == 0 {
            self.freed
                .wait_while_for(&mut free, |free| *free == 0, wait);
        }
        *free = free.checked_sub(1)?;
        Some(Pass { gate: self })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut free = self.gate.free.lock();
        *free = free.saturating_add(1);
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_lets_nobody_in_and_a_left_place_is_taken() {
        let gate = Gate::new(2);
        let first = gate.enter(Duration::ZERO).unwrap();
        let _second = gate.enter(Duration::ZERO).unwrap();
        assert!(gate.enter(Duration::from_millis(1)).is_none());
        drop(first);
        assert!(gate.enter(Duration::ZERO).is_some());
    }

    #[test]
    fn one_who_waits_is_woken() {
        let gate = Gate::new(1);
        let first = gate.enter(Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(Duration::from_secs(60)).is_some());
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }
}
