//! The work queue: which CR's pass starts next.
//!
//! # Contract
//! One entry per key. A key that is added while its pass runs runs again afterwards. Lower
//! [`Priority`] first, first in first out inside one; every eighth start is that of the key that
//! waits longest, so that no flood of live changes keeps the others waiting for ever. A plugin
//! never has more passes under way than its limit, and one that fails whatever it is asked has one
//! now and then ([`Breaker`]). Nothing here knows time or tasks: the engine hands `now` in.
//!
//! # States
//! A key is *ready*, *delayed*, *running*, or not there. A running key may be marked to run again.
//! A delayed key is made ready early by anything that is added, unless the delay *holds* it
//! (a backoff, a Retry-After): then only by what ends a hold. What is added meanwhile waits with it.
//!
//! # Limits
//! There are as many entries as there are CRs with something to do, and those that went less than
//! 100 s ago; a key that loops is slowed down by its own token bucket (100 passes at once, then one
//! a second), also one that is deleted and made again.

mod entry;
mod listed;

use crate::breaker::{Breaker, Called, Turned};
use crate::bucket::Bucket;
use crate::cause::StartedBy;
use crate::seen::Seen;
use crate::why::{OnHold, Priority, Turn, Why};
pub(crate) use entry::Line;
use entry::{Delayed, Entry, Lane, Later, State, sooner};
pub(crate) use listed::{Place, Queued};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Every so many starts, what waits longest is first.
const OLDEST: u64 = 8;

/// What the queue asks of its keys.
pub(crate) trait Keyed: Clone + Eq + Hash + Ord {
    /// The plugin whose limit counts.
    fn plugin(&self) -> &Arc<str>;
}

