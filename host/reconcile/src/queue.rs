//! The work queue: which CR's pass starts next.
//!
//! # Contract
//! One entry per key. A key that is added while its pass runs runs again afterwards. Lower
//! [`Priority`] first, first in first out inside one; a plugin never has more passes under way
//! than its limit. Nothing here knows time or tasks: the engine hands `now` in.
//!
//! # States
//! A key is *ready*, *delayed*, *running*, or not there. A running key may be marked to run again.
//!
//! # Limits
//! There are as many entries as there are CRs with something to do, and those that went less than
//! 100 s ago; a key that loops is slowed down by its own token bucket (100 passes at once, then one
//! a second), also one that is deleted and made again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How urgent a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Priority {
    Live,
    Retry,
    Resync,
    StartUp,
}

impl Priority {
    pub(crate) const ALL: [Self; 4] = [Self::Live, Self::Retry, Self::Resync, Self::StartUp];
}

/// Why a pass is due, as far as it changes what the pass may skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Why {
    /// The plugin's own timer is due: decide must be called.
    pub(crate) timer: bool,
}

impl Why {
    fn merge(&mut self, other: Self) {
        self.timer |= other.timer;
    }
}

/// What the queue asks of its keys.
pub(crate) trait Keyed: Clone + Eq + Hash + Ord {
    /// The plugin whose limit counts.
    fn plugin(&self) -> &Arc<str>;
}

/// What happens after a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something is added.
    Rest,
    /// Again at once.
    Again,
    /// At the latest after this time.
    After(Duration, Priority, Why),
}

#[derive(Debug)]
enum State {
    Idle,
    Ready { priority: Priority, stamp: u64 },
    Running { again: Option<Priority> },
}

#[derive(Debug)]
struct Entry {
    state: State,
    why: Why,
    delayed: Option<(Instant, u64, Priority, Why)>,
    bucket: Bucket,
    /// Its place among those that go once their bucket is full.
    fades: Option<(Instant, u64)>,
}

/// Slows down a key that never comes to rest.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    refilled: Option<Instant>,
}

const BURST: u32 = 100;
const REFILL: Duration = Duration::from_secs(1);

impl Bucket {
    const FULL: Self = Self {
        tokens: BURST,
        refilled: None,
    };

    /// Takes a token, or says how long there is none.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = *self.refilled.get_or_insert(now);
        let gained = now.saturating_duration_since(since).as_secs() / REFILL.as_secs().max(1);
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(gained).min(BURST);
            self.refilled = Some(since + REFILL.saturating_mul(gained));
        }
        if self.tokens == 0 {
            let next = self.refilled.unwrap_or(now) + REFILL;
            return Err(next.saturating_duration_since(now));
        }
        self.tokens -= 1;
        Ok(())
    }

    /// When it is full again if nothing is taken.
    fn full_at(&self, now: Instant) -> Instant {
        let missing = BURST.saturating_sub(self.tokens);
        self.refilled
            .map_or(now, |since| since + REFILL.saturating_mul(missing))
    }
}

#[derive(Debug)]
struct Lane<K> {
    ready: BTreeMap<(Priority, u64), K>,
    running: usize,
    limit: usize,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    entries: HashMap<K, Entry>,
    lanes: HashMap<Arc<str>, Lane<K>>,
    delayed: BTreeMap<(Instant, u64), K>,
    /// Keys with nothing to do, by when their buckets are full.
    fading: BTreeMap<(Instant, u64), K>,
    stamp: u64,
    running: usize,
    limit: usize,
}

