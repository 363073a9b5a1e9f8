//! Kinds that are not watched for want of memory.
//!
//! *Why.* A table that does not fit would take the host with it. Refused by name, it fails its own
//! readers only, with the reason; what is watched already goes on.
//!
//! *States.* Refused before it was begun, or stopped during its first list; then nothing of it is
//! kept but a failed, empty table that says why. Admitted again once there is room: for a stopped
//! one, room for more than it had ever come to, one at a time, and after a pause that grows.

use super::{Fill, Running, Wanted, Watches};
use crate::budget::bytes;
use crate::kinds::{crd_table, plugin_table};
use kybern_budget::{Cause, Reached, Reading};
use kybern_kube::Phase;
use kybern_table::{Change, KindKey, Stats, TableDef, TableStats};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// Until a first list that was stopped is tried again; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What a table needed then says nothing any more.
const NEED_FORGOTTEN: Duration = Duration::from_secs(600);

/// That nobody else changes what is watched.
pub(super) type Turn = OwnedMutexGuard<()>;

/// A kind that is not watched.
struct Refused {
    wanted: Wanted,
    reason: String,
    tries: Tries,
    /// On the monotonic clock.
    since: Duration,
}

/// First lists of a kind that were stopped, one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tries {
    stopped: u32,
    /// Bytes that must be free before the next; the most that any of them came to, and more.
    need: u64,
}

impl Tries {
    fn once_more(self, need: u64) -> Self {
        Self {
            stopped: self.stopped.saturating_add(1),
            need: self.need.max(need),
        }
    }