/// What happens after a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something is added.
    Rest,
    /// Again at once.
    Again,
    /// At the latest after this time.
    After(Duration, Priority, Why),
    /// After this time, and not before unless something ends the hold.
    Hold(Duration, Priority, Why),
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    entries: HashMap<K, Entry>,
    lanes: HashMap<Arc<str>, Lane<K>>,
    delayed: BTreeMap<(Instant, u64), K>,
    /// Keys with nothing to do, by when their buckets are full.
    fading: BTreeMap<(Instant, u64), K>,
    /// Until when passes of a priority do not start.
    gates: [Option<Instant>; 4],
    /// Passes that have started.
    starts: u64,
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
            gates: [None; 4],
            starts: 0,
            stamp: 0,
            running: 0,
            limit,
        }
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp
    }

    /// Admits a plugin's keys, or changes its limit. It is another plugin now: its breaker is closed.
    pub(crate) fn open(&mut self, plugin: &Arc<str>, limit: usize) {
        let lane = self.lanes.entry(Arc::clone(plugin));
        let lane = lane.or_insert_with(|| Lane::new(limit));
        lane.limit = limit;
        lane.breaker = Breaker::default();
    }

    /// What a pass over `key` knows about its plugin. Says whether that opened or closed its breaker.
    pub(crate) fn hear(&mut self, key: &K, called: Called, now: Instant) -> Option<Turned> {
        let lane = self.lanes.get_mut(key.plugin())?;
        lane.breaker.hear(key, called, now)
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
            if let State::Running { again, .. } = &mut entry.state {
                *again = None;
                entry.why = Why::default();
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

    /// A pass is due, since `at`.
    pub(crate) fn add(&mut self, key: &K, priority: Priority, why: Why, at: Instant) {
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
        match &mut entry.state {
            State::Running { again, .. } => {
                entry.why.merge(why);
                *again = Some(sooner(*again, priority, at));
            }
            State::Ready {
                priority: before,
                stamp: place,
            } => {
                entry.why.merge(why);
                if priority < *before
                    && let Some(waiting) = lane.ready.remove(&(*before, *place))
                {
                    lane.ready.insert((priority, stamp), waiting);
                    entry.state = State::Ready { priority, stamp };
                }
            }
            State::Idle => {
                if let Some(Delayed { later, .. }) = &mut entry.delayed
                    && later.holds
                    && why.on_hold == OnHold::Waits
                {
                    later.gathered.merge(why);
                    later.priority = later.priority.min(priority);
                    return;
                }
                entry.why.merge(why);
                lane.ready.insert((priority, stamp), (key.clone(), at));
                entry.state = State::Ready { priority, stamp };
            }
        }
    }

    fn delay(&mut self, key: &K, at: Instant, later: Later) {
        let place = (at, self.next_stamp());
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let delayed = Delayed { place, later };
        if let Some(before) = entry.delayed.replace(delayed) {
            self.delayed.remove(&before.place);
        }
        self.delayed.insert(place, key.clone());
    }

    /// When something may be due that is not now.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let lanes = self.lanes.values().filter_map(Lane::held_until);
        let gates = self.gates.iter().copied().flatten();
        gates.chain(lanes).chain(delayed).min()
    }

    fn wake(&mut self, now: Instant) {
        for gate in &mut self.gates {
            *gate = gate.filter(|until| *until > now);
        }
        for lane in self.lanes.values_mut() {
            lane.breaker.wake(now);
        }
        while let Some(first) = self.delayed.first_entry() {
            let at = first.key().0;
            if at > now {
                return;
            }
            let key = first.remove();
            let due = self.entries.get_mut(&key).and_then(|e| e.delayed.take());
            if let Some(Delayed { later, .. }) = due {
                let mut why = later.why;
                why.merge(later.gathered);
                self.add(&key, later.priority, why, at);
            }
        }
    }

    /// The API server asks for less: passes that are no more urgent than that of `key`, which is
    /// under way, do not start for this time. At most 30 s, and a second for live changes.
    pub(crate) fn throttle(&mut self, key: &K, after: Duration, now: Instant) {
        let Some(State::Running { started, .. }) = self.entries.get(key).map(|e| &e.state) else {
            return;
        };
        for (gate, priority) in self.gates.iter_mut().zip(Priority::ALL) {
            if priority >= *started {
                let until = now + after.min(priority.longest_gate());
                *gate = Some(gate.map_or(until, |before| before.max(until)));
            }
        }
    }

    /// The pass of `key` that is under way wrote something.
    pub(crate) fn worked(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.bucket.worked();
        }
    }

    /// Takes back what was added while the pass of `key` ran if the pass knows it already. Says
    /// whether there was anything.
    pub(crate) fn spare(&mut self, key: &K, known: impl FnOnce(&Seen) -> bool) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        match &mut entry.state {
            State::Running { again, .. } if again.is_some() && known(&entry.why.seen) => {
                *again = None;
                entry.why = Why::default();
                true
            }
            _ => false,
        }
    }

    /// Keys whose breaker is open.
    pub(crate) fn slowed(&self) -> usize {
        let open = |entry: &&Entry| entry.bucket.is_open();
        self.entries.values().filter(open).count()
    }

    /// The key that starts next: the first of the most urgent priority, or, every eighth time, the
    /// one that waits longest. Only where gates are open and plugins have room.
    fn first(&self) -> Option<((Priority, u64), Arc<str>)> {
        let open = Priority::ALL
            .into_iter()
            .zip(self.gates)
            .filter(|(_, gate)| gate.is_none());
        let mut firsts = open.filter_map(|(priority, _)| {
            let lanes = self.lanes.iter();
            lanes
                .filter(|(_, lane)| lane.admits(priority))
                .filter_map(|(plugin, lane)| {
                    let mut of = lane.ready.range((priority, 0)..=(priority, u64::MAX));
                    Some((*of.next()?.0, Arc::clone(plugin)))
                })
                .min()
        });
        if self.starts % OLDEST == OLDEST - 1 {
            firsts.min_by_key(|((_, stamp), _)| *stamp)
        } else {
            firsts.next()
        }
    }

    /// The keys of a plugin that are due and wait for nothing but their turn, the most urgent first;
    /// so many at most.
    pub(crate) fn waiting(&self, plugin: &Arc<str>, most: usize) -> Vec<K> {
        let gated = |priority: Priority| {
            let gate = self.gates.get(priority.index());
            gate.is_some_and(Option::is_some)
        };
        let lane = self.lanes.get(plugin);
        // One at a time has no company.
        let lane = lane.filter(|lane| !lane.breaker.is_open());
        let ready = lane.into_iter().flat_map(|lane| &lane.ready);
        let open = ready.filter(|((priority, _), _)| !gated(*priority));
        open.take(most).map(|(_, (key, _))| key.clone()).collect()
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
            let (place, plugin) = self.first()?;
            let lane = self.lanes.get_mut(&plugin)?;
            let (key, since) = lane.ready.remove(&place)?;
            let entry = self.entries.get_mut(&key)?;
            let mut why = std::mem::take(&mut entry.why);
            // An earlier pass makes a later timer needless: the pass sets a new one.
            if let Some(delayed) = entry.delayed.take() {
                self.delayed.remove(&delayed.place);
                why.merge(delayed.later.gathered);
            }
            if let Err(wait) = entry.bucket.take(now) {
                tracing::debug!(plugin = %plugin, "a pass is due too often and is slowed down");
                entry.state = State::Idle;
                let mut later = Later::new(place.0, Why::default(), true);
                later.gathered = why;
                self.delay(&key, now + wait, later);
                continue;
            }
            lane.running += 1;
            self.running += 1;
            entry.state = State::Running {
                started: place.0,
                again: None,
            };
            self.starts = self.starts.wrapping_add(1);
            why.slowed = entry.bucket.is_open();
            why.turn = Turn {
                priority: place.0,
                waited: now.saturating_duration_since(since),
            };
            return Some((key, why));
        }
        None
    }

    /// A pass has ended.
    pub(crate) fn done(&mut self, key: &K, next: Next, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let State::Running { again, .. } = entry.state else {
            return;
        };
        entry.state = State::Idle;
        let mut why = std::mem::take(&mut entry.why);
        let closes = entry.bucket.closes_at(now);
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
            Next::Again => {
                why.merge(Why::of(StartedBy::Retry, OnHold::Waits));
                Some(sooner(again, Priority::Retry, now))
            }
            _ => again,
        };
        match next {
            Next::After(after, priority, why) => match closes {
                // That it is no longer slowed down has to be said.
                Some(closes) if closes < now + after => {
                    let why = Why::of(StartedBy::Rested, OnHold::Waits);
                    self.delay(key, closes, Later::new(Priority::Retry, why, false));
                }
                _ => self.delay(key, now + after, Later::new(priority, why, false)),
            },
            Next::Hold(after, priority, why) => {
                self.delay(key, now + after, Later::new(priority, why, true));
            }
            Next::Rest if wanted.is_none() => self.fade(key, now),
            Next::Rest | Next::Again => {}
        }
        // What came while it ran: a hold that begins now counts for it too.
        if let Some((priority, since)) = wanted {
            self.add(key, priority, why, since);
        }
    }

    /// Keys that are ready, by priority.
    pub(crate) fn ready(&self) -> [Line; 4] {
        let mut lines = [Line::default(); 4];
        for lane in self.lanes.values() {
            for ((priority, _), (_, since)) in &lane.ready {
                if let Some(line) = lines.get_mut(priority.index()) {
                    line.add(*since);
                }
            }
        }
        lines
    }

    /// Whether a key is ready.
    pub(crate) fn has_ready(&self) -> bool {
        self.lanes.values().any(|lane| !lane.ready.is_empty())
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

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
