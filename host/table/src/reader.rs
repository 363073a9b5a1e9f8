//! The end that reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::extract;
use crate::root::{Root, Shared};
use crate::snapshot::{Snapshot, SnapshotTooOld};
use crate::stats::{Stats, TableStats};
use crate::sync::ArcSwap;

/// The end that reads; cheap to clone. Never waits for the writer.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) current: Arc<ArcSwap<Root>>,
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// The newest commit.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.current.load_full())
    }

    /// What `read` finds in the newest commit; asked again on a newer one should
    /// that expire meanwhile.
    pub fn read<T>(&self, read: impl Fn(&Snapshot) -> Result<T, SnapshotTooOld>) -> T {
        loop {
            if let Ok(found) = read(&self.snapshot()) {
                return found;
            }
        }
    }

    /// Drops columns that were built from bodies and are kept, until at least so many bytes are
    /// free or none is left; those that were not read for the longest go first. Bytes dropped.
    pub fn evict_columns(&self, bytes: usize) -> usize {
        self.shared.budget.evict(bytes)
    }

    /// The store's gauges.
    pub fn stats(&self) -> Stats {
        let (sequence, tables) = self.read(|snapshot| {
            let root = snapshot.root();
            let tables = root.directory.iter();
            let tables = tables.map(|(key, at)| root.read(*at, |v| TableStats::of(key, v)));
            let tables: Result<Vec<TableStats>, SnapshotTooOld> = tables.collect();
            Ok((root.sequence, tables?))
        });
        let log = self.shared.log.stats();
        let held = self.shared.holders.lock().alive();
        Stats {
            sequence,
            tables,
            pinned_bytes: self.shared.pinned.load(Ordering::Relaxed),
            snapshots_held: held.len(),
            snapshots_expired: self.shared.expired.load(Ordering::Relaxed),
            index_garbage: self.shared.garbage.load(Ordering::Relaxed),
            log_entries: log.entries,
            log_bytes: log.bytes,
            log_oldest: log.oldest,
            cache_bytes: self.shared.budget.bytes(),
            type_mismatches: extract::mismatches(),
        }
    }
}
