//! One object: the request, and what is done about its answer.

use super::{Done, Effect, Item, MANAGER, Outcome, Refusal, TRIES, Work};
use bytes::Bytes;
use kybern_kube::{
    ApplyOptions, DeleteOptions, Deletion, PatchOptions, RequestError, Target, WriteOptions, Writes,
};
use kybern_sql::{Assignment, FieldPath, FieldStep, Propagation};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest pause before a request that the API server asked to repeat.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The pause where it does not say.
const PAUSE: Duration = Duration::from_millis(200);

/// Does it.
pub(super) async fn run(
    writes: &Writes,
    item: &Item,
    effect: Effect,
    stop: &CancellationToken,
) -> Outcome {
    let one = One {
        writes,
        item,
        dry_run: effect == Effect::DryRun,
        stop,
    };
    let result = match &item.work {
        Work::Edit {
            before,
            assignments,
            subresource,
            reads,
        } => {
            let edit = Edit {
                before,
                assignments,
                subresource: *subresource,
                reads: reads.as_ref(),
            };
            one.edit(&edit).await
        }
        Work::Delete {
            before,
            propagation,
            reads,
        } => one.delete(before, *propagation, reads.as_ref()).await,
        Work::Create { object, do_nothing } => one.create(object, *do_nothing).await,
        Work::Apply { object, force } => one.apply(object, *force).await,
    };
    match result {
        Ok((done, after)) => Outcome::done(item, done, after),
        Err(refusal) => Outcome::refused(item, refusal),
    }
}

type Result = std::result::Result<(Done, Option<Value>), Refusal>;

struct One<'a> {
    writes: &'a Writes,
    item: &'a Item,
    dry_run: bool,
    stop: &'a CancellationToken,
}

impl Edit<'_> {
    /// Whether the statement reads what it sets.
    fn reads_own(&self) -> bool {
        let Some(reads) = self.reads else {
            return true;
        };
        let mut set = self.assignments.iter().map(|assignment| &assignment.path);
        set.any(|set| reads.iter().any(|read| read.overlaps(set)))
    }
}

struct Edit<'a> {
    before: &'a Value,
    assignments: &'a [Assignment],
    subresource: Option<&'static str>,
    reads: Option<&'a Arc<[FieldPath]>>,
}

/// What an object is now, beside what it was when it was read.
enum Now {
    /// Of the same version.
    Same,
    /// Of another version, in which nothing that was read has changed.
    Alike(Value),
    /// Not there, or in a state in which nothing may be done to it.
    Other(Refusal),
}

