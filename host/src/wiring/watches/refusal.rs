//! Kinds that are not watched for want of memory.
//!
//! *Why.* A table that does not fit would take the host with it. Refused by name, it fails its own
//! readers only, with the reason; what is watched already goes on.
//!
//! *States.* Refused before it was begun, or stopped during its first list; then nothing of it is
//! kept but a failed, empty table that says why. Admitted again once there is room: for a stopped
//! one, room for more than it had come to, and one at a time.

use super::{Fill, Running, Watches};
use crate::budget::bytes;
use crate::kinds::{crd_table, plugin_table};
use kybern_budget::{Reached, Reading};
use kybern_kube::Phase;
use kybern_table::{Batch, Change, KindKey, Stats, TableDef, TableStats};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// A kind that is not watched.
struct Refused {
    def: TableDef,
    reason: String,
    /// Bytes that must be free before it is tried again; 0 = any room will do.
    need: u64,
}

/// The kinds that are not watched.
#[derive(Default)]
pub(super) struct Refusals {
    kinds: Mutex<BTreeMap<KindKey, Refused>>,
    /// A table whose first list was stopped and that is not dropped yet.
    stopping: Mutex<Option<KindKey>>,
    /// One at a time changes what is watched.
    turns: Arc<Turns<()>>,
}

impl Refusals {
    /// Waits until nobody else changes what is watched.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// Forgets the kinds that are not to be kept. Those.
    pub(super) fn retain(&self, keep: impl Fn(&KindKey) -> bool) -> Vec<KindKey> {
        let mut kinds = self.kinds.lock();
        let forgotten = kinds.keys().filter(|key| !keep(key)).cloned().collect();
        kinds.retain(|key, _| keep(key));
        forgotten
    }

    pub(super) fn is_namespaced(&self, table: &KindKey) -> Option<bool> {
        let kinds = self.kinds.lock();
        Some(kinds.get(table)?.def.namespaced)
    }
}

/// What the host cannot do without may not be stopped.
pub(super) fn fill_of(table: &KindKey) -> Fill {
    if *table == plugin_table().key || *table == crd_table().key {
        Fill::Done
    } else {
        Fill::First
    }
}

/// First lists that are under way.
#[derive(Default)]
pub(crate) struct Filling {
    /// The one whose table holds most.
    pub(crate) largest: Option<TableStats>,
    /// Bytes of one that was stopped and is not dropped yet.
    pub(crate) stopping: u64,
}

/// The changes that leave an empty table with the reason.
fn failed(def: &TableDef, reason: &str) -> [Change; 2] {
    [
        Change::Define(def.clone()),
        Change::Fail {
            table: def.key.clone(),
            reason: reason.to_owned(),
        },
    ]
}

impl Watches {
    /// The kinds that are not watched for want of memory, and why.
    pub(crate) fn refused(&self) -> BTreeMap<KindKey, String> {
        let kinds = self.shared.refusals.kinds.lock();
        let reasons = kinds
            .iter()
            .map(|(key, refused)| (key.clone(), refused.reason.clone()));
        reasons.collect()
    }

    /// The changes that say so, if a new kind is refused; none for one that was refused before.
    pub(super) fn refuse(&self, def: &TableDef) -> Option<Vec<Change>> {
        let mut kinds = self.shared.refusals.kinds.lock();
        if let Some(refused) = kinds.get_mut(&def.key) {
            refused.def = def.clone();
            return Some(Vec::new());
        }
        if fill_of(&def.key) == Fill::Done {
            return None;
        }
        let reading = self.shared.budget.read();
        if reading.admits(0) {
            return None;
        }
        let reason = kybern_budget::refused(&def.key.to_string(), None, &reading);
        let changes = failed(def, &reason);
        self.note(&mut kinds, def.clone(), reason, 0);
        Some(changes.into())
    }

    fn note(
        &self,
        kinds: &mut BTreeMap<KindKey, Refused>,
        def: TableDef,
        reason: String,
        need: u64,
    ) {
        tracing::warn!(table = %def.key, "{reason}");
        self.shared.budget.ledger().refused_table();
        let refused = Refused {
            def: def.clone(),
            reason,
            need,
        };
        kinds.insert(def.key, refused);
    }

    /// Which first lists have ended by now.
    pub(super) fn settle(&self, running: &mut BTreeMap<KindKey, Running>) {
        let health = self.shared.board.health.lock();
        for (key, run) in running.iter_mut() {
            if health
                .get(key)
                .is_some_and(|health| health.listed.is_some())
            {
                run.fill = Fill::Done;
            }
        }
    }

