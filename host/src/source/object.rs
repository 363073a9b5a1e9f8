//! One value of a ConfigMap or a Secret, read once.

use super::error::SourceError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kybern_kube::{Cluster, RequestError, Resource, Target};
use serde_json::Value;

/// Which kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody may read it.
    ConfigMap,
    /// Few may.
    Secret,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    fn resource(self) -> Resource {
        match self {
            Self::ConfigMap => Resource::new("", "v1", "ConfigMap", "configmaps", true),
            Self::Secret => Resource::new("", "v1", "Secret", "secrets", true),
        }
    }
}

/// The object that `field` of the spec names.
pub(super) async fn get(
    cluster: &Cluster,
    kind: Kind,
    (namespace, name): (&str, &str),
    field: &str,
) -> Result<Value, SourceError> {
    let place = format!("{field}: {} {namespace}/{name}", kind.name());
    let resource = kind.resource();
    let target = Target::new(&resource, Some(namespace), name);
    let raw = cluster.get(&target).await.map_err(|error| {
        SourceError::Unavailable(match error {
            RequestError::Api(refused) if refused.is_not_found() => {
                format!("{place} does not exist; create it")
            }
            RequestError::Api(refused) => {
                format!("{place} cannot be read: {}", refused.message)
            }
            other => format!("{place} cannot be read: {other}"),
        })
    })?;
    // What serde says of it could hold a part of a Secret.
    serde_json::from_slice(&raw)
        .map_err(|_| SourceError::Unavailable(format!("{place}: the answer is no JSON")))
}

/// The bytes under a key; none if there are none.
pub(super) fn value(object: &Value, kind: Kind, key: &str) -> Option<Vec<u8>> {
    let text = |field: &str| object.get(field)?.get(key)?.as_str();
    match kind {
        Kind::Secret => STANDARD.decode(text("data")?).ok(),
        Kind::ConfigMap => Some(text("data")?.as_bytes().to_vec()),
    }
}
