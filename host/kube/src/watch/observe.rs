//! What a watch tells its surroundings besides the batches: phases and counts, for metrics.

use kybern_table::KindKey;

/// What a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Reading a complete list.
    Listing,
    /// Following events; the table is up to date.
    Watching,
    /// Between attempts; the table, if it was readable, grows old.
    Waiting,
    /// Refused; the table is failed until a list completes.
    Failed,
}

/// Something that happened in a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The phase changed.
    Phase(Phase),
    /// A complete list arrived.
    Listed {
        /// Its resourceVersion.
        resource_version: u64,
    },
    /// A batch was handed over.
    Batch {
        /// Changes in it.
        changes: usize,
        /// Bytes of their bodies.
        bytes: usize,
    },
    /// The connection was lost or refused, and why.
    Interrupted {
        /// For people.
        reason: String,
    },
    /// The table's resourceVersions went backwards twice: etcd was restored.
    NewEpoch,
}

/// Receives observations; called from the watch's task, so it must not block.
pub trait WatchObserver: Send + Sync {
    /// Something happened in the watch of this kind.
    fn observe(&self, kind: &KindKey, observation: Observation);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl WatchObserver for NoObserver {
    fn observe(&self, _kind: &KindKey, _observation: Observation) {}
}
