//! The engine: registrations in, passes out.

use crate::active::{Active, table_of};
use crate::cause::StartedBy;
use crate::config::EngineConfig;
use crate::counters::Counters;
use crate::dry;
use crate::effect;
use crate::error::EngineError;
use crate::jobs::Job;
use crate::key::CrKey;
use crate::metrics::Metrics;
use crate::queue::{Line, Next};
use crate::release::{self, Finalizers};
use crate::report::{DryPass, PassReport};
use crate::revision::{Pinned, Registered};
use crate::shared::Shared;
use crate::traits::{Act, Apply, Clock, Decide, Entropy, Kinds, Sense};
use crate::trial::{self, Trials};
use crate::trouble::{self, Troubles};
use crate::why::{OnHold, Priority, Why};
use kybern_interface::{Gvk, RemovalPolicy};
use kybern_table::{Reader, Sequence};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the engine is built from.
pub struct Deps {
    /// The tables.
    pub reader: Reader,
    /// Answers queries.
    pub sense: Arc<dyn Sense>,
    /// Runs plugins.
    pub decide: Arc<dyn Decide>,
    /// Runs effects.
    pub act: Arc<dyn Act>,
    /// Writes.
    pub apply: Arc<dyn Apply>,
    /// Facts about served kinds.
    pub kinds: Arc<dyn Kinds>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds and intervals.
    pub config: EngineConfig,
    /// The host's namespace: where the records of CRs are that have no namespace.
    pub home: String,
    /// What is counted; the next engine goes on with it.
    pub counters: Counters,
}

