//! An example of a CR, from its definition: what templates are tried with.

use serde_json::{Map, Value, json};

/// Levels of an example.
const DEPTH: usize = 12;

/// A CR with what its schema requires and gives as defaults.
pub(super) fn cr(crd: &Value, version: &str) -> Value {
    let text = |path: &str| {
        crd.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let found = versions
        .into_iter()
        .flatten()
        .find(|one| one.get("name").and_then(Value::as_str) == Some(version));
    let schema = found.and_then(|one| one.pointer("/schema/openAPIV3Schema/properties/spec"));
    let spec = schema.map_or_else(|| json!({}), |schema| value(schema, 0));
    json!({
        "apiVersion": format!("{}/{version}", text("/spec/group")),
        "kind": text("/spec/names/kind"),
        "metadata": {
            "name": "example", "namespace": "example", "uid": "00000000-0000-4000-8000-000000000000",
            "generation": 1, "labels": {}, "annotations": {},
        },
        "spec": spec,
    })
}

/// A value that a schema takes, with all of its fields.
pub(super) fn value(schema: &Value, depth: usize) -> Value {
    if let Some(default) = schema.get("default").or(schema.get("example")) {
        return default.clone();
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    if depth > DEPTH {
        return Value::Null;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("array") => {
            let item = schema.get("items").map(|items| value(items, depth + 1));
            item.map_or_else(|| json!([]), |item| json!([item]))
        }
        Some("string") => json!("example"),
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let properties = properties.into_iter().flatten();
            Value::Object(
                properties
                    .map(|(key, schema)| (key.clone(), value(schema, depth + 1)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}
