//! Looks again and again, and does what is to be done.

use super::{Budget, bytes, holders};
use crate::wiring::watches::Watches;
use kybern_budget::{BackFill, NewTables, Queries, Reading, measures, over};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// As fast as memory may be taken: what one core parses and compresses, and what joins collect.
const FILL_BYTES_PER_SECOND: u64 = 256 << 20;
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);

/// Keeps the budget.
pub(crate) struct Keeper {
    budget: Budget,
    watches: Watches,
    /// Whether it was said that the budget is exceeded.
    said: bool,
}

impl Keeper {
    pub(crate) fn new(budget: Budget, watches: Watches) -> Self {
        Self {
            budget,
            watches,
            said: false,
        }
    }

    /// Keeps the budget until `shutdown`: looks by the clock, and when the writer wants it.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let pace = self.watches.pace().clone();
        loop {
            let look = pace.begin();
            let reading = self.look().await;
            pace.answer(look, reading.room());
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause(&reading)) => {}
                () = pace.wanted() => {}
            }
        }
    }

    /// Looks once, and does what is to be done.
    pub(super) async fn look(&mut self) -> Reading {
        let stats = self.budget.sources().reader.stats();
        let filling = self.watches.filling(&stats);
        let mut reading = self.budget.reading(&stats);
        reading.filling = filling
            .largest
            .as_ref()
            .map_or(0, |table| bytes(table.total_bytes()));
        reading.ending = reading.ending.saturating_add(filling.stopping);
        let measures = measures(&reading);
        match measures.tables {
            NewTables::Admit => {
                // Said again only after there was some room.
                self.said &= reading.used() > reading.budget / 10 * 9;
                let _off = self.watches.pace().off();
                self.watches.admit(&reading).await;
            }
            NewTables::Refuse if !self.said => {
                self.said = true;
                let text = over(&reading, &holders(&stats));
                tracing::warn!(budget = reading.budget, used = reading.used(), "{text}");
            }
            NewTables::Refuse => {}
        }
        if measures.tables == NewTables::Refuse {
            // What nobody needs is kept for those who come back; not while it is in the way.
            let _off = self.watches.pace().off();
            if self.watches.make_room().await > 0 {
                // What that gave back is to be seen first.
                return reading;
            }
        }
        if measures.evict > 0 {
            self.budget.evict(measures.evict);
        }
        if measures.queries == Queries::CancelLargest {
            self.cancel(&reading);
        }
        if measures.back_fill == BackFill::Stop
            && let Some(table) = &filling.largest
        {
            self.watches.stop_filling(table, &reading);
        }
        reading
    }

    fn cancel(&self, reading: &Reading) {
        let why = |held| kybern_budget::cancelled(bytes(held), reading);
        let least = usize::try_from(reading.budget / 64).unwrap_or(usize::MAX);
        if let Some(held) = self.budget.sources().sql.cancel_largest(least, why) {
            tracing::warn!(
                held,
                "the largest statement was cancelled for want of memory"
            );
            self.budget.ledger().cancelled_query();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.watches.pace().end();
    }
}

/// The next look comes before the room can be taken, however fast memory fills; but not at once.
fn pause(reading: &Reading) -> Duration {
    let millis = reading.room().saturating_mul(1000) / FILL_BYTES_PER_SECOND;
    Duration::from_millis(millis).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_faster_the_less_is_left() {
        let after = |store: u64| {
            pause(&Reading {
                budget: 1 << 30,
                store: store << 20,
                ..Reading::default()
            })
        };
        assert_eq!(after(0), LONGEST);
        assert_eq!(after(1024 - 64), Duration::from_millis(250));
        assert_eq!(after(1024), SHORTEST);
        assert_eq!(after(2048), SHORTEST);
    }
}
