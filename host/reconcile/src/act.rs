//! Executing a difference: creates, server-side applies and deletes, wave by wave.
//!
//! The first write of a child is a POST, every later one a forced server-side apply with its uid,
//! so that a name that somebody else has taken is never written to, also in a race.

use crate::active::Active;
use crate::counters::OfPlugin;
use crate::diff::{self, Difference, Managers};
use crate::engine::Deps;
use crate::error::WriteError;
use crate::intent::Intent;
use crate::memory::Baseline;
use crate::owner::{Child, Owner, Ownership, ownership};
use crate::patch::{self, PatchTask};
use crate::prune::is_precious;
use crate::ready::Readiness;
use crate::report::Verdict;
use crate::traits::{ObjectRef, Write, WriteBody, Written};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use kybern_interface::{DeleteObject, ImmutablePolicy, Propagation};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// One intent with what is to be done about it.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) intent: Arc<Intent>,
    pub(crate) live: Option<Value>,
    pub(crate) difference: Difference,
}

/// Why a child is not as intended after the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Somebody else's.
    NotOurs(String),
    /// It, or what has its name, is being deleted.
    Deleting,
    /// A field cannot change, and the plan does not allow to recreate it.
    Immutable(WriteError),
    /// What is to be patched is not there.
    Absent,
    /// Other managers own fields of a patch: which, for people.
    Owned(String),
    /// The write failed.
    Failed(WriteError),
}

impl Problem {
    /// Whether the namespace of the child may be what is missing.
    pub(crate) fn lacks_namespace(&self) -> bool {
        match self {
            Self::Failed(error) => error.is_namespace_terminating() || error.is_not_found(),
            _ => false,
        }
    }
}

/// What came of the writes.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// Children that are as intended, by uid.
    pub(crate) children: HashMap<String, Baseline>,
    /// Patches that are as planned.
    pub(crate) patched: Vec<patch::Baseline>,
    /// What is not.
    pub(crate) problems: Vec<(ObjectRef, Problem)>,
    /// The object whose readiness the next wave waits for.
    pub(crate) gate: Option<ObjectRef>,
    /// Children that are not ready, with how they are.
    pub(crate) unready: Vec<(ObjectRef, Readiness)>,
}

impl Acted {
    /// Whether every wave went through.
    pub(crate) fn complete(&self) -> bool {
        self.problems.is_empty() && self.gate.is_none()
    }
}

/// Makes a registration's writes for one CR, and keeps account of them.
pub(crate) struct Actor<'a> {
    pub(crate) deps: &'a Deps,
    pub(crate) active: &'a Active,
    pub(crate) owner: &'a Owner,
    /// `create Deployment ns/web`
    pub(crate) written: Mutex<Vec<String>>,
    /// The registration's counters.
    pub(crate) metrics: OfPlugin,
    /// The longest time that the API server asked to wait.
    pub(crate) throttled: Mutex<Option<Duration>>,
}

enum Item<'t> {
    Apply(&'t Task),
    Delete(&'t ObjectRef, &'t DeleteObject),
    Patch(&'t PatchTask),
}

impl Item<'_> {
    fn target(&self) -> &ObjectRef {
        match self {
            Self::Apply(task) => &task.intent.target,
            Self::Delete(target, _) => target,
            Self::Patch(task) => &task.intent.target,
        }
    }
}

enum Done {
    Child(String, Baseline),
    Patched(Box<patch::Baseline>),
    Nothing,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(deps: &'a Deps, active: &'a Active, owner: &'a Owner) -> Self {
        Self {
            deps,
            active,
            owner,
            written: Mutex::new(Vec::new()),
            metrics: deps.counters.of(active.name()),
            throttled: Mutex::default(),
        }
    }

    /// One write of what the plugin planned, on behalf of its service account if it has one.
    pub(crate) async fn write(
        &self,
        target: &ObjectRef,
        body: WriteBody,
    ) -> Result<Written, WriteError> {
        let account = self.active.registration.spec.service_account_name.clone();
        self.send(target, body, account).await
    }

