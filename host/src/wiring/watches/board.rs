//! What watches tell about themselves.

use jiff::Timestamp;
use kybern_kube::{Interruption, Observation, Phase, WatchObserver};
use kybern_table::KindKey;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
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
    /// Which run of the watch it is about.
    pub(super) run: u64,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// resourceVersion of the last complete list of this run of the watch.
    pub(crate) listed: Option<u64>,
    /// Whether the table holds a complete list and has not failed since.
    pub(crate) readable: bool,
    /// Lists that completed.
    pub(crate) lists: u64,
    /// How often it was interrupted, by cause.
    pub(crate) interruptions: BTreeMap<Interruption, u64>,
    /// How often the API server's store turned out to be another one: restored.
    pub(crate) epochs: u64,
    /// Changes handed over.
    pub(crate) changes: u64,
    /// The most that was handed over at once.
    pub(crate) largest_batch: Largest,
    /// Why it was last interrupted.
    pub(crate) reason: String,
    /// When it last said anything, on the monotonic clock.
    pub(crate) last: Duration,
    /// When the API server last said something that left the table up to date: an event, a
    /// bookmark, the end of a list. None before its first list.
    pub(crate) confirmed: Option<Timestamp>,
    /// The resourceVersion up to which the API server vouched for the table.
    pub(crate) vouched: u64,
}

impl Default for WatchHealth {
    fn default() -> Self {
        Self {
            run: 0,
            phase: Phase::Listing,
            listed: None,
            readable: false,
            lists: 0,
            interruptions: BTreeMap::new(),
            epochs: 0,
            changes: 0,
            largest_batch: Largest::default(),
            reason: String::new(),
            last: crate::clock::monotonic(),
            confirmed: None,
            vouched: 0,
        }
    }
}

impl WatchHealth {
    /// Of a new watch of the same kind: what was counted stays counted.
    pub(super) fn restarted(self, readable: bool) -> Self {
        Self {
            run: self.run.wrapping_add(1),
            phase: Phase::Listing,
            listed: None,
            readable,
            last: crate::clock::monotonic(),
            ..self
        }
    }

    fn observe(&mut self, kind: &KindKey, observation: Observation) {
        self.last = crate::clock::monotonic();
        match observation {
            Observation::Phase(phase) => {
                self.phase = phase;
                self.readable &= phase != Phase::Failed;
            }
            Observation::Listed { resource_version } => {
                self.readable = true;
                self.listed = Some(resource_version);
                self.vouched = resource_version;
                self.lists += 1;
                self.confirmed = Some(crate::clock::wall());
            }
            Observation::Bookmark { resource_version } => {
                self.vouched = self.vouched.max(resource_version);
                self.confirmed = Some(crate::clock::wall());
            }
            Observation::Batch { changes, bytes } => {
                let largest = &mut self.largest_batch;
                largest.changes = largest.changes.max(changes);
                largest.bytes = largest.bytes.max(bytes);
                self.changes += u64::try_from(changes).unwrap_or_default();
                if self.phase == Phase::Watching {
                    self.confirmed = Some(crate::clock::wall());
                }
            }
            Observation::Interrupted { cause, reason } => {
                tracing::warn!(table = %kind, cause = cause.name(), %reason, "watch interrupted");
                *self.interruptions.entry(cause).or_default() += 1;
                self.reason = reason;
            }
            Observation::NewEpoch => {
                self.readable = false;
                self.epochs += 1;
                self.vouched = 0;
                tracing::warn!(table = %kind, "resourceVersions went backwards: the cluster's store was restored; the table is read anew");
            }
        }
    }
}

/// Keeps what watches tell.
#[derive(Default)]
pub(super) struct Board {
    pub(super) health: Mutex<BTreeMap<KindKey, WatchHealth>>,
    pub(super) news: watch::Sender<u64>,
}

/// One run of one watch. What it tells after the next one began is nobody's concern.
pub(super) struct Run {
    pub(super) board: Arc<Board>,
    pub(super) number: u64,
}

impl WatchObserver for Run {
    fn observe(&self, kind: &KindKey, observation: Observation) {
        let mut all = self.board.health.lock();
        let Some(health) = all.get_mut(kind).filter(|health| health.run == self.number) else {
            return;
        };
        health.observe(kind, observation);
        drop(all);
        self.board.news.send_modify(|n| *n = n.wrapping_add(1));
    }
}