impl One<'_> {
    async fn edit(&self, edit: &Edit<'_>) -> Result {
        let mut base = edit.before.clone();
        let mut lost = None;
        for _ in 0..TRIES {
            let edited = kybern_sql::edit(&base, edit.assignments)
                .map_err(|error| Refusal::Invalid(error.to_string()))?;
            if edited.operations.is_empty() {
                return match lost {
                    // It is so now, by us or by somebody who wanted the same.
                    Some(_) if !edit.reads_own() => Ok((Done::Updated, Some(base))),
                    Some(why) => Err(Refusal::Unknown(format!(
                        "{why}; the object has the values now, which somebody else may have set"
                    ))),
                    None => Ok((Done::Unchanged, Some(base))),
                };
            }
            let version = |field: &str| json!({"op": "replace", "path": format!("/metadata/{field}"), "value": base.pointer(&format!("/metadata/{field}"))});
            let mut operations = vec![version("uid"), version("resourceVersion")];
            operations.extend(edited.operations);
            let options = PatchOptions {
                write: self.options(),
                subresource: edit.subresource.map(str::to_owned),
            };
            let body = Bytes::from(Value::Array(operations).to_string());
            let answer = self.writes.json_patch(&self.target(), body, &options).await;
            let error = match answer {
                Ok(answer) => {
                    let after = object(&answer)?;
                    // One that went with its last finalizer is answered as it was.
                    let went = after.pointer("/metadata/deletionTimestamp").is_some();
                    let same = version_of(&after) == version_of(&base) && !self.dry_run && !went;
                    let done = if same { Done::Unchanged } else { Done::Updated };
                    return Ok((done, Some(after)));
                }
                Err(error) => error,
            };
            match self
                .again(&error, &base, edit.reads, edit.assignments)
                .await?
            {
                Now::Same => {}
                Now::Alike(fresh) => base = fresh,
                Now::Other(refusal) => return Err(refusal),
            }
            if is_lost(&error) {
                lost = Some(error.chain());
            }
            if self.stop.is_cancelled() {
                return Err(lost.map_or(Refusal::NotTried, Refusal::Unknown));
            }
        }
        Err(too_often(lost))
    }

    async fn delete(
        &self,
        before: &Value,
        propagation: Propagation,
        reads: Option<&Arc<[FieldPath]>>,
    ) -> Result {
        let mut base = before.clone();
        let mut lost = None;
        for _ in 0..TRIES {
            let options = DeleteOptions {
                resource_version: version_of(&base).map(str::to_owned),
                propagation: match propagation {
                    Propagation::Background => kybern_kube::Propagation::Background,
                    Propagation::Foreground => kybern_kube::Propagation::Foreground,
                    Propagation::Orphan => kybern_kube::Propagation::Orphan,
                },
                dry_run: self.dry_run,
                ..DeleteOptions::of(uid_of(&base).unwrap_or_default())
            };
            let error = match self.writes.delete(&self.target(), &options).await {
                Ok(Deletion::Gone) => return Ok((Done::Deleted, Some(base))),
                Ok(Deletion::Pending(answer)) => {
                    return Ok((Done::Deleting, Some(object(&answer)?)));
                }
                Err(error) => error,
            };
            if error.api().is_some_and(|api| api.is_not_found()) && lost.is_some() {
                return Ok((Done::Deleted, Some(base)));
            }
            match self.again(&error, &base, reads, &[]).await? {
                Now::Same => {}
                Now::Alike(fresh) => base = fresh,
                Now::Other(Refusal::Gone(_)) if is_lost(&error) || lost.is_some() => {
                    return Ok((Done::Deleted, Some(base)));
                }
                Now::Other(refusal) => return Err(refusal),
            }
            if is_lost(&error) {
                lost = Some(error.chain());
                if base.pointer("/metadata/deletionTimestamp").is_some() {
                    return Ok((Done::Deleting, Some(base)));
                }
            }
            if self.stop.is_cancelled() {
                return Err(lost.map_or(Refusal::NotTried, Refusal::Unknown));
            }
        }
        Err(too_often(lost))
    }

    async fn create(&self, new: &Value, do_nothing: bool) -> Result {
        let body = Bytes::from(new.to_string());
        let namespace = self.item.namespace.as_deref();
        let options = self.options();
        let mut tries = 0;
        loop {
            let create = self
                .writes
                .create(&self.item.resource, namespace, body.clone(), &options);
            let error = match create.await {
                Ok(answer) => return Ok((Done::Created, Some(object(&answer)?))),
                Err(error) => error,
            };
            match error.api() {
                Some(api) if api.is_already_exists() && do_nothing => {
                    return Ok((Done::Exists, None));
                }
                // Nobody else's object can be told from ours whose answer was lost.
                Some(api) if api.code == 429 && tries < TRIES && !self.stop.is_cancelled() => {
                    tries += 1;
                    tokio::time::sleep(pause(&error)).await;
                }
                _ => return Err(Refusal::of(&error)),
            }
        }
    }

    async fn apply(&self, new: &Value, force: bool) -> Result {
        let body = Bytes::from(new.to_string());
        let options = ApplyOptions {
            field_manager: MANAGER.to_owned(),
            force,
            dry_run: self.dry_run,
            strict: true,
        };
        let mut tries = 0;
        loop {
            let applied = self
                .writes
                .apply(&self.target(), body.clone(), &options)
                .await;
            let error = match applied {
                Ok(answer) => return Ok((Done::Applied, Some(object(&answer)?))),
                Err(error) => error,
            };
            // Applying twice is applying once.
            tries += 1;
            if !error.is_transient() || tries == TRIES || self.stop.is_cancelled() {
                return Err(Refusal::of(&error));
            }
            tokio::time::sleep(pause(&error)).await;
        }
    }

    /// Whether a request may be repeated, and on what.
    async fn again(
        &self,
        error: &RequestError,
        base: &Value,
        reads: Option<&Arc<[FieldPath]>>,
        assignments: &[Assignment],
    ) -> std::result::Result<Now, Refusal> {
        let code = error.api().map(|api| api.code);
        let is_conflict = error.api().is_some_and(|api| api.is_conflict());
        // A patch of an object that has become another may have no place in it any more.
        let may_be_stale = code == Some(422) && !assignments.is_empty();
        if !is_conflict && !may_be_stale && !error.is_transient() {
            return Err(Refusal::of(error));
        }
        if error.is_transient() {
            tokio::time::sleep(pause(error)).await;
        }
        let fresh = match self.writes.get(&self.target()).await {
            Ok(answer) => object(&answer)?,
            Err(now) if now.api().is_some_and(|api| api.is_not_found()) => {
                return Ok(Now::Other(Refusal::of(&now)));
            }
            // What the first answer was is then not known either.
            Err(_) => return Err(Refusal::of(error)),
        };
        if uid_of(&fresh) != uid_of(base) {
            let message = "another object has its name now".to_owned();
            return Ok(Now::Other(Refusal::Gone(message)));
        }
        if version_of(&fresh) == version_of(base) {
            return if may_be_stale {
                Err(Refusal::of(error))
            } else {
                Ok(Now::Same)
            };
        }
        let is_done = || {
            let edited = kybern_sql::edit(&fresh, assignments);
            !assignments.is_empty() && edited.is_ok_and(|edited| edited.operations.is_empty())
        };
        if is_lost(error) && is_done() {
            return Ok(Now::Alike(fresh));
        }
        let lists = assignments
            .iter()
            .filter_map(|assignment| list(&assignment.path));
        let changed = match reads {
            None => Some("it".to_owned()),
            Some(reads) => {
                let mut paths = reads.iter().cloned().chain(lists);
                let changed = paths.find(|path| at(base, path) != at(&fresh, path));
                changed.map(|path| path.to_string())
            }
        };
        Ok(match changed {
            None => Now::Alike(fresh),
            // By whom, the answer would have said.
            Some(what) if is_lost(error) => Now::Other(Refusal::Unknown(format!(
                "{}; {what} has changed since the statement read it",
                error.chain()
            ))),
            Some(what) => Now::Other(Refusal::Conflict(format!(
                "{what} has changed since the statement read it"
            ))),
        })
    }

    fn target(&self) -> Target<'_> {
        let namespace = self.item.namespace.as_deref();
        Target::new(&self.item.resource, namespace, &self.item.name)
    }

    fn options(&self) -> WriteOptions {
        WriteOptions {
            dry_run: self.dry_run,
            strict: true,
            ..WriteOptions::by(MANAGER)
        }
    }
}

