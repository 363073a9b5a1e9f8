//! Server-side apply over plain JSON: who set which path, and what goes when an applier drops it.
//!
//! Lists are atomic here, as an API server treats lists without a schema.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A path into an object.
pub(crate) type FieldPath = Vec<String>;

/// Metadata that the server owns, or that identifies the object.
const IDENTITY: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
];

/// Paths of all leaves that an intent sets: scalars, lists and empty objects.
pub(crate) fn leaves(intent: &Value) -> BTreeSet<FieldPath> {
    let mut found = BTreeSet::new();
    let mut path = Vec::new();
    collect(intent, &mut path, &mut found);
    found.retain(|path| {
        let first = path.first().map(String::as_str);
        let second = path.get(1).map(String::as_str);
        let identity = first == Some("metadata") && second.is_some_and(|s| IDENTITY.contains(&s));
        !identity && !matches!(first, Some("apiVersion" | "kind"))
    });
    found
}

fn collect(value: &Value, path: &mut FieldPath, found: &mut BTreeSet<FieldPath>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, inner) in object {
                path.push(key.clone());
                collect(inner, path, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone());
        }
    }
}

/// The value at a path.
pub(crate) fn get<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Sets the value at a path, making objects on the way.
pub(crate) fn set(value: &mut Value, path: &[String], to: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = value;
    for key in parents {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(object) = at.as_object_mut() else {
            return;
        };
        at = object
            .entry(key.clone())
            .or_insert_with(|| Value::Object(Map::new()));
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Some(object) = at.as_object_mut() {
        object.insert(last.clone(), to);
    }
}

/// Removes the value at a path, and the objects that are empty after it.
pub(crate) fn remove(value: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let Some(object) = value.as_object_mut() else {
        return;
    };
    if rest.is_empty() {
        object.remove(first);
        return;
    }
    if let Some(inner) = object.get_mut(first) {
        remove(inner, rest);
        if inner.as_object().is_some_and(Map::is_empty) {
            object.remove(first);
        }
    }
}

/// `managedFields` entry content (fieldsV1) of a set of paths.
pub(crate) fn fields_v1(paths: &BTreeSet<FieldPath>) -> Value {
    let mut tree = Value::Object(Map::new());
    for path in paths {
        let keys: Vec<String> = path.iter().map(|key| format!("f:{key}")).collect();
        set(&mut tree, &keys, Value::Object(Map::new()));
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_leave_identity_out() {
        let paths = leaves(&json!({
            "apiVersion": "v1", "kind": "K",
            "metadata": { "name": "a", "labels": { "x": "1" } },
            "spec": { "list": [1, 2], "empty": {} },
        }));
        let text: Vec<String> = paths.iter().map(|p| p.join(".")).collect();
        assert_eq!(text, ["metadata.labels.x", "spec.empty", "spec.list"]);
    }

    #[test]
    fn removing_a_path_removes_emptied_parents() {
        let mut value = json!({ "a": { "b": { "c": 1 } }, "d": 2 });
        remove(&mut value, &["a".into(), "b".into(), "c".into()]);
        assert_eq!(value, json!({ "d": 2 }));
    }
}
