//! What the engine tells about itself: passes, queue, drift, effects, registrations.
//!
//! # Contract
//! Nothing is waited for, called or written, and nothing that is told holds the content of an
//! object. The engine's locks are held only to copy names and counts; what costs more is done after
//! them, or while the iterator is read. What is told of a CR while its pass is under way may be that of the pass before.

use crate::active::Active;
use crate::cause::Started;
use crate::engine::Engine;
use crate::jobs;
use crate::key::{CrKey, name_key};
use crate::memory::Baseline;
use crate::outcomes::Attempt;
use crate::queue;
use crate::remember::Ledger;
use crate::report::{ApplyReason, PassReport, Step, Verdict};
use crate::shared::Shared;
use crate::traits::ObjectRef;
use jiff::Timestamp;
use kybern_interface::EffectPhase;
use kybern_table::{Index, KindKey, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One CR of one registration, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrName {
    /// The registration.
    pub plugin: Arc<str>,
    /// The CR's kind.
    pub kind: KindKey,
    /// Empty for a cluster-scoped CR.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl From<CrKey> for CrName {
    fn from(key: CrKey) -> Self {
        Self {
            plugin: key.plugin,
            kind: key.table,
            namespace: key.namespace,
            name: key.name,
        }
    }
}

/// Where a CR with something to do is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Its pass is under way.
    Running,
    /// Its pass is due, for this time.
    Ready {
        /// Since it was due.
        waited: Duration,
    },
    /// Its pass is due after this time, or sooner if something changes.
    Delayed {
        /// Until then.
        due: Duration,
    },
    /// The same, and what only changes around it waits as well.
    Held {
        /// Until then.
        due: Duration,
    },
}

/// A CR with something to do.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Which.
    pub cr: CrName,
    /// Where it is.
    pub place: Place,
    /// `live`, `retry`, `resync` or `startup`.
    pub priority: &'static str,
    /// What makes it due; none of one that runs and does not run again.
    pub started: Option<Started>,
    /// Passes in a row that failed.
    pub failures: u32,
}

/// A child that is not as the last plan wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drifted {
    /// Whose.
    pub cr: CrName,
    /// Which.
    pub object: ObjectRef,
    /// How it differs.
    pub how: Drift,
}

/// How an object is not as the last plan wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// It is not there.
    Missing,
    /// Others changed what the plan says; the paths, if a pass has found them and could not put
    /// them right.
    Changed(Vec<String>),
    /// The plan says something else than what was applied last.
    NotApplied,
}

/// How an effect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effecting {
    /// It waits for a place.
    Waiting,
    /// It runs.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed and is to run again.
    Retrying,
    /// It failed and does not run again as it is.
    Failed,
}

/// An effect that a plan names.
#[derive(Debug, Clone, PartialEq)]
pub struct Effected {
    /// Whose.
    pub cr: CrName,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// When it runs, of one that runs or waits.
    pub phase: Option<EffectPhase>,
    /// How it stands.
    pub state: Effecting,
    /// Attempts since it last succeeded.
    pub attempt: Option<u32>,
    /// When the last one ended.
    pub at: Option<Timestamp>,
    /// Why that one failed.
    pub error: Option<String>,
    /// When it is made again.
    pub again: Option<Timestamp>,
}

/// A registration that passes are run for.
#[derive(Debug, Clone)]
pub struct Running {
    /// It.
    pub active: Active,
    /// CRs that have had a pass.
    pub crs: usize,
    /// Of these, whose last pass failed.
    pub failing: usize,
}

impl Engine {
    /// The last pass of each CR.
    pub fn reports(&self) -> Vec<Arc<PassReport>> {
        self.shared.reports.lock().values().cloned().collect()
    }

    /// How many CRs have had a pass.
    pub fn passed(&self) -> usize {
        self.shared.reports.lock().len()
    }

    /// Every CR with something to do.
    pub fn queue(&self) -> Vec<Queued> {
        let queued = self.shared.queue.lock().all(Instant::now());
        let reports = self.shared.reports.lock();
        let told = |queued: queue::Queued<CrKey>| Queued {
            failures: reports.get(&queued.key).map_or(0, |last| last.failures),
            place: match queued.place {
                queue::Place::Running => Place::Running,
                queue::Place::Ready { waited } => Place::Ready { waited },
                queue::Place::Delayed { due, holds: false } => Place::Delayed { due },
                queue::Place::Delayed { due, holds: true } => Place::Held { due },
            },
            priority: queued.priority.name(),
            started: queued.causes.told(),
            cr: queued.key.into(),
        };
        queued.into_iter().map(told).collect()
    }

