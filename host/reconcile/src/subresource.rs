//! Evictions and scales: writes on a subresource of an object that is there.
//!
//! # Contract
//! A plan says what should be so, in every pass again, so each is done only while it is not so: an
//! eviction while the Pod with that uid is there and is not being deleted, a scale while `/scale`
//! says another number. They come after all children are as planned, and not while the CR is being
//! deleted. A Pod that a disruption budget protects is waited for; the others go on.

use crate::act::Actor;
use crate::active::table_of;
use crate::check::Sub;
use crate::error::WriteError;
use crate::finding::{Finding, Retry};
use crate::owner::find;
use crate::traits::{ObjectRef, WriteBody};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kybern_table::{Snapshot, SnapshotTooOld};
use serde_json::Value;

/// One write on a subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubTask {
    pub(crate) target: ObjectRef,
    /// Only the object with this uid.
    pub(crate) uid: Option<String>,
    pub(crate) what: Sub,
}

/// Why one was not done.
enum Undone {
    /// A disruption budget allows no eviction now.
    Blocked(WriteError),
    Failed(WriteError),
}

/// Those that may be needed, as far as the tables say.
pub(crate) fn needed(
    tasks: &[SubTask],
    snapshot: &Snapshot,
) -> Result<Vec<SubTask>, SnapshotTooOld> {
    let mut left = Vec::new();
    for task in tasks {
        // What nobody watches may be there.
        let watched = snapshot.table(&table_of(&task.target.gvk)).is_some();
        let there = find(snapshot, &task.target)?.is_some_and(|row| {
            !row.deleting() && task.uid.as_ref().is_none_or(|uid| row.uid() == *uid)
        });
        if !watched || there {
            left.push(task.clone());
        }
    }
    Ok(left)
}

/// Does all of them.
pub(crate) async fn run(actor: &Actor<'_>, tasks: &[SubTask]) -> Result<(), Finding> {
    let writes: Vec<BoxFuture<'_, Result<(), Undone>>> =
        tasks.iter().map(|task| one(actor, task).boxed()).collect();
    let results: Vec<Result<(), Undone>> = futures::stream::iter(writes)
        .buffered(actor.deps.config.writes.max(1))
        .collect()
        .await;
    let mut blocked = Vec::new();
    for (task, result) in tasks.iter().zip(results) {
        match result {
            Ok(()) => {}
            Err(Undone::Failed(error)) => return Err(Finding::of_write(&task.target, &error)),
            Err(Undone::Blocked(error)) => blocked.push((&task.target, error)),
        }
    }
    if blocked.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = blocked
        .iter()
        .map(|(target, error)| format!("{target}: {error}"))
        .collect();
    let after = blocked
        .iter()
        .filter_map(|(_, error)| error.retry_after())
        .max();
    Err(Finding::waiting(
        "EvictionBlocked",
        words.join("; "),
        after.map_or(Retry::Poll, Retry::PollAfter),
    ))
}

async fn one(actor: &Actor<'_>, task: &SubTask) -> Result<(), Undone> {
    match &task.what {
        Sub::Evict { grace_seconds } => {
            let body = WriteBody::Evict {
                uid: task.uid.clone().unwrap_or_default(),
                grace_seconds: *grace_seconds,
            };
            match actor.write(&task.target, body).await {
                Ok(_) => Ok(()),
                // Gone, or another Pod has its name by now.
                Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
                // All Pods of the namespace go.
                Err(error) if error.is_namespace_terminating() => Ok(()),
                Err(error) if error.is_disruption_budget() => Err(Undone::Blocked(error)),
                Err(error) => Err(Undone::Failed(error)),
            }
        }
        Sub::Scale { replicas } => scale(actor, task, *replicas).await.map_err(Undone::Failed),
    }
}

async fn scale(actor: &Actor<'_>, task: &SubTask, replicas: u32) -> Result<(), WriteError> {
    let Some(scale) = actor.deps.apply.read_scale(&task.target).await? else {
        return Ok(());
    };
    let text = |pointer: &str| scale.pointer(pointer).and_then(Value::as_str);
    let uid = text("/metadata/uid").unwrap_or_default();
    if task.uid.as_ref().is_some_and(|wanted| wanted != uid) {
        return Ok(());
    }
    let now = scale
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if now == u64::from(replicas) {
        return Ok(());
    }
    let body = WriteBody::Scale {
        replicas,
        version: text("/metadata/resourceVersion")
            .unwrap_or_default()
            .to_owned(),
        manager: format!("{}/scale", actor.active.manager()),
    };
    actor.write(&task.target, body).await.map(|_| ())
}
