//! From kind to path, by discovery.

use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What a path needs of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

/// Kinds seen so far, by apiVersion and kind.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Mutex<HashMap<(String, String), Resource>>);

impl Kinds {
    pub(crate) fn get(&self, api_version: &str, kind: &str) -> Option<Resource> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&(api_version.to_owned(), kind.to_owned()))
            .cloned()
    }

    /// Learns an APIResourceList.
    pub(crate) fn learn(&self, api_version: &str, list: &Value) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = list.get("resources").and_then(Value::as_array);
        for resource in resources.into_iter().flatten() {
            let text = |key: &str| resource.get(key).and_then(Value::as_str);
            let (Some(kind), Some(plural)) = (text("kind"), text("name")) else {
                continue;
            };
            // Subresources have names like `pods/status`.
            if plural.contains('/') {
                continue;
            }
            let namespaced = resource.get("namespaced").and_then(Value::as_bool);
            known.insert(
                (api_version.to_owned(), kind.to_owned()),
                Resource {
                    plural: plural.to_owned(),
                    namespaced: namespaced.unwrap_or(false),
                },
            );
        }
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(crate) fn base(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}
