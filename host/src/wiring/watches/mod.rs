//! Which kinds are watched: one watch a kind, shared by all users, started on need.
//!
//! A kind that is new is watched only while the memory budget has room: see [`refusal`].

mod board;
mod refusal;

use super::ingest::Ingest;
use crate::budget::Budget;
use kybern_kube::{Cluster, Phase, Scope, WatchConfig, WatchEnd, WatchObserver, WatchTarget};
use kybern_table::{Change, KindKey, Reader, TableDef, TableState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::board::Board;
pub(crate) use self::board::WatchHealth;
use self::refusal::Refusals;

/// How long a kind that nobody needs any more is still watched: who comes back meanwhile, as a plugin
/// that is registered anew, finds its table as it left it.
const GRACE: Duration = Duration::from_secs(60);

/// A watch that runs.
struct Running {
    def: TableDef,
    stop: CancellationToken,
    task: JoinHandle<WatchEnd>,
    fill: Fill,
    /// Since when nobody needs it, on the monotonic clock.
    unwanted: Option<Duration>,
}

/// Whether a table was complete at any time since it was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Its first list is under way: it may be stopped for want of memory.
    First,
    /// It was, or it must be there whatever it takes.
    Done,
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
    budget: Budget,
    refusals: Refusals,
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
        budget: Budget,
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
                budget,
                refusals: Refusals::default(),
                board: Arc::default(),
                tasks: TaskTracker::new(),
                shutdown,
            }),
        }
    }

    /// How long a kind is watched after it is not needed any more.
    pub(crate) const GRACE: Duration = GRACE;

    /// Watches these kinds from now on. Tables of kinds that are no longer wanted go after a grace
    /// time; those whose definition changed stay as they are until they are listed again. New ones
    /// are refused while the memory budget is exceeded, and admitted once there is room.
    pub(crate) async fn set(&self, wanted: Vec<TableDef>) {
        let _turn = self.shared.refusals.turn().await;
        let mut wanted: BTreeMap<KindKey, TableDef> = wanted
            .into_iter()
            .map(|def| (def.key.clone(), def))
            .collect();
        let now = crate::clock::monotonic();
        let mut left = 0_usize;
        let mut changes = Vec::new();
        {
            let mut running = self.shared.running.lock();
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
                    // It is watched already: there is room for it, whatever else there is.
                    let readable = health.is_some_and(|health| health.readable);
                    *run = self.start(def, readable, run.fill);
                }
            }
            let unwanted = self.shared.refusals.retain(|key| wanted.contains_key(key));
            changes.extend(unwanted.into_iter().map(Change::Drop));
            for (key, def) in wanted {
                if let Some(refused) = self.refuse(&def) {
                    changes.extend(refused);
                } else {
                    let fill = refusal::fill_of(&key);
                    running.insert(key, self.start(def, false, fill));
                }
            }
        }
        if !changes.is_empty() {
            self.shared.ingest.commit(changes).await;
        }
        if left > 0 {
            let this = self.clone();
            let over = self.shared.shutdown.child_token();
            self.shared.tasks.spawn(async move {
                let grace = tokio::time::sleep(this.shared.grace);
                if over.run_until_cancelled_owned(grace).await.is_some() {
                    this.end_unwanted(this.shared.grace).await;
                }
            });
        }
    }

    /// Ends the watches, and drops the tables, that nobody has needed for this time; how many.
    pub(crate) async fn end_unwanted(&self, grace: Duration) -> usize {
        let now = crate::clock::monotonic();
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
        let count = dropped.len();
        if count > 0 {
            self.shared.ingest.commit(dropped).await;
        }
        count
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
            let _turn = self.shared.refusals.turn().await;
            let mut running = self.shared.running.lock();
            self.settle(&mut running);
            for run in running.values_mut() {
                run.stop.cancel();
                // What a new leader acts on must be fresh: a table whose list fails fails too.
                let unwanted = run.unwanted;
                *run = self.start(run.def.clone(), false, run.fill);
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

    /// Which part of a kind is watched, for people.
    pub(crate) fn scope(&self, table: &KindKey) -> String {
        let running = self.shared.running.lock();
        let namespaced = running.get(table).map(|run| run.def.namespaced);
        let namespaced = namespaced.or_else(|| self.shared.refusals.is_namespaced(table));
        match (namespaced, &self.shared.namespace) {
            (Some(true), Some(namespace)) => format!("namespace {namespace}"),
            (Some(true), None) => "all namespaces".to_owned(),
            _ => "the cluster".to_owned(),
        }
    }

    /// Starts the watch of one kind, of which the table may be complete already.
    fn start(&self, def: TableDef, readable: bool, fill: Fill) -> Running {
        let shared = &self.shared;
        let vouched = {
            let mut all = shared.board.health.lock();
            let before = all.remove(&def.key).unwrap_or_default();
            let vouched = before.vouched;
            all.insert(def.key.clone(), before.restarted(readable));
            vouched
        };
        // Rows may be newer than the last bookmark.
        let reader = &shared.budget.sources().reader;
        let newest = reader.read(|snapshot| match snapshot.table(&def.key) {
            Some(view) => view.newest(),
            None => Ok(0),
        });
        let stop = shared.shutdown.child_token();
        let scope = Scope {
            namespace: shared.namespace.clone().filter(|_| def.namespaced),
            ..Scope::default()
        };
        let target = WatchTarget {
            def: def.clone(),
            scope,
            readable,
            highest: vouched.max(newest),
        };
        let board: Arc<dyn WatchObserver> = Arc::<Board>::clone(&shared.board);
        let task = shared.tasks.spawn(kybern_kube::watch(
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
            task,
            fill,
            unwanted: None,
        }
    }
}

#[cfg(test)]
mod tests;
