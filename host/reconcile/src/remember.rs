//! Remembering: the record is read when a plan is asked for, and written before the plan is acted on.
//!
//! # Contract
//! - Only a registration that may set state or patch has records; for others one is read only of a
//!   CR with our finalizer, which an earlier version may have recorded.
//! - A record is read once after a start and after each doubt (a refused or lost write). A small
//!   one then stays in memory, a larger one is read for each plan.
//! - It is written only when its text is another, guarded by the resourceVersion that was read: who
//!   has not seen the newest writes nothing.
//! - It is written *before* the acts of the plan that changes it. A crash in between leaves a state
//!   that knows of something not yet done, never something done that no state knows of.
//! - Passes and effects of a CR write it one after the other.

use crate::act::Actor;
use crate::error::WriteError;
use crate::finalizer;
use crate::finding::{Finding, Retry};
use crate::outcomes::{Attempt, Identity};
use crate::owner::find;
use crate::pass::Context;
use crate::patched::{self, Patched};
use crate::record::{self, Record, RecordError};
use crate::traits::{ObjectRef, WriteBody, Written};
use kybern_table::SnapshotTooOld;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// Bytes of a record that stays in memory between passes.
const IN_MEMORY: usize = 4 << 10;

/// The record of one CR, as its passes and its effects share it; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// As it was last read or written; none while that is not known. Held while it is written.
    kept: Mutex<Option<Kept>>,
    /// How often an outcome came.
    news: AtomicU64,
}

/// A record as the API server had it last.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
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

/// A record, and the version that it is of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recalled {
    pub(crate) record: Record,
    version: Option<String>,
}

/// What changes in a record.
pub(crate) struct Edit<'a> {
    /// The state that it shall hold; none leaves it as it is.
    pub(crate) state: Option<&'a Value>,
    /// The effects that it goes on to know.
    pub(crate) named: &'a [Identity],
    /// What it lists as patched.
    pub(crate) patches: &'a [Patched],
}

/// Whether a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restated {
    /// It is what is remembered.
    No,
    /// It was another: the next plan may be another.
    Yes,
}

/// Whether the CR is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    Yes,
}

impl Ledger {
    /// Grows with each outcome that was written.
    pub(crate) fn news(&self) -> u64 {
        self.0.news.load(Ordering::Acquire)
    }

    /// An outcome was written.
    pub(crate) fn tell(&self) {
        self.0.news.fetch_add(1, Ordering::Release);
    }

    /// What came of the CR's effects, as far as that is in memory and nobody writes it now.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let kept = self.0.kept.try_lock().ok();
        let record = kept
            .as_ref()
            .and_then(|kept| kept.as_ref()?.record.as_ref());
        record.map_or_else(Vec::new, |record| record.outcomes.attempts())
    }

    /// The record of the CR.
    pub(crate) async fn recall(
        &self,
        actor: &Actor<'_>,
        cx: &Context,
    ) -> Result<Recalled, Finding> {
        let held = finalizer::has(&cx.object, &actor.active.finalizer());
        if !actor.active.keeps_records() && !held {
            return Ok(Recalled::default());
        }
        let mut kept = self.0.kept.lock().await;
        current(&mut kept, actor, cx.leaving()).await
    }

    /// Makes the record say what a plan says.
    pub(crate) async fn remember(
        &self,
        actor: &Actor<'_>,
        leaving: Leaving,
        before: &Recalled,
        edit: &Edit<'_>,
    ) -> Result<Restated, Finding> {
        // As it would be read back.
        let state = edit.state.map(|state| {
            serde_json::from_str(&state.to_string()).unwrap_or_else(|_| state.clone())
        });
        let apply = |record: &mut Record| {
            if let Some(state) = state {
                record.state = state;
            }
            record.outcomes.keep(edit.named);
            record.patches = edit.patches.to_vec();
        };
        let mut kept = self.0.kept.lock().await;
        // What does not stay in memory the pass has read, unless an outcome was written meanwhile.
        let same = kept
            .as_ref()
            .is_some_and(|kept| kept.record.is_none() && kept.version == before.version);
        let now = if same {
            before.clone()
        } else {
            current(&mut kept, actor, leaving).await?
        };
        change(&mut kept, actor, leaving, now, apply).await
    }

    /// Changes what is remembered of effects and patches.
    pub(crate) async fn note<T>(
        &self,
        actor: &Actor<'_>,
        leaving: Leaving,
        edit: impl FnOnce(&mut Record) -> T,
    ) -> Result<T, Finding> {
        let mut kept = self.0.kept.lock().await;
        let now = current(&mut kept, actor, leaving).await?;
        let mut result = None;
        let apply = |record: &mut Record| result = Some(edit(record));
        change(&mut kept, actor, leaving, now, apply).await?;
        result.ok_or_else(|| Finding::not_ready("nothing was changed"))
    }
}