/// What [`Engine::release`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// CRs whose finalizer is gone now.
    pub crs: usize,
    /// Children that were orphaned or deleted.
    pub children: usize,
    /// Patches that were taken back or handed over.
    pub patches: usize,
    /// What could not be done; call again until this is empty.
    pub failures: Vec<String>,
}

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// An engine without registrations.
    pub fn new(deps: Deps) -> Self {
        Self {
            shared: Arc::new(Shared::new(deps)),
        }
    }

    /// Adds a registration or replaces the one with its name: passes that start from now on run
    /// the new one. Every CR of it becomes due.
    pub fn register(&self, active: Active) {
        let shared = &self.shared;
        let name: Arc<str> = active.name().into();
        let limit = active.limits.concurrency.max(1);
        let registered = Arc::new(Registered::new(active));
        let active = &Arc::clone(&registered).active;
        let mut registry = shared.registry.write();
        let before = registry.insert(Arc::clone(&name), Arc::clone(&registered));
        // Until here nobody hears of a plugin that is not there any more.
        let beside = before
            .as_ref()
            .is_some_and(|before| registered.differs_beside(before));
        if !beside {
            shared.queue.lock().open(&name, limit);
            trouble::over(shared, &name);
        }
        let goes_on = before
            .as_ref()
            .is_some_and(|before| registered.goes_on(before));
        if !goes_on {
            trial::over(shared, &name);
        }
        drop(registry);
        let by = match before {
            Some(_) => StartedBy::Registration,
            None => StartedBy::StartUp,
        };
        shared.deps.counters.list(&name);
        match beside {
            // Revisions beside it came or went: who waits because of a failure goes on waiting.
            true => shared.add_all_gently(&name, by),
            false => shared.add_all(&name, Priority::StartUp, by),
        }
        shared.add_rivals(&name, active);
    }

    /// Takes a registration away; returns when its last pass has ended, and its effects, which are
    /// cancelled. Nothing is written: see
    /// [`Engine::release`]. What was counted stays until [`Counters::forget`].
    pub async fn unregister(&self, name: &str) {
        let shared = &self.shared;
        let name: Arc<str> = name.into();
        let removed = shared.registry.write().remove(&name);
        shared.queue.lock().close(&name);
        trouble::over(shared, &name);
        trial::over(shared, &name);
        loop {
            // Passes that still run may have added some.
            shared.jobs.lock().close(&name);
            let ended = shared.ended.notified();
            tokio::pin!(ended);
            // Listens from here on, so that a pass that ends in between is not missed.
            ended.as_mut().enable();
            let passes = shared.queue.lock().running_of(&name);
            if passes + shared.jobs.lock().running_of(&name) == 0 {
                break;
            }
            ended.await;
        }
        trial::over(shared, &name);
        shared.ahead.forget_plugin(&name);
        shared.pins.forget_plugin(&name);
        shared.triggers.lock().forget_plugin(&name);
        shared.memories.lock().retain(|key, _| key.plugin != name);
        shared.reports.lock().retain(|key, _| key.plugin != name);
        if let Some(removed) = removed {
            shared.add_rivals(&name, &removed.active);
        }
        shared.awaited.lock().retain(|_, keys| {
            keys.retain(|key| key.plugin != name);
            !keys.is_empty()
        });
    }

    /// Runs passes until `shutdown`, then waits for those under way. `commits` says that the
    /// tables have changed.
    pub async fn run(&self, mut commits: watch::Receiver<Sequence>, shutdown: CancellationToken) {
        let shared = &self.shared;
        // Dropped after the passes, wherever this future ends.
        let mut under_way = UnderWay::new(shared);
        let mut passes: JoinSet<(CrKey, Next)> = JoinSet::new();
        let mut effects: JoinSet<()> = JoinSet::new();
        let mut open = true;
        // What is there now is a start; what comes after is seen in the change log.
        let snapshot = shared.deps.reader.snapshot();
        let mut seen = snapshot.sequence();
        let plugins = shared.registry.read().names();
        for plugin in plugins {
            shared.add_all(&plugin, Priority::StartUp, StartedBy::StartUp);
        }
        drop(snapshot);
        loop {
            loop {
                let popped = shared.queue.lock().pop(Instant::now());
                let Some((key, why)) = popped else { break };
                let task = Arc::clone(shared);
                let started = key.clone();
                let handle = passes.spawn(async move {
                    let next = task.pass(&started, why).await;
                    (started, next)
                });
                under_way.passes.insert(handle.id(), key);
            }
            self.start_effects(&mut effects);
            let due = shared.queue.lock().next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = commits.changed(), if open => {
                    open = changed.is_ok();
                    commits.borrow_and_update();
                    shared.observe(&mut seen);
                }
                Some(joined) = passes.join_next_with_id(), if !passes.is_empty() => {
                    self.joined(joined, &mut under_way);
                }
                Some(_) = effects.join_next(), if !effects.is_empty() => {}
                () = shared.wake.notified() => {}
                () = sleep_until(due), if due.is_some() => {}
            }
        }
        tokio::join!(
            self.drain(&mut passes, &mut under_way),
            self.drain_effects(&mut effects)
        );
    }

    async fn drain(&self, passes: &mut JoinSet<(CrKey, Next)>, under_way: &mut UnderWay) {
        let drain = async {
            while let Some(joined) = passes.join_next_with_id().await {
                self.joined(joined, under_way);
            }
        };
        let grace = self.shared.deps.config.grace;
        if tokio::time::timeout(grace, drain).await.is_err() {
            tracing::warn!(left = passes.len(), "shutdown drops passes that do not end");
            passes.shutdown().await;
        }
    }

    /// Starts the effects that may start.
    fn start_effects(&self, effects: &mut JoinSet<()>) {
        loop {
            let next = self.shared.jobs.lock().next();
            let Some(job) = next else { return };
            let place = Place {
                shared: Arc::clone(&self.shared),
                job,
            };
            effects.spawn(async move { effect::run(&place.shared, &place.job).await });
        }
    }

    /// Effects have little time to end: soon another replica may run them.
    async fn drain_effects(&self, effects: &mut JoinSet<()>) {
        let grace = self.shared.deps.config.effect_grace;
        let drain = async { while effects.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, drain).await.is_err() {
            tracing::warn!(
                left = effects.len(),
                "shutdown drops effects that do not end"
            );
            effects.shutdown().await;
        }
    }

    fn joined(
        &self,
        joined: Result<(tokio::task::Id, (CrKey, Next)), tokio::task::JoinError>,
        under_way: &mut UnderWay,
    ) {
        let (id, next) = match joined {
            Ok((id, (_, next))) => (id, next),
            Err(error) => {
                // A defect of the host; the CR's memory went with it.
                tracing::error!(%error, "a pass did not end");
                let cap = self.shared.deps.config.backoff_cap;
                let delay = cap.min(Duration::from_secs(10));
                let why = Why::of(StartedBy::Retry, OnHold::Waits);
                (error.id(), Next::Hold(delay, Priority::Retry, why))
            }
        };
        under_way.end(id, next);
    }

    /// What a pass over this CR would do now. Writes nothing and leaves no trace.
    pub async fn dry_pass(
        &self,
        plugin: &str,
        kind: &Gvk,
        namespace: &str,
        name: &str,
    ) -> Result<DryPass, EngineError> {
        if self.shared.registered(plugin).is_none() {
            return Err(EngineError::Unregistered(plugin.to_owned()));
        }
        dry::run(&self.shared, &key(plugin, kind, namespace, name)).await
    }

    /// What the last pass over this CR did.
    pub fn report(
        &self,
        plugin: &str,
        kind: &Gvk,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<PassReport>> {
        let key = key(plugin, kind, namespace, name);
        self.shared.reports.lock().get(&key).cloned()
    }

    /// Lets go of everything that a registration holds: finalizers of its CRs, and ownerReferences
    /// and labels of their children, or the children themselves. Call after
    /// [`Engine::unregister`], again until it reports no failures.
    pub async fn release(&self, active: &Active, policy: RemovalPolicy) -> Released {
        release::run(&self.shared.deps, active, policy, Finalizers::Remove).await
    }

    /// Lets go of the children alone: of kinds that a registration which goes on may no longer write.
    pub async fn release_children(&self, active: &Active, policy: RemovalPolicy) -> Released {
        release::run(&self.shared.deps, active, policy, Finalizers::Keep).await
    }

    /// Whether nothing is due, delayed resyncs and retries apart, and no pass or effect is under way.
    pub fn is_idle(&self) -> bool {
        // An effect that ends makes its pass due before it gives its place back.
        let effects = self.shared.jobs.lock().counts() != [0, 0];
        let queue = self.shared.queue.lock();
        !effects && queue.running() == 0 && !queue.has_ready()
    }

    /// The revisions that custom resources name, as they are now and whenever that changes.
    pub fn pinned(&self) -> watch::Receiver<Pinned> {
        self.shared.pins.pinned()
    }

    /// What is known of revisions on trial, as it is now and whenever there is news of one.
    pub fn trials(&self) -> watch::Receiver<Trials> {
        self.shared.trials.subscribe()
    }

    /// The plugins that fail whatever they are asked, as they are now and whenever that changes.
    pub fn troubles(&self) -> watch::Receiver<Troubles> {
        self.shared.troubles.subscribe()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let queue = shared.queue.lock();
        let (lines, delayed, running) = (queue.ready(), queue.delayed(), queue.running());
        let slowed = queue.slowed();
        drop(queue);
        // One after the other: within one expression each would stay locked until its end, and who
        // hands answers out locks some of them in another order.
        let effects = shared.jobs.lock().counts();
        let trigger_keys = shared.triggers.lock().len();
        let remembered = shared.memories.lock().len();
        let answered_ahead = shared.ahead.len();
        let now = Instant::now();
        let waits = |line: Line| {
            line.oldest
                .map(|since| now.saturating_duration_since(since))
        };
        Metrics {
            queued: lines.map(|line| line.length),
            oldest: lines.map(|line| waits(line).unwrap_or_default()),
            delayed,
            running,
            slowed,
            effects,
            trigger_keys,
            remembered,
            answered_ahead,
            failing: shared.troubles.borrow().keys().cloned().collect(),
            ..shared.deps.counters.metrics()
        }
    }
}

