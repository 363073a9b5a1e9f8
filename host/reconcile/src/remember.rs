//! Remembering: the record is read when a plan is asked for, and written before the plan is acted on.
//!
//! # Contract
//! - Only a registration that may set state or patch has records; for others one is read only of a
//!   CR that our finalizer is on: it may have had patches before the grant went.
//! - A record is read once after a start and after each doubt (a refused or lost write). A small
//!   one then stays in memory, a larger one is read for each plan.
//! - It is written only when its text is another, guarded by the resourceVersion that was read: who
//!   has not seen the newest writes nothing.
//! - It is written *before* the acts of the plan that changes it. A crash in between leaves a state
//!   that knows of something not yet done, never something done that no state knows of.

use crate::act::Actor;
use crate::engine::Deps;
use crate::error::WriteError;
use crate::finalizer;
use crate::finding::{Finding, Retry};
use crate::memory::Memory;
use crate::pass::Context;
use crate::patched;
use crate::record::{self, Record, RecordError};
use crate::traits::{ObjectRef, WriteBody, Written};
use kybern_table::SnapshotTooOld;
use serde_json::Value;

/// Bytes of a record that stays in memory between passes.
const IN_MEMORY: usize = 4 << 10;

/// A record as the API server had it last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// Its resourceVersion; none: there is no Secret.
    version: Option<String>,
    /// What is in it, if that is small.
    record: Option<Record>,
}

impl Kept {
    fn of(secret: Option<&Value>, record: &Record) -> Self {
        let version = secret
            .and_then(|secret| secret.pointer("/metadata/resourceVersion"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let small = record.size() <= IN_MEMORY;
        Self {
            version,
            record: small.then(|| record.clone()),
        }
    }
}

/// Whether a state is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restated {
    /// It is what is remembered.
    No,
    /// It was another: the next plan may be another.
    Yes,
}

/// The record of the CR.
pub(crate) async fn recall(
    deps: &Deps,
    cx: &Context,
    memory: &mut Memory,
) -> Result<Record, Finding> {
    let active = cx.active();
    let keeps = active.keeps_records();
    if !keeps && !finalizer::has(&cx.object, &active.finalizer()) {
        return Ok(Record::default());
    }
    let kept = memory.record.as_ref();
    if let Some(record) = kept.and_then(|kept| kept.record.clone()) {
        return Ok(record);
    }
    let target = record::target(active.name(), &cx.owner, &deps.home);
    let secret = match deps.apply.read(&target).await {
        // Never asked for, so that none can be there.
        Err(error) if error.is_forbidden() && !keeps => Ok(None),
        read => read,
    };
    let secret = secret.map_err(|error| Finding::of_write(&target, &error))?;
    let too_old = |expired: SnapshotTooOld| Finding::not_ready(expired.to_string());
    let record = match &secret {
        None => lost(cx).map_err(too_old)?,
        Some(secret) => match Record::read(secret, active.name(), &cx.owner) {
            Ok(record) => record,
            // Nothing stays Terminating because of what we forgot.
            Err(why) if cx.row.deleting() => {
                tracing::warn!(%target, %why, "a record is not used");
                lost(cx).map_err(too_old)?
            }
            Err(why) => return Err(unreadable(&target, active.name(), &why)),
        },
    };
    memory.record = Some(Kept::of(secret.as_ref(), &record));
    Ok(record)
}

/// What is known without a record. One may have gone before its CR, with the namespace or by a
/// foreground deletion: then the patches are looked for.
fn lost(cx: &Context) -> Result<Record, SnapshotTooOld> {
    let mut record = Record::default();
    if finalizer::has(&cx.object, &cx.active().finalizer()) {
        record.patches = patched::search(&cx.snapshot, cx.active(), &cx.owner.uid)?;
    }
    Ok(record)
}

/// Makes the record say this.
pub(crate) async fn remember(
    cx: &Context,
    actor: &Actor<'_>,
    memory: &mut Memory,
    before: &Record,
    record: &Record,
) -> Result<Restated, Finding> {
    if before.same(record) {
        return Ok(Restated::No);
    }
    let active = cx.active();
    let target = record::target(active.name(), &cx.owner, &actor.deps.home);
    let failed = |why: RecordError| {
        Finding::failed(
            "RecordTooLarge",
            format!("{target} is not written: {why}"),
            true,
            Retry::Backoff,
        )
    };
    let manager = active.manager();
    let body = match memory.record.take().and_then(|kept| kept.version) {
        None => WriteBody::Create {
            object: record
                .secret(&target, active.name(), &cx.owner)
                .map_err(failed)?,
            manager,
        },
        Some(version) => WriteBody::JsonPatch {
            patch: record
                .patch(&version, active.name(), &cx.owner)
                .map_err(failed)?,
            manager,
        },
    };
    // From here on it is in doubt what the API server has, until it has answered.
    match actor.write_as_host(&target, body).await {
        Ok(Written { object }) => {
            memory.record = object.map(|secret| Kept::of(Some(&secret), record));
            Ok(if before.says(&record.state) {
                Restated::No
            } else {
                Restated::Yes
            })
        }
        // Nothing can be remembered there any more, nor has to be.
        Err(error) if cx.row.deleting() && error.is_namespace_terminating() => Ok(Restated::No),
        Err(error) => Err(refused(&target, &error)),
    }
}

/// What becomes of a pass whose record was not written.
fn refused(target: &ObjectRef, error: &WriteError) -> Finding {
    if error.is_not_found() {
        let message = format!("{target} is gone");
        let mut finding = Finding::waiting("Conflict", message, Retry::AtOnce);
        finding.health = None;
        return finding;
    }
    Finding::of_write(target, error)
}

fn unreadable(target: &ObjectRef, registration: &str, why: &RecordError) -> Finding {
    Finding::failed(
        "RecordUnreadable",
        format!(
            "{target} is what Plugin {registration} remembers of this object, and {why}; put back what was there, or delete it to go on with nothing remembered"
        ),
        true,
        Retry::Backoff,
    )
}
