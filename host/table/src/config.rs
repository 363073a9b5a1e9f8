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
    /// Changes that the log keeps.
    pub log_entries: usize,
    /// Bytes that the log may keep alive, chunks that only it holds included.
    pub log_bytes: usize,
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
            log_entries: 65_536,
            log_bytes: 64 << 20,
            cache_bytes: 128 << 20,
            tombstones: 16_384,
        }
    }
}