/// An effect that has a place in the pool, however it ends.
struct Place {
    shared: Arc<Shared>,
    job: Job,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.jobs.lock().ended(&self.job);
        if self.job.cancel.is_cancelled() || !effect::is_current(&self.shared, &self.job) {
            self.shared.look_again(&self.job);
        }
        self.shared.ended.notify_waiters();
        self.shared.wake.notify_one();
    }
}

/// The passes that a run has begun. Those that it never saw end are over when it is.
struct UnderWay {
    shared: Arc<Shared>,
    passes: HashMap<tokio::task::Id, CrKey>,
}

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            passes: HashMap::new(),
        }
    }

    fn end(&mut self, id: tokio::task::Id, next: Next) {
        if let Some(key) = self.passes.remove(&id) {
            self.shared.queue.lock().done(&key, next, Instant::now());
        }
        self.shared.ended.notify_waiters();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        for key in self.passes.values() {
            let now = Instant::now();
            self.shared.queue.lock().done(key, Next::Rest, now);
        }
        self.shared.ended.notify_waiters();
    }
}

fn key(plugin: &str, kind: &Gvk, namespace: &str, name: &str) -> CrKey {
    CrKey {
        plugin: plugin.into(),
        table: table_of(kind),
        namespace: namespace.into(),
        name: name.into(),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
