//! The store's bounds.

/// Bounds of the store. Every one of them is a number of rows, entries or bytes;
/// [`crate::Reader::stats`] has a gauge for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Rows of one chunk, from 2 to 65,536.
    pub chunk_rows: usize,
    /// Bytes of uncompressed bodies after which a chunk is full, rows or not.
    pub chunk_bytes: usize,
    /// zstd level of sealed bodies.
    pub compression_level: i32,
    /// Bytes of a table's bodies after which it gets a dictionary of its own to
    /// compress them with. Never for Secrets.
    pub dictionary_after: usize,
    /// Bytes of bodies that the open chunks of all tables may hold uncompressed. Over it the largest
    /// is sealed before it is full.
    pub open_bytes: usize,
    /// Bytes of bodies in full chunks, and of the dead rows of chunks worth
    /// rewriting, that may wait for somebody to do the [`crate::Writer::job`] of sealing and merging them; over it the
    /// writer does it. 0: it always does.
    pub waiting_bytes: usize,
    /// Changes that the log keeps.
    pub log_entries: usize,
    /// Bytes of row states that the log may keep alive.
    pub log_bytes: usize,
    /// Bytes that only earlier snapshots and the log may keep alive. Over it the
    /// oldest of them goes: a snapshot's next read fails, the log is shorter.
    pub pinned_bytes: usize,
    /// Bytes of columns built from bodies (shredded paths) that are kept.
    pub cache_bytes: usize,
    /// Tombstones of each table.
    pub tombstones: usize,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            chunk_rows: 2048,
            chunk_bytes: 8 << 20,
            compression_level: 3,
            dictionary_after: 4 << 20,
            open_bytes: 32 << 20,
            waiting_bytes: 0,
            log_entries: 65_536,
            log_bytes: 16 << 20,
            pinned_bytes: 256 << 20,
            cache_bytes: 128 << 20,
            tombstones: 16_384,
        }
    }
}

impl StoreConfig {
    /// The same with every bound at a value that works.
    pub(crate) fn clamped(mut self) -> StoreConfig {
        self.chunk_rows = self.chunk_rows.clamp(2, MAX_ROWS);
        self.chunk_bytes = self.chunk_bytes.clamp(1, MAX_BYTES);
        self
    }
}

/// Rows have 16-bit numbers inside their chunk.
const MAX_ROWS: usize = 1 << 16;
/// Bodies have 32-bit offsets inside their chunk; the last one may stand out.
const MAX_BYTES: usize = 1 << 30;
