//! The engine's `Apply` over the simulated cluster: each write is in the table before it returns.

use super::objects::{Changed, Objects};
use crate::wiring::ingest::Ingest;
use async_trait::async_trait;
use bytes::Bytes;
use kybern_reconcile::{
    Apply, EventRequest, ObjectRef, Write, WriteError, Written, is_record, table_of,
};
use kybern_table::{Change, Deleted, Origin};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// What happened, in order, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A write: verb and object.
    Write(&'static str, String),
    /// An Event: severity, reason and note.
    Event(String, String, String),
}

/// The simulated cluster. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryApply {
    objects: Arc<Mutex<Objects>>,
    steps: Arc<Mutex<Vec<Step>>>,
    ingest: Ingest,
}

impl MemoryApply {
    /// With these objects, which are in the table already.
    pub(crate) fn new(objects: Vec<(ObjectRef, Value)>, ingest: Ingest) -> Self {
        let mut held = Objects::default();
        for (target, object) in objects {
            held.insert(target, object);
        }
        Self {
            objects: Arc::new(Mutex::new(held)),
            steps: Arc::default(),
            ingest,
        }
    }

    /// What happened so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().clone()
    }

    /// All objects now.
    pub(crate) fn objects(&self) -> Vec<(ObjectRef, Value)> {
        self.objects
            .lock()
            .all()
            .map(|(t, o)| (t.clone(), o.clone()))
            .collect()
    }
}

#[async_trait]
impl Apply for MemoryApply {
    async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let now = crate::clock::wall().to_string();
        let changed = self
            .objects
            .lock()
            .write(&write.target, &write.body, &now)?;
        self.steps
            .lock()
            .push(Step::Write(write.body.verb(), write.target.to_string()));
        let mut written = Written { object: None };
        let mut changes = Vec::with_capacity(changed.len());
        for change in changed {
            match change {
                // As in a cluster: the engine remembers them itself.
                Changed::Stored(target, object) if is_record(&target) => {
                    written.object = Some(object).filter(|_| target == write.target);
                }
                Changed::Gone(target, _) if is_record(&target) => {}
                Changed::Stored(target, object) => {
                    let raw =
                        serde_json::to_vec(&object).map_err(|e| WriteError::Lost(e.to_string()))?;
                    changes.push(Change::Upsert {
                        table: table_of(&target.gvk),
                        raw: Bytes::from(raw),
                        origin: Origin::OwnWrite,
                    });
                    if target == write.target {
                        written.object = Some(object);
                    }
                }
                Changed::Gone(target, uid) => {
                    if target == write.target {
                        written.object = None;
                    }
                    changes.push(Change::Delete {
                        table: table_of(&target.gvk),
                        target: Deleted::Own {
                            namespace: (!target.namespace.is_empty())
                                .then(|| target.namespace.clone()),
                            name: target.name,
                            uid,
                        },
                    });
                }
            }
        }
        self.ingest
            .commit(changes)
            .await
            .ok_or_else(|| WriteError::Lost("the simulation has ended".into()))?;
        Ok(written)
    }

    async fn read(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        Ok(self.objects.lock().get(target))
    }

    async fn read_scale(&self, target: &ObjectRef) -> Result<Option<Value>, WriteError> {
        // As the built-in kinds have it; where a CRD has it elsewhere is not known here.
        Ok(self.objects.lock().get(target).map(|object| {
            let part = |name: &str| object.get(name).cloned().unwrap_or_default();
            json!({ "metadata": part("metadata"), "spec": part("spec") })
        }))
    }

    async fn event(&self, event: EventRequest) {
        self.steps.lock().push(Step::Event(
            format!("{:?}", event.severity),
            event.reason,
            event.note,
        ));
    }
}
