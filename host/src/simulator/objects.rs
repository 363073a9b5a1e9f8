//! The objects of the simulated cluster and the rules by which they change.

use super::fields::{self, FieldPath};
use kybern_interface::Gvk;
use kybern_reconcile::{Cause, ObjectRef, Refusal, WriteBody, WriteError};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One object and who set which of its fields.
#[derive(Debug, Clone)]
struct Held {
    object: Value,
    managers: BTreeMap<String, BTreeSet<FieldPath>>,
}

/// What a write did to one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Changed {
    /// It is so now.
    Stored(ObjectRef, Value),
    /// It is gone; its uid.
    Gone(ObjectRef, String),
}

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    held: BTreeMap<ObjectRef, Held>,
    version: u64,
}

fn refused(code: u16, reason: &str, message: String) -> WriteError {
    WriteError::Refused(Refusal {
        code,
        reason: reason.into(),
        message,
        ..Refusal::default()
    })
}

fn absent(target: &ObjectRef) -> WriteError {
    WriteError::Refused(Refusal {
        code: 404,
        reason: "NotFound".into(),
        message: format!("{target} does not exist"),
        name: target.name.clone(),
        ..Refusal::default()
    })
}

impl Objects {
    /// Takes an object in as it is.
    pub(crate) fn insert(&mut self, target: ObjectRef, object: Value) {
        let managers = BTreeMap::from([("manifest".to_owned(), fields::leaves(&object))]);
        self.held.insert(target, Held { object, managers });
    }

