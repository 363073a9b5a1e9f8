//! One attempt of an effect: begun in the record, run, its outcome written into the record.
//!
//! # Contract
//! That it begins is written first, guarded by the record's resourceVersion and by the fence of the
//! lead: a replica that does not know the newest outcomes, or may not write, runs nothing. The
//! outcome is written until it is there or nobody may write it any more; then the CR is due. An
//! attempt that ends without either (a crash, another leader) is made again: at least once.

use crate::act::Actor;
use crate::backoff::backoff;
use crate::cause::StartedBy;
use crate::error::{Crash, DecideError};
use crate::finding::{self, Finding};
use crate::jobs::Job;
use crate::metrics::EffectResult;
use crate::outcomes::{Retry, Standing};
use crate::record::Record;
use crate::remember::Leaving;
use crate::report::Ending;
use crate::shared::Shared;
use crate::traits::EventRequest;
use crate::why::{OnHold, Priority};
use kybern_interface::{Effect, EffectPhase, EventType, HookError, OutcomeResult};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Characters of a reason that are kept.
const REASON: usize = 1_024;

/// Tries to write that an effect begins before it gives its place to another.
const TRIES: u32 = 6;

/// What came of an attempt.
struct Came {
    result: OutcomeResult,
    retry: Option<Retry>,
    counted: EffectResult,
}

/// Why an attempt leaves nothing behind.
enum Nothing {
    /// It is not due any more.
    NotDue,
    /// Nobody waits for it: its CR, its registration or the lead is gone.
    Gone,
}

/// Whether the registration is the one that the effect was planned under.
pub(crate) fn is_current(shared: &Shared, job: &Job) -> bool {
    let current = shared.registered(&job.key.plugin);
    current.is_some_and(|current| current.is(&job.registered))
}

/// Runs one attempt, to its end or until it is cancelled.
pub(crate) async fn run(shared: &Shared, job: &Job) {
    // Another registration has other grants: its own pass has it run.
    if !is_current(shared, job) {
        return;
    }
    let actor = Actor::new(&shared.deps, &job.registered.active, &job.owner);
    let began = Instant::now();
    let came = job.cancel.run_until_cancelled(attempt(shared, job, &actor));
    let counted = match came.await {
        Some(Ok(came)) => {
            let counted = came.counted;
            settle(shared, job, &actor, came).await;
            counted
        }
        Some(Err(Nothing::NotDue)) => return tell(shared, job),
        Some(Err(Nothing::Gone)) | None => EffectResult::Cancelled,
    };
    actor.metrics.lock().effect(counted, began.elapsed());
}

/// Begins and acts.
async fn attempt(shared: &Shared, job: &Job, actor: &Actor<'_>) -> Result<Came, Nothing> {
    let number = begin(shared, job, actor).await?;
    // It may have waited long: its grants may be others by now.
    if !is_current(shared, job) {
        return Err(Nothing::NotDue);
    }
    shared.jobs.lock().begun(job);
    let active = &job.registered.active;
    let limit = active.limits.effect_time;
    let time = job.task.time.map_or(limit, |time| time.min(limit));
    tracing::debug!(cr = %job.key, effect = %job.task, attempt = number, "an effect begins");
    let acting = shared.deps.act.act(active, document(job, number), time);
    let answer = timeout(time, acting).await.unwrap_or_else(|_| {
        Err(DecideError::Crashed {
            kind: Crash::Time,
            message: format!("it ran longer than its limit of {} ms", time.as_millis()),
        })
    });
    Ok(judge(shared, job, answer, number))
}

/// Writes that an attempt begins; its number.
async fn begin(shared: &Shared, job: &Job, actor: &Actor<'_>) -> Result<u32, Nothing> {
    let under = &job.registered.stamp;
    let mut failures = 0;
    loop {
        let now = shared.deps.clock.now();
        let task = &job.task;
        let edit = |record: &mut Record| {
            let outcomes = &record.outcomes;
            let standing = outcomes.standing(&task.identity, task.max_age, under, now);
            matches!(standing, Standing::Due(_)).then(|| record.outcomes.begin(&task.identity))
        };
        match job.ledger.note(actor, leaving(job), edit).await {
            Ok(Some(number)) => return Ok(number),
            Ok(None) => return Err(Nothing::NotDue),
            Err(finding) => {
                if failures == 0 {
                    // Whether the record can be read is what the next pass says.
                    tell(shared, job);
                }
                if failures >= TRIES {
                    // Others have their turn; a pass has it come again, unless nobody may write.
                    let fenced = finding.ending == Ending::Gone;
                    return Err(if fenced {
                        Nothing::Gone
                    } else {
                        Nothing::NotDue
                    });
                }
                wait(shared, job, &finding, &mut failures).await?;
            }
        }
    }
}

/// Waits before the record is written again, if that may help.
async fn wait(
    shared: &Shared,
    job: &Job,
    finding: &Finding,
    failures: &mut u32,
) -> Result<(), Nothing> {
    // Between two renewals of a lead nothing is written either; what ends with it is cancelled.
    let fenced = matches!(finding.retry, finding::Retry::PollAfter(_));
    if finding.ending == Ending::Gone && !fenced {
        return Err(Nothing::Gone);
    }
    let why = finding.message();
    tracing::warn!(cr = %job.key, effect = %job.task, why, "the record of an effect is not written");
    let held = event(job, &format!("its record is not written: {why}"));
    shared.deps.apply.event(held).await;
    let config = &shared.deps.config;
    let unit = shared.deps.entropy.unit();
    let delay = backoff(config.effect_backoff, config.backoff_cap, *failures, unit);
    *failures = failures.saturating_add(1);
    tokio::time::sleep(delay).await;
    Ok(())
}

