//! What system tables show of the passes that this host runs.

use super::plugins::plugins;
use crate::wiring::decide::Guests;
use jiff::Timestamp;
use kybern_interface::EffectPhase;
use kybern_kube::LeaderState;
use kybern_reconcile::{
    ApplyReason, CrName, Drift, Drifted, Effected, Effecting, Engine, ObjectRef, PassReport, Place,
    Queued, Started, StartedBy, Step, Verdict, table_of,
};
use kybern_sql::{
    CrFact, DesiredFact, DriftFact, EffectFact, EngineFacts, Micros, ObjectFact, PassFact,
    PluginFact, QueueFact, Told, TriggerFact,
};
use kybern_table::Reader;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The engine that runs passes now, if this replica leads. Clones look at the same.
#[derive(Clone)]
pub(crate) struct EngineNow {
    /// Of this term.
    pub(crate) engine: Arc<RwLock<Option<Engine>>>,
    /// Who leads.
    pub(crate) states: watch::Receiver<LeaderState>,
    /// The tables.
    pub(crate) reader: Reader,
    /// The registrations that this host handles.
    pub(crate) class: String,
    /// What counts the calls of plugins.
    pub(crate) guests: Guests,
}

impl EngineNow {
    /// The engine; else why there is none, and whom to ask.
    pub(crate) fn engine(&self) -> Result<Engine, String> {
        let engine = self.engine.read().clone();
        engine.ok_or_else(|| absent(&self.states.borrow()))
    }

    /// The same, for system tables.
    pub(crate) fn told(&self) -> Result<Arc<dyn EngineFacts>, String> {
        Ok(Arc::new(Facts {
            engine: self.engine()?,
            reader: self.reader.clone(),
            class: self.class.clone(),
            guests: self.guests.clone(),
        }))
    }
}

/// Why this replica runs no passes.
fn absent(state: &LeaderState) -> String {
    match state {
        LeaderState::Standby {
            holder: Some(holder),
        } => {
            // The host's name stands first, and has no `_`.
            let pod = holder.split('_').next().unwrap_or(holder);
            format!("this replica is a standby and runs no passes; ask the leader, {pod}")
        }
        LeaderState::Standby { holder: None } => {
            "no replica leads yet, so that no passes are run; ask again soon".to_owned()
        }
        LeaderState::Leading => {
            "this replica has just taken the lead and runs no passes yet; ask again soon".to_owned()
        }
        LeaderState::Stopped => "this replica is ending; ask another one".to_owned(),
    }
}

/// What one engine says.
pub(super) struct Facts {
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    pub(super) class: String,
    pub(super) guests: Guests,
}

impl EngineFacts for Facts {
    fn passes(&self) -> Told<PassFact> {
        told(self.engine.reports(), |report| pass(&report))
    }

    fn queue(&self) -> Told<QueueFact> {
        told(self.engine.queue(), queue)
    }

    fn desired(&self) -> Told<DesiredFact> {
        let reports = self.engine.reports();
        let bytes = reports.capacity() * size_of::<Arc<PassReport>>();
        let facts = reports.into_iter().flat_map(|report| {
            let steps = (0..report.wanted.len()).map(move |at| desired(&report, at));
            steps.flatten().map(Some)
        });
        Told {
            facts: Box::new(facts),
            bytes,
        }
    }

    fn drift(&self) -> Told<DriftFact> {
        // A name and a pointer for each CR.
        let bytes = self.engine.passed() * 128;
        Told {
            facts: Box::new(self.engine.drift().map(|found| found.map(drift))),
            bytes,
        }
    }

    fn effects(&self) -> Told<EffectFact> {
        told(self.engine.effects(), effect)
    }

    fn plugins(&self) -> Told<PluginFact> {
        told(plugins(self), |fact| fact)
    }
}

fn told<A: Send + 'static, T>(all: Vec<A>, fact: impl Fn(A) -> T + Send + 'static) -> Told<T> {
    Told {
        bytes: all.capacity() * size_of::<A>(),
        facts: Box::new(all.into_iter().map(move |one| Some(fact(one)))),
    }
}

/// In milliseconds, to the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1000.0
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// After a time; none past the end of time.
fn micros(at: Option<Timestamp>, after: Duration) -> Option<Micros> {
    Some(at?.checked_add(after).ok()?.as_microsecond())
}