impl<K: Keyed> Queue<K> {
    /// A queue that has at most `limit` passes under way.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            lanes: HashMap::new(),
            delayed: BTreeMap::new(),
            fading: BTreeMap::new(),
            stamp: 0,
            running: 0,
            limit,
        }
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp
    }

    /// Admits a plugin's keys, or changes its limit.
    pub(crate) fn open(&mut self, plugin: &Arc<str>, limit: usize) {
        self.lanes
            .entry(Arc::clone(plugin))
            .and_modify(|lane| lane.limit = limit)
            .or_insert_with(|| Lane {
                ready: BTreeMap::new(),
                running: 0,
                limit,
            });
    }

    /// Drops a plugin's waiting keys and admits no more; passes under way end by themselves.
    pub(crate) fn close(&mut self, plugin: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(plugin) {
            lane.ready.clear();
            if lane.running == 0 {
                self.lanes.remove(plugin);
            } else {
                lane.limit = 0;
            }
        }
        self.delayed.retain(|_, key| key.plugin() != plugin);
        self.fading.retain(|_, key| key.plugin() != plugin);
        self.entries.retain(|key, entry| {
            if key.plugin() != plugin {
                return true;
            }
            entry.delayed = None;
            entry.fades = None;
            if let State::Running { again } = &mut entry.state {
                *again = None;
                true
            } else {
                false
            }
        });
    }

    /// Passes of a plugin under way.
    pub(crate) fn running_of(&self, plugin: &Arc<str>) -> usize {
        self.lanes.get(plugin).map_or(0, |lane| lane.running)
    }

    /// A pass is due.
    pub(crate) fn add(&mut self, key: &K, priority: Priority, why: Why) {
        let stamp = self.next_stamp();
        let Some(lane) = self.lanes.get_mut(key.plugin()) else {
            return;
        };
        if lane.limit == 0 {
            return;
        }
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            state: State::Idle,
            why: Why::default(),
            delayed: None,
            bucket: Bucket::FULL,
            fades: None,
        });
        entry.why.merge(why);
        match &mut entry.state {
            State::Running { again } => {
                *again = Some(again.map_or(priority, |before| before.min(priority)));
            }
            State::Ready {
                priority: before,
                stamp: at,
            } => {
                if priority < *before {
                    lane.ready.remove(&(*before, *at));
                    lane.ready.insert((priority, stamp), key.clone());
                    entry.state = State::Ready { priority, stamp };
                }
            }
            State::Idle => {
                lane.ready.insert((priority, stamp), key.clone());
                entry.state = State::Ready { priority, stamp };
            }
        }
    }

    fn delay(&mut self, key: &K, at: Instant, priority: Priority, why: Why) {
        let stamp = self.next_stamp();
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if let Some((before, old, ..)) = entry.delayed.replace((at, stamp, priority, why)) {
            self.delayed.remove(&(before, old));
        }
        self.delayed.insert((at, stamp), key.clone());
    }

    /// When the next delayed key is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((at, _), _)| *at)
    }

    fn wake(&mut self, now: Instant) {
        while let Some(((at, stamp), _)) = self.delayed.first_key_value() {
            if *at > now {
                return;
            }
            let place = (*at, *stamp);
            let Some(key) = self.delayed.remove(&place) else {
                return;
            };
            let due = self.entries.get_mut(&key).and_then(|e| e.delayed.take());
            if let Some((.., priority, why)) = due {
                self.add(&key, priority, why);
            }
        }
    }

    /// Keeps a key's bucket until it is full: a key that goes and comes back at once is as fast
    /// as one that stays.
    fn fade(&mut self, key: &K, now: Instant) {
        let stamp = self.next_stamp();
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let place = (entry.bucket.full_at(now), stamp);
        if let Some(before) = entry.fades.replace(place) {
            self.fading.remove(&before);
        }
        self.fading.insert(place, key.clone());
    }

    /// Drops what has faded and did not come back.
    fn sweep(&mut self, now: Instant) {
        while let Some(first) = self.fading.first_entry() {
            if first.key().0 > now {
                return;
            }
            let key = first.remove();
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            entry.fades = None;
            if matches!(entry.state, State::Idle) && entry.delayed.is_none() {
                self.entries.remove(&key);
            }
        }
    }

    /// The key whose pass starts now, if one may.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(K, Why)> {
        self.sweep(now);
        self.wake(now);
        while self.running < self.limit {
            let (place, plugin) = self
                .lanes
                .iter()
                .filter(|(_, lane)| lane.running < lane.limit)
                .filter_map(|(plugin, lane)| {
                    let (place, _) = lane.ready.first_key_value()?;
                    Some((*place, Arc::clone(plugin)))
                })
                .min()?;
            let lane = self.lanes.get_mut(&plugin)?;
            let key = lane.ready.remove(&place)?;
            let entry = self.entries.get_mut(&key)?;
            if let Err(wait) = entry.bucket.take(now) {
                tracing::debug!(plugin = %plugin, "a pass is due too often and is slowed down");
                let why = std::mem::take(&mut entry.why);
                entry.state = State::Idle;
                self.delay(&key, now + wait, place.0, why);
                continue;
            }
            lane.running += 1;
            self.running += 1;
            entry.state = State::Running { again: None };
            let why = std::mem::take(&mut entry.why);
            // An earlier pass makes a later timer needless: the pass sets a new one.
            if let Some((at, stamp, ..)) = entry.delayed.take() {
                self.delayed.remove(&(at, stamp));
            }
            return Some((key, why));
        }
        None
    }

    /// A pass has ended.
    pub(crate) fn done(&mut self, key: &K, next: Next, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let State::Running { again } = entry.state else {
            return;
        };
        entry.state = State::Idle;
        self.running = self.running.saturating_sub(1);
        let closed = match self.lanes.get_mut(key.plugin()) {
            Some(lane) => {
                lane.running = lane.running.saturating_sub(1);
                lane.limit == 0
            }
            None => true,
        };
        if closed {
            if self.running_of(key.plugin()) == 0 {
                self.lanes.remove(key.plugin());
            }
            self.entries.remove(key);
            return;
        }
        let wanted = match next {
            Next::Again => Some(again.map_or(Priority::Retry, |p| p.min(Priority::Retry))),
            _ => again,
        };
        if let Some(priority) = wanted {
            self.add(key, priority, Why::default());
        }
        match next {
            Next::After(after, priority, why) => self.delay(key, now + after, priority, why),
            Next::Rest if wanted.is_none() => self.fade(key, now),
            Next::Rest | Next::Again => {}
        }
    }

    /// Keys that are ready, by priority.
    pub(crate) fn ready(&self) -> [usize; 4] {
        Priority::ALL.map(|priority| {
            self.lanes
                .values()
                .map(|lane| {
                    lane.ready
                        .range((priority, 0)..=(priority, u64::MAX))
                        .count()
                })
                .sum()
        })
    }

    /// Keys that are due later.
    pub(crate) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Passes under way.
    pub(crate) fn running(&self) -> usize {
        self.running
    }
}

/// Exponential backoff with jitter: `base * 2^failures`, at most `cap`, times 0.5 to 1.
pub fn backoff(base: Duration, cap: Duration, failures: u32, unit: f64) -> Duration {
    let factor = 2u32.saturating_pow(failures.min(30));
    let full = base.saturating_mul(factor).min(cap);
    full.mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
