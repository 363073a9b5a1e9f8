//! Which kinds are watched: one watch a kind, shared by all users, started on need.
//!
//! A kind that is new is watched only while the memory budget has room: see [`refusal`].

mod board;
mod part;
mod refusal;

use super::ingest::Ingest;
use super::pace::Pace;
use crate::budget::Budget;
use kybern_kube::{Cluster, Phase, Scope, WatchConfig, WatchObserver, WatchTarget};
use kybern_table::{Change, KindKey, Reader, TableState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::board::WatchHealth;
use self::board::{Board, Run};
pub(crate) use self::part::{Part, Wanted};
use self::refusal::{Refusals, Tries, Turn};

/// How long a kind that nobody needs any more is still watched: who comes back meanwhile, as a plugin
/// that is registered anew, finds its table as it left it.
const GRACE: Duration = Duration::from_secs(60);

/// A watch that runs.
struct Running {
    wanted: Wanted,
    /// What the API server is asked for.
    scope: Scope,
    stop: CancellationToken,
    /// Cancelled once it hands over nothing any more.
    over: CancellationToken,
    fill: Fill,
    /// What is needed now; no more than is watched, none if nobody needs it.
    needed: Option<Wanted>,
    /// Since when less is needed than is watched, on the monotonic clock.
    leaving: Option<Duration>,
}

/// A table that holds less than is wanted of it from now on.
struct Widened {
    table: KindKey,
    reason: String,
    /// Of the watch that filled it so far.
    over: CancellationToken,
}

/// Whether a table was complete at any time since it was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Its first list is under way: it may be stopped for want of memory, as it was before.
    First(Tries),
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

    /// Watches these kinds from now on, of each the union of the parts. What is not needed any more,
    /// a kind or a part of it, goes after a grace time; a kind whose definition changed stays as it is
    /// until it is listed again; one of which more is needed is failed until then. New ones are
    /// refused while the memory budget is exceeded, and admitted once there is room.
    pub(crate) async fn set(&self, wanted: Vec<Wanted>) {
        let _turn = self.shared.refusals.turn().await;
        let mut wanted = part::by_kind(wanted);
        let mut left = false;
        let mut changes = Vec::new();
        let mut widened = Vec::new();
        let ready = CancellationToken::new();
        let go = ready.clone().drop_guard();
        {
            let mut running = self.shared.running.lock();
            self.settle(&mut running);
            for (key, run) in running.iter_mut() {
                let before = run.leaving;
                widened.extend(self.want(run, wanted.remove(key), &ready));
                left |= run.leaving.is_some() && run.leaving != before;
            }
            let unwanted = self.shared.refusals.retain(|key| wanted.contains_key(key));
            changes.extend(unwanted.into_iter().map(Change::Drop));
            for (key, wanted) in wanted {
                if let Some(refused) = self.refuse(&wanted) {
                    changes.extend(refused);
                } else {
                    let fill = refusal::fill_of(&key, Tries::default());
                    running.insert(key, self.start(wanted, false, fill, Vec::new()));
                }
            }
        }
        if !changes.is_empty() {
            self.shared.ingest.commit(changes).await;
        }
        self.fail_widened(widened).await;
        drop(go);
        if left {
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

    /// Goes on with a watch as it is wanted now, anew if need be and once `ready`. Whether its table
    /// holds less than is wanted.
    fn want(
        &self,
        run: &mut Running,
        wanted: Option<Wanted>,
        ready: &CancellationToken,
    ) -> Option<Widened> {
        let now = crate::clock::monotonic();
        let Some(wanted) = wanted else {
            if run.needed.take().is_some() {
                run.leaving = Some(now);
            }
            return None;
        };
        let table = wanted.def.key.clone();
        let came_back = run.needed.is_none();
        let health = self.shared.board.health.lock().get(&table).cloned();
        let failed = health.as_ref().is_some_and(|h| h.phase == Phase::Failed);
        let scope = self.scope_of(&wanted);
        let holds = part::holds(&run.scope, &scope);
        run.needed = Some(wanted.clone());
        // One that has failed waits long between tries; who comes back shall not.
        let anew = wanted.def != run.wanted.def || !holds || (came_back && failed);
        if !anew {
            let smaller = scope != run.scope;
            let since = run.leaving.filter(|_| !came_back).unwrap_or(now);
            run.leaving = smaller.then_some(since);
            return None;
        }
        run.leaving = None;
        let readable =
            holds && health.is_some_and(|health| health.readable) && self.is_ready(&table);
        let widened = (!holds).then(|| Widened {
            over: run.over.clone(),
            reason: format!(
                "{table} is being listed: until now only {} was needed",
                part::place(&run.scope, wanted.def.namespaced)
            ),
            table: table.clone(),
        });
        if !holds {
            // The rest is new: it may not fit.
            run.fill = refusal::fill_of(&table, Tries::default());
        }
        self.restart(run, wanted, readable, Some(ready));
        widened
    }

    fn is_ready(&self, table: &KindKey) -> bool {
        let snapshot = self.shared.budget.sources().reader.snapshot();
        let state = snapshot.table(table).map(|table| table.state());
        matches!(state, Some(TableState::Ready { .. }))
    }

    /// Fails the tables that hold less than is wanted, after all that their watches handed over.
    async fn fail_widened(&self, widened: Vec<Widened>) {
        let mut changes = Vec::new();
        for Widened {
            table,
            reason,
            over,
        } in widened
        {
            over.cancelled().await;
            changes.push(Change::Fail { table, reason });
        }
        if !changes.is_empty() {
            self.shared.ingest.commit_last(changes).await;
        }
    }

    /// Ends the watches, and drops the tables or parts of them, that nobody has needed for this time;
    /// how many.
    pub(crate) async fn end_unwanted(&self, grace: Duration) -> usize {
        let turn = self.shared.refusals.turn().await;
        self.end(grace, &turn).await
    }

    /// Ends those that nobody needs, unless somebody else changes what is watched just now.
    pub(crate) async fn make_room(&self) -> usize {
        match self.shared.refusals.try_turn() {
            Some(turn) => self.end(Duration::ZERO, &turn).await,
            None => 0,
        }
    }

    async fn end(&self, grace: Duration, _turn: &Turn) -> usize {
        let now = crate::clock::monotonic();
        let over = |run: &Running| {
            run.leaving
                .is_some_and(|since| now.saturating_sub(since) >= grace)
        };
        let mut count = 0;
        let ended: Vec<(KindKey, Running)> = {
            let mut running = self.shared.running.lock();
            for (key, run) in running.iter_mut().filter(|(_, run)| over(run)) {
                if let Some(wanted) = run.needed.clone() {
                    count += 1;
                    run.leaving = None;
                    let readable = self.is_ready(key);
                    self.restart(run, wanted, readable, None);
                }
            }
            running.extract_if(.., |_, run| over(run)).collect()
        };
        let mut drops = Vec::new();
        for (key, run) in ended {
            run.stop.cancel();
            self.shared.board.health.lock().remove(&key);
            run.over.cancelled().await;
            drops.push(Change::Drop(key));
        }
        count += drops.len();
        if !drops.is_empty() {
            self.shared.ingest.commit_last(drops).await;
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
                // What a new leader acts on must be fresh: a table whose list fails fails too.
                let wanted = run.wanted.clone();
                self.restart(run, wanted, false, None);
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
        if tokio::time::timeout(limit, fresh).await.is_err() {
            self.give_up(reader, late).await;
        }
    }

    /// Fails the kinds that have no fresh list yet, until they have.
    async fn give_up(&self, reader: &Reader, mut late: BTreeSet<KindKey>) {
        let _turn = self.shared.refusals.turn().await;
        self.keep_late(reader, &mut late);
        let failed = late.iter().map(|table| {
            tracing::warn!(%table, "no fresh list in time; what reads it waits");
            Change::Fail {
                reason: format!(
                    "{table} could not be listed afresh when this replica took the lead"
                ),
                table: table.clone(),
            }
        });
        self.shared.ingest.commit(failed.collect()).await;
        // A list that ended just before is not seen to heal what was failed just after.
        let mut running = self.shared.running.lock();
        for key in &late {
            let health = self.shared.board.health.lock().get(key).cloned();
            if health.is_some_and(|health| health.listed.is_some())
                && !self.is_ready(key)
                && let Some(run) = running.get_mut(key)
            {
                let wanted = run.wanted.clone();
                self.restart(run, wanted, false, None);
            }
        }
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

    /// How much is taken in between two looks at the budget.
    pub(crate) fn pace(&self) -> &Pace {
        self.shared.ingest.pace()
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
        if let Some(run) = running.get(table) {
            return part::place(&run.scope, run.wanted.def.namespaced);
        }
        match self.shared.refusals.wanted(table) {
            Some(wanted) => part::place(&self.scope_of(&wanted), wanted.def.namespaced),
            None => String::new(),
        }
    }

    fn scope_of(&self, wanted: &Wanted) -> Scope {
        let host = self.shared.namespace.as_deref();
        wanted.part.scope(&wanted.def, host)
    }

    /// Begins a watch anew, after the last word of the one that runs, and once `ready`.
    fn restart(
        &self,
        run: &mut Running,
        wanted: Wanted,
        readable: bool,
        ready: Option<&CancellationToken>,
    ) {
        run.stop.cancel();
        let (needed, leaving) = (run.needed.take(), run.leaving);
        let after = std::iter::once(&run.over).chain(ready).cloned().collect();
        *run = self.start(wanted, readable, run.fill, after);
        (run.needed, run.leaving) = (needed, leaving);
    }

    /// Starts the watch of one kind, of which the table may be complete already, after all of these
    /// are cancelled.
    fn start(
        &self,
        wanted: Wanted,
        readable: bool,
        fill: Fill,
        after: Vec<CancellationToken>,
    ) -> Running {
        let shared = &self.shared;
        let def = wanted.def.clone();
        let (number, vouched) = {
            let mut all = shared.board.health.lock();
            let before = all.remove(&def.key).unwrap_or_default();
            let health = before.restarted(readable);
            let known = (health.run, health.vouched);
            all.insert(def.key.clone(), health);
            known
        };
        // Rows may be newer than the last bookmark.
        let reader = &shared.budget.sources().reader;
        let newest = reader.read(|snapshot| match snapshot.table(&def.key) {
            Some(view) => view.newest(),
            None => Ok(0),
        });
        let scope = self.scope_of(&wanted);
        let target = WatchTarget {
            def,
            scope: scope.clone(),
            readable,
            highest: vouched.max(newest),
        };
        let board = Arc::clone(&shared.board);
        let run: Arc<dyn WatchObserver> = Arc::new(Run { board, number });
        let (stop, over) = (shared.shutdown.child_token(), CancellationToken::new());
        let watch = kybern_kube::watch(
            shared.cluster.clone(),
            target,
            shared.config.clone(),
            shared.ingest.batches(),
            run,
            stop.clone(),
        );
        let ends = over.clone().drop_guard();
        shared.tasks.spawn(async move {
            let _ends = ends;
            for before in after {
                before.cancelled().await;
            }
            watch.await
        });
        Running {
            needed: Some(wanted.clone()),
            wanted,
            scope,
            stop,
            over,
            fill,
            leaving: None,
        }
    }
}

#[cfg(test)]
mod tests;