    /// One write of the host's own: status, finalizer, record.
    pub(crate) async fn write_as_host(
        &self,
        target: &ObjectRef,
        body: WriteBody,
    ) -> Result<Written, WriteError> {
        self.send(target, body, None).await
    }

    async fn send(
        &self,
        target: &ObjectRef,
        body: WriteBody,
        service_account: Option<String>,
    ) -> Result<Written, WriteError> {
        let verb = body.verb();
        let write = Write {
            plugin: self.active.name().into(),
            service_account,
            target: target.clone(),
            body,
        };
        let result = self.deps.apply.write(write).await;
        let class = match &result {
            Ok(_) => {
                self.written.lock().push(format!("{verb} {target}"));
                "2xx"
            }
            Err(error) => {
                tracing::debug!(%target, verb, %error, "write refused");
                self.heed(error);
                error.class()
            }
        };
        *self.metrics.lock().writes.entry((verb, class)).or_default() += 1;
        result
    }

    fn heed(&self, error: &WriteError) {
        // That one Pod must wait says nothing about the API server.
        if error.is_disruption_budget() {
            return;
        }
        if error.is_throttled() {
            self.metrics.lock().throttled += 1;
        }
        if let Some(after) = error.retry_after() {
            let mut throttled = self.throttled.lock();
            *throttled = Some(throttled.unwrap_or_default().max(after));
        }
    }

    /// A JSON patch of metadata.
    pub(crate) async fn patch(
        &self,
        target: &ObjectRef,
        patch: Value,
    ) -> Result<Written, WriteError> {
        let manager = self.active.manager();
        self.write(target, WriteBody::JsonPatch { patch, manager })
            .await
    }

    /// A JSON patch of the CR's own metadata, in the host's name.
    pub(crate) async fn patch_as_host(
        &self,
        target: &ObjectRef,
        patch: Value,
    ) -> Result<Written, WriteError> {
        let manager = self.active.manager();
        let body = WriteBody::JsonPatch { patch, manager };
        self.write_as_host(target, body).await
    }

    /// Field manager of this CR's patches.
    pub(crate) fn patch_manager(&self) -> String {
        self.active.patch_manager(&self.owner.uid)
    }

    /// Runs all waves; a wave starts only when the one before went through.
    pub(crate) async fn run(
        &self,
        tasks: &[Task],
        patches: &[PatchTask],
        deletes: &[(ObjectRef, DeleteObject)],
    ) -> Acted {
        let mut waves: BTreeMap<i32, Vec<Item<'_>>> = BTreeMap::new();
        for task in tasks {
            waves
                .entry(task.intent.wave)
                .or_default()
                .push(Item::Apply(task));
        }
        for (target, delete) in deletes {
            waves
                .entry(delete.wave)
                .or_default()
                .push(Item::Delete(target, delete));
        }
        for task in patches {
            waves
                .entry(task.intent.wave)
                .or_default()
                .push(Item::Patch(task));
        }
        let mut acted = Acted::default();
        for wave in waves.into_values() {
            let items: Vec<BoxFuture<'_, Result<Done, Problem>>> =
                wave.iter().map(|item| self.item(item).boxed()).collect();
            let results: Vec<_> = futures::stream::iter(items)
                .buffered(self.deps.config.writes.max(1))
                .collect()
                .await;
            for (item, result) in wave.iter().zip(results) {
                match (item, result) {
                    (Item::Apply(task), Ok(Done::Child(uid, baseline))) => {
                        if baseline.readiness != Readiness::Ready {
                            let target = task.intent.target.clone();
                            acted.unready.push((target, baseline.readiness));
                            if task.intent.ready && acted.gate.is_none() {
                                acted.gate = Some(task.intent.target.clone());
                            }
                        }
                        acted.children.insert(uid, baseline);
                    }
                    (_, Ok(Done::Patched(baseline))) => acted.patched.push(*baseline),
                    (_, Ok(_)) => {}
                    (item, Err(problem)) => {
                        acted.problems.push((item.target().clone(), problem));
                    }
                }
            }
            if !acted.complete() {
                break;
            }
        }
        acted
    }

