//! The engine's `Apply` over the API server: each accepted write is in the table before it returns.

use super::ingest::Ingest;
use crate::registration::account;
use crate::rights::{Refusals, Refused};
use async_trait::async_trait;
use bytes::Bytes;
use kybern_interface::{EventType, Propagation};
use kybern_kube::events::{Occurrence, Recorded, Recorder, Regarding, Severity};
use kybern_kube::{
    ApplyOptions, DeleteOptions, Deletion, Impersonate, PatchOptions, RequestError, Resource,
    Target, WriteOptions, Writes,
};
use kybern_reconcile::{
    Apply, Cause, EventRequest, ObjectRef, Refusal, Write, WriteBody, WriteError, Written,
    is_record, table_of,
};
use kybern_table::{Change, Deleted, Origin};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Writes to the API server and into the table.
pub(crate) struct ClusterApply {
    writes: Writes,
    events: Recorder,
    ingest: Ingest,
    /// The host's namespace, where service accounts are that name none.
    home: String,
    refusals: Refusals,
}

impl ClusterApply {
    /// Every write passes the fence of `writes`; what is refused (403) is noted.
    pub(crate) fn new(
        writes: Writes,
        events: Recorder,
        ingest: Ingest,
        home: &str,
        refusals: Refusals,
    ) -> Self {
        Self {
            writes,
            events,
            ingest,
            home: home.to_owned(),
            refusals,
        }
    }

    /// Notes that a right may be missing.
    fn heed(&self, plugin: &str, target: &ObjectRef, error: &WriteError) {
        let WriteError::Refused(refusal) = error else {
            return;
        };
        let ending = |cause: &Cause| cause.reason == "NamespaceTerminating";
        if refusal.code == 403 && !refusal.causes.iter().any(ending) {
            self.refusals.note(Refused {
                plugin: plugin.to_owned(),
                group: target.gvk.group.to_string(),
                plural: target.plural.clone(),
            });
        }
    }

    /// Writes on behalf of this service account.
    fn writes_of(&self, account: Option<&str>) -> Cow<'_, Writes> {
        let Some(account) = account else {
            return Cow::Borrowed(&self.writes);
        };
        let (namespace, name) = account::parts(account);
        let namespace = namespace.unwrap_or(&self.home);
        let user = Impersonate::service_account(namespace, name);
        Cow::Owned(self.writes.clone().acting_as(Some(user)))
    }

    /// Takes an object that is gone out of the table, and keeps it out.
    async fn forget(&self, target: &ObjectRef, uid: String) -> Result<(), WriteError> {
        if is_record(target) {
            return Ok(());
        }
        let gone = Change::Delete {
            table: table_of(&target.gvk),
            target: Deleted::Own {
                namespace: namespace(target).map(str::to_owned),
                name: target.name.clone(),
                uid,
            },
        };
        self.ingest
            .commit(vec![gone])
            .await
            .map(|_| ())
            .ok_or_else(shutting_down)
    }

    /// What a write on a subresource made of the object: its answer does not say. Should it not be
    /// known, the watch brings it.
    async fn look(&self, target: &ObjectRef, uid: Option<String>) {
        let seen = match (self.read(target).await, uid) {
            (Ok(None), Some(uid)) => self.forget(target, uid).await,
            (seen, _) => seen.map(|_| ()),
        };
        if let Err(error) = seen {
            tracing::debug!(%target, %error, "not read after a write on a subresource");
        }
    }

    /// Puts an answer into the table and hands it on parsed. Records stay out: the engine remembers
    /// them itself, and Secrets may be watched in part or not at all.
    async fn take_in(&self, target: &ObjectRef, raw: Bytes) -> Result<Value, WriteError> {
        let value = serde_json::from_slice(&raw)
            .map_err(|error| WriteError::Lost(format!("the answer is no JSON: {error}")))?;
        if is_record(target) {
            return Ok(value);
        }
        self.ingest
            .commit(vec![Change::Upsert {
                table: table_of(&target.gvk),
                raw,
                origin: Origin::OwnWrite,
            }])
            .await
            .ok_or_else(shutting_down)?;
        Ok(value)
    }
}