    /// The children that are now not as the last plan of their CR wants them. CRs are looked at
    /// while the iterator is read, each on a snapshot of its own; one of which nothing differs gives
    /// none, so that whoever reads may stop between any two.
    pub fn drift(&self) -> impl Iterator<Item = Option<Drifted>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let reports = shared.reports.lock();
        let wanted = reports.iter().filter(|(_, last)| !last.wanted.is_empty());
        let wanted = wanted.map(|(key, last)| (key.clone(), Arc::clone(&last.wanted)));
        let wanted: Vec<(CrKey, Arc<[Step]>)> = wanted.collect();
        drop(reports);
        let of = move |(key, steps): (CrKey, Arc<[Step]>)| {
            let mut found: Vec<Option<Drifted>> = drift_of(&shared, &key, &steps)
                .into_iter()
                .map(Some)
                .collect();
            if found.is_empty() {
                found.push(None);
            }
            found
        };
        wanted.into_iter().flat_map(of)
    }

    /// The same of one CR.
    pub fn drift_of(&self, cr: &CrName) -> Vec<Drifted> {
        let key = CrKey {
            plugin: Arc::clone(&cr.plugin),
            table: cr.kind.clone(),
            namespace: Arc::clone(&cr.namespace),
            name: Arc::clone(&cr.name),
        };
        let reports = self.shared.reports.lock();
        let wanted = reports.get(&key).map(|last| Arc::clone(&last.wanted));
        drop(reports);
        wanted.map_or_else(Vec::new, |steps| drift_of(&self.shared, &key, &steps))
    }

    /// The effects that plans name: those in the pool, then what is remembered of the others.
    pub fn effects(&self) -> Vec<Effected> {
        let pooled = self.shared.jobs.lock().all();
        let pool = pooled.iter().map(|(key, identity, phase, place)| {
            let state = match place {
                jobs::Place::Waiting => Effecting::Waiting,
                jobs::Place::Running => Effecting::Running,
            };
            let name = (identity.name.clone(), identity.key.clone());
            ((key, name), (*phase, state))
        });
        let mut pool: BTreeMap<_, _> = pool.collect();
        let memories = self.shared.memories.lock();
        let ledgers = memories
            .iter()
            .map(|(key, m)| (key.clone(), m.ledger.clone()));
        let ledgers: Vec<(CrKey, Ledger)> = ledgers.collect();
        drop(memories);
        let mut told = Vec::new();
        for (key, ledger) in &ledgers {
            for attempt in ledger.attempts() {
                let name = (attempt.name.clone(), attempt.key.clone());
                let place = pool.remove(&(key, name));
                told.push(effected(key, attempt, place));
            }
        }
        // Of the rest no attempt has begun, or it is not known here.
        told.extend(
            pool.into_iter()
                .map(|((key, (name, of)), (phase, state))| Effected {
                    cr: key.clone().into(),
                    name,
                    key: of,
                    phase: Some(phase),
                    state,
                    attempt: None,
                    at: None,
                    error: None,
                    again: None,
                }),
        );
        told
    }

    /// The registrations that passes are run for.
    pub fn running(&self) -> Vec<Running> {
        let registry = self.shared.registry.read();
        let registered = registry
            .iter()
            .map(|(name, of)| (Arc::clone(name), Arc::clone(of)));
        let registered: Vec<_> = registered.collect();
        drop(registry);
        let mut counts: BTreeMap<Arc<str>, (usize, usize)> = BTreeMap::new();
        for (key, last) in self.shared.reports.lock().iter() {
            let count = counts.entry(Arc::clone(&key.plugin)).or_default();
            count.0 += 1;
            count.1 += usize::from(last.failures > 0);
        }
        let told = |(name, registered): (Arc<str>, Arc<crate::revision::Registered>)| {
            let (crs, failing) = counts.get(&name).copied().unwrap_or_default();
            Running {
                active: registered.active.clone(),
                crs,
                failing,
            }
        };
        registered.into_iter().map(told).collect()
    }
}

