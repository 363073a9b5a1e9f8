//! Answers that were asked for together with those of others.
//!
//! Where many CRs of a registration are due, the pass that asks first asks for those that wait as
//! well: one join instead of hundreds of statements. Each of them gets its [`Context`], on the
//! snapshot of the answers, so that its pass still sees one state.
//!
//! # Contract
//! What is kept for a CR is younger than the last write of its passes, and nothing that concerns it
//! has been heard of since: whoever makes it due [drops](Ahead::drop) what is kept. A pass takes it
//! out; what is not taken grows old and is asked again.

use crate::key::CrKey;
use crate::memory::Memory;
use crate::pass::{Context, Located, locate_on, queries};
use crate::shared::Shared;
use crate::traits::{Answer, SenseRequest};
use crate::trigger::Slot;
use kybern_interface::Query;
use kybern_table::{ScanRead, Snapshot};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Answers are as good as a snapshot that a pass has held for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Bytes of CRs and answers that may wait for their passes, over all registrations.
const MOST_BYTES: usize = 16 << 20;

/// A CR with its answers.
pub(crate) struct Ready {
    pub(crate) cx: Box<Context>,
    pub(crate) answers: Vec<Answer>,
}

impl Ready {
    /// About what it holds: an object takes some times its text.
    fn bytes(&self) -> usize {
        let batches = self.answers.iter().flat_map(|answer| &answer.batches);
        let answers: usize = batches.map(|batch| batch.get_array_memory_size()).sum();
        answers.saturating_add(self.cx.object.to_string().len().saturating_mul(4))
    }
}

enum Entry {
    /// Its answers are being asked for, by this asking.
    Asked(u64),
    Ready {
        ready: Ready,
        bytes: usize,
        at: Instant,
    },
}

#[derive(Default)]
struct State {
    entries: HashMap<CrKey, Entry>,
    bytes: usize,
    askings: u64,
}

impl State {
    fn remove(&mut self, key: &CrKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        if let Entry::Ready { bytes, .. } = &entry {
            self.bytes = self.bytes.saturating_sub(*bytes);
        }
        Some(entry)
    }
}

/// Answers that wait for their passes.
#[derive(Default)]
pub(crate) struct Ahead {
    state: Mutex<State>,
    /// Something that was asked for is there, or will not be.
    told: Notify,
}

impl Ahead {
    /// CRs whose answers are there or asked for.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Something concerns the CR that its answers may not show.
    pub(crate) fn drop(&self, key: &CrKey) {
        if self.state.lock().remove(key).is_some() {
            self.told.notify_waiters();
        }
    }

    /// Nothing of a registration is kept any more.
    pub(crate) fn forget_plugin(&self, plugin: &str) {
        let mut state = self.state.lock();
        let of = |key: &&CrKey| &*key.plugin == plugin;
        let keys: Vec<CrKey> = state.entries.keys().filter(of).cloned().collect();
        for key in keys {
            state.remove(&key);
        }
        self.told.notify_waiters();
    }

    /// Takes out what is kept for a CR whose pass starts; waits for what is asked for.
    pub(crate) async fn take(&self, key: &CrKey) -> Option<Ready> {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Listens from here on, so that what is told in between is not missed.
            told.as_mut().enable();
            {
                let mut state = self.state.lock();
                if !matches!(state.entries.get(key)?, Entry::Asked(_)) {
                    return match state.remove(key)? {
                        Entry::Ready { ready, at, .. } if at.elapsed() < FRESH => Some(ready),
                        _ => None,
                    };
                }
            }
            told.await;
        }
    }

    /// Notes those of the keys that nothing is kept for; returns them and the asking's number. What
    /// has grown old goes.
    fn ask(&self, keys: Vec<CrKey>) -> (u64, Vec<CrKey>) {
        let mut state = self.state.lock();
        state.askings += 1;
        let asking = state.askings;
        let old = |entry: &Entry| matches!(entry, Entry::Ready { at, .. } if at.elapsed() >= FRESH);
        let entries = state.entries.iter().filter(|(_, entry)| old(entry));
        let old: Vec<CrKey> = entries.map(|(key, _)| key.clone()).collect();
        for key in old {
            state.remove(&key);
        }
        let mut wanted = Vec::with_capacity(keys.len());
        for key in keys {
            if !state.entries.contains_key(&key) {
                state.entries.insert(key.clone(), Entry::Asked(asking));
                wanted.push(key);
            }
        }
        (asking, wanted)
    }

    /// Does something while the key is asked for by this asking and no other can take or drop it;
    /// not at all if it is not.
    fn while_asked(&self, asking: u64, key: &CrKey, work: impl FnOnce()) {
        let state = self.state.lock();
        if matches!(state.entries.get(key), Some(Entry::Asked(by)) if *by == asking) {
            work();
        }
    }

    fn give(&self, asking: u64, key: &CrKey, ready: Ready) {
        let bytes = ready.bytes();
        let mut state = self.state.lock();
        if !matches!(state.entries.get(key), Some(Entry::Asked(by)) if *by == asking) {
            return;
        }
        if state.bytes.saturating_add(bytes) > MOST_BYTES {
            state.entries.remove(key);
            return;
        }
        state.bytes += bytes;
        let at = Instant::now();
        let entry = Entry::Ready { ready, bytes, at };
        state.entries.insert(key.clone(), entry);
    }

    /// What is still only asked for will not be given.
    fn end(&self, asking: u64, keys: &[CrKey]) {
        let mut state = self.state.lock();
        for key in keys {
            if matches!(state.entries.get(key), Some(Entry::Asked(by)) if *by == asking) {
                state.entries.remove(key);
            }
        }
        drop(state);
        self.told.notify_waiters();
    }
}

