//! What passes and the dispatcher share: registrations, triggers, queue, memories; and one pass.

use crate::act::Actor;
use crate::active::Active;
use crate::ahead::{self, Ahead, Ready};
use crate::backoff::backoff;
use crate::cause::StartedBy;
use crate::delta::Delta;
use crate::engine::Deps;
use crate::finish::{self, Began};
use crate::jobs::{Job, Jobs};
use crate::key::CrKey;
use crate::memory::Memory;
use crate::metrics::PassResult;
use crate::owner::part_of;
use crate::pass::{self, Located};
use crate::queue::{Keyed, Next, Queue};
use crate::registry::{Charge, Registry};
use crate::report::PassReport;
use crate::revision::{Pins, Registered};
use crate::sensing;
use crate::stage::pass_span;
use crate::trial::Trials;
use crate::trigger::{Concern, Concerned, Slot, Triggers, missed_since, own_change};
use crate::trouble::Troubles;
use crate::why::{OnHold, Priority, Why};
use kybern_table::{KindKey, Row, RowChange, ScanRead, Sequence, Snapshot, TableState};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::Instrument;

impl Keyed for CrKey {
    fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }
}

/// What passes and the dispatcher share.
pub(crate) struct Shared {
    pub(crate) deps: Deps,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) triggers: Mutex<Triggers>,
    pub(crate) queue: Mutex<Queue<CrKey>>,
    /// Effects that wait or run.
    pub(crate) jobs: Mutex<Jobs>,
    /// Memories of CRs whose pass is not under way.
    pub(crate) memories: Mutex<HashMap<CrKey, Memory>>,
    pub(crate) reports: Mutex<HashMap<CrKey, Arc<PassReport>>>,
    /// CRs that wait for a table to be readable.
    pub(crate) awaited: Mutex<HashMap<KindKey, BTreeSet<CrKey>>>,
    /// Answers that wait for their passes.
    pub(crate) ahead: Ahead,
    /// Revisions that CRs name.
    pub(crate) pins: Pins,
    /// Revisions on trial.
    pub(crate) trials: watch::Sender<Trials>,
    /// Plugins that fail whatever they are asked.
    pub(crate) troubles: watch::Sender<Troubles>,
    /// Something may be due.
    pub(crate) wake: Notify,
    /// A pass or an effect has ended.
    pub(crate) ended: Notify,
}

impl Shared {
    pub(crate) fn new(deps: Deps) -> Self {
        let config = &deps.config;
        let passes = config.passes.max(1);
        let jobs = Jobs::new(config.effects, config.effects_of_one);
        Self {
            deps,
            registry: RwLock::default(),
            triggers: Mutex::default(),
            queue: Mutex::new(Queue::new(passes)),
            jobs: Mutex::new(jobs),
            memories: Mutex::default(),
            reports: Mutex::default(),
            awaited: Mutex::default(),
            ahead: Ahead::default(),
            pins: Pins::default(),
            trials: watch::Sender::default(),
            troubles: watch::Sender::default(),
            wake: Notify::new(),
            ended: Notify::new(),
        }
    }

    pub(crate) fn registered(&self, plugin: &str) -> Option<Arc<Registered>> {
        self.registry.read().get(plugin)
    }

    /// Another registration that is in charge of the same CR.
    pub(crate) fn rival(&self, key: &CrKey, row: &Row) -> Option<Arc<str>> {
        self.registry.read().charges().rival(key, row)
    }

    pub(crate) fn memory(&self, key: &CrKey) -> Option<Memory> {
        self.memories.lock().get(key).cloned()
    }

    pub(crate) fn add(&self, key: &CrKey, priority: Priority, by: StartedBy, on_hold: OnHold) {
        self.add_why(key, priority, Why::of(by, on_hold));
    }

    /// Whatever makes a CR due may be news to answers that it was given before.
    fn add_why(&self, key: &CrKey, priority: Priority, why: Why) {
        let mut queue = self.queue.lock();
        queue.add(key, priority, why, Instant::now());
        // Before its pass can start.
        self.ahead.drop(key);
        drop(queue);
        self.wake.notify_one();
    }

    /// Installs a read set. Changes since the snapshot that it was read on have passed the
    /// dispatcher by with the old one, so they are looked at here: first the new one is there for
    /// the dispatcher, then the log is read, so that every change is seen by one or both. The
    /// triggers are not locked meanwhile.
    pub(crate) fn listen(&self, key: &CrKey, slot: Slot, reads: Vec<ScanRead>, since: Sequence) {
        let installed = self.triggers.lock().install(key, slot, &reads);
        if !installed {
            return;
        }
        if let Some(concern) = missed_since(&self.deps.reader, since, &reads, slot) {
            self.add(key, Priority::Live, concern.by, concern.on_hold);
        }
    }

