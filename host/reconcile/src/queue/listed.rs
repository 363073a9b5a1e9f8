//! What is in the queue, for people.

use super::entry::{Delayed, State};
use super::{Keyed, Queue};
use crate::cause::Causes;
use crate::why::Priority;
use std::time::Duration;
use tokio::time::Instant;

/// Where a key with something to do is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its pass is under way.
    Running,
    /// It is due, for this time.
    Ready { waited: Duration },
    /// It is due after this time, and not before if that holds it.
    Delayed { due: Duration, holds: bool },
}

/// A key with something to do.
#[derive(Debug, Clone)]
pub(crate) struct Queued<K> {
    pub(crate) key: K,
    pub(crate) place: Place,
    pub(crate) priority: Priority,
    /// What makes it due; of one that runs, what makes it run again.
    pub(crate) causes: Causes,
}

impl<K: Keyed> Queue<K> {
    /// Every key with something to do: what runs, what is due, what is due later.
    pub(crate) fn all(&self, now: Instant) -> Vec<Queued<K>> {
        let mut all = Vec::new();
        for (key, entry) in &self.entries {
            let delayed = entry.delayed.as_ref();
            let mut gathered = None;
            let (place, priority, why) = match (&entry.state, delayed) {
                (State::Running { started, .. }, _) => (Place::Running, *started, &entry.why),
                (State::Ready { priority, stamp }, _) => {
                    let since = self.since(key, (*priority, *stamp));
                    let waited = now.saturating_duration_since(since.unwrap_or(now));
                    (Place::Ready { waited }, *priority, &entry.why)
                }
                (State::Idle, Some(Delayed { place, later })) => {
                    let due = place.0.saturating_duration_since(now);
                    let holds = later.holds;
                    gathered = Some(&later.gathered);
                    (Place::Delayed { due, holds }, later.priority, &later.why)
                }
                (State::Idle, None) => continue,
            };
            let mut causes = why.causes.clone();
            if let Some(gathered) = gathered {
                causes.merge(gathered.causes.clone());
            }
            all.push(Queued {
                key: key.clone(),
                place,
                priority,
                causes,
            });
        }
        all
    }

    fn since(&self, key: &K, place: (Priority, u64)) -> Option<Instant> {
        let lane = self.lanes.get(key.plugin())?;
        lane.ready.get(&place).map(|(_, since)| *since)
    }
}