/// An effect of which something is remembered.
fn effected(key: &CrKey, of: Attempt, place: Option<(EffectPhase, Effecting)>) -> Effected {
    let remembered = match (&of.error, of.again) {
        // It was under way when a host ended, or is about to be tried again.
        _ if of.begun => Effecting::Retrying,
        (None, _) => Effecting::Succeeded,
        (Some(_), Some(_)) => Effecting::Retrying,
        (Some(_), None) => Effecting::Failed,
    };
    Effected {
        cr: key.clone().into(),
        name: of.name,
        key: of.key,
        phase: place.map(|(phase, _)| phase),
        state: place.map_or(remembered, |(_, state)| state),
        attempt: Some(of.attempt),
        at: of.at,
        error: of.error,
        again: of.again,
    }
}

/// What of a CR's plan is now not as it is wanted. Nothing while its pass is under way, or if one has
/// ended since these steps were told.
fn drift_of(shared: &Shared, key: &CrKey, steps: &Arc<[Step]>) -> Vec<Drifted> {
    let looked: Vec<(&Step, Option<Row>)> = steps
        .iter()
        .filter(|step| is_wanted(&step.verdict))
        .filter_map(|step| Some((step, live(shared, &step.target)?)))
        .collect();
    let Some(found) = unsettled(shared, key, looked) else {
        return Vec::new();
    };
    let reports = shared.reports.lock();
    let still = reports.get(key);
    if !still.is_some_and(|last| Arc::ptr_eq(&last.wanted, steps)) {
        return Vec::new();
    }
    drop(reports);
    let drifted = found.into_iter().filter_map(|(step, look)| {
        let how = match look {
            Look::Missing => Drift::Missing,
            Look::AsFound => as_found(&step.verdict)?,
            Look::Compare(baseline, row) if baseline.holds(&row.value()) => return None,
            Look::Compare(..) => as_found(&step.verdict).unwrap_or(Drift::Changed(Vec::new())),
        };
        Some(Drifted {
            cr: key.clone().into(),
            object: step.target.clone(),
            how,
        })
    });
    drifted.collect()
}

/// Whether the object is to be there, with fields that are the plan's.
fn is_wanted(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Converged | Verdict::Create | Verdict::Apply(_)
    )
}

/// How a pass found an object that it did not put right.
fn as_found(verdict: &Verdict) -> Option<Drift> {
    let Verdict::Apply(why) = verdict else {
        return None;
    };
    Some(match why {
        ApplyReason::Drift(paths) | ApplyReason::NotCovered(paths) => Drift::Changed(paths.clone()),
        ApplyReason::Intent | ApplyReason::Former | ApplyReason::Forced => Drift::NotApplied,
    })
}

/// The object, if it is there; nothing is known of it where its table is gone.
fn live(shared: &Shared, target: &ObjectRef) -> Option<Option<Row>> {
    let table = crate::active::table_of(&target.gvk);
    let name = name_key(&target.namespace, &target.name);
    shared.deps.reader.read(|snapshot| {
        let Some(view) = snapshot.table(&table) else {
            return Ok(None);
        };
        let rows = view.lookup(&Index::Name, &name)?;
        Ok(Some(rows.into_iter().next()))
    })
}

/// What an object is compared with.
enum Look {
    /// It is not there.
    Missing,
    /// It was as intended once, and has changed since.
    Compare(Baseline, Row),
    /// Nothing: what the pass found counts.
    AsFound,
}

/// Those that are not in the state in which they were as intended. None while a pass is under way.
fn unsettled<'a>(
    shared: &Shared,
    key: &CrKey,
    looked: Vec<(&'a Step, Option<Row>)>,
) -> Option<Vec<(&'a Step, Look)>> {
    let memories = shared.memories.lock();
    let memory = memories.get(key)?;
    let children = &memory.children;
    let look = |(step, row): (&'a Step, Option<Row>)| {
        let of = |patch: &crate::patch::Baseline| patch.patched.target() == step.target;
        if memory.patched.iter().any(of) {
            return None;
        }
        let Some(row) = row else {
            return Some((step, Look::Missing));
        };
        Some(match children.get(&*row.uid()) {
            None => (step, Look::AsFound),
            Some(baseline) if baseline.resource_version == row.resource_version() => return None,
            Some(baseline) => (step, Look::Compare(baseline.clone(), row)),
        })
    };
    Some(looked.into_iter().filter_map(look).collect())
}
