//! The two ends of the store: one writer, any number of readers.

use crate::change::{Applied, Batch};
use crate::config::StoreConfig;
use crate::snapshot::Snapshot;
use crate::stats::Stats;

/// An empty store.
pub fn store(_config: StoreConfig) -> (Writer, Reader) {
    (Writer {}, Reader {})
}

/// The one end that changes the store. Never waits for readers.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    /// Applies the batch as one commit and publishes it. Never panics; what
    /// cannot be applied is reported and fails its table, the rest goes on.
    pub fn apply(&mut self, _batch: Batch) -> Applied {
        Applied::default()
    }
}

/// The end that reads; cheap to clone. Never waits for the writer.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// The newest commit.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::empty()
    }

    /// The store's gauges.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