fn cr(cr: CrName) -> CrFact {
    CrFact {
        plugin: cr.plugin,
        kind: cr.kind,
        namespace: cr.namespace,
        name: cr.name,
    }
}

fn of_report(report: &PassReport) -> CrFact {
    CrFact {
        plugin: report.plugin.as_str().into(),
        kind: table_of(&report.object.gvk),
        namespace: report.object.namespace.as_str().into(),
        name: report.object.name.as_str().into(),
    }
}

fn object(object: &ObjectRef) -> ObjectFact {
    ObjectFact {
        kind: table_of(&object.gvk),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// What made a pass over this CR due.
fn trigger(started: &Started, of: &CrFact) -> TriggerFact {
    let row = match &started.by {
        StartedBy::Resource => Some(ObjectFact {
            kind: of.kind.clone(),
            namespace: of.namespace.to_string(),
            name: of.name.to_string(),
        }),
        by => by.row().map(|row| ObjectFact {
            kind: row.table.clone(),
            namespace: row.namespace.to_string(),
            name: row.name.to_string(),
        }),
    };
    TriggerFact {
        text: started.to_string(),
        kind: started.by.kind(),
        row,
    }
}

fn pass(report: &PassReport) -> PassFact {
    let cr = of_report(report);
    let at: Option<Timestamp> = report.at.parse().ok();
    let why = report.ending.why();
    PassFact {
        at: micros(at, Duration::ZERO),
        trigger: trigger(&report.started, &cr),
        cr,
        priority: report.priority,
        waited_ms: millis(report.waited),
        took_ms: millis(report.took),
        ending: report.ending.name(),
        reason: why.map(|(reason, _)| reason.to_owned()),
        message: why.map(|(_, message)| message.to_owned()),
        answers: count(report.answers.len()),
        steps: count(report.steps.len()),
        writes: count(report.writes.len()),
        failures: report.failures.into(),
        next: report.next.and_then(|next| micros(at, next)),
    }
}

fn queue(queued: Queued) -> QueueFact {
    let of = cr(queued.cr);
    let (state, due, waited) = match queued.place {
        Place::Running => ("running", None, None),
        Place::Ready { waited } => ("ready", Some(Duration::ZERO), Some(waited)),
        Place::Delayed { due } => ("delayed", Some(due), None),
        Place::Held { due } => ("held", Some(due), None),
    };
    QueueFact {
        state,
        priority: queued.priority,
        trigger: queued.started.map(|started| trigger(&started, &of)),
        due_ms: due.map(millis),
        waited_ms: waited.map(millis),
        attempts: queued.failures.into(),
        cr: of,
    }
}

fn desired(report: &PassReport, at: usize) -> Option<DesiredFact> {
    let Step {
        target,
        wave,
        verdict,
    } = report.wanted.get(at)?;
    Some(DesiredFact {
        cr: of_report(report),
        object: object(target),
        wave: (*wave).into(),
        verdict: verdict.name(),
        detail: match verdict {
            Verdict::Apply(ApplyReason::Drift(paths) | ApplyReason::NotCovered(paths))
                if !paths.is_empty() =>
            {
                let why = verdict.detail().unwrap_or_default();
                Some(format!("{why}: {}", paths.join(", ")))
            }
            other => other.detail().map(Into::into),
        },
    })
}

fn drift(drifted: Drifted) -> DriftFact {
    let (state, paths) = match drifted.how {
        Drift::Missing => ("missing", Vec::new()),
        Drift::Changed(paths) => ("changed", paths),
        Drift::NotApplied => ("not_applied", Vec::new()),
    };
    DriftFact {
        object: object(&drifted.object),
        cr: cr(drifted.cr),
        state,
        paths: (!paths.is_empty()).then(|| paths.join(", ")),
    }
}

fn effect(effect: Effected) -> EffectFact {
    EffectFact {
        cr: cr(effect.cr),
        effect: effect.name,
        key: effect.key,
        phase: effect.phase.map(|phase| match phase {
            EffectPhase::Normal => "normal",
            EffectPhase::Finalize => "finalize",
        }),
        state: match effect.state {
            Effecting::Waiting => "waiting",
            Effecting::Running => "running",
            Effecting::Succeeded => "succeeded",
            Effecting::Retrying => "retrying",
            Effecting::Failed => "failed",
        },
        attempt: effect.attempt.map(Into::into),
        at: micros(effect.at, Duration::ZERO),
        error: effect.error,
        next: micros(effect.again, Duration::ZERO),
    }
}