    /// An effect ended without an outcome, and may be wanted still: the next pass asks for a plan.
    pub(crate) fn look_again(&self, job: &Job) {
        if self.registered(&job.key.plugin).is_none() {
            return;
        }
        if let Some(memory) = self.memories.lock().get_mut(&job.key) {
            memory.settled = None;
        }
        job.ledger.tell();
        let by = StartedBy::Outcome(job.task.identity.name.as_str().into());
        self.add(&job.key, Priority::Live, by, OnHold::Waits);
    }

    /// Makes every CR of a registration due.
    pub(crate) fn add_all(&self, plugin: &Arc<str>, priority: Priority, by: StartedBy) {
        let on_hold = match by {
            StartedBy::StartUp | StartedBy::Registration => OnHold::Forgets,
            _ => OnHold::Waits,
        };
        self.add_each(plugin, priority, by, on_hold);
    }

    /// The same, but what is held back by a failure stays so.
    pub(crate) fn add_all_gently(&self, plugin: &Arc<str>, by: StartedBy) {
        self.add_each(plugin, Priority::StartUp, by, OnHold::Waits);
    }

    fn add_each(&self, plugin: &Arc<str>, priority: Priority, by: StartedBy, on_hold: OnHold) {
        let why = Why::of(by, on_hold);
        let Some(registered) = self.registered(plugin) else {
            return;
        };
        for primary in &registered.active.primaries {
            let table = primary.table();
            let rows = self.deps.reader.read(|snapshot| {
                let mut rows = Vec::new();
                if let Some(view) = snapshot.table(&table) {
                    for chunk in view.scan()? {
                        rows.extend(chunk.rows()?);
                    }
                }
                Ok(rows)
            });
            for row in rows {
                if registered.active.in_charge(primary, &row) {
                    let key = CrKey::of(plugin, &table, &row);
                    self.know(&key, &row);
                    self.add_why(&key, priority, why.clone());
                }
            }
        }
    }

    /// Makes due the CRs of other registrations of the same kinds: who is in charge has changed.
    pub(crate) fn add_rivals(&self, name: &Arc<str>, active: &Active) {
        let same = |other: &Registered| {
            other.active.primaries.iter().any(|theirs| {
                active.primaries.iter().any(|ours| {
                    ours.gvk.group == theirs.gvk.group && ours.gvk.kind == theirs.gvk.kind
                })
            })
        };
        let rivals: Vec<Arc<str>> = self
            .registry
            .read()
            .iter()
            .filter(|(other, registered)| *other != name && same(registered))
            .map(|(other, _)| Arc::clone(other))
            .collect();
        for rival in rivals {
            self.add_all(&rival, Priority::Resync, StartedBy::Rival);
        }
    }

    fn know(&self, key: &CrKey, row: &Row) {
        let uid = row.uid();
        let label = || part_of(&key.plugin, &uid);
        self.triggers.lock().know(key, &uid, label);
    }