    async fn item(&self, item: &Item<'_>) -> Result<Done, Problem> {
        match item {
            Item::Apply(task) => self.apply(task).await,
            Item::Patch(task) => {
                let came = patch::write(self, task).await?;
                Ok(came.map_or(Done::Nothing, |came| Done::Patched(Box::new(came))))
            }
            Item::Delete(target, delete) => {
                let uid = delete.target.uid.clone().unwrap_or_default();
                match self.delete(target, uid, delete.propagation).await {
                    // Another object has its name by now: the one that was meant is gone.
                    Err(error) if !error.is_conflict() => Err(Problem::Failed(error)),
                    _ => Ok(Done::Nothing),
                }
            }
        }
    }

    /// Deletes the object with this uid; that it is gone is as good.
    pub(crate) async fn delete(
        &self,
        target: &ObjectRef,
        uid: String,
        propagation: Propagation,
    ) -> Result<(), WriteError> {
        match self
            .write(target, WriteBody::Delete { uid, propagation })
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn apply(&self, task: &Task) -> Result<Done, Problem> {
        let intent = &task.intent;
        let (difference, live) = match (&task.difference.verdict, &task.live) {
            (Verdict::Create, _) | (_, None) => {
                let body = WriteBody::Create {
                    object: intent.object.clone(),
                    manager: self.active.manager(),
                };
                match self.write(&intent.target, body).await {
                    Ok(written) => return Ok(self.child(intent, written.object)),
                    Err(error) if error.is_already_exists() => {}
                    Err(error) => return Err(Problem::Failed(error)),
                }
                // The table did not know it, or it came in between. What the API server holds
                // decides whose it is.
                let live = self.read(&intent.target, None).await?;
                (self.found(intent, &live), live)
            }
            (Verdict::NotOurs { .. }, Some(live)) if !has_managers(live) => {
                // Tables leave out whose fields these are; the condition says it.
                let live = self.read(&intent.target, None).await?;
                (self.found(intent, &live), live)
            }
            (_, Some(live)) => (task.difference.clone(), live.clone()),
        };
        match difference.verdict {
            Verdict::NotOurs { whose } => Err(Problem::NotOurs(whose)),
            Verdict::WaitingForDeletion => Err(Problem::Deleting),
            Verdict::Apply(_) | Verdict::Adopt => self.update(intent, live).await,
            _ => Ok(match difference.baseline {
                Some(baseline) => Done::Child(uid_of(&live), baseline),
                None => Done::Nothing,
            }),
        }
    }

    /// What is to be done about an object that was not known before.
    fn found(&self, intent: &Intent, live: &Value) -> Difference {
        let manager = self.active.manager();
        let whose = Managers {
            manager: &manager,
            former: &self.active.registration.spec.former_field_managers,
        };
        diff::diff(intent, Some(live), self.owner, &whose, None, false)
    }

    /// The object as the API server holds it; it must have `uid` if one is given.
    async fn read(&self, target: &ObjectRef, uid: Option<&str>) -> Result<Value, Problem> {
        let live = self
            .deps
            .apply
            .read(target)
            .await
            .inspect_err(|error| self.heed(error))
            .map_err(Problem::Failed)?;
        live.filter(|live| uid.is_none_or(|uid| uid_of(live) == uid))
            .ok_or_else(|| Problem::Failed(changed(target)))
    }

    async fn update(&self, intent: &Intent, live: Value) -> Result<Done, Problem> {
        let manager = self.active.manager();
        let former = &self.active.registration.spec.former_field_managers;
        let mut live = live;
        if !has_managers(&live) {
            live = self.current(intent, &live).await?;
        }
        if let Some(patch) = diff::upgrade(&live, &manager, former) {
            live = match self.patch(&intent.target, patch).await {
                Ok(written) => written.object.unwrap_or(live),
                // The table is behind, perhaps by this very patch, and may be for long.
                Err(error) if error.is_conflict() => self.upgraded(intent, &live).await?,
                Err(error) => return Err(Problem::Failed(error)),
            };
        }
        let object = diff::request(intent, &live, &manager, former);
        let body = WriteBody::Apply { object, manager };
        match self.write(&intent.target, body).await {
            Ok(written) => Ok(self.child(intent, written.object)),
            Err(error) if error.is_immutable() => self.immutable(intent, &live, error).await,
            Err(error) => Err(Problem::Failed(error)),
        }
    }

    /// The child as the API server has it, if it is still the one and ours.
    async fn current(&self, intent: &Intent, live: &Value) -> Result<Value, Problem> {
        let live = self.read(&intent.target, Some(&uid_of(live))).await?;
        // The table may have been behind: somebody else may control it by now.
        match ownership(&live, self.owner) {
            Ownership::Foreign { whose } => Err(Problem::NotOurs(whose)),
            _ => Ok(live),
        }
    }

    /// The same, our Update entry made an Apply entry if it is not one by now.
    async fn upgraded(&self, intent: &Intent, live: &Value) -> Result<Value, Problem> {
        let live = self.current(intent, live).await?;
        let former = &self.active.registration.spec.former_field_managers;
        let Some(patch) = diff::upgrade(&live, &self.active.manager(), former) else {
            return Ok(live);
        };
        let written = self.patch(&intent.target, patch).await;
        let written = written.map_err(Problem::Failed)?;
        Ok(written.object.unwrap_or(live))
    }

    async fn immutable(
        &self,
        intent: &Intent,
        live: &Value,
        error: WriteError,
    ) -> Result<Done, Problem> {
        let precious = is_precious(&crate::active::table_of(&intent.target.gvk));
        if intent.on_immutable == ImmutablePolicy::Fail || precious {
            return Err(Problem::Immutable(error));
        }
        self.delete(&intent.target, uid_of(live), Propagation::Background)
            .await
            .map_err(Problem::Failed)?;
        // The pass that its deletion triggers creates it again.
        Err(Problem::Deleting)
    }

    fn child(&self, intent: &Intent, object: Option<Value>) -> Done {
        match object {
            Some(object) => Done::Child(
                uid_of(&object),
                Baseline::of(intent, &object, &self.active.manager()),
            ),
            None => Done::Nothing,
        }
    }

    /// Deletes a child that the plan no longer names.
    pub(crate) async fn prune(&self, target: &ObjectRef, child: &Child) -> Result<(), WriteError> {
        let uid = child.row.uid().into_owned();
        self.delete(target, uid, Propagation::Background).await
    }

    /// Lets go of a child.
    pub(crate) async fn orphan(&self, target: &ObjectRef, child: &Child) -> Result<(), WriteError> {
        match crate::finalizer::orphan(&child.row.value(), &self.owner.uid) {
            Some(patch) => match self.patch(target, patch).await {
                Err(error) if error.is_not_found() => Ok(()),
                other => other.map(|_| ()),
            },
            None => Ok(()),
        }
    }
}

/// What a write for another state of the object would have answered.
fn changed(target: &ObjectRef) -> WriteError {
    WriteError::Refused(crate::error::Refusal {
        code: 409,
        reason: "Conflict".to_owned(),
        message: format!("{target} has changed"),
        ..crate::error::Refusal::default()
    })
}

/// Whether the object came with its managedFields.
fn has_managers(object: &Value) -> bool {
    object.pointer("/metadata/managedFields").is_some()
}

/// `metadata.uid`.
pub(crate) fn uid_of(object: &Value) -> String {
    object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
