//! The `Plugin` CustomResourceDefinition.

use super::structural::structural;
use crate::{PluginSpec, PluginStatus};
use serde_json::{Value, json};

/// What the types cannot say about the spec: where, and what is added there.
fn spec_rules() -> Vec<(&'static str, Value)> {
    let kind = json!({ "maxLength": 63, "pattern": "^[A-Za-z][A-Za-z0-9-]*$" });
    let one_of = |fields: &[&str]| {
        let given: Vec<String> = fields.iter().map(|f| format!("has(self.{f})")).collect();
        json!({ "x-kubernetes-validations": [{
            "rule": format!("[{}].filter(given, given).size() == 1", given.join(", ")),
            "message": format!("exactly one of {} must be set", fields.join(", ")),
        }] })
    };
    vec![
        (
            "",
            json!({ "x-kubernetes-validations": [{
                "rule": "has(self.fieldManager) == has(oldSelf.fieldManager) && (!has(self.fieldManager) || self.fieldManager == oldSelf.fieldManager)",
                "message": "fieldManager is immutable: children would be left with two managers",
            }] }),
        ),
        (
            "/properties/fieldManager",
            json!({ "minLength": 1, "maxLength": 128 }),
        ),
        (
            "/properties/digest",
            json!({ "pattern": "^sha256:[0-9a-f]{64}$" }),
        ),
        (
            "/properties/source",
            one_of(&["file", "configMap", "oci", "http"]),
        ),
        (
            "/properties/source/properties/oci/properties/verify/properties/publicKeys",
            json!({ "minItems": 1, "maxItems": 16 }),
        ),
        (
            "/properties/source/properties/oci/properties/verify/properties/publicKeys/items",
            one_of(&["pem", "secretRef", "configMapRef"]),
        ),
        (
            "/properties/source/properties/oci/properties/verify/properties/publicKeys/items/properties/pem",
            json!({ "maxLength": 4096 }),
        ),
        ("/properties/settingsFrom", json!({ "maxItems": 64 })),
        (
            "/properties/settingsFrom/items",
            one_of(&["secretRef", "configMapRef"]),
        ),
        ("/properties/resources", json!({ "maxItems": 64 })),
        (
            "/properties/grants/properties/read",
            json!({ "maxItems": 256 }),
        ),
        (
            "/properties/grants/properties/read/items/properties/kinds",
            json!({ "minItems": 1, "maxItems": 64 }),
        ),
        (
            "/properties/grants/properties/read/items/properties/kinds/items",
            kind.clone(),
        ),
        (
            "/properties/grants/properties/write",
            json!({ "maxItems": 256 }),
        ),
        (
            "/properties/grants/properties/write/items/properties/kinds",
            json!({ "minItems": 1, "maxItems": 64 }),
        ),
        (
            "/properties/grants/properties/write/items/properties/kinds/items",
            kind,
        ),
        (
            "/properties/grants/properties/write/items/properties/verbs",
            json!({ "maxItems": 8 }),
        ),
    ]
}

/// What the types cannot say about the status.
fn status_rules() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/properties/conditions",
            json!({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }),
        ),
        (
            "/properties/conditions/items/properties/status",
            json!({ "enum": ["True", "False", "Unknown"] }),
        ),
    ]
}

/// Adds rules to a schema. A rule for a place that is not there goes to the
/// root under its path, where the API server refuses it: a renamed field is noticed.
fn with_rules(mut schema: Value, rules: Vec<(&'static str, Value)>) -> Value {
    for (place, rule) in rules {
        match (schema.pointer_mut(place), rule) {
            (Some(Value::Object(node)), Value::Object(rule)) => node.extend(rule),
            (_, rule) => {
                if let Value::Object(root) = &mut schema {
                    root.insert(place.to_owned(), rule);
                }
            }
        }
    }
    schema
}

/// The `Plugin` CustomResourceDefinition.
pub fn plugin_crd() -> Value {
    let spec = with_rules(structural::<PluginSpec>(), spec_rules());
    let status = with_rules(structural::<PluginStatus>(), status_rules());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "plugins.kybern.dev" },
        "spec": {
            "group": crate::names::GROUP,
            "scope": "Cluster",
            "names": {
                "kind": "Plugin", "listKind": "PluginList", "plural": "plugins",
                "singular": "plugin", "shortNames": ["kplugin"], "categories": ["kybern"],
            },
            "versions": [{
                "name": crate::names::VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status" },
                    { "name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason" },
                    { "name": "Version", "type": "string", "jsonPath": ".status.active.version" },
                    { "name": "Class", "type": "string", "jsonPath": ".spec.class", "priority": 1 },
                    { "name": "Digest", "type": "string", "jsonPath": ".status.active.digest", "priority": 1 },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": "The registration of one plugin: which kinds it is in charge of, which component decides, what it may do. Creating or changing one equals holding its grants.",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": spec,
                        "status": status,
                    },
                } },
            }],
        },
    })
}
