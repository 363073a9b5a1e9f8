//! One child of a plan: an object that should exist, and how it is kept.

use crate::{Value, json};
use kybern_interface::{Adoption, ApplyMode, ApplyObject, ImmutablePolicy, PrunePolicy};
use serde::Serialize;

/// An object that should exist. Without further words it is kept as planned,
/// in wave 0, and pruned when a later plan no longer names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    pub(crate) apply: ApplyObject,
    /// Why the object could not be turned into JSON; told when the plan is built.
    pub(crate) unserializable: Option<String>,
}

impl Child {
    /// An object with the fields that the plugin cares about, at least
    /// apiVersion, kind and metadata.name: `json!({...})`, a type of k8s-openapi,
    /// anything that serialises. A missing namespace is the CR's. Fields that are
    /// null are left out: `json!` writes a `None` so.
    pub fn new(object: impl Serialize) -> Self {
        let (object, unserializable) = match serde_json::to_value(object) {
            Ok(object) => (without_nulls(object), None),
            Err(error) => (Value::Null, Some(error.to_string())),
        };
        Self {
            apply: ApplyObject {
                object,
                mode: ApplyMode::Managed,
                wave: 0,
                ready: false,
                on_immutable: ImmutablePolicy::Fail,
                adopt: Adoption::Never,
                prune: PrunePolicy::Delete,
                during_deletion: false,
                ignore_paths: Vec::new(),
            },
            unserializable,
        }
    }

    /// An object of this kind, like `apps/v1/Deployment` or `v1/Service`.
    pub fn named(kind: &str, name: &str) -> Self {
        // A kind without version is told when the plan is built.
        let (api_version, kind) = kind.rsplit_once('/').unwrap_or(("", kind));
        Self::new(json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": { "name": name },
        }))
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        if let Some(metadata) = self.apply.object.get_mut("metadata")
            && let Some(metadata) = metadata.as_object_mut()
        {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert(key.to_owned(), Value::from(value));
            }
        }
        self
    }

    /// Sets `spec`.
    #[must_use]
    pub fn spec(self, spec: impl Serialize) -> Self {
        self.field("spec", spec)
    }

    /// Sets a field of the object itself, like `data` of a ConfigMap. As in
    /// [`new`](Self::new), what is null is left out.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => {
                if let Some(object) = self.apply.object.as_object_mut() {
                    object.insert(name.to_owned(), without_nulls(value));
                }
            }
            Err(error) => {
                self.unserializable.get_or_insert(error.to_string());
            }
        }
        self
    }

    /// Lower waves are written first.
    #[must_use]
    pub fn wave(mut self, wave: i32) -> Self {
        self.apply.wave = wave;
        self
    }

    /// The next wave waits until this object is ready (kstatus).
    #[must_use]
    pub fn ready(mut self) -> Self {
        self.apply.ready = true;
        self
    }

    /// Created if absent, then never changed: generated passwords, Jobs.
    #[must_use]
    pub fn create_once(mut self) -> Self {
        self.apply.mode = ApplyMode::CreateOnce;
        self
    }

    /// Deleted and created again when the API server says that a field cannot change.
    #[must_use]
    pub fn recreate_if_immutable(mut self) -> Self {
        self.apply.on_immutable = ImmutablePolicy::Recreate;
        self
    }

    /// Takes over an existing object that has no controller, if the grant says `adopt`.
    #[must_use]
    pub fn adopt_if_unowned(mut self) -> Self {
        self.apply.adopt = Adoption::IfUnowned;
        self
    }

    /// When a later plan no longer names it, it loses its ownerReference and stays.
    #[must_use]
    pub fn orphan(mut self) -> Self {
        self.apply.prune = PrunePolicy::Orphan;
        self
    }

    /// When a later plan no longer names it, it stays a child.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.apply.prune = PrunePolicy::Keep;
        self
    }

    /// Also applied while the CR is being deleted.
    #[must_use]
    pub fn during_deletion(mut self) -> Self {
        self.apply.during_deletion = true;
        self
    }

    /// Hands a field over to other managers, like `spec.replicas` to an autoscaler.
    #[must_use]
    pub fn ignore(mut self, path: impl Into<String>) -> Self {
        self.apply.ignore_paths.push(path.into());
        self
    }
}

impl<T: Serialize> From<T> for Child {
    fn from(object: T) -> Self {
        Self::new(object)
    }
}

/// Members of objects that are null, at any depth, are left out; items of lists stay.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let there = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                there
                    .map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_built_step_by_step() {
        let child = Child::named("apps/v1/Deployment", "web")
            .label("app", "web")
            .label("tier", "front")
            .spec(json!({ "replicas": 2 }));
        assert_eq!(
            child.apply.object,
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": { "name": "web", "labels": { "app": "web", "tier": "front" } },
                "spec": { "replicas": 2 },
            })
        );
        let core = Child::named("v1/ConfigMap", "a").field("data", json!({ "a": "b" }));
        assert_eq!(core.apply.object["apiVersion"], "v1");
        assert_eq!(core.apply.object["data"], json!({ "a": "b" }));
    }

    #[test]
    fn what_is_null_is_left_out() {
        let none: Option<u16> = None;
        let child = Child::new(json!({ "metadata": { "name": "a", "labels": none } }))
            .spec(json!({ "ports": [{ "port": 1, "nodePort": none }], "items": [none] }));
        assert_eq!(
            child.apply.object,
            json!({ "metadata": { "name": "a" }, "spec": { "ports": [{ "port": 1 }], "items": [null] } })
        );
    }

    #[test]
    fn a_kind_without_version_is_told() {
        let error = crate::Plan::new()
            .apply(Child::named("Service", "a"))
            .build();
        assert!(error.unwrap_err().to_string().contains("needs apiVersion"));
    }
}