fn leaving(job: &Job) -> Leaving {
    match job.task.phase {
        EffectPhase::Normal => Leaving::No,
        EffectPhase::Finalize => Leaving::Yes,
    }
}

/// What the act hook gets.
fn document(job: &Job, attempt: u32) -> Effect {
    let owner = &job.owner;
    let mut metadata = Map::new();
    for (field, text) in [
        ("name", &owner.name),
        ("namespace", &owner.namespace),
        ("uid", &owner.uid),
    ] {
        if !text.is_empty() {
            metadata.insert(field.to_owned(), Value::from(text.as_str()));
        }
    }
    Effect {
        name: job.task.identity.name.clone(),
        key: job.task.identity.key.clone(),
        attempt,
        input: job.task.input.clone(),
        resource: owner.gvk.clone(),
        metadata,
        settings: job.registered.active.settings.clone(),
    }
}

/// What an answer of the act hook means.
fn judge(shared: &Shared, job: &Job, answer: Result<Value, DecideError>, attempt: u32) -> Came {
    let error = match answer {
        Ok(value) => {
            let (bytes, most) = (
                value.to_string().len(),
                shared.deps.config.plan.effect_bytes,
            );
            if bytes <= most {
                return Came {
                    result: OutcomeResult::Ok(value),
                    retry: None,
                    counted: EffectResult::Succeeded,
                };
            }
            // It has happened: another attempt would do it again.
            DecideError::Hook(HookError::Invalid(format!(
                "it was done, but its outcome has {bytes} bytes; at most {most} are kept"
            )))
        }
        Err(error) => error,
    };
    let counted = match &error {
        DecideError::Hook(_) => EffectResult::Failed,
        DecideError::Crashed { kind, .. } if *kind == Crash::Time => EffectResult::TimedOut,
        DecideError::Crashed { .. } => EffectResult::Crashed,
    };
    let (reason, after) = match &error {
        DecideError::Hook(HookError::Invalid(reason)) => return never(job, reason, counted),
        DecideError::Hook(HookError::Wait(failure) | HookError::Retry(failure)) => {
            (failure.message.clone(), failure.retry_after_ms)
        }
        DecideError::Hook(HookError::Internal(reason)) => (reason.clone(), None),
        DecideError::Crashed { message, .. } => (message.clone(), None),
    };
    let delay = delay(shared, after.map(Duration::from_millis), attempt);
    let now = shared.deps.clock.now();
    Came {
        result: OutcomeResult::Error(cut(&reason)),
        retry: Some(Retry::At(now.saturating_add(delay).unwrap_or(now))),
        counted,
    }
}

/// It does not run again as it is.
fn never(job: &Job, reason: &str, counted: EffectResult) -> Came {
    Came {
        result: OutcomeResult::Error(cut(reason)),
        retry: Some(Retry::Under(job.registered.stamp.clone())),
        counted,
    }
}

/// How long an effect that failed waits: its own wish, or a delay that grows.
fn delay(shared: &Shared, asked: Option<Duration>, attempt: u32) -> Duration {
    let config = &shared.deps.config;
    let (base, cap) = (config.effect_backoff, config.backoff_cap);
    let unit = shared.deps.entropy.unit();
    asked.map_or_else(
        || backoff(base, cap, attempt.saturating_sub(1), unit),
        |asked| asked.max(base).min(cap),
    )
}

/// The first line of a reason: what comes after it is a backtrace.
fn cut(reason: &str) -> String {
    let line = reason.lines().next().unwrap_or_default();
    line.chars().take(REASON).collect()
}

/// Writes the outcome, says a failure, and makes the CR due.
async fn settle(shared: &Shared, job: &Job, actor: &Actor<'_>, came: Came) {
    let at = shared.deps.clock.now();
    let Came {
        mut result,
        mut retry,
        ..
    } = came;
    let mut failures = 0;
    loop {
        let identity = &job.task.identity;
        let edit = |record: &mut Record| {
            record.outcomes.end(identity, at, &result, retry.clone());
        };
        let Err(finding) = job.ledger.note(actor, leaving(job), edit).await else {
            break;
        };
        if finding.reason() == "RecordTooLarge" && matches!(result, OutcomeResult::Ok(_)) {
            let why = "it was done, but the record has no room for its outcome";
            let Came {
                result: error,
                retry: under,
                ..
            } = never(job, why, EffectResult::Failed);
            (result, retry) = (error, under);
            continue;
        }
        let waits = wait(shared, job, &finding, &mut failures);
        if !matches!(job.cancel.run_until_cancelled(waits).await, Some(Ok(()))) {
            return;
        }
    }
    if let OutcomeResult::Error(reason) = &result {
        shared.deps.apply.event(event(job, reason)).await;
    }
    tell(shared, job);
}

/// The next plan may be another.
fn tell(shared: &Shared, job: &Job) {
    job.ledger.tell();
    let by = StartedBy::Outcome(job.task.identity.name.as_str().into());
    shared.add(&job.key, Priority::Live, by, OnHold::Waits);
}

fn event(job: &Job, reason: &str) -> EventRequest {
    EventRequest {
        plugin: job.key.plugin.clone(),
        regarding: job.owner.object(),
        uid: job.owner.uid.clone(),
        severity: EventType::Warning,
        reason: "EffectFailed".to_owned(),
        action: "Effect",
        note: format!("effect {}: {reason}", job.task),
    }
}
