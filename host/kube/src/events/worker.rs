//! Writes Events, one after the other.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    api_error::RequestError,
    clock::Clock,
    cluster::Cluster,
    fence::AlwaysLeader,
    resource::{Resource, Target},
    write_options::{PatchOptions, WriteOptions},
    writes::Writes,
};

use super::{
    Counters, Occurrence, RecorderConfig,
    aggregate::{Aggregator, Decision, Patch},
    body,
};

/// How often series are looked through.
const TICK: Duration = Duration::from_secs(1);

/// The writing half of a recorder.
pub struct Worker {
    writes: Writes,
    event: Resource,
    config: RecorderConfig,
    clock: Arc<dyn Clock>,
    queue: mpsc::Receiver<Occurrence>,
    counters: Arc<Counters>,
    aggregator: Aggregator,
    /// Makes names unique within one microsecond.
    number: u64,
}

impl Worker {
    pub(super) fn new(
        cluster: Cluster,
        config: RecorderConfig,
        clock: Arc<dyn Clock>,
        queue: mpsc::Receiver<Occurrence>,
        counters: Arc<Counters>,
    ) -> Worker {
        let number = u64::try_from(clock.now().as_microsecond()).unwrap_or(0);
        Worker {
            // Events change nothing that a second leader could disagree with.
            writes: Writes::new(cluster, Arc::new(AlwaysLeader)),
            event: Resource::new("events.k8s.io", "v1", "Event", "events", true),
            aggregator: Aggregator::new(&config),
            config,
            clock,
            queue,
            counters,
            number,
        }
    }

    /// Writes until the token is cancelled or all recorders are gone.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK.min(self.config.patch_every));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = ticks.tick() => self.patch(false).await,
                occurrence = self.queue.recv() => match occurrence {
                    Some(occurrence) => self.record(occurrence).await,
                    None => break,
                },
            }
        }
        while let Ok(occurrence) = self.queue.try_recv() {
            self.record(occurrence).await;
        }
        self.patch(true).await;
    }

    async fn record(&mut self, occurrence: Occurrence) {
        let (now, time) = (self.clock.since_boot(), self.clock.now());
        match self.aggregator.record(&occurrence, now, time, &self.config) {
            Decision::Create => self.create(occurrence, time).await,
            Decision::Counted => {}
            Decision::Drop => self.dropped(),
        }
    }

    async fn create(&mut self, occurrence: Occurrence, time: jiff::Timestamp) {
        self.number = self.number.wrapping_add(1);
        let name = body::name(&occurrence, self.number);
        let event = body::create(&occurrence, &name, time, &self.config);
        let namespace = Some(body::namespace(&occurrence));
        let options = WriteOptions::default();
        match self
            .writes
            .create(&self.event, namespace, event, &options)
            .await
        {
            Ok(_) => {
                self.counters.created.fetch_add(1, Ordering::Relaxed);
                self.aggregator.created(&occurrence, name);
            }
            Err(error) => {
                self.aggregator.forget(&occurrence);
                self.failed(&error);
            }
        }
    }

    async fn patch(&mut self, all: bool) {
        let due = self
            .aggregator
            .due(self.clock.since_boot(), all, &self.config);
        for patch in due {
            self.patch_one(patch).await;
        }
    }

    async fn patch_one(&mut self, patch: Patch) {
        let namespace = Some(body::namespace(&patch.occurrence));
        let target = Target::new(&self.event, namespace, &patch.name);
        let series = body::series(&patch);
        match self
            .writes
            .merge_patch(&target, series, &PatchOptions::default())
            .await
        {
            Ok(_) => {
                self.counters.patched.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                // Events expire (an hour, as a rule): the next occurrence makes a new one.
                if error.api().is_some_and(crate::ApiError::is_not_found) {
                    self.aggregator.forget(&patch.occurrence);
                }
                self.failed(&error);
            }
        }
    }

    fn failed(&self, error: &RequestError) {
        tracing::debug!(error = error.chain(), "an event was not written");
        self.dropped();
    }

    fn dropped(&self) {
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
