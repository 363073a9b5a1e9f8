//! Patches of the metadata of CRs and children: finalizers, and letting go of a child.
//!
//! Each is guarded by resourceVersion: made for another state of the object, it answers 409.

use kybern_interface::names;
use serde_json::{Value, json};

/// The patch with these operations, for this state of the object.
pub(crate) fn guarded(object: &Value, mut operations: Vec<Value>) -> Value {
    let version = object
        .pointer("/metadata/resourceVersion")
        .cloned()
        .unwrap_or_default();
    operations
        .push(json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version }));
    Value::Array(operations)
}

fn finalizers(object: &Value) -> Vec<Value> {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// Whether an object has a finalizer.
pub(crate) fn has(object: &Value, finalizer: &str) -> bool {
    finalizers(object).iter().any(|f| f == finalizer)
}

/// Adds a finalizer; none if it is there.
pub(crate) fn add(object: &Value, finalizer: &str) -> Option<Value> {
    let mut list = finalizers(object);
    if has(object, finalizer) {
        return None;
    }
    list.push(Value::from(finalizer));
    Some(guarded(
        object,
        vec![json!({ "op": "add", "path": "/metadata/finalizers", "value": list })],
    ))
}

/// Removes a finalizer; none if it is not there.
pub(crate) fn remove(object: &Value, finalizer: &str) -> Option<Value> {
    if !has(object, finalizer) {
        return None;
    }
    let mut list = finalizers(object);
    list.retain(|f| f != finalizer);
    let operation = if list.is_empty() {
        json!({ "op": "remove", "path": "/metadata/finalizers" })
    } else {
        json!({ "op": "replace", "path": "/metadata/finalizers", "value": list })
    };
    Some(guarded(object, vec![operation]))
}

/// Takes our ownerReference, inventory label and annotations off a child, so that it stays when
/// its CR goes; none if it has none of them.
pub(crate) fn orphan(object: &Value, owner_uid: &str) -> Option<Value> {
    let mut operations = Vec::new();
    if let Some(owners) = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
    {
        let rest: Vec<&Value> = owners
            .iter()
            .filter(|o| o.get("uid").and_then(Value::as_str) != Some(owner_uid))
            .collect();
        if rest.is_empty() {
            operations.push(json!({ "op": "remove", "path": "/metadata/ownerReferences" }));
        } else if rest.len() < owners.len() {
            operations.push(
                json!({ "op": "replace", "path": "/metadata/ownerReferences", "value": rest }),
            );
        }
    }
    for (map, key) in [
        ("labels", names::PART_OF),
        ("annotations", names::INTENT),
        ("annotations", names::PRUNE),
    ] {
        let there = object
            .pointer(&format!("/metadata/{map}"))
            .is_some_and(|entries| entries.get(key).is_some());
        if there {
            let path = format!(
                "/metadata/{map}/{}",
                key.replace('~', "~0").replace('/', "~1")
            );
            operations.push(json!({ "op": "remove", "path": path }));
        }
    }
    if operations.is_empty() {
        return None;
    }
    Some(guarded(object, operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finalizer_is_added_once_and_removed_alone() {
        let bare = json!({ "metadata": { "resourceVersion": "7" } });
        let guard = json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": "7" });
        assert_eq!(
            add(&bare, "a/b"),
            Some(json!([
                { "op": "add", "path": "/metadata/finalizers", "value": ["a/b"] }, guard,
            ]))
        );
        assert_eq!(remove(&bare, "a/b"), None);
        let held = json!({ "metadata": { "resourceVersion": "7", "finalizers": ["x/y", "a/b"] } });
        assert_eq!(add(&held, "a/b"), None);
        assert_eq!(
            remove(&held, "a/b"),
            Some(json!([
                { "op": "replace", "path": "/metadata/finalizers", "value": ["x/y"] }, guard,
            ]))
        );
    }

    #[test]
    fn an_orphan_keeps_what_others_gave_it() {
        let child = json!({ "metadata": {
            "resourceVersion": "7",
            "ownerReferences": [{ "uid": "u1" }, { "uid": "u2" }],
            "labels": { "app": "x", (names::PART_OF): "s" },
            "annotations": { (names::INTENT): "h" },
        } });
        assert_eq!(
            orphan(&child, "u1"),
            Some(json!([
                { "op": "replace", "path": "/metadata/ownerReferences", "value": [{ "uid": "u2" }] },
                { "op": "remove", "path": "/metadata/labels/applyset.kubernetes.io~1part-of" },
                { "op": "remove", "path": "/metadata/annotations/kybern.dev~1intent" },
                { "op": "replace", "path": "/metadata/resourceVersion", "value": "7" },
            ]))
        );
        assert_eq!(orphan(&json!({ "metadata": {} }), "u1"), None);
    }
}