    /// All objects, by kind and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ObjectRef, &Value)> {
        self.held
            .iter()
            .map(|(target, held)| (target, &held.object))
    }

    /// One object.
    pub(crate) fn get(&self, target: &ObjectRef) -> Option<Value> {
        self.held.get(target).map(|held| held.object.clone())
    }

    /// Makes one write; what changed, the written object first.
    pub(crate) fn write(
        &mut self,
        target: &ObjectRef,
        body: &WriteBody,
        now: &str,
    ) -> Result<Vec<Changed>, WriteError> {
        match body {
            WriteBody::Create { object, manager } => self.create(target, object, manager, now),
            WriteBody::Apply { object, manager } => self.apply(target, object, manager, Part::Main),
            WriteBody::Patch {
                object,
                manager,
                part,
            } => {
                let part = match part.as_str() {
                    "status" => Part::Status,
                    _ => Part::Main,
                };
                self.unclaimed(target, object, manager, part)?;
                self.apply(target, object, manager, part)
            }
            WriteBody::ApplyStatus { object, manager } => {
                self.apply(target, object, manager, Part::Status)
            }
            WriteBody::JsonPatch { patch, manager } => self.json_patch(target, patch, manager),
            WriteBody::Delete { uid, .. } | WriteBody::Evict { uid, .. } => {
                self.delete(target, uid, now)
            }
            WriteBody::Scale { replicas, .. } => self.scale(target, *replicas),
        }
    }

    fn create(
        &mut self,
        target: &ObjectRef,
        object: &Value,
        manager: &str,
        now: &str,
    ) -> Result<Vec<Changed>, WriteError> {
        if self.held.contains_key(target) {
            return Err(refused(
                409,
                "AlreadyExists",
                format!("{target} already exists"),
            ));
        }
        let mut object = object.clone();
        let uid = format!("00000000-0000-4000-9000-{:012x}", self.version + 1);
        for (key, value) in [
            ("uid", json!(uid)),
            ("creationTimestamp", json!(now)),
            ("generation", json!(1)),
        ] {
            fields::set(&mut object, &["metadata".into(), key.into()], value);
        }
        let managers = BTreeMap::from([(manager.to_owned(), fields::leaves(&object))]);
        self.held.insert(target.clone(), Held { object, managers });
        Ok(vec![self.store(target)])
    }

    /// What an apply without force must not change: what others set to something else.
    fn unclaimed(
        &self,
        target: &ObjectRef,
        intent: &Value,
        manager: &str,
        part: Part,
    ) -> Result<(), WriteError> {
        let Some(held) = self.held.get(target) else {
            return Ok(());
        };
        let causes: Vec<Cause> = fields::leaves(intent)
            .into_iter()
            .filter(|path| part.holds(path) && !is_identity(path))
            .filter(|path| fields::get(intent, path) != fields::get(&held.object, path))
            .filter_map(|path| {
                let others = &mut held.managers.iter();
                let (other, _) =
                    others.find(|(other, theirs)| *other != manager && theirs.contains(&path))?;
                Some(Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {other:?}"),
                    field: format!(".{}", path.join(".")),
                })
            })
            .collect();
        if causes.is_empty() {
            return Ok(());
        }
        let mut refusal = Refusal {
            code: 409,
            reason: "Conflict".into(),
            message: format!("Apply failed with {} conflicts", causes.len()),
            ..Refusal::default()
        };
        refusal.causes = causes;
        Err(WriteError::Refused(refusal))
    }

    /// Server-side apply with force.
    fn apply(
        &mut self,
        target: &ObjectRef,
        intent: &Value,
        manager: &str,
        part: Part,
    ) -> Result<Vec<Changed>, WriteError> {
        let Some(held) = self.held.get_mut(target) else {
            return Err(refused(
                409,
                "Conflict",
                format!("{target} does not exist, but a uid was given"),
            ));
        };
        same_uid(target, &held.object, intent.pointer("/metadata/uid"))?;
        let before = held.object.clone();
        let mut paths = fields::leaves(intent);
        paths.retain(|path| part.holds(path));
        let dropped: Vec<FieldPath> = held
            .managers
            .get(manager)
            .into_iter()
            .flatten()
            .filter(|path| !paths.contains(*path) && part.holds(path))
            .cloned()
            .collect();
        for path in dropped {
            let shared = held
                .managers
                .iter()
                .any(|(other, theirs)| other != manager && theirs.contains(&path));
            if !shared {
                fields::remove(&mut held.object, &path);
            }
        }
        for path in &paths {
            if let Some(value) = fields::get(intent, path) {
                if fields::get(&held.object, path) != Some(value) {
                    for (_, theirs) in held
                        .managers
                        .iter_mut()
                        .filter(|(other, _)| *other != manager)
                    {
                        theirs.remove(path);
                    }
                }
                fields::set(&mut held.object, path, value.clone());
            }
        }
        held.managers.insert(manager.to_owned(), paths);
        held.managers.retain(|_, theirs| !theirs.is_empty());
        if held.object == before {
            return Ok(vec![Changed::Stored(target.clone(), before)]);
        }
        if before.get("spec") != held.object.get("spec") {
            let generation = before
                .pointer("/metadata/generation")
                .and_then(Value::as_u64)
                .unwrap_or(0);
            fields::set(
                &mut held.object,
                &["metadata".into(), "generation".into()],
                json!(generation + 1),
            );
        }
        let mut changed = vec![self.store(target)];
        changed.extend(self.finish(target));
        Ok(changed)
    }

    fn json_patch(
        &mut self,
        target: &ObjectRef,
        patch: &Value,
        manager: &str,
    ) -> Result<Vec<Changed>, WriteError> {
        let Some(held) = self.held.get_mut(target) else {
            return Err(absent(target));
        };
        let operations: json_patch::Patch = serde_json::from_value(patch.clone())
            .map_err(|error| refused(400, "BadRequest", error.to_string()))?;
        let mut object = held.object.clone();
        json_patch::patch(&mut object, &operations)
            .map_err(|error| refused(422, "Invalid", error.to_string()))?;
        // Ownership is not kept as managedFields here, so that entries cannot be renamed by a patch.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        held.object = object;
        held.managers.entry(manager.to_owned()).or_default();
        let mut changed = vec![self.store(target)];
        changed.extend(self.finish(target));
        Ok(changed)
    }

    fn scale(&mut self, target: &ObjectRef, replicas: u32) -> Result<Vec<Changed>, WriteError> {
        let Some(held) = self.held.get_mut(target) else {
            return Err(absent(target));
        };
        let path = ["spec".into(), "replicas".into()];
        fields::set(&mut held.object, &path, json!(replicas));
        Ok(vec![self.store(target)])
    }

    fn delete(
        &mut self,
        target: &ObjectRef,
        uid: &str,
        now: &str,
    ) -> Result<Vec<Changed>, WriteError> {
        let Some(held) = self.held.get_mut(target) else {
            return Err(absent(target));
        };
        same_uid(target, &held.object, Some(&json!(uid)))?;
        fields::set(
            &mut held.object,
            &["metadata".into(), "deletionTimestamp".into()],
            json!(now),
        );
        let mut changed = vec![self.store(target)];
        changed.extend(self.finish(target));
        Ok(changed)
    }

    /// Removes an object that is being deleted and has no finalizer, and what it alone controls.
    fn finish(&mut self, target: &ObjectRef) -> Vec<Changed> {
        let Some(held) = self.held.get(target) else {
            return Vec::new();
        };
        let deleting = held
            .object
            .pointer("/metadata/deletionTimestamp")
            .is_some_and(|t| !t.is_null());
        let finalizers = held
            .object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if !deleting || finalizers {
            return Vec::new();
        }
        let uid = text(&held.object, "/metadata/uid").to_owned();
        self.held.remove(target);
        let mut changed = vec![Changed::Gone(target.clone(), uid.clone())];
        let owned: Vec<(ObjectRef, String)> = self
            .held
            .iter()
            .filter(|(_, held)| {
                held.object
                    .pointer("/metadata/ownerReferences")
                    .and_then(Value::as_array)
                    .is_some_and(|owners| {
                        !owners.is_empty() && owners.iter().all(|o| text(o, "/uid") == uid)
                    })
            })
            .map(|(child, held)| {
                (
                    child.clone(),
                    text(&held.object, "/metadata/uid").to_owned(),
                )
            })
            .collect();
        for (child, uid) in owned {
            if let Ok(more) = self.delete(&child, &uid, "1970-01-01T00:00:00Z") {
                changed.extend(more);
            }
        }
        changed
    }

    /// Gives the object a new resourceVersion and its managedFields.
    fn store(&mut self, target: &ObjectRef) -> Changed {
        self.version += 1;
        let version = (self.version + 1).to_string();
        let Some(held) = self.held.get_mut(target) else {
            return Changed::Gone(target.clone(), String::new());
        };
        fields::set(
            &mut held.object,
            &["metadata".into(), "resourceVersion".into()],
            json!(version),
        );
        let gvk = &target.gvk;
        let entries: Vec<Value> = held
            .managers
            .iter()
            .map(|(manager, paths)| {
                json!({
                    "manager": manager, "operation": "Apply", "apiVersion": Gvk::api_version(gvk),
                    "fieldsType": "FieldsV1", "fieldsV1": fields::fields_v1(paths),
                })
            })
            .collect();
        fields::set(
            &mut held.object,
            &["metadata".into(), "managedFields".into()],
            json!(entries),
        );
        Changed::Stored(target.clone(), held.object.clone())
    }
}

/// Which part of an object an apply may touch.
#[derive(Clone, Copy)]
enum Part {
    Main,
    Status,
}

impl Part {
    fn holds(self, path: &[String]) -> bool {
        let status = path.first().is_some_and(|first| first == "status");
        match self {
            Self::Main => !status,
            Self::Status => status,
        }
    }
}

/// Whether a path says which object is meant, and nothing about it.
fn is_identity(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path.as_slice(),
        ["apiVersion" | "kind"] | ["metadata", "name" | "namespace" | "uid"]
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A uid that was given must be the object's: 422 naming the field, as an API server answers.
fn same_uid(target: &ObjectRef, object: &Value, given: Option<&Value>) -> Result<(), WriteError> {
    let uid = object.pointer("/metadata/uid");
    match given {
        Some(given) if Some(given) != uid => Err(WriteError::Refused(Refusal {
            code: 422,
            reason: "Invalid".into(),
            message: format!("{target}: metadata.uid is another"),
            causes: vec![Cause {
                reason: "FieldValueInvalid".into(),
                message: "field is immutable".into(),
                field: "metadata.uid".into(),
            }],
            ..Refusal::default()
        })),
        _ => Ok(()),
    }
}