impl ClusterApply {
    async fn send(&self, write: Write) -> Result<Written, WriteError> {
        let resource = resource(&write.target);
        let at = Target::new(&resource, namespace(&write.target), &write.target.name);
        let writes = self.writes_of(write.service_account.as_deref());
        let raw = match write.body {
            WriteBody::Create { object, manager } => {
                writes
                    .create(
                        &resource,
                        namespace(&write.target),
                        body(&object)?,
                        &WriteOptions::by(&manager),
                    )
                    .await
            }
            WriteBody::Apply { object, manager } => {
                writes
                    .apply(&at, body(&object)?, &ApplyOptions::force(&manager))
                    .await
            }
            WriteBody::Patch {
                object,
                manager,
                part,
            } => {
                let options = ApplyOptions::polite(&manager);
                let object = body(&object)?;
                match part.as_str() {
                    "" => writes.apply(&at, object, &options).await,
                    part => writes.apply_part(&at, part, object, &options).await,
                }
            }
            WriteBody::JsonPatch { patch, manager } => {
                let options = PatchOptions {
                    write: WriteOptions::by(&manager),
                    subresource: None,
                };
                writes.json_patch(&at, body(&patch)?, &options).await
            }
            WriteBody::ApplyStatus { object, manager } => {
                writes
                    .apply_status(&at, body(&object)?, &ApplyOptions::force(&manager))
                    .await
            }
            WriteBody::Evict { uid, grace_seconds } => {
                let eviction = eviction(&write.target, &uid, grace_seconds);
                let made = writes.create_subresource(&at, "eviction", body(&eviction)?);
                made.await.map_err(failure)?;
                self.look(&write.target, Some(uid)).await;
                return Ok(Written { object: None });
            }
            WriteBody::Scale {
                replicas,
                version,
                manager,
            } => {
                let patch = json!({
                    "metadata": { "resourceVersion": version },
                    "spec": { "replicas": replicas },
                });
                let options = PatchOptions {
                    write: WriteOptions::by(&manager),
                    subresource: Some("scale".to_owned()),
                };
                let made = writes.merge_patch(&at, body(&patch)?, &options);
                made.await.map_err(failure)?;
                self.look(&write.target, None).await;
                return Ok(Written { object: None });
            }
            WriteBody::Delete { uid, propagation } => {
                let mut options = DeleteOptions::of(&uid);
                options.propagation = match propagation {
                    Propagation::Background => kybern_kube::Propagation::Background,
                    Propagation::Foreground => kybern_kube::Propagation::Foreground,
                    Propagation::Orphan => kybern_kube::Propagation::Orphan,
                };
                match writes.delete(&at, &options).await {
                    Ok(Deletion::Pending(raw)) => Ok(raw),
                    Ok(Deletion::Gone) => {
                        self.forget(&write.target, uid).await?;
                        return Ok(Written { object: None });
                    }
                    Err(RequestError::Api(refused)) if refused.is_not_found() => {
                        // The row is stale: without this it would stay until the watch catches up.
                        self.forget(&write.target, uid).await?;
                        Err(RequestError::Api(refused))
                    }
                    Err(error) => Err(error),
                }
            }
        }
        .map_err(failure)?;
        let object = self.take_in(&write.target, raw).await?;
        Ok(Written {
            object: Some(object),
        })
    }
}

/// What is posted to evict the Pod with this uid.
fn eviction(target: &ObjectRef, uid: &str, grace_seconds: Option<u32>) -> Value {
    let mut options = json!({ "preconditions": { "uid": uid } });
    if let (Some(options), Some(seconds)) = (options.as_object_mut(), grace_seconds) {
        options.insert("gracePeriodSeconds".to_owned(), json!(seconds));
    }
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": target.name, "namespace": target.namespace },
        "deleteOptions": options,
    })
}

fn shutting_down() -> WriteError {
    WriteError::Lost("the host is shutting down".into())
}

/// The kind as URLs name it.
fn resource(target: &ObjectRef) -> Resource {
    Resource::new(
        &target.gvk.group,
        &target.gvk.version,
        &target.gvk.kind,
        &target.plural,
        !target.namespace.is_empty(),
    )
}

fn body(value: &Value) -> Result<Bytes, WriteError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| WriteError::Lost(format!("the object cannot be written as JSON: {error}")))
}

fn namespace(target: &ObjectRef) -> Option<&str> {
    (!target.namespace.is_empty()).then_some(target.namespace.as_str())
}

/// The engine's word for why a request failed.
fn failure(error: RequestError) -> WriteError {
    match error {
        RequestError::Api(refused) => WriteError::Refused(Refusal {
            code: refused.code,
            reason: refused.reason,
            message: refused.message,
            name: refused.name,
            causes: refused
                .causes
                .into_iter()
                .map(|cause| Cause {
                    reason: cause.reason,
                    message: cause.message,
                    field: cause.field,
                })
                .collect(),
            retry_after: refused.retry_after,
        }),
        RequestError::NotLeading(_) => WriteError::Fenced,
        other => WriteError::Lost(chain(&other)),
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[async_trait]
impl Apply for ClusterApply {
    async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let (plugin, target) = (write.plugin.clone(), write.target.clone());
        let written = self.send(write).await;
        if let Err(error) = &written {
            self.heed(&plugin, &target, error);
        }
        written
    }

    async fn read(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        let resource = resource(target);
        let at = Target::new(&resource, namespace(target), &target.name);
        match self.writes.get(&at).await {
            Ok(raw) => Ok(Some(self.take_in(target, raw).await?)),
            Err(RequestError::Api(refused)) if refused.is_gone(&target.name) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn read_scale(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        let resource = resource(target);
        let at = Target::new(&resource, namespace(target), &target.name);
        match self.writes.get_subresource(&at, "scale").await {
            Ok(raw) => serde_json::from_slice(&raw)
                .map(Some)
                .map_err(|error| WriteError::Lost(format!("the answer is no JSON: {error}"))),
            Err(RequestError::Api(refused)) if refused.is_not_found() => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn event(&self, event: EventRequest) {
        let namespace = event.regarding.namespace;
        let recorded = self.events.record(Occurrence {
            regarding: Regarding {
                api_version: event.regarding.gvk.api_version(),
                kind: event.regarding.gvk.kind,
                namespace: (!namespace.is_empty()).then_some(namespace),
                name: event.regarding.name,
                uid: event.uid,
            },
            severity: match event.severity {
                EventType::Normal => Severity::Normal,
                EventType::Warning => Severity::Warning,
            },
            reason: event.reason,
            action: event.action.to_owned(),
            note: event.note,
        });
        if recorded == Recorded::Dropped {
            tracing::debug!("an Event was dropped: too many at once");
        }
    }
}