    /// Whether it may be tried after so long, at this reading. Statements come and go, and with them
    /// the room: the pauses keep a table that does not fit from being read again and again.
    fn allows(self, waited: Duration, reading: &Reading) -> bool {
        let Some(doublings) = self.stopped.checked_sub(1) else {
            return reading.admits(0);
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        let need = if waited < NEED_FORGOTTEN {
            self.need
        } else {
            0
        };
        waited >= pause && reading.admits(need)
    }
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
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// A turn, unless somebody else has it.
    pub(super) fn try_turn(&self) -> Option<Turn> {
        Arc::clone(&self.turns).try_lock_owned().ok()
    }

    /// Forgets the kinds that are not to be kept. Those.
    pub(super) fn retain(&self, keep: impl Fn(&KindKey) -> bool) -> Vec<KindKey> {
        let mut kinds = self.kinds.lock();
        let forgotten = kinds.keys().filter(|key| !keep(key)).cloned().collect();
        kinds.retain(|key, _| keep(key));
        forgotten
    }

    /// What of this kind would be watched.
    pub(super) fn wanted(&self, table: &KindKey) -> Option<Wanted> {
        Some(self.kinds.lock().get(table)?.wanted.clone())
    }
}

/// What the host cannot do without may not be stopped.
pub(super) fn fill_of(table: &KindKey, tries: Tries) -> Fill {
    if *table == plugin_table().key || *table == crd_table().key {
        Fill::Done
    } else {
        Fill::First(tries)
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
    pub(super) fn refuse(&self, wanted: &Wanted) -> Option<Vec<Change>> {
        let mut kinds = self.shared.refusals.kinds.lock();
        let key = &wanted.def.key;
        if let Some(refused) = kinds.get_mut(key) {
            refused.wanted = wanted.clone();
            return Some(Vec::new());
        }
        if fill_of(key, Tries::default()) == Fill::Done {
            return None;
        }
        let reading = self.shared.budget.read();
        if reading.admits(0) {
            return None;
        }
        let reason = kybern_budget::refused(&key.to_string(), Cause::Full, &reading);
        tracing::warn!(table = %key, "{reason}");
        let changes = failed(&wanted.def, &reason);
        self.note(&mut kinds, wanted.clone(), reason, Tries::default());
        Some(changes.into())
    }

    fn note(
        &self,
        kinds: &mut BTreeMap<KindKey, Refused>,
        wanted: Wanted,
        reason: String,
        tries: Tries,
    ) {
        self.shared.budget.ledger().refused_table();
        let key = wanted.def.key.clone();
        let refused = Refused {
            wanted,
            reason,
            tries,
            since: crate::clock::monotonic(),
        };
        kinds.insert(key, refused);
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
        let first = running
            .iter()
            .filter(|(_, run)| matches!(run.fill, Fill::First(_)));
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
        let Some(turn) = refusals.try_turn() else {
            return;
        };
        let key = &table.table;
        let (run, before) = {
            let mut running = self.shared.running.lock();
            // It may have ended since the look.
            self.settle(&mut running);
            let Some(Fill::First(before)) = running.get(key).map(|run| run.fill) else {
                return;
            };
            let Some(run) = running.remove(key) else {
                return;
            };
            (run, before)
        };
        run.stop.cancel();
        self.shared.board.health.lock().remove(key);
        let reached = Reached {
            rows: bytes(table.rows),
            bytes: bytes(table.total_bytes()),
        };
        // Who reads one namespace of it is not told how many there are in all.
        let says = |cause| kybern_budget::refused(&key.to_string(), cause, reading);
        tracing::warn!(table = %key, "{}", says(Cause::StoppedAt(reached)));
        let reason = says(Cause::Stopped);
        let mut changes = vec![Change::Drop(key.clone())];
        changes.extend(failed(&run.wanted.def, &reason));
        let tries = before.once_more(reading.need_after(reached.bytes));
        self.note(
            &mut refusals.kinds.lock(),
            run.needed.unwrap_or(run.wanted),
            reason,
            tries,
        );
        *refusals.stopping.lock() = Some(key.clone());
        let this = self.clone();
        self.shared.tasks.spawn(async move {
            let _turn = turn;
            // What it handed over before it ended is in the queue; what drops it must come after.
            run.over.cancelled().await;
            this.shared.ingest.commit_last(changes).await;
            *this.shared.refusals.stopping.lock() = None;
        });
    }

    /// Watches kinds that were refused, as far as there is room now.
    pub(crate) async fn admit(&self, reading: &Reading) {
        let refusals = &self.shared.refusals;
        if refusals.kinds.lock().is_empty() {
            return;
        }
        let Some(_turn) = refusals.try_turn() else {
            return;
        };
        let now = crate::clock::monotonic();
        let admitted: Vec<Refused> = {
            let mut running = self.shared.running.lock();
            self.settle(&mut running);
            let mut alone = self.nobody_fills(&running);
            let mut kinds = refusals.kinds.lock();
            let fits = |refused: &Refused, alone: &mut bool| {
                let waited = now.saturating_sub(refused.since);
                // Nobody knows how much the other first lists will take.
                refused.tries.allows(waited, reading)
                    && (refused.tries.stopped == 0 || std::mem::take(alone))
            };
            let keys: Vec<KindKey> = kinds
                .iter()
                .filter(|(_, refused)| fits(refused, &mut alone))
                .map(|(key, _)| key.clone())
                .collect();
            keys.iter().filter_map(|key| kinds.remove(key)).collect()
        };
        if admitted.is_empty() {
            return;
        }
        let keys = admitted.iter().map(|refused| &refused.wanted.def.key);
        let drops = keys.map(|key| Change::Drop(key.clone())).collect();
        self.shared.ingest.commit(drops).await;
        let mut running = self.shared.running.lock();
        for Refused { wanted, tries, .. } in admitted {
            let key = wanted.def.key.clone();
            tracing::info!(table = %key, "there is room: it is watched");
            let fill = fill_of(&key, tries);
            running.insert(key, self.start(wanted, false, fill, Vec::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn room(free: u64) -> Reading {
        Reading {
            budget: 100 * MIB,
            store: (100 - free) * MIB,
            ..Reading::default()
        }
    }

    #[test]
    fn a_table_that_was_stopped_is_tried_less_and_less_often() {
        let (free, full) = (room(90), room(0));
        assert!(Tries::default().allows(Duration::ZERO, &free));
        let mut tries = Tries::default();
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            tries = tries.once_more(10 * MIB);
            let pause = Duration::from_secs(pause);
            let before = pause.saturating_sub(Duration::from_millis(1));
            assert!(!tries.allows(before, &free), "{tries:?}");
            assert!(tries.allows(pause, &free), "{tries:?}");
            assert!(!tries.allows(
                pause,
                &Reading {
                    store: full.budget + 1,
                    ..full
                }
            ));
        }
    }

    /// Statements take room and give it back; what a table came to when there was little of it says
    /// nothing.
    #[test]
    fn what_a_table_once_needed_is_remembered_for_a_while() {
        let tries = Tries::default().once_more(50 * MIB).once_more(5 * MIB);
        let minute = Duration::from_secs(60);
        assert!(!tries.allows(minute, &room(49)));
        assert!(tries.allows(minute, &room(50)));
        // The cluster may have changed: it does not starve.
        assert!(tries.allows(NEED_FORGOTTEN, &room(1)));
    }
}
