//! Which kinds are watched: one watch a kind, shared by all users, started on need.

use super::ingest::Ingest;
use jiff::Timestamp;
use kybern_kube::{
    Cluster, Interruption, Observation, Phase, Scope, WatchConfig, WatchObserver, WatchTarget,
};
use kybern_table::{Change, KindKey, Reader, TableDef, TableState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a kind that nobody needs any more is still watched: who comes back meanwhile, as a plugin
/// that is registered anew, finds its table as it left it.
const GRACE: Duration = Duration::from_secs(60);

/// The most that one batch of a watch held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Largest {
    /// Changes.
    pub(crate) changes: usize,
    /// Bytes of objects.
    pub(crate) bytes: usize,
}

/// How one watch is doing; gauges of it are exported.
#[derive(Debug, Clone)]
pub(crate) struct WatchHealth {
    /// What it is doing.
    pub(crate) phase: Phase,
    /// resourceVersion of the last complete list of this run of the watch.
    pub(crate) listed: Option<u64>,
    /// Whether the table holds a complete list and has not failed since.
    pub(crate) readable: bool,
    /// Lists that completed.
    pub(crate) lists: u64,
    /// How often it was interrupted, by cause.
    pub(crate) interruptions: BTreeMap<Interruption, u64>,
    /// How often the API server's store turned out to be another one: restored.
    pub(crate) epochs: u64,
    /// Changes handed over.
    pub(crate) changes: u64,
    /// The most that was handed over at once.
    pub(crate) largest_batch: Largest,
    /// Why it was last interrupted.
    pub(crate) reason: String,
    /// When it last said anything, on the monotonic clock.
    pub(crate) last: Duration,
    /// When the API server last said something that left the table up to date: an event, a
    /// bookmark, the end of a list. None before its first list.
    pub(crate) confirmed: Option<Timestamp>,
}

impl Default for WatchHealth {
    fn default() -> Self {
        Self {
            phase: Phase::Listing,
            listed: None,
            readable: false,
            lists: 0,
            interruptions: BTreeMap::new(),
            epochs: 0,
            changes: 0,
            largest_batch: Largest::default(),
            reason: String::new(),
            last: crate::clock::monotonic(),
            confirmed: None,
        }
    }
}

impl WatchHealth {
    /// Of a new watch of the same kind: what was counted stays counted.
    fn restarted(self, readable: bool) -> Self {
        Self {
            phase: Phase::Listing,
            listed: None,
            readable,
            last: crate::clock::monotonic(),
            ..self
        }
    }

    fn observe(&mut self, kind: &KindKey, observation: Observation) {
        self.last = crate::clock::monotonic();
        match observation {
            Observation::Phase(phase) => {
                self.phase = phase;
                self.readable &= phase != Phase::Failed;
            }
            Observation::Listed { resource_version } => {
                self.readable = true;
                self.listed = Some(resource_version);
                self.lists += 1;
                self.confirmed = Some(crate::clock::wall());
            }
            Observation::Bookmark { .. } => self.confirmed = Some(crate::clock::wall()),
            Observation::Batch { changes, bytes } => {
                let largest = &mut self.largest_batch;
                largest.changes = largest.changes.max(changes);
                largest.bytes = largest.bytes.max(bytes);
                self.changes += u64::try_from(changes).unwrap_or_default();
                if self.phase == Phase::Watching {
                    self.confirmed = Some(crate::clock::wall());
                }
            }
            Observation::Interrupted { cause, reason } => {
                tracing::warn!(table = %kind, cause = cause.name(), %reason, "watch interrupted");
                *self.interruptions.entry(cause).or_default() += 1;
                self.reason = reason;
            }
            Observation::NewEpoch => {
                self.readable = false;
                self.epochs += 1;
                tracing::warn!(table = %kind, "resourceVersions went backwards: the cluster's store was restored; the table is read anew");
            }
        }
    }
}

/// Keeps what watches tell.
#[derive(Default)]
struct Board {
    health: Mutex<BTreeMap<KindKey, WatchHealth>>,
    news: watch::Sender<u64>,
}

