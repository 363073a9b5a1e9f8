//! The end of a pass: status, Events, when to look again, report.

use crate::act::Actor;
use crate::backoff::backoff;
use crate::cause::StartedBy;
use crate::config::EngineConfig;
use crate::engine::Deps;
use crate::fields;
use crate::finding::{Finding, Retry};
use crate::intent::fingerprint;
use crate::memory::{Memory, StatusBaseline};
use crate::metrics::Again;
use crate::pass::{Context, Outcome};
use crate::queue::Next;
use crate::remember::Restated;
use crate::report::{self, Ending, PassReport, Step};
use crate::shared::Shared;
use crate::stage::Stage;
use crate::status::{self, Health, HealthKind, StatusWrite, Wanted};
use crate::traits::{EventRequest, WriteBody};
use crate::trial;
use crate::trouble;
use crate::why::{OnHold, Priority, Why};
use kybern_interface::EventType;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest delay that a plugin can ask for.
const REQUEUE_FLOOR: Duration = Duration::from_secs(1);
/// First and longest delay of a pass that waits.
const POLL_BASE: Duration = Duration::from_millis(250);
const POLL_CAP: Duration = Duration::from_secs(60);
/// How often a status is written again whose conditions the API server has dropped: a schema that
/// was changed just now is not yet what it goes by.
const MAX_DROPPED: u32 = 4;
/// Passes in a row that start again at once after a conflict.
const MAX_CONFLICTS: u32 = 5;

/// When a pass began, and why.
pub(crate) struct Began {
    pub(crate) at: Instant,
    pub(crate) why: Why,
}

/// Ends a pass.
pub(crate) async fn finish(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    mut outcome: Outcome,
    began: Began,
) -> (Next, PassReport) {
    say_slowed(shared, cx, actor, memory, began.why.slowed).await;
    trial::hear(shared, cx, &outcome);
    trouble::hear(shared, cx, &actor.metrics, &outcome);
    if let Some(health) = outcome.finding.health.clone()
        && let Err(finding) = Stage::Status
            .of(
                &actor.metrics,
                write_status(cx, actor, memory, &outcome, &health),
            )
            .await
    {
        memory.settled = None;
        // A pass that has failed already says why itself.
        if matches!(outcome.finding.ending, Ending::Succeeded | Ending::Paused) {
            outcome.finding = finding;
        } else if outcome.finding.retry == Retry::OnChange {
            // It has still to be said.
            outcome.finding.retry = finding.retry;
        }
    }
    let settled = matches!(
        outcome.finding.ending,
        Ending::Succeeded | Ending::Unchanged
    );
    if !settled {
        // The conditions say something else now: the next good pass has to say that it is good.
        memory.settled = None;
    }
    record_events(shared, cx, actor, memory, &outcome).await;
    let throttled = *actor.throttled.lock();
    let (next, again) = schedule(&shared.deps, memory, &outcome, throttled);
    count(actor, &outcome.finding.ending, again);
    let at = match &next {
        Next::After(after, ..) | Next::Hold(after, ..) => Some(*after),
        Next::Rest | Next::Again => None,
    };
    let steps: Arc<[Step]> = outcome.steps.into();
    let wanted = wanted(shared, cx, &outcome.finding.ending, outcome.decided, &steps);
    let report = PassReport {
        plugin: cx.key.plugin.to_string(),
        digest: cx.active().digest.clone(),
        object: cx.owner.object(),
        sequence: cx.snapshot.sequence(),
        at: shared.deps.clock.now().to_string(),
        started: began.why.causes.started(),
        priority: began.why.turn.priority.name(),
        waited: began.why.turn.waited,
        took: began.at.elapsed(),
        ending: outcome.finding.ending,
        answers: outcome.answers,
        steps,
        wanted,
        writes: std::mem::take(&mut *actor.written.lock()),
        next: at,
        failures: memory.failures,
    };
    (next, report)
}

/// What the last plan wants: that of this pass, or, if it had none, that of the last which had.
fn wanted(
    shared: &Shared,
    cx: &Context,
    ending: &Ending,
    decided: bool,
    steps: &Arc<[Step]>,
) -> Arc<[Step]> {
    let last = if decided || !steps.is_empty() {
        Arc::clone(steps)
    } else {
        let reports = shared.reports.lock();
        let before = reports.get(&cx.key);
        before.map_or_else(Arc::default, |report| Arc::clone(&report.wanted))
    };
    match ending {
        Ending::Succeeded | Ending::Unchanged => report::done(&last),
        _ => last,
    }
}

