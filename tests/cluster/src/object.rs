//! The name of one object.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt;

/// Which object: kind, namespace if it has one, name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object {
    /// `v1` or `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// None for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl Object {
    /// An object of a namespaced kind.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::cluster(api_version, kind, name)
        }
    }

    /// An object of a cluster-scoped kind.
    #[must_use]
    pub fn cluster(api_version: &str, kind: &str, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            name: name.to_owned(),
        }
    }

    /// The object that `manifest` is.
    ///
    /// # Errors
    /// apiVersion, kind or metadata.name is missing.
    pub fn of(manifest: &Value) -> Result<Self> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        Ok(Self {
            api_version: text("/apiVersion").context("no apiVersion")?.to_owned(),
            kind: text("/kind").context("no kind")?.to_owned(),
            namespace: text("/metadata/namespace").map(str::to_owned),
            name: text("/metadata/name")
                .context("no metadata.name")?
                .to_owned(),
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}
