//! What the engine writes to: as much of an API server as CRs need that come to rest and stay there.
#![expect(
    clippy::indexing_slicing,
    reason = "of JSON, which has null where there is nothing"
)]

use super::objects::{cr, key, name, namespace};
use anyhow::{Result, bail};
use async_trait::async_trait;
use kybern_interface::Gvk;
use kybern_reconcile::{Apply, EventRequest, ObjectRef, Write, WriteBody, WriteError, Written};
use kybern_table::{Batch, Change, KindKey, Origin, Reader, Sequence, Writer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::watch;

/// The tables' writer, and the objects that were written.
pub(super) struct Cluster {
    state: Mutex<State>,
    reader: Reader,
    commits: watch::Sender<Sequence>,
}

struct State {
    writer: Writer,
    /// Kind, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    version: u64,
}

fn lost(why: &str) -> WriteError {
    WriteError::Lost(why.to_owned())
}

fn table(gvk: &Gvk) -> KindKey {
    key(&gvk.group, &gvk.kind)
}

/// `fieldsV1` of all leaves; lists are leaves.
fn fields(value: &Value) -> Value {
    let Value::Object(fields_of) = value else {
        return json!({});
    };
    let named = fields_of
        .iter()
        .map(|(key, value)| (format!("f:{key}"), fields(value)));
    Value::Object(named.collect())
}

fn entry(manager: &str, operation: &str, subresource: &str, of: &Value) -> Value {
    json!({
        "manager": manager, "operation": operation, "subresource": subresource,
        "fieldsType": "FieldsV1", "fieldsV1": fields(of),
    })
}

/// An object that was just created, but for its resourceVersion.
pub(super) fn created(mut object: Value, manager: &str, namespace: &str, uid: &str) -> Value {
    let owned = entry(manager, "Update", "", &wanted(&object));
    let metadata = &mut object["metadata"];
    metadata["namespace"] = json!(namespace);
    metadata["uid"] = json!(uid);
    metadata["generation"] = json!(1);
    metadata["managedFields"] = json!([owned]);
    object
}

impl Cluster {
    pub(super) fn new(writer: Writer, reader: Reader) -> (Self, watch::Receiver<Sequence>) {
        let (commits, seen) = watch::channel(reader.snapshot().sequence());
        let state = State {
            writer,
            objects: BTreeMap::new(),
            // Later than anything that was listed.
            version: 1 << 33,
        };
        let state = Mutex::new(state);
        (
            Self {
                state,
                reader,
                commits,
            },
            seen,
        )
    }

    /// Commits; the engine hears of it with [`Cluster::tell`].
    pub(super) fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .map_err(|_| anyhow::anyhow!("a writer failed"))?;
        match state.writer.apply(Batch { changes }).errors.first() {
            Some(error) => bail!("{error}"),
            None => Ok(()),
        }
    }

    /// The engine hears of what was committed.
    pub(super) fn tell(&self) {
        self.commits.send_replace(self.reader.snapshot().sequence());
    }

    /// Compresses what waits for it, as the sealing thread of the host does.
    pub(super) fn seal(&self) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .map_err(|_| anyhow::anyhow!("a writer failed"))?;
        while let Some(job) = state.writer.job() {
            state.writer.put_in(job.run());
        }
        Ok(())
    }

    /// Every Deployment with a note that nobody reads.
    pub(super) fn noted_deployments(&self, note: u64) -> Result<Vec<Change>> {
        let mut state = self
            .state
            .lock()
            .map_err(|_| anyhow::anyhow!("a writer failed"))?;
        let State {
            objects, version, ..
        } = &mut *state;
        let mut changes = Vec::new();
        for ((kind, ..), object) in objects {
            if kind == "Deployment" {
                *version += 1;
                object["metadata"]["annotations"]["note"] = json!(note.to_string());
                object["metadata"]["resourceVersion"] = json!(version.to_string());
                changes.push(upsert(key("apps", kind), object));
            }
        }
        Ok(changes)
    }

    /// These CRs, each with another number in its spec.
    pub(super) fn changed_crs(&self, changed: &[(u64, u64)]) -> Result<Vec<Change>> {
        let mut state = self
            .state
            .lock()
            .map_err(|_| anyhow::anyhow!("a writer failed"))?;
        let State {
            objects, version, ..
        } = &mut *state;
        let mut changes = Vec::new();
        for (number, change) in changed {
            *version += 1;
            let (kind, namespace, name) = ("AppService", namespace(*number), name(*number));
            let object = objects
                .entry((kind.to_owned(), namespace, name))
                .or_insert_with(|| cr(*number));
            object["spec"]["change"] = json!(change);
            object["metadata"]["generation"] = json!(change + 1);
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            changes.push(upsert(key("bench.example.com", kind), object));
        }
        Ok(changes)
    }

    fn accept(&self, target: &ObjectRef, body: WriteBody) -> Result<Value, WriteError> {
        let mut guard = self.state.lock().map_err(|_| lost("a writer failed"))?;
        let state = &mut *guard;
        state.version += 1;
        let version = json!(state.version.to_string());
        let name = (
            target.gvk.kind.clone(),
            target.namespace.clone(),
            target.name.clone(),
        );
        let object = match body {
            WriteBody::Create { object, manager } => {
                let uid = format!("{}-{}", target.gvk.kind, state.version);
                created(object, &manager, &target.namespace, &uid)
            }
            WriteBody::ApplyStatus {
                object: said,
                manager,
            } => {
                let read = || self.read_cr(target);
                let mut object = state.objects.get(&name).cloned().or_else(read);
                let object = object.as_mut().ok_or_else(|| lost("there is no such CR"))?;
                let status = json!({ "status": said["status"] });
                object["metadata"]["managedFields"] =
                    json!([entry(&manager, "Apply", "status", &status)]);
                object["status"] = said["status"].clone();
                object.take()
            }
            other => return Err(lost(&format!("this cluster knows no {}", other.verb()))),
        };
        let mut object = object;
        object["metadata"]["resourceVersion"] = version;
        let change = upsert(table(&target.gvk), &object);
        let applied = state.writer.apply(Batch {
            changes: vec![change],
        });
        if let Some(error) = applied.errors.first() {
            return Err(lost(&error.to_string()));
        }
        state.objects.insert(name, object.clone());
        drop(guard);
        self.tell();
        Ok(object)
    }

    fn read_cr(&self, target: &ObjectRef) -> Option<Value> {
        let name = format!("{}/{}", target.namespace, target.name);
        let snapshot = self.reader.snapshot();
        let rows = snapshot
            .table(&table(&target.gvk))?
            .lookup(&kybern_table::Index::Name, &name);
        rows.ok()?.first().map(kybern_table::Row::value)
    }
}

/// Without the names that nobody owns.
fn wanted(object: &Value) -> Value {
    let mut owned: Map<String, Value> = object.as_object().cloned().unwrap_or_default();
    owned.remove("apiVersion");
    owned.remove("kind");
    if let Some(metadata) = owned.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| ["labels", "annotations", "ownerReferences"].contains(&&**key));
    }
    Value::Object(owned)
}

pub(super) fn upsert(table: KindKey, object: &Value) -> Change {
    Change::Upsert {
        table,
        raw: object.to_string().into(),
        origin: Origin::Watch,
    }
}

#[async_trait]
impl Apply for Cluster {
    async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let object = self.accept(&write.target, write.body)?;
        Ok(Written {
            object: Some(object),
        })
    }

    async fn read(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        Ok(self.read_cr(target))
    }

    async fn read_scale(&self, _: &ObjectRef) -> Result<Option<Value>, WriteError> {
        Ok(None)
    }

    async fn event(&self, _: EventRequest) {}
}
