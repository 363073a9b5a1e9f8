//! What the queue knows of a key, and of the keys of a plugin.

use crate::breaker::Breaker;
use crate::bucket::Bucket;
use crate::why::{Priority, Why};
use std::collections::BTreeMap;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) enum State {
    Idle,
    Ready {
        priority: Priority,
        stamp: u64,
    },
    Running {
        started: Priority,
        /// Added meanwhile: how urgently, and since when.
        again: Option<(Priority, Instant)>,
    },
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) why: Why,
    pub(super) delayed: Option<Delayed>,
    pub(super) bucket: Bucket,
    /// Its place among those that go once their bucket is full.
    pub(super) fades: Option<(Instant, u64)>,
}

/// A key that is due later.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) place: (Instant, u64),
    pub(super) later: Later,
}

#[derive(Debug)]
pub(super) struct Later {
    pub(super) priority: Priority,
    /// Why it is due then.
    pub(super) why: Why,
    /// Whether it is not due before.
    pub(super) holds: bool,
    /// What was added while it was held.
    pub(super) gathered: Why,
}

impl Later {
    pub(super) fn new(priority: Priority, why: Why, holds: bool) -> Self {
        Self {
            priority,
            why,
            holds,
            gathered: Why::default(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lane<K> {
    /// The keys, and since when they are due.
    pub(super) ready: BTreeMap<(Priority, u64), (K, Instant)>,
    pub(super) running: usize,
    pub(super) limit: usize,
    /// Whether the plugin fails whatever it is asked.
    pub(super) breaker: Breaker<K>,
}

impl<K> Lane<K> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            ready: BTreeMap::new(),
            running: 0,
            limit,
            breaker: Breaker::default(),
        }
    }

    /// Whether a pass of this priority may start.
    pub(super) fn admits(&self, priority: Priority) -> bool {
        self.running < self.limit && self.breaker.admits(priority, self.running)
    }

    /// When something that is due may start that may not now.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.breaker.until().filter(|_| !self.ready.is_empty())
    }
}

/// The keys of one priority that are due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// How many.
    pub(crate) length: usize,
    /// Since when the first of them is due.
    pub(crate) oldest: Option<Instant>,
}

impl Line {
    pub(super) fn add(&mut self, since: Instant) {
        self.length += 1;
        self.oldest = Some(self.oldest.map_or(since, |before| before.min(since)));
    }
}

/// What is added to a key that runs: as urgent as the most urgent, due since the first.
pub(super) fn sooner(
    before: Option<(Priority, Instant)>,
    priority: Priority,
    at: Instant,
) -> (Priority, Instant) {
    before.map_or((priority, at), |(urgent, since)| {
        (urgent.min(priority), since.min(at))
    })
}