    /// Whether no first list is under way. One that is refused takes nothing.
    fn nobody_fills(&self, running: &BTreeMap<KindKey, Running>) -> bool {
        let health = self.shared.board.health.lock();
        let failed = |key| health.get(key).is_some_and(|h| h.phase == Phase::Failed);
        let mut all = running.iter();
        all.all(|(key, run)| run.fill == Fill::Done || failed(key))
    }

    /// The first lists that are under way.
    pub(crate) fn filling(&self, stats: &Stats) -> Filling {
        let mut running = self.shared.running.lock();
        self.settle(&mut running);
        let stopping = self.shared.refusals.stopping.lock().clone();
        let of = |key: &KindKey| stats.tables.iter().find(|table| table.table == *key);
        let first = running.iter().filter(|(_, run)| run.fill == Fill::First);
        Filling {
            largest: first
                .filter_map(|(key, _)| of(key))
                .max_by_key(|table| table.total_bytes())
                // One at a time: what the last one gives back is to be seen first.
                .filter(|_| stopping.is_none())
                .cloned(),
            stopping: stopping
                .and_then(|key| of(&key).map(|table| bytes(table.total_bytes())))
                .unwrap_or_default(),
        }
    }

    /// Stops the first list of this table and drops what came of it, soon.
    pub(crate) fn stop_filling(&self, table: &TableStats, reading: &Reading) {
        let refusals = &self.shared.refusals;
        // Somebody else changes what is watched: the next look will do.
        let Ok(turn) = Arc::clone(&refusals.turns).try_lock_owned() else {
            return;
        };
        let run = {
            let mut running = self.shared.running.lock();
            // It may have ended since the look.
            self.settle(&mut running);
            let filling = running
                .get(&table.table)
                .is_some_and(|run| run.fill == Fill::First);
            filling.then(|| running.remove(&table.table)).flatten()
        };
        let Some(run) = run else {
            return;
        };
        run.stop.cancel();
        self.shared.board.health.lock().remove(&table.table);
        let reached = Reached {
            rows: bytes(table.rows),
            bytes: bytes(table.total_bytes()),
        };
        let name = table.table.to_string();
        let reason = kybern_budget::refused(&name, Some(reached), reading);
        let mut changes = vec![Change::Drop(table.table.clone())];
        changes.extend(failed(&run.def, &reason));
        let need = reading.need_after(reached.bytes);
        self.note(&mut refusals.kinds.lock(), run.def, reason, need);
        *refusals.stopping.lock() = Some(table.table.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let _turn = turn;
            // What it handed over before it ended is in the queue; what drops it must come after.
            let _ = run.task.await;
            let (done, dropped) = (Batch { changes }, shared.ingest.batches());
            let _ = dropped.send(done).await;
            *shared.refusals.stopping.lock() = None;
        });
    }

    /// Watches kinds that were refused, as far as there is room now.
    pub(crate) async fn admit(&self, reading: &Reading) {
        let refusals = &self.shared.refusals;
        if refusals.kinds.lock().is_empty() {
            return;
        }
        let Ok(_turn) = refusals.turns.try_lock() else {
            return;
        };
        let admitted: Vec<TableDef> = {
            let mut running = self.shared.running.lock();
            self.settle(&mut running);
            let mut alone = self.nobody_fills(&running);
            let mut kinds = refusals.kinds.lock();
            let fits = |refused: &Refused, alone: &mut bool| match refused.need {
                0 => reading.admits(0),
                // Nobody knows how much the other first lists will take.
                need => reading.admits(need) && std::mem::take(alone),
            };
            let keys: Vec<KindKey> = kinds
                .iter()
                .filter(|(_, refused)| fits(refused, &mut alone))
                .map(|(key, _)| key.clone())
                .collect();
            keys.iter()
                .filter_map(|key| Some(kinds.remove(key)?.def))
                .collect()
        };
        if admitted.is_empty() {
            return;
        }
        let drops = admitted.iter().map(|def| Change::Drop(def.key.clone()));
        self.shared.ingest.commit(drops.collect()).await;
        let mut running = self.shared.running.lock();
        for def in admitted {
            tracing::info!(table = %def.key, "there is room: it is watched");
            let key = def.key.clone();
            running.insert(key, self.start(def, false, Fill::First));
        }
    }
}
