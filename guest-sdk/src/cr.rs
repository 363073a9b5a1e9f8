//! The custom resource, typed.

use crate::{Child, Gvk, HookError, Value, decode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A custom resource: metadata, typed spec, typed status.
#[derive(Debug, Clone)]
pub struct Cr<Spec, Status = Value> {
    /// Its type, in the version that the registration names.
    pub resource: Gvk,
    /// Name, namespace, labels and so on.
    pub metadata: Metadata,
    /// What its author wants.
    pub spec: Spec,
    /// What the last plan said. A status that does not fit the type, such as
    /// one of an older version of the plugin, counts as none.
    pub status: Option<Status>,
}

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    /// Unique over time: a deleted object's namesake has another.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// RFC 3339.
    pub creation_timestamp: Option<String>,
    /// RFC 3339; set while the object is being deleted.
    pub deletion_timestamp: Option<String>,
}

impl<Spec, Status> Cr<Spec, Status> {
    /// Whether it is being deleted.
    pub fn deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// A child of this kind, like `apps/v1/Deployment`, with the CR's own name.
    pub fn child(&self, kind: &str) -> Child {
        Child::named(kind, &self.metadata.name)
    }
}

impl<Status: Clone> Cr<Value, Status> {
    /// The same CR with its spec read as `Spec`: for a plugin of several kinds.
    pub fn typed<Spec: DeserializeOwned>(&self) -> Result<Cr<Spec, Status>, HookError> {
        Ok(Cr {
            resource: self.resource.clone(),
            metadata: self.metadata.clone(),
            spec: decode("spec", &self.spec)?,
            status: self.status.clone(),
        })
    }
}

impl<Spec: DeserializeOwned, Status: DeserializeOwned> Cr<Spec, Status> {
    /// Reads an object; a field that does not fit is [`HookError::Invalid`] with its path.
    pub(crate) fn read(resource: &Gvk, object: &Value) -> Result<Self, HookError> {
        // A CR whose kind has nothing required may leave `spec` out.
        let nothing = Value::Object(serde_json::Map::new());
        let spec = object.get("spec").unwrap_or(&nothing);
        let metadata = object.get("metadata").unwrap_or(&nothing);
        Ok(Self {
            resource: resource.clone(),
            metadata: decode("metadata", metadata)?,
            spec: decode("spec", spec)?,
            status: object
                .get("status")
                .and_then(|status| decode("status", status).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Deserialize, Debug, Clone, PartialEq)]
    struct Size {
        size: u32,
    }

    fn gvk() -> Gvk {
        Gvk::new("example.com", "v1", "Thing")
    }

    #[test]
    fn reads_spec_status_and_metadata() {
        let cr: Cr<Size, Size> = Cr::read(
            &gvk(),
            &json!({
                "metadata": {"name": "a", "namespace": "b", "generation": 3, "labels": {"x": "y"},
                             "deletionTimestamp": "2026-11-22T00:00:00Z", "resourceVersion": "7"},
                "spec": {"size": 2},
                "status": {"size": 1},
            }),
        )
        .unwrap();
        assert_eq!((cr.spec.size, cr.status.as_ref().unwrap().size), (2, 1));
        assert_eq!(
            (cr.metadata.generation, cr.metadata.labels["x"].as_str()),
            (3, "y")
        );
        assert!(cr.deleting());
    }

    #[test]
    fn a_status_of_another_shape_counts_as_none() {
        let object =
            json!({"metadata": {"name": "a"}, "spec": {"size": 2}, "status": {"size": "one"}});
        let cr: Cr<Size, Size> = Cr::read(&gvk(), &object).unwrap();
        assert_eq!(cr.status, None);
    }

    #[test]
    fn an_absent_spec_is_an_empty_one() {
        let error = Cr::<Size>::read(&gvk(), &json!({"metadata": {"name": "a"}})).unwrap_err();
        assert_eq!(error.to_string(), "invalid: spec: missing field `size`");
    }

    #[test]
    fn an_untyped_spec_can_be_typed_later() {
        let cr: Cr<Value> = Cr::read(&gvk(), &json!({"spec": {"size": -1}})).unwrap();
        assert!(
            cr.typed::<Size>()
                .unwrap_err()
                .to_string()
                .contains("spec.size")
        );
    }
}
