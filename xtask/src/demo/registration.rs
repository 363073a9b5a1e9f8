//! The Plugin object, and what the host itself may do.

use serde_json::{Value, json};
use std::path::Path;

/// Registers the AppService plugin in `file` with the host of `class`.
pub(crate) fn plugin(class: &str, file: &Path) -> Value {
    json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": "appservice" },
        "spec": {
            "class": class,
            "resources": [{ "group": "app.example.com", "version": "v1", "kind": "AppService" }],
            "source": { "file": file.to_string_lossy() },
            "crds": "Create",
            "grants": {
                "read": [{ "group": "apps", "kinds": ["Deployment"] }],
                "write": [
                    { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply"] },
                    { "group": "", "kinds": ["Service"], "verbs": ["apply"] },
                ],
            },
        },
    })
}

/// Everything: the demo is about plugins' rights, not the host's.
pub(crate) fn host_rules() -> Value {
    json!([
        { "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] },
        { "nonResourceURLs": ["*"], "verbs": ["*"] },
    ])
}