fn too_often(lost: Option<String>) -> Refusal {
    lost.map_or_else(
        || Refusal::Conflict(format!("it changed {TRIES} times while it was tried")),
        Refusal::Unknown,
    )
}

/// Whether the request may have been done all the same.
fn is_lost(error: &RequestError) -> bool {
    match error {
        RequestError::Timeout { .. } | RequestError::Transport { .. } => true,
        RequestError::Api(api) => api.code >= 500,
        _ => false,
    }
}

fn pause(error: &RequestError) -> Duration {
    let asked = error.api().and_then(|api| api.retry_after);
    asked.unwrap_or(PAUSE).min(LONGEST_PAUSE)
}

fn object(answer: &[u8]) -> std::result::Result<Value, Refusal> {
    serde_json::from_slice(answer)
        .map_err(|error| Refusal::Unknown(format!("the answer cannot be read: {error}")))
}

fn uid_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/uid")?.as_str()
}

fn version_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion")?.as_str()
}

/// What stands at a path.
fn at<'a>(object: &'a Value, path: &FieldPath) -> Option<&'a Value> {
    path.segments()
        .iter()
        .try_fold(object, |value, step| match step {
            FieldStep::Key(key) => value.get(key),
            FieldStep::Index(index) => value.get(index),
        })
}

/// The outermost list that a path goes through: a number in it means what it meant only while the
/// list is the same.
fn list(path: &FieldPath) -> Option<FieldPath> {
    let segments = path.segments();
    let is_index = |step: &FieldStep| matches!(step, FieldStep::Index(_));
    let first = segments.iter().position(is_index)?;
    Some(FieldPath(segments.iter().take(first).cloned().collect()))
}
