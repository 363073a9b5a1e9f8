//! The engine: registrations in, passes out.

use crate::act::Actor;
use crate::active::{Active, table_of};
use crate::config::EngineConfig;
use crate::dry;
use crate::error::EngineError;
use crate::finish;
use crate::intent::fingerprint;
use crate::key::CrKey;
use crate::memory::Memory;
use crate::metrics::{Metrics, PluginMetrics};
use crate::owner::part_of;
use crate::pass::{self, Located, Registered};
use crate::queue::{Keyed, Next, Priority, Queue, Why, backoff};
use crate::release;
use crate::report::{DryPass, Ending, PassReport};
use crate::traits::{Apply, Clock, Decide, Entropy, Kinds, Sense};
use crate::trigger::{Slot, Triggers, own_change};
use kybern_interface::{Gvk, RemovalPolicy};
use kybern_table::{KindKey, Reader, Row, ScanRead, Sequence, Snapshot, TableState};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the engine is built from.
pub struct Deps {
    /// The tables.
    pub reader: Reader,
    /// Answers queries.
    pub sense: Arc<dyn Sense>,
    /// Runs plugins.
    pub decide: Arc<dyn Decide>,
    /// Writes.
    pub apply: Arc<dyn Apply>,
    /// Facts about served kinds.
    pub kinds: Arc<dyn Kinds>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds and intervals.
    pub config: EngineConfig,
}

/// What [`Engine::release`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// CRs whose finalizer is gone now.
    pub crs: usize,
    /// Children that were orphaned or deleted.
    pub children: usize,
    /// What could not be done; call again until this is empty.
    pub failures: Vec<String>,
}

impl Keyed for CrKey {
    fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }
}

/// What passes and the dispatcher share.
pub(crate) struct Shared {
    pub(crate) deps: Deps,
    registry: RwLock<BTreeMap<Arc<str>, Arc<Registered>>>,
    triggers: Mutex<Triggers>,
    queue: Mutex<Queue<CrKey>>,
    /// Memories of CRs whose pass is not under way.
    memories: Mutex<HashMap<CrKey, Memory>>,
    reports: Mutex<HashMap<CrKey, PassReport>>,
    metrics: Mutex<BTreeMap<String, PluginMetrics>>,
    /// CRs that wait for a table to be readable.
    awaited: Mutex<HashMap<KindKey, BTreeSet<CrKey>>>,
    overruns: Mutex<u64>,
    /// Something may be due.
    wake: Notify,
    /// A pass has ended.
    ended: Notify,
}

impl Shared {
    pub(crate) fn registered(&self, plugin: &str) -> Option<Arc<Registered>> {
        self.registry.read().get(plugin).cloned()
    }

    /// Another registration that is in charge of the same CR.
    pub(crate) fn rival(&self, key: &CrKey, row: &Row) -> Option<Arc<str>> {
        self.registry
            .read()
            .iter()
            .find(|(name, registered)| {
                **name != key.plugin
                    && registered.active.primaries.iter().any(|primary| {
                        let table = primary.table();
                        table.group == key.table.group
                            && table.kind == key.table.kind
                            && primary.selects(row)
                    })
            })
            .map(|(name, _)| Arc::clone(name))
    }

    pub(crate) fn memory(&self, key: &CrKey) -> Option<Memory> {
        self.memories.lock().get(key).cloned()
    }

    fn add(&self, key: &CrKey, priority: Priority) {
        self.queue.lock().add(key, priority, Why::default());
        self.wake.notify_one();
    }

    /// Installs a read set. Changes since the snapshot that it was read on have passed the
    /// dispatcher by with the old one, so they are looked at here.
    pub(crate) fn listen(&self, key: &CrKey, slot: Slot, reads: Vec<ScanRead>, since: Sequence) {
        let mut triggers = self.triggers.lock();
        if !triggers.install(key, slot, reads) {
            return;
        }
        let due = match self.deps.reader.snapshot().changes_since(since) {
            Ok(changes) => changes.iter().any(|change| triggers.concerns(key, change)),
            Err(_) => true,
        };
        drop(triggers);
        if due {
            self.add(key, Priority::Live);
        }
    }