impl WatchObserver for Board {
    fn observe(&self, kind: &KindKey, observation: Observation) {
        let mut all = self.health.lock();
        let Some(health) = all.get_mut(kind) else {
            return;
        };
        health.observe(kind, observation);
        drop(all);
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// A watch that runs.
struct Running {
    def: TableDef,
    stop: CancellationToken,
    /// Since when nobody needs it, on the monotonic clock.
    unwanted: Option<Duration>,
}

/// All watches.
#[derive(Clone)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    ingest: Ingest,
    config: WatchConfig,
    namespace: Option<String>,
    grace: Duration,
    running: Mutex<BTreeMap<KindKey, Running>>,
    board: Arc<Board>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Watches {
    /// No watch yet. `namespace` restricts namespaced kinds; cluster-scoped kinds are watched whole.
    pub(crate) fn new(
        cluster: Cluster,
        ingest: Ingest,
        config: WatchConfig,
        namespace: Option<String>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                cluster,
                ingest,
                config,
                namespace,
                grace: GRACE,
                running: Mutex::default(),
                board: Arc::default(),
                tasks: TaskTracker::new(),
                shutdown,
            }),
        }
    }

    /// How long a kind is watched after it is not needed any more.
    pub(crate) const GRACE: Duration = GRACE;

    /// Watches these kinds from now on. Tables of kinds that are no longer wanted go after a grace
    /// time; those whose definition changed stay as they are until they are listed again.
    pub(crate) fn set(&self, wanted: Vec<TableDef>) {
        let mut wanted: BTreeMap<KindKey, TableDef> = wanted
            .into_iter()
            .map(|def| (def.key.clone(), def))
            .collect();
        let now = crate::clock::monotonic();
        let mut running = self.shared.running.lock();
        let mut left = 0_usize;
        for (key, run) in running.iter_mut() {
            let Some(def) = wanted.remove(key) else {
                left += usize::from(run.unwanted.is_none());
                run.unwanted.get_or_insert(now);
                continue;
            };
            let came_back = run.unwanted.take().is_some();
            let health = self.shared.board.health.lock().get(key).cloned();
            let failed = health.as_ref().is_some_and(|h| h.phase == Phase::Failed);
            // One that has failed waits long between tries; who comes back shall not.
            if def != run.def || (came_back && failed) {
                run.stop.cancel();
                *run = self.start(def, health.is_some_and(|health| health.readable));
            }
        }
        for (key, def) in wanted {
            running.insert(key, self.start(def, false));
        }
        drop(running);
        if left > 0 {
            let this = self.clone();
            let over = self.shared.shutdown.child_token();
            self.shared.tasks.spawn(async move {
                let grace = tokio::time::sleep(this.shared.grace);
                if over.run_until_cancelled_owned(grace).await.is_some() {
                    this.end_unwanted().await;
                }
            });
        }
    }

    /// Ends the watches, and drops the tables, that nobody has needed for the grace time.
    async fn end_unwanted(&self) {
        let now = crate::clock::monotonic();
        let grace = self.shared.grace;
        let over = |run: &Running| {
            run.unwanted
                .is_some_and(|since| now.saturating_sub(since) >= grace)
        };
        let ended: Vec<KindKey> = {
            let mut running = self.shared.running.lock();
            let ended = running.extract_if(.., |_, run| over(run));
            ended
                .map(|(key, run)| {
                    run.stop.cancel();
                    self.shared.board.health.lock().remove(&key);
                    key
                })
                .collect()
        };
        let dropped: Vec<Change> = ended.into_iter().map(Change::Drop).collect();
        if !dropped.is_empty() {
            self.shared.ingest.commit(dropped).await;
        }
    }

    /// Lists every kind again from the API server and returns when the table holds those lists:
    /// what a new leader needs, because a watch may lag without knowing it. A kind whose list does
    /// not come within `limit` fails its own readers until it does; the others go on.
    pub(crate) async fn refresh(
        &self,
        reader: &Reader,
        cancel: &CancellationToken,
        limit: Duration,
    ) {
        let mut late: BTreeSet<KindKey> = {
            let mut running = self.shared.running.lock();
            for run in running.values_mut() {
                run.stop.cancel();
                // What a new leader acts on must be fresh: a table whose list fails fails too.
                let unwanted = run.unwanted;
                *run = self.start(run.def.clone(), false);
                run.unwanted = unwanted;
            }
            running.keys().cloned().collect()
        };
        let mut news = self.shared.board.news.subscribe();
        let mut commits = self.shared.ingest.commits();
        let fresh = async {
            loop {
                self.keep_late(reader, &mut late);
                if late.is_empty() {
                    return;
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    _ = news.changed() => {}
                    _ = commits.changed() => {}
                }
            }
        };
        let in_time = tokio::time::timeout(limit, fresh).await.is_ok();
        if in_time {
            return;
        }
        let failed = late
            .into_iter()
            .map(|table| {
                tracing::warn!(%table, "no fresh list in time; what reads it waits");
                Change::Fail {
                    reason: format!(
                        "{table} could not be listed afresh when this replica took the lead"
                    ),
                    table,
                }
            })
            .collect();
        self.shared.ingest.commit(failed).await;
    }

    /// Keeps the kinds whose newest list is not in the table yet. A kind that cannot be listed has
    /// failed its readers already.
    fn keep_late(&self, reader: &Reader, late: &mut BTreeSet<KindKey>) {
        let snapshot = reader.snapshot();
        let health = self.shared.board.health.lock();
        late.retain(|key| match health.get(key) {
            None => false,
            Some(health) if health.phase == Phase::Failed => false,
            Some(WatchHealth { listed: None, .. }) => true,
            Some(WatchHealth {
                listed: Some(listed),
                ..
            }) => snapshot.table(key).is_none_or(|table| match table.state() {
                TableState::Ready { resource_version } => resource_version < *listed,
                TableState::Loading => true,
                TableState::Failed(_) => false,
            }),
        });
    }

    /// How each watch is doing.
    pub(crate) fn health(&self) -> BTreeMap<KindKey, WatchHealth> {
        self.shared.board.health.lock().clone()
    }

    /// Waits until every watch has ended, after shutdown was asked for.
    pub(crate) async fn ended(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Starts the watch of one kind, of which the table may be complete already.
    fn start(&self, def: TableDef, readable: bool) -> Running {
        let shared = &self.shared;
        {
            let mut all = shared.board.health.lock();
            let before = all.remove(&def.key).unwrap_or_default();
            all.insert(def.key.clone(), before.restarted(readable));
        }
        let stop = shared.shutdown.child_token();
        let scope = Scope {
            namespace: shared.namespace.clone().filter(|_| def.namespaced),
            ..Scope::default()
        };
        let target = WatchTarget {
            def: def.clone(),
            scope,
            readable,
        };
        let board: Arc<dyn WatchObserver> = Arc::<Board>::clone(&shared.board);
        shared.tasks.spawn(kybern_kube::watch(
            shared.cluster.clone(),
            target,
            shared.config.clone(),
            shared.ingest.batches(),
            board,
            stop.clone(),
        ));
        Running {
            def,
            stop,
            unwanted: None,
        }
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
