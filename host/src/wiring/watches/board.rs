//! What watches tell about themselves.

use kybern_kube::{Observation, Phase, WatchObserver};
use kybern_table::KindKey;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// The most that one batch of a watch held.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Largest {
    /// Changes.
    pub(crate) changes: usize,
    /// Bytes of objects.
    pub(crate) bytes: usize,
}

/// How one watch is doing; gauges of it are exported.
#[derive(Debug, Clone)]
pub(crate) struct WatchHealth {
    /// What it is doing.
    pub(crate) phase: Phase,
    /// resourceVersion of the last complete list of this run of the watch.
    pub(crate) listed: Option<u64>,
    /// Whether the table holds a complete list and has not failed since.
    pub(crate) readable: bool,
    /// Lists that completed since it was started.
    pub(crate) lists: u64,
    /// Lost or refused connections.
    pub(crate) interruptions: u64,
    /// Changes handed over.
    pub(crate) changes: u64,
    /// The most that was handed over at once.
    pub(crate) largest_batch: Largest,
    /// Why it was last interrupted.
    pub(crate) reason: String,
    /// When it last said anything, on the monotonic clock.
    pub(crate) last: Duration,
}

impl Default for WatchHealth {
    fn default() -> Self {
        Self {
            phase: Phase::Listing,
            listed: None,
            readable: false,
            lists: 0,
            interruptions: 0,
            changes: 0,
            largest_batch: Largest::default(),
            reason: String::new(),
            last: crate::clock::monotonic(),
        }
    }
}

/// Keeps what watches tell.
#[derive(Default)]
pub(super) struct Board {
    pub(super) health: Mutex<BTreeMap<KindKey, WatchHealth>>,
    pub(super) news: watch::Sender<u64>,
}

impl WatchObserver for Board {
    fn observe(&self, kind: &KindKey, observation: Observation) {
        let mut all = self.health.lock();
        let Some(health) = all.get_mut(kind) else {
            return;
        };
        health.last = crate::clock::monotonic();
        match observation {
            Observation::Phase(phase) => {
                health.phase = phase;
                health.readable &= phase != Phase::Failed;
            }
            Observation::Listed { resource_version } => {
                health.readable = true;
                health.listed = Some(resource_version);
                health.lists += 1;
            }
            Observation::Batch { changes, bytes } => {
                let largest = &mut health.largest_batch;
                largest.changes = largest.changes.max(changes);
                largest.bytes = largest.bytes.max(bytes);
                health.changes += u64::try_from(changes).unwrap_or_default();
            }
            Observation::Interrupted { reason } => {
                tracing::warn!(table = %kind, %reason, "watch interrupted");
                health.interruptions += 1;
                health.reason = reason;
            }
            Observation::NewEpoch => {
                health.readable = false;
                tracing::warn!(table = %kind, "resourceVersions went backwards: the cluster's store was restored; the table is read anew");
            }
        }
        drop(all);
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }
}
