//! Gauges of the store.

use crate::change::Sequence;
use crate::key::KindKey;

/// The store's gauges at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest sequence.
    pub sequence: Sequence,
    /// One entry for each table, by key.
    pub tables: Vec<TableStats>,
    /// Bytes of chunks that are no part of the newest snapshot any more and that
    /// older snapshots, held rows or the log keep alive.
    pub pinned_bytes: usize,
    /// Snapshots older than the newest that someone holds.
    pub snapshots_held: usize,
    /// Snapshots that have expired because they pinned too much.
    pub snapshots_expired: u64,
    /// Index entries of dead rows that wait for such snapshots to go.
    pub index_garbage: usize,
    /// Changes in the log.
    pub log_entries: usize,
    /// Bytes of row states in the log.
    pub log_bytes: usize,
    /// The oldest sequence that `changes_since` still answers for.
    pub log_oldest: Sequence,
    /// Bytes of cached columns (shredded paths).
    pub cache_bytes: usize,
    /// Values that were not of the type that a path or column was read with.
    pub type_mismatches: u64,
}

/// The gauges of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// The table.
    pub table: KindKey,
    /// Live rows.
    pub rows: usize,
    /// Dead rows that still take room in the newest snapshot.
    pub dead: usize,
    /// Chunks, the open one included.
    pub chunks: usize,
    /// Bytes of columns and bodies.
    pub bytes: usize,
    /// Bytes of bodies before compression.
    pub raw_bytes: usize,
    /// Tombstones.
    pub tombstones: usize,
}
