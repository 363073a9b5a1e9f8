//! Gauges of the store.

use std::sync::Arc;

use crate::block::Slot;
use crate::body::Codec;
use crate::change::Sequence;
use crate::key::{Index, KindKey};
use crate::version::Version;

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

impl Stats {
    /// Bytes that wait to be sealed or merged away.
    pub fn waiting_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.waiting_bytes).sum()
    }

    /// Bytes of bodies in the chunks that take new rows.
    pub fn open_bytes(&self) -> usize {
        self.tables.iter().map(|table| table.open_bytes).sum()
    }

    /// Bytes of tables, their indexes and dictionaries, the log, and what only
    /// older snapshots keep. Kept columns are apart: they can go.
    pub fn total_bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(TableStats::total_bytes).sum();
        tables + self.pinned_bytes + self.log_bytes
    }
}

/// The gauges of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// The table.
    pub table: KindKey,
    /// Live rows.
    pub rows: usize,
    /// Dead rows that still take room in the newest snapshot.
    pub dead: usize,
    /// Chunks, the open one included.
    pub chunks: usize,
    /// Bytes of columns and bodies, dead rows included.
    pub bytes: usize,
    /// Of these, bytes of bodies: compressed in sealed chunks, as text in the open one.
    pub body_bytes: usize,
    /// Of all bytes, about how many are of dead rows.
    pub dead_bytes: usize,
    /// Bytes of the indexes, about; in the order in which they were declared.
    pub indexes: Vec<(Index, usize)>,
    /// Bytes of the dictionaries that bodies are compressed with.
    pub dictionary_bytes: usize,
    /// Bytes of bodies in the open chunk: see [`crate::StoreConfig::open_bytes`].
    pub open_bytes: usize,
    /// Bytes that wait to be sealed or merged away: see
    /// [`crate::StoreConfig::waiting_bytes`].
    pub waiting_bytes: usize,
    /// Bytes of bodies before compression.
    pub raw_bytes: usize,
    /// Tombstones.
    pub tombstones: usize,
}

impl TableStats {
    /// Bytes of all that the table takes in the newest snapshot.
    pub fn total_bytes(&self) -> usize {
        let indexes: usize = self.indexes.iter().map(|(_, bytes)| bytes).sum();
        self.bytes + indexes + self.dictionary_bytes
    }

    pub(crate) fn of(key: &KindKey, version: &Version) -> TableStats {
        let slots = &version.slots;
        let dead = |slot: &Slot| slot.contents().saturating_sub(slot.live_rows);
        let open = version.facts.open;
        let mut codecs: Vec<&Arc<Codec>> =
            slots.iter().filter_map(|slot| slot.block.codec()).collect();
        codecs.sort_by_key(|codec| Arc::as_ptr(codec));
        codecs.dedup_by_key(|codec| Arc::as_ptr(codec));
        TableStats {
            table: key.clone(),
            rows: version.facts.rows,
            dead: slots.iter().map(|slot| dead(slot)).sum(),
            chunks: slots.len(),
            bytes: slots.iter().map(|slot| slot.bytes).sum(),
            body_bytes: slots.iter().map(|slot| slot.body_bytes()).sum(),
            dead_bytes: slots.iter().map(|slot| slot.dead_bytes()).sum(),
            indexes: version
                .indexes
                .bytes()
                .map(|(index, bytes)| (index.clone(), bytes))
                .collect(),
            dictionary_bytes: codecs.iter().map(|codec| codec.dictionary_bytes()).sum(),
            open_bytes: open
                .and_then(|id| version.slot(id))
                .map_or(0, |slot| slot.raw_bytes),
            waiting_bytes: slots
                .iter()
                .filter(|slot| Some(slot.id) != open)
                .map(|slot| slot.waiting_bytes())
                .sum(),
            raw_bytes: slots.iter().map(|slot| slot.raw_bytes).sum(),
            tombstones: version.facts.tombstones,
        }
    }
}