/// An asking that ends wherever its pass ends.
struct Asking<'s> {
    ahead: &'s Ahead,
    number: u64,
    keys: Vec<CrKey>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.ahead.end(self.number, &self.keys);
    }
}

/// Asks for the answers of a pass and of those that wait behind it; none if nobody does, or if
/// asking together pays for none of the registration's queries.
pub(crate) async fn together(shared: &Shared, cx: &Context) -> Option<Vec<Answer>> {
    let active = cx.active();
    if active.has_sense {
        return None;
    }
    let least = shared.deps.sense.company(active)?;
    let most = shared.deps.config.together;
    let (number, keys) = {
        // None of them starts in between.
        let queue = shared.queue.lock();
        let waiting = queue.waiting(&cx.key.plugin, most.saturating_sub(1));
        if waiting.len() + 1 < least {
            return None;
        }
        shared.ahead.ask(waiting)
    };
    let ahead = &shared.ahead;
    let asking = Asking {
        ahead,
        number,
        keys,
    };
    let others = found(shared, &asking.keys, cx);
    if others.len() + 1 < least {
        return None;
    }
    let own = queries(cx);
    let objects = std::iter::once((&cx.object, &*own));
    let others_ask = others.iter().map(|(cx, queries)| (&cx.object, &**queries));
    let requests: Vec<SenseRequest<'_>> = objects
        .chain(others_ask)
        .map(|(object, queries)| SenseRequest {
            active,
            object,
            queries,
            snapshot: &cx.snapshot,
        })
        .collect();
    let mut answers = shared
        .deps
        .sense
        .sense_together(&requests)
        .await
        .into_iter();
    let own = answers.next()?.ok()?.answers;
    let mut given = Vec::with_capacity(others.len());
    for ((cx, _), sensed) in others.into_iter().zip(answers) {
        // Whoever has no answers asks again by itself, and says why it got none.
        if let Ok(sensed) = sensed {
            given.push((cx, sensed.answers));
        }
    }
    hand_out(shared, &asking, &cx.snapshot, given);
    Some(own)
}

/// The CRs on the snapshot of the pass that asks, with what they ask. Only those of the very
/// registration: another one may ask something else.
fn found(shared: &Shared, keys: &[CrKey], asker: &Context) -> Vec<(Box<Context>, Vec<Query>)> {
    let located =
        keys.iter()
            .filter_map(|key| match locate_on(shared, key, asker.snapshot.clone()) {
                Located::Found(cx) => Some(cx),
                Located::Gone | Located::NotReady(..) => None,
            });
    located
        .filter(|cx| Arc::ptr_eq(&cx.registered, &asker.registered))
        .map(|cx| {
            let queries = queries(&cx);
            (cx, queries)
        })
        .collect()
}

fn hand_out(
    shared: &Shared,
    asking: &Asking<'_>,
    snapshot: &Snapshot,
    given: Vec<(Box<Context>, Vec<Answer>)>,
) {
    for (cx, answers) in &given {
        let key = &cx.key;
        // A CR that was dropped has had its own pass since, which knows better what it reads.
        shared.ahead.while_asked(asking.number, key, || {
            let reads = reads(answers);
            shared.triggers.lock().install(key, Slot::Answers, &reads);
        });
    }
    // Of changes from here on the dispatcher finds whom they concern, and drops what is asked for
    // or given. Those before it may have heard of too early: such answers are not given.
    let Ok(changes) = shared
        .deps
        .reader
        .snapshot()
        .changes_since(snapshot.sequence())
    else {
        return;
    };
    let changed = changes
        .iter()
        .flat_map(|change| shared.concerned_by(change));
    let changed: HashSet<CrKey> = changed.map(|(key, _)| key).collect();
    for (cx, answers) in given {
        let key = cx.key.clone();
        if !changed.contains(&key) {
            shared
                .ahead
                .give(asking.number, &key, Ready { cx, answers });
        }
    }
}

/// What answers were read from.
pub(crate) fn reads(answers: &[Answer]) -> Vec<ScanRead> {
    let scans = answers.iter().flat_map(|answer| &answer.read_set.scans);
    scans.cloned().collect()
}

/// Whether what was given is as good as what the pass would find itself: of the registration as it
/// is, and no older than what the last pass of the CR left.
pub(crate) fn holds(shared: &Shared, ready: &Ready, memory: &Memory) -> bool {
    let registered = shared.registered(&ready.cx.key.plugin);
    registered.is_some_and(|now| now.is(&ready.cx.registered))
        && ready.cx.snapshot.sequence() >= memory.ended
}