/// The status that a finding wants on the CR; none if there is nothing to compare.
pub(crate) fn wanted_status(
    cx: &Context,
    memory: &Memory,
    plugin: Option<&Value>,
    health: &Health,
) -> Option<StatusWrite> {
    if !cx.primary.facts.has_status {
        return None;
    }
    let active = cx.active();
    let manager = active.status_manager();
    let built = Wanted {
        shape: &active.manifest.status,
        plugin,
        health,
        generation: cx.row.generation(),
        now: &cx.now,
        slowed: memory.slowed,
    }
    .build(&cx.object, &manager);
    let nothing = built.as_object().is_none_or(serde_json::Map::is_empty)
        && fields::owned_by(&cx.object, &manager, "status").is_none_or(|entry| entry.is_empty());
    if nothing {
        return None;
    }
    Some(status::compare(
        built,
        &cx.object,
        &cx.owner,
        active,
        memory.status.as_ref(),
    ))
}

async fn write_status(
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    outcome: &Outcome,
    health: &Health,
) -> Result<(), Finding> {
    let Some(wanted) = wanted_status(cx, memory, outcome.status.as_ref(), health) else {
        return Ok(());
    };
    let (object, sent) = match wanted {
        StatusWrite::Unchanged(baseline) => {
            memory.status = Some(baseline);
            return Ok(());
        }
        StatusWrite::Needed(object, sent) => (object, sent),
    };
    let manager = cx.active().status_manager();
    let body = WriteBody::ApplyStatus {
        object: object.clone(),
        manager: manager.clone(),
    };
    let target = cx.owner.object();
    memory.status = None;
    match actor.write_as_host(&target, body).await {
        Ok(written) => {
            if let Some(live) = &written.object
                && status::lost_conditions(&object, live)
                && memory.dropped < MAX_DROPPED
            {
                memory.dropped += 1;
                let after = REQUEUE_FLOOR.saturating_mul(1 << memory.dropped);
                return Err(Finding::status_dropped(after));
            }
            memory.dropped = 0;
            memory.status = written
                .object
                .map(|live| StatusBaseline::of(sent, &object, &live, &manager));
            Ok(())
        }
        Err(error) if error.is_not_found() => Err(Finding::quiet(Ending::Gone)),
        Err(error) => Err(Finding::of_write(&target, &error)),
    }
}

/// Says when a CR begins and ends to be slowed down; the condition follows with the status.
async fn say_slowed(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    slowed: bool,
) {
    if memory.slowed == slowed {
        return;
    }
    memory.slowed = slowed;
    let event = if slowed {
        tracing::warn!(cr = %cx.key, "something changes with every pass: they are slowed down");
        actor.metrics.lock().slowed += 1;
        event(cx, EventType::Warning, status::SLOWED, status::SLOWED_WHY)
    } else {
        let note = "it has come to rest";
        event(cx, EventType::Normal, "NoLongerSlowedDown", note)
    };
    shared.deps.apply.event(event).await;
}

fn event(cx: &Context, severity: EventType, reason: &str, note: &str) -> EventRequest {
    EventRequest {
        plugin: cx.key.plugin.clone(),
        regarding: cx.owner.object(),
        uid: cx.owner.uid.clone(),
        severity,
        reason: reason.to_owned(),
        action: "Reconcile",
        note: note.to_owned(),
    }
}

/// Records a warning when its cause is new, and the plugin's Events when they are.
async fn record_events(
    shared: &Shared,
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    outcome: &Outcome,
) {
    let event = |severity, reason: &str, note: &str| event(cx, severity, reason, note);
    match &outcome.finding.health {
        Some(health)
            if health.kind == HealthKind::Stalled
                || matches!(outcome.finding.ending, Ending::Failed { .. }) =>
        {
            let cause = (health.reason.clone(), health.message.clone());
            if memory.warned.as_ref() != Some(&cause) {
                let event = event(EventType::Warning, &health.reason, &health.message);
                shared.deps.apply.event(event).await;
                memory.warned = Some(cause);
            }
        }
        Some(health) if health.kind == HealthKind::Ready => memory.warned = None,
        _ => {}
    }
    if !outcome.decided {
        return;
    }
    let prints: Vec<u128> = outcome
        .events
        .iter()
        .map(|(severity, reason, message)| {
            fingerprint(&json!([format!("{severity:?}"), reason, message]))
        })
        .collect();
    // After a start, a pass that wrote nothing repeats what was said before it.
    let silent = memory.events.is_none() && actor.written.lock().is_empty();
    if !silent {
        let before = memory.events.take().unwrap_or_default();
        for ((severity, reason, message), print) in outcome.events.iter().zip(&prints) {
            if !before.contains(print) {
                shared
                    .deps
                    .apply
                    .event(event(*severity, reason, message))
                    .await;
            }
        }
    }
    memory.events = Some(prints);
}

