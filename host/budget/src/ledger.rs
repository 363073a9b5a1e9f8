//! What was done so far because the budget was exceeded.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was done so far because the budget was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tables refused, stopped back-fills included.
    pub refused_tables: u64,
    /// Bytes of caches dropped.
    pub evicted_bytes: u64,
    /// Statements cancelled.
    pub cancelled_queries: u64,
}

/// Counts what is done: plain atomics, each exact, not all of one moment.
#[derive(Debug, Default)]
pub struct Ledger {
    refused_tables: AtomicU64,
    evicted_bytes: AtomicU64,
    cancelled_queries: AtomicU64,
}

impl Ledger {
    /// A table was refused.
    pub fn refused_table(&self) {
        self.refused_tables.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes of caches were dropped.
    pub fn evicted(&self, bytes: u64) {
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A statement was cancelled.
    pub fn cancelled_query(&self) {
        self.cancelled_queries.fetch_add(1, Ordering::Relaxed);
    }

    /// What was done so far.
    pub fn taken(&self) -> Taken {
        Taken {
            refused_tables: self.refused_tables.load(Ordering::Relaxed),
            evicted_bytes: self.evicted_bytes.load(Ordering::Relaxed),
            cancelled_queries: self.cancelled_queries.load(Ordering::Relaxed),
        }
    }
}