    /// Makes every CR of a registration due.
    fn add_all(&self, plugin: &Arc<str>, snapshot: &Snapshot, priority: Priority) {
        let Some(registered) = self.registered(plugin) else {
            return;
        };
        for primary in &registered.active.primaries {
            let table = primary.table();
            let Some(view) = snapshot.table(&table) else {
                continue;
            };
            for chunk in view.scan() {
                for row in (0..chunk.len()).filter_map(|at| chunk.row(at)) {
                    if primary.selects(&row) {
                        let key = CrKey::of(plugin, &table, &row);
                        self.know(&key, &row);
                        self.queue.lock().add(&key, priority, Why::default());
                    }
                }
            }
        }
        self.wake.notify_one();
    }

    /// Makes due the CRs of other registrations of the same kinds: who is in charge has changed.
    fn add_rivals(&self, name: &Arc<str>, active: &Active, snapshot: &Snapshot) {
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
            self.add_all(&rival, snapshot, Priority::Resync);
        }
    }

    fn know(&self, key: &CrKey, row: &Row) {
        let label = part_of(&key.plugin, &row.uid());
        self.triggers.lock().know(key, &row.uid(), &label);
    }

    /// Makes due what has changed since `seen`.
    fn observe(&self, seen: &mut Sequence) {
        let snapshot = self.deps.reader.snapshot();
        let changes = match snapshot.changes_since(*seen) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "the change log is too short: every CR is looked at again");
                *self.overruns.lock() += 1;
                let plugins: Vec<Arc<str>> = self.registry.read().keys().cloned().collect();
                for plugin in plugins {
                    self.add_all(&plugin, &snapshot, Priority::Resync);
                }
                // CRs that went meanwhile are in no table: their passes find them gone.
                let keys: Vec<CrKey> = self.memories.lock().keys().cloned().collect();
                for key in keys {
                    self.add(&key, Priority::Resync);
                }
                Vec::new()
            }
        };
        *seen = snapshot.sequence();
        let registry: Vec<(Arc<str>, Arc<Registered>)> = self
            .registry
            .read()
            .iter()
            .map(|(name, registered)| (Arc::clone(name), Arc::clone(registered)))
            .collect();
        for change in &changes {
            let mut due = BTreeSet::new();
            for (plugin, registered) in &registry {
                let Some(primary) = registered.active.primary(&change.table) else {
                    continue;
                };
                let rows: Vec<&Row> = change.old.iter().chain(&change.new).collect();
                if !rows.iter().any(|row| primary.selects(row)) {
                    continue;
                }
                let Some(row) = rows.last() else { continue };
                let key = CrKey::of(plugin, &change.table, row);
                if change.new.is_some() {
                    self.know(&key, row);
                }
                if own_change(change) {
                    due.insert(key);
                }
            }
            self.triggers.lock().concerned(change, &mut due);
            // What the first list of a table brings is a start, not news.
            let first = change.old.is_none()
                && snapshot
                    .table(&change.table)
                    .is_some_and(|view| !matches!(view.state(), TableState::Ready { .. }));
            let priority = if first {
                Priority::StartUp
            } else {
                Priority::Live
            };
            for key in due {
                self.add(&key, priority);
            }
        }
        self.look_at_awaited(&snapshot);
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
        let due: Vec<CrKey> = ready
            .iter()
            .filter_map(|table| awaited.remove(table))
            .flatten()
            .collect();
        drop(awaited);
        for key in due {
            self.add(&key, Priority::StartUp);
        }
    }

    /// One whole pass.
    async fn pass(&self, key: &CrKey, why: Why) -> Next {
        let started = Instant::now();
        let mut memory = self.memories.lock().remove(key).unwrap_or_default();
        let cx = match pass::locate(self, key) {
            Located::Found(cx) => cx,
            Located::Gone => {
                self.triggers.lock().forget(key);
                self.reports.lock().remove(key);
                return Next::Forget;
            }
            Located::NotReady(message, tables) => {
                tracing::debug!(cr = %key, message, "a pass waits for tables");
                let unit = self.deps.entropy.unit();
                let base = Duration::from_millis(250);
                let delay = backoff(base, Duration::from_secs(30), memory.waits, unit);
                memory.waits = memory.waits.saturating_add(1);
                self.await_tables(key, tables);
                self.memories.lock().insert(key.clone(), memory);
                return Next::After(delay, Priority::Retry, why);
            }
        };
        self.know(key, &cx.row);
        let actor = Actor::new(&self.deps, cx.active(), &cx.owner);
        let outcome = pass::run(self, &cx, &actor, &mut memory, why).await;
        let (next, report) = finish::finish(self, &cx, &actor, &mut memory, outcome, started).await;
        tracing::debug!(cr = %key, ending = ?report.ending, writes = report.writes.len(), "pass ended");
        self.count(key, &report, &actor.metrics.lock());
        self.reports.lock().insert(key.clone(), report);
        self.memories.lock().insert(key.clone(), memory);
        next
    }

    fn count(&self, key: &CrKey, report: &PassReport, pass: &PluginMetrics) {
        let mut all = self.metrics.lock();
        let sum = all.entry(key.plugin.to_string()).or_default();
        sum.passes += 1;
        match report.ending {
            Ending::Unchanged => sum.unchanged += 1,
            Ending::Succeeded => sum.succeeded += 1,
            Ending::Waiting { .. } => sum.waiting += 1,
            Ending::Failed { .. } => sum.failed += 1,
            Ending::Skipped | Ending::Paused | Ending::Gone => {}
        }
        sum.decides += pass.decides;
        sum.refused += pass.refused;
        sum.drifted += pass.drifted;
        sum.pass_time += report.took;
        for (verb, count) in &pass.writes {
            *sum.writes.entry(verb).or_default() += count;
        }
        for (verb, count) in &pass.write_errors {
            *sum.write_errors.entry(verb).or_default() += count;
        }
    }
}

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// An engine without registrations.
    pub fn new(deps: Deps) -> Self {
        let passes = deps.config.passes.max(1);
        Self {
            shared: Arc::new(Shared {
                deps,
                registry: RwLock::default(),
                triggers: Mutex::default(),
                queue: Mutex::new(Queue::new(passes)),
                memories: Mutex::default(),
                reports: Mutex::default(),
                metrics: Mutex::default(),
                awaited: Mutex::default(),
                overruns: Mutex::default(),
                wake: Notify::new(),
                ended: Notify::new(),
            }),
        }
    }

    /// Adds a registration or replaces the one with its name: passes that start from now on run
    /// the new one. Every CR of it becomes due.
    pub fn register(&self, active: Active) {
        let shared = &self.shared;
        let name: Arc<str> = active.name().into();
        let limit = active.limits.concurrency.max(1);
        let spec = serde_json::to_value(&active.registration.spec).unwrap_or_default();
        let fingerprint = fingerprint(&serde_json::json!([spec, active.settings]));
        let registered = Arc::new(Registered {
            active,
            fingerprint,
        });
        let active = &Arc::clone(&registered).active;
        shared
            .registry
            .write()
            .insert(Arc::clone(&name), registered);
        shared.queue.lock().open(&name, limit);
        let snapshot = shared.deps.reader.snapshot();
        shared.add_all(&name, &snapshot, Priority::StartUp);
        shared.add_rivals(&name, active, &snapshot);
    }

    /// Takes a registration away; returns when its last pass has ended. Nothing is written: see
    /// [`Engine::release`].
    pub async fn unregister(&self, name: &str) {
        let shared = &self.shared;
        let name: Arc<str> = name.into();
        let removed = shared.registry.write().remove(&name);
        shared.queue.lock().close(&name);
        loop {
            let ended = shared.ended.notified();
            tokio::pin!(ended);
            // Listens from here on, so that a pass that ends in between is not missed.
            ended.as_mut().enable();
            if shared.queue.lock().running_of(&name) == 0 {
                break;
            }
            ended.await;
        }
        shared.triggers.lock().forget_plugin(&name);
        shared.memories.lock().retain(|key, _| key.plugin != name);
        shared.reports.lock().retain(|key, _| key.plugin != name);
        shared.metrics.lock().remove(&*name);
        if let Some(removed) = removed {
            let snapshot = shared.deps.reader.snapshot();
            shared.add_rivals(&name, &removed.active, &snapshot);
        }
        shared.awaited.lock().retain(|_, keys| {
            keys.retain(|key| key.plugin != name);
            !keys.is_empty()
        });
    }

    /// Runs passes until `shutdown`, then waits for those under way. `commits` says that the
    /// tables have changed.
    pub async fn run(&self, mut commits: watch::Receiver<Sequence>, shutdown: CancellationToken) {
        let shared = &self.shared;
        let mut passes: JoinSet<(CrKey, Next)> = JoinSet::new();
        let mut under_way: HashMap<tokio::task::Id, CrKey> = HashMap::new();
        let mut open = true;
        // What is there now is a start; what comes after is seen in the change log.
        let snapshot = shared.deps.reader.snapshot();
        let mut seen = snapshot.sequence();
        let plugins: Vec<Arc<str>> = shared.registry.read().keys().cloned().collect();
        for plugin in plugins {
            shared.add_all(&plugin, &snapshot, Priority::StartUp);
        }
        drop(snapshot);
        loop {
            loop {
                let popped = shared.queue.lock().pop(Instant::now());
                let Some((key, why)) = popped else { break };
                let task = Arc::clone(shared);
                let started = key.clone();
                let handle = passes.spawn(async move {
                    let next = task.pass(&started, why).await;
                    (started, next)
                });
                under_way.insert(handle.id(), key);
            }
            let due = shared.queue.lock().next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = commits.changed(), if open => {
                    open = changed.is_ok();
                    commits.borrow_and_update();
                    shared.observe(&mut seen);
                }
                Some(joined) = passes.join_next_with_id(), if !passes.is_empty() => {
                    self.joined(joined, &mut under_way);
                }
                () = shared.wake.notified() => {}
                () = sleep_until(due), if due.is_some() => {}
            }
        }
        let drain = async {
            while let Some(joined) = passes.join_next_with_id().await {
                self.joined(joined, &mut under_way);
            }
        };
        if tokio::time::timeout(shared.deps.config.grace, drain)
            .await
            .is_err()
        {
            tracing::warn!(left = passes.len(), "shutdown drops passes that do not end");
            passes.shutdown().await;
        }
    }

    fn joined(
        &self,
        joined: Result<(tokio::task::Id, (CrKey, Next)), tokio::task::JoinError>,
        under_way: &mut HashMap<tokio::task::Id, CrKey>,
    ) {
        let (id, next) = match joined {
            Ok((id, (_, next))) => (id, next),
            Err(error) => {
                // A defect of the host; the CR's memory went with it.
                tracing::error!(%error, "a pass did not end");
                let cap = self.shared.deps.config.backoff_cap;
                let delay = cap.min(Duration::from_secs(10));
                (
                    error.id(),
                    Next::After(delay, Priority::Retry, Why::default()),
                )
            }
        };
        if let Some(key) = under_way.remove(&id) {
            self.shared.queue.lock().done(&key, next, Instant::now());
        }
        self.shared.ended.notify_waiters();
    }

    /// What a pass over this CR would do now. Writes nothing and leaves no trace.
    pub async fn dry_pass(
        &self,
        plugin: &str,
        kind: &Gvk,
        namespace: &str,
        name: &str,
    ) -> Result<DryPass, EngineError> {
        if self.shared.registered(plugin).is_none() {
            return Err(EngineError::Unregistered(plugin.to_owned()));
        }
        dry::run(&self.shared, &key(plugin, kind, namespace, name)).await
    }

    /// What the last pass over this CR did.
    pub fn report(
        &self,
        plugin: &str,
        kind: &Gvk,
        namespace: &str,
        name: &str,
    ) -> Option<PassReport> {
        let key = key(plugin, kind, namespace, name);
        self.shared.reports.lock().get(&key).cloned()
    }

    /// Lets go of everything that a registration holds: finalizers of its CRs, and ownerReferences
    /// and labels of their children, or the children themselves. Call after
    /// [`Engine::unregister`], again until it reports no failures.
    pub async fn release(&self, active: &Active, policy: RemovalPolicy) -> Released {
        release::run(&self.shared.deps, active, policy).await
    }

    /// Whether nothing is due, delayed resyncs and retries apart, and no pass is under way.
    pub fn is_idle(&self) -> bool {
        let queue = self.shared.queue.lock();
        queue.running() == 0 && queue.ready().iter().sum::<usize>() == 0
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let queue = shared.queue.lock();
        let (queued, delayed, running) = (queue.ready(), queue.delayed(), queue.running());
        drop(queue);
        Metrics {
            plugins: shared.metrics.lock().clone(),
            queued,
            delayed,
            running,
            trigger_keys: shared.triggers.lock().len(),
            remembered: shared.memories.lock().len(),
            change_log_overruns: *shared.overruns.lock(),
        }
    }
}

fn key(plugin: &str, kind: &Gvk, namespace: &str, name: &str) -> CrKey {
    CrKey {
        plugin: plugin.into(),
        table: table_of(kind),
        namespace: namespace.into(),
        name: name.into(),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
