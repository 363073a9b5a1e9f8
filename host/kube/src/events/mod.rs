//! Tells people what happened: `events.k8s.io/v1` Events, best effort.
//!
//! # Contract
//! * [`Recorder::record`] never waits and never fails a pass: what does not fit is dropped and counted.
//! * A repeat (same object, reason, note, action and type) becomes the `series` of the first Event,
//!   patched at most once per [`RecorderConfig::patch_every`], so that a hot loop costs few writes.
//! * [`Worker::run`] does the writing; it ends with its token, after one last round of patches.
//!
//! # Limits
//! Queue, cache, rate and text lengths are bounded; see [`RecorderConfig`].

mod aggregate;
mod body;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{clock::Clock, cluster::Cluster};

pub use worker::Worker;

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Regarding {
    /// `apps/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; absent for cluster-scoped objects, whose Events live in `default`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// Something that happened to an object. All of it together is what a repeat has to equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Occurrence {
    /// To which object.
    pub regarding: Regarding,
    /// Whether somebody should look.
    pub severity: Severity,
    /// Why, in one CamelCase word; at most 128 bytes.
    pub reason: String,
    /// What was being done, in one CamelCase word; at most 128 bytes.
    pub action: String,
    /// For people, and what to do next; at most 1 KiB. Must not hold what changes each time.
    pub note: String,
}

/// Bounds of a recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// `reportingController`, a qualified name such as `kybern.dev/host`.
    pub controller: String,
    /// `reportingInstance`, such as the pod's name.
    pub instance: String,
    /// Occurrences that may wait for the worker; 1,024 unless told.
    pub queue: usize,
    /// Events that are remembered for repeats; 4,096 unless told.
    pub remembered: usize,
    /// A repeat after a pause longer than this is a new Event; 6 min unless told.
    pub series_gap: Duration,
    /// Between two patches of one Event; 10 s unless told.
    pub patch_every: Duration,
    /// Writes per second in the long run; 5 unless told.
    pub writes_per_second: u32,
    /// Writes in a burst; 50 unless told.
    pub burst: u32,
}

impl RecorderConfig {
    /// The defaults for one reporter.
    #[must_use]
    pub fn new(controller: &str, instance: &str) -> RecorderConfig {
        RecorderConfig {
            controller: controller.to_owned(),
            instance: instance.to_owned(),
            queue: 1024,
            remembered: 4096,
            series_gap: Duration::from_secs(360),
            patch_every: Duration::from_secs(10),
            writes_per_second: 5,
            burst: 50,
        }
    }
}

/// What became of an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The worker will see it.
    Queued,
    /// The queue is full, or the worker has ended.
    Dropped,
}

/// How many Events were written, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Events created.
    pub created: u64,
    /// Series patched.
    pub patched: u64,
    /// Occurrences dropped because of a bound, or because the API server refused them.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    created: AtomicU64,
    patched: AtomicU64,
    dropped: AtomicU64,
}

/// Takes occurrences. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    counters: Arc<Counters>,
}

impl Recorder {
    /// Notes an occurrence, without waiting.
    pub fn record(&self, occurrence: Occurrence) -> Recorded {
        if self.queue.try_send(occurrence).is_ok() {
            Recorded::Queued
        } else {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            Recorded::Dropped
        }
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> RecorderStats {
        RecorderStats {
            created: self.counters.created.load(Ordering::Relaxed),
            patched: self.counters.patched.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }
}

/// A recorder and the worker that has to be run for it.
#[must_use]
pub fn recorder(
    cluster: Cluster,
    config: RecorderConfig,
    clock: Arc<dyn Clock>,
) -> (Recorder, Worker) {
    let (queue, receiver) = mpsc::channel(config.queue.max(1));
    let counters = Arc::new(Counters::default());
    let recorder = Recorder {
        queue,
        counters: counters.clone(),
    };
    (
        recorder,
        Worker::new(cluster, config, clock, receiver, counters),
    )
}