/// Counts how a pass ended and what makes its CR due again.
fn count(actor: &Actor<'_>, ending: &Ending, again: Option<Again>) {
    let mut counts = actor.metrics.lock();
    counts.reason(ending);
    if let Some(again) = again {
        counts.due_again(again);
    }
}

/// When to look again. A failure and a Retry-After hold the CR back: what only changes around it
/// waits as well.
fn schedule(
    deps: &Deps,
    memory: &mut Memory,
    outcome: &Outcome,
    throttled: Option<Duration>,
) -> (Next, Option<Again>) {
    let unit = deps.entropy.unit();
    let config = &deps.config;
    let throttled = throttled.map(|after| after.min(config.backoff_cap));
    let retry = match outcome.finding.retry {
        Retry::AtOnce if memory.conflicts >= MAX_CONFLICTS => Retry::Backoff,
        other => other,
    };
    if retry == Retry::AtOnce && throttled.is_none() {
        memory.conflicts += 1;
        return (Next::Again, Some(Again::Conflict));
    }
    memory.conflicts = 0;
    match outcome.restated {
        // The next plan may be another, whatever this pass waits for.
        Restated::Yes => {
            memory.restates = memory.restates.saturating_add(1);
            if retry == Retry::OnChange && throttled.is_none() {
                return (Next::Again, None);
            }
        }
        Restated::No if outcome.decided => memory.restates = 0,
        Restated::No => {}
    }
    let delay = delay(config, memory, retry, unit);
    match outcome.finding.ending {
        Ending::Gone if delay.is_none() => return (Next::Rest, None),
        Ending::Succeeded => {
            memory.failures = 0;
            memory.waits = 0;
        }
        _ => {}
    }
    // The plugin's own delay; only a pass that found nothing new keeps the one that was running.
    let now = Instant::now();
    if outcome.finding.ending != Ending::Unchanged {
        memory.requeue_at = outcome.requeue_ms.map(|ms| {
            let asked = Duration::from_millis(ms).max(REQUEUE_FLOOR);
            now + asked.mul_f64(0.9 + unit / 10.0).max(REQUEUE_FLOOR)
        });
    }
    if !outcome.decided {
        // What is due is seen by the next pass that decides.
        memory.effect_at = memory.effect_at.filter(|at| *at > now);
    }
    let (requeue, effect) = (memory.requeue_at, memory.effect_at);
    let timer = requeue
        .into_iter()
        .chain(effect)
        .min()
        .map(|at| at.saturating_duration_since(now));
    let due = |delay: Duration| {
        let timer = timer.is_some_and(|timer| timer <= delay);
        let by = match timer {
            true if requeue.is_some_and(|at| effect.is_none_or(|effect| at <= effect)) => {
                StartedBy::Timer
            }
            true => StartedBy::Effect,
            false => StartedBy::Retry,
        };
        Why::of(by, OnHold::Waits)
    };
    let failed = matches!(retry, Retry::Backoff | Retry::BackoffAtLeast(_));
    if failed || throttled.is_some() {
        let again = if failed {
            Again::Backoff
        } else {
            Again::Throttled
        };
        let delay = delay.max(throttled).unwrap_or_default();
        let hold = Next::Hold(delay, Priority::Retry, due(delay));
        return (hold, Some(again));
    }
    let resync = config.resync.mul_f64(0.75 + unit / 4.0);
    let next = match delay.into_iter().chain(timer).min() {
        Some(delay) => Next::After(delay, Priority::Retry, due(delay)),
        None => {
            let why = Why::of(StartedBy::Resync, OnHold::Waits);
            Next::After(resync, Priority::Resync, why)
        }
    };
    (next, delay.map(|_| Again::Waiting))
}

/// How long a finding waits; none until something changes.
fn delay(config: &EngineConfig, memory: &mut Memory, retry: Retry, unit: f64) -> Option<Duration> {
    match retry {
        Retry::Backoff | Retry::BackoffAtLeast(_) => {
            let least = match retry {
                Retry::BackoffAtLeast(least) => least,
                _ => Duration::ZERO,
            };
            let (base, cap) = (config.backoff_base, config.backoff_cap);
            let delay = backoff(base, cap, memory.failures, unit);
            memory.failures = memory.failures.saturating_add(1);
            Some(delay.max(least))
        }
        Retry::Poll => {
            let delay = backoff(POLL_BASE, POLL_CAP, memory.waits, unit);
            memory.waits = memory.waits.saturating_add(1);
            Some(delay)
        }
        Retry::PollAfter(after) => Some(after),
        Retry::OnChange | Retry::AtOnce => None,
    }
}
