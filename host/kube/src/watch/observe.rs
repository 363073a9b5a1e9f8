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

/// Why a watch was interrupted: few values, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interruption {
    /// The API server closed the connection, or it broke.
    Closed,
    /// Nothing came for longer than the idle deadline, not even a bookmark.
    Silent,
    /// The resourceVersion or the continue token is too old (HTTP 410): everything is listed again.
    Expired,
    /// The API server says less than it said before: its store was restored, or a replica is behind.
    Older,
    /// The request failed, or the API server is overloaded; tried again.
    Failed,
    /// Somebody must change something: a permission is missing, or the kind is not served.
    Refused,
    /// The API server sent what cannot be used: a line too long, no JSON, a page too large.
    Unusable,
    /// The API server has no streaming lists; pages are read instead.
    NotStreaming,
}

impl Interruption {
    /// All of them.
    pub const ALL: [Interruption; 8] = [
        Interruption::Closed,
        Interruption::Silent,
        Interruption::Expired,
        Interruption::Older,
        Interruption::Failed,
        Interruption::Refused,
        Interruption::Unusable,
        Interruption::NotStreaming,
    ];

    /// As the label's value: lower case, words joined by `_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Interruption::Closed => "closed",
            Interruption::Silent => "silent",
            Interruption::Expired => "expired",
            Interruption::Older => "older",
            Interruption::Failed => "failed",
            Interruption::Refused => "refused",
            Interruption::Unusable => "unusable",
            Interruption::NotStreaming => "not_streaming",
        }
    }
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
    /// The API server vouched for everything up to here without sending anything: a bookmark.
    Bookmark {
        /// Its resourceVersion.
        resource_version: u64,
    },
    /// The connection was lost or refused, and why.
    Interrupted {
        /// For metrics.
        cause: Interruption,
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