/// The record as it is now.
async fn current(
    kept: &mut Option<Kept>,
    actor: &Actor<'_>,
    leaving: Leaving,
) -> Result<Recalled, Finding> {
    if let Some(Kept {
        version,
        record: Some(record),
    }) = kept.as_ref()
    {
        return Ok(Recalled {
            record: record.clone(),
            version: version.clone(),
        });
    }
    let name = actor.active.name();
    let target = record::target(name, actor.owner, &actor.deps.home);
    let secret = match actor.deps.apply.read(&target).await {
        // Never asked for, so that none can be there.
        Err(error) if error.is_forbidden() && !actor.active.keeps_records() => Ok(None),
        read => read,
    };
    let secret = secret.map_err(|error| Finding::of_write(&target, &error))?;
    let too_old = |expired: SnapshotTooOld| Finding::not_ready(expired.to_string());
    let record = match &secret {
        None => lost(actor).map_err(too_old)?,
        Some(secret) => match Record::read(secret, name, actor.owner) {
            Ok(record) => record,
            // Nothing stays Terminating because of what we forgot.
            Err(why) if leaving == Leaving::Yes => {
                tracing::warn!(%target, %why, "a record is not used");
                lost(actor).map_err(too_old)?
            }
            Err(why) => return Err(unreadable(&target, name, &why)),
        },
    };
    let found = Kept::of(secret.as_ref(), &record);
    let version = found.version.clone();
    *kept = Some(found);
    Ok(Recalled { record, version })
}

/// What is known without a record. One may have gone before its CR, with the namespace or by a
/// foreground deletion: then the patches are looked for.
fn lost(actor: &Actor<'_>) -> Result<Record, SnapshotTooOld> {
    let snapshot = actor.deps.reader.snapshot();
    let cr = find(&snapshot, &actor.owner.object())?;
    let mut record = Record::default();
    if cr.is_some_and(|cr| finalizer::has(&cr.value(), &actor.active.finalizer())) {
        record.patches = patched::search(&snapshot, actor.active, &actor.owner.uid)?;
    }
    Ok(record)
}

/// Writes the record if the edit makes it another; says whether the next plan may be another.
async fn change(
    kept: &mut Option<Kept>,
    actor: &Actor<'_>,
    leaving: Leaving,
    before: Recalled,
    edit: impl FnOnce(&mut Record),
) -> Result<Restated, Finding> {
    let mut record = before.record.clone();
    edit(&mut record);
    let seen = if before.record.says(&record.state) && before.record.outcomes == record.outcomes {
        Restated::No
    } else {
        Restated::Yes
    };
    if seen == Restated::No && before.record.patches == record.patches {
        return Ok(Restated::No);
    }
    let target = record::target(actor.active.name(), actor.owner, &actor.deps.home);
    let body = body(actor, &target, before.version.as_deref(), &record);
    let body = body.map_err(|why| too_large(&target, &why))?;
    // From here on it is in doubt what the API server has, until it has answered.
    *kept = None;
    match actor.write_as_host(&target, body).await {
        Ok(Written { object }) => {
            *kept = object.map(|secret| Kept::of(Some(&secret), &record));
            Ok(seen)
        }
        // Nothing can be remembered there any more, nor has to be: this process is enough.
        Err(error) if leaving == Leaving::Yes && error.is_namespace_terminating() => {
            *kept = Some(Kept {
                version: None,
                record: Some(record),
            });
            Ok(Restated::No)
        }
        // It went before its CR, as with a foreground deletion: what is known goes into a new one.
        Err(error) if leaving == Leaving::Yes && error.is_not_found() => {
            *kept = Some(Kept {
                version: None,
                record: Some(before.record),
            });
            Err(refused(&target, &error))
        }
        Err(error) => Err(refused(&target, &error)),
    }
}

fn body(
    actor: &Actor<'_>,
    target: &ObjectRef,
    version: Option<&str>,
    record: &Record,
) -> Result<WriteBody, RecordError> {
    let name = actor.active.name();
    let manager = actor.active.manager();
    Ok(match version {
        None => WriteBody::Create {
            object: record.secret(target, name, actor.owner)?,
            manager,
        },
        Some(version) => WriteBody::JsonPatch {
            patch: record.patch(version, name, actor.owner)?,
            manager,
        },
    })
}

fn too_large(target: &ObjectRef, why: &RecordError) -> Finding {
    Finding::failed(
        "RecordTooLarge",
        format!("{target} is not written: {why}"),
        true,
        Retry::Backoff,
    )
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