    /// Makes due what has changed since `seen`.
    pub(crate) fn observe(&self, seen: &mut Sequence) {
        let snapshot = self.deps.reader.snapshot();
        let changes = match snapshot.changes_since(*seen) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "the change log is too short: every CR is looked at again");
                self.deps.counters.overrun();
                let plugins = self.registry.read().names();
                for plugin in plugins {
                    self.add_all(&plugin, Priority::Resync, StartedBy::LogLost);
                }
                // CRs that went meanwhile are in no table: their passes find them gone.
                let keys: Vec<CrKey> = self.memories.lock().keys().cloned().collect();
                for key in keys {
                    self.add(&key, Priority::Resync, StartedBy::LogLost, OnHold::Waits);
                }
                Vec::new()
            }
        };
        *seen = snapshot.sequence();
        for change in &changes {
            let due = self.concerned_by(change);
            // What the first list of a table brings is a start, not news.
            let first = change.old.is_none()
                && snapshot
                    .table(&change.table)
                    .is_some_and(|view| !matches!(view.state(), TableState::Ready { .. }));
            for (key, concern) in due {
                self.add_concern(&key, concern, first);
            }
        }
        self.look_at_awaited(&snapshot);
    }

    /// The CRs that a change concerns.
    pub(crate) fn concerned_by(&self, change: &RowChange) -> Concerned {
        let delta = Delta::of(change);
        let mut due = Concerned::new();
        let charges = self.registry.read().charges();
        for charge in charges.of_table(&change.table) {
            self.own_row(charge, &delta, &mut due);
        }
        self.triggers.lock().concerned(&delta, &mut due);
        due
    }

    /// Makes a CR due that a change concerns, unless its last pass knows the change already.
    fn add_concern(&self, key: &CrKey, concern: Concern, first: bool) {
        let Concern { on_hold, by, seen } = concern;
        let memories = self.memories.lock();
        let known = memories.get(key).is_some_and(|memory| memory.knows(&seen));
        drop(memories);
        if known {
            self.deps.counters.spared();
            return;
        }
        let (priority, by) = if first {
            (Priority::StartUp, StartedBy::StartUp)
        } else {
            (Priority::Live, by)
        };
        let mut why = Why::of(by, on_hold);
        why.seen = seen;
        self.add_why(key, priority, why);
    }

    /// A change of a row that may be a CR.
    fn own_row(&self, charge: &Charge, delta: &Delta<'_>, due: &mut Concerned) {
        let change = delta.change;
        let mut rows = change.old.iter().chain(&change.new);
        if !rows.any(|row| charge.covers(row)) {
            return;
        }
        let Some(row) = change.new.as_ref().or(change.old.as_ref()) else {
            return;
        };
        let key = CrKey::of(&charge.plugin, &change.table, row);
        if change.new.is_some() {
            self.know(&key, row);
        }
        if let Some(on_hold) = own_change(delta) {
            let by = StartedBy::Resource;
            due.insert(key, Concern::new(on_hold, by));
        }
    }

    /// The CR is looked at again when one of these tables can be read.
    pub(crate) fn await_tables(&self, key: &CrKey, tables: Vec<KindKey>) {
        let mut awaited = self.awaited.lock();
        for table in tables {
            awaited.entry(table).or_default().insert(key.clone());
        }
    }

    fn look_at_awaited(&self, snapshot: &Snapshot) {
        let mut awaited = self.awaited.lock();
        let ready: Vec<KindKey> = awaited
            .keys()
            .filter(|table| {
                snapshot
                    .table(table)
                    .is_some_and(|view| matches!(view.state(), TableState::Ready { .. }))
            })
            .cloned()
            .collect();
        let due: Vec<(KindKey, BTreeSet<CrKey>)> = ready
            .into_iter()
            .filter_map(|table| awaited.remove_entry(&table))
            .collect();
        drop(awaited);
        for (table, keys) in due {
            for key in keys {
                let by = StartedBy::Table(table.clone());
                self.add(&key, Priority::StartUp, by, OnHold::Waits);
            }
        }
    }

    /// One whole pass, counted and inside its span.
    pub(crate) async fn pass(&self, key: &CrKey, why: Why) -> Next {
        let at = Instant::now();
        let span = pass_span(key, &why);
        let counts = self.deps.counters.of(&key.plugin);
        counts.lock().began(why.turn);
        let began = Began { at, why };
        let (next, result) = self.run_pass(key, began).instrument(span.clone()).await;
        span.record("result", result.name());
        counts.lock().passed(result, at.elapsed());
        next
    }

    async fn run_pass(&self, key: &CrKey, began: Began) -> (Next, PassResult) {
        let mut memory = self.memories.lock().remove(key).unwrap_or_default();
        let ready = self.ahead.take(key).await;
        let ready = ready.filter(|ready| ahead::holds(self, ready, &memory));
        let (located, answers) = match ready {
            Some(Ready { mut cx, answers }) => {
                cx.now = pass::now(self);
                (Located::Found(cx), Some(answers))
            }
            None => (pass::locate(self, key), None),
        };
        let cx = match located {
            Located::Found(cx) => cx,
            Located::Gone => {
                self.pins.note(key, None);
                self.triggers.lock().forget(key);
                self.reports.lock().remove(key);
                self.jobs.lock().cancel(key, None);
                return (Next::Rest, PassResult::Gone);
            }
            Located::NotReady(message, tables) => {
                tracing::debug!(message, "a pass waits for tables");
                let unit = self.deps.entropy.unit();
                let base = Duration::from_millis(250);
                let delay = backoff(base, Duration::from_secs(30), memory.waits, unit);
                memory.waits = memory.waits.saturating_add(1);
                self.await_tables(key, tables);
                self.memories.lock().insert(key.clone(), memory);
                let next = Next::After(delay, Priority::Retry, began.why);
                return (next, PassResult::NotReady);
            }
        };
        self.know(key, &cx.row);
        self.pins.note(key, sensing::pin(&cx.row));
        self.jobs.lock().cancel(key, Some(&cx.owner.uid));
        if began.why.on_hold == OnHold::Forgets {
            (memory.failures, memory.waits, memory.conflicts) = (0, 0, 0);
            memory.dropped = 0;
        }
        let actor = Actor::new(&self.deps, cx.active(), &cx.owner);
        let outcome = pass::run(self, &cx, &actor, &mut memory, &began.why, answers).await;
        let (next, report) = finish::finish(self, &cx, &actor, &mut memory, outcome, began).await;
        let result = PassResult::of(&report.ending);
        tracing::debug!(
            result = result.name(),
            writes = report.writes.len(),
            "pass ended"
        );
        let mut queue = self.queue.lock();
        if let Some(after) = *actor.throttled.lock() {
            queue.throttle(key, after, Instant::now());
        }
        if !report.writes.is_empty() {
            queue.worked(key);
        }
        if queue.spare(key, |seen| memory.knows(seen)) {
            self.deps.counters.spared();
        }
        drop(queue);
        self.reports.lock().insert(key.clone(), Arc::new(report));
        memory.ended = self.deps.reader.snapshot().sequence();
        self.memories.lock().insert(key.clone(), memory);
        (next, result)
    }
}
