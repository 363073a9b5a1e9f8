//! Objects as maps from field paths to values, the way managedFields see them.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Paths = BTreeSet<Vec<String>>;
pub(crate) type Flat = BTreeMap<Vec<String>, Value>;

/// Keys of lists that are maps; `*` is a set; none is atomic.
fn list_keys(field: &str) -> Option<&'static [&'static str]> {
    match field {
        "containers" | "env" | "volumes" => Some(&["name"]),
        "ports" => Some(&["containerPort", "protocol"]),
        "ownerReferences" => Some(&["uid"]),
        "conditions" => Some(&["type"]),
        "finalizers" => Some(&["*"]),
        _ => None,
    }
}

fn is_atomic_map(field: &str) -> bool {
    field == "selector"
}

/// Leaves of an object without what managedFields never name.
pub(crate) fn flatten(object: &Value) -> Flat {
    let mut object = object.clone();
    let top = object.as_object_mut().unwrap();
    top.remove("apiVersion");
    top.remove("kind");
    if let Some(metadata) = top.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "managedFields",
        ] {
            metadata.remove(key);
        }
        if metadata.is_empty() {
            top.remove("metadata");
        }
    }
    let mut out = Flat::new();
    if object.as_object().is_some_and(Map::is_empty) {
        return out;
    }
    walk(&object, "", &mut Vec::new(), &mut out);
    out
}

fn walk(value: &Value, field: &str, path: &mut Vec<String>, out: &mut Flat) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(field) => {
            // The items of ownerReferences are atomic.
            if field == "ownerReferences" {
                out.insert(path.clone(), value.clone());
                return;
            }
            for (name, inner) in map {
                path.push(format!("f:{name}"));
                walk(inner, name, path, out);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match list_keys(field) {
            None => {
                out.insert(path.clone(), value.clone());
            }
            Some(["*"]) => {
                for item in items {
                    path.push(format!("v:{item}"));
                    out.insert(path.clone(), item.clone());
                    path.pop();
                }
            }
            Some(keys) => {
                for item in items {
                    let mut item = item.clone();
                    if keys.contains(&"protocol") && item.get("protocol").is_none() {
                        item["protocol"] = json!("TCP");
                    }
                    let named: Map<String, Value> = keys
                        .iter()
                        .map(|key| ((*key).to_owned(), item[*key].clone()))
                        .collect();
                    path.push(format!("k:{}", Value::Object(named)));
                    walk(
                        &item,
                        if field == "ownerReferences" {
                            field
                        } else {
                            ""
                        },
                        path,
                        out,
                    );
                    path.pop();
                }
            }
        },
        other => {
            out.insert(path.clone(), other.clone());
        }
    }
}

/// Puts leaves into an object that has only what managedFields never name.
pub(crate) fn unflatten(base: &Value, flat: &Flat) -> Value {
    let mut out = base.clone();
    for (path, value) in flat {
        put(&mut out, path, value);
    }
    out
}

fn put(node: &mut Value, path: &[String], value: &Value) {
    let Some((step, rest)) = path.split_first() else {
        *node = value.clone();
        return;
    };
    if let Some(name) = step.strip_prefix("f:") {
        if !node.is_object() {
            *node = json!({});
        }
        let slot = node
            .as_object_mut()
            .unwrap()
            .entry(name)
            .or_insert(Value::Null);
        put(slot, rest, value);
    } else {
        if !node.is_array() {
            *node = json!([]);
        }
        let items = node.as_array_mut().unwrap();
        if step.starts_with("v:") {
            items.push(value.clone());
            return;
        }
        let keys: Map<String, Value> = serde_json::from_str(&step[2..]).unwrap();
        let at = items
            .iter()
            .position(|item| keys.iter().all(|(k, v)| item.get(k) == Some(v)));
        let at = at.unwrap_or_else(|| {
            items.push(Value::Object(keys));
            items.len() - 1
        });
        put(&mut items[at], rest, value);
    }
}

/// Paths as fieldsV1.
pub(crate) fn fields(paths: &Paths) -> Value {
    let mut out = json!({});
    for path in paths {
        let mut node = &mut out;
        for step in path {
            node = node
                .as_object_mut()
                .unwrap()
                .entry(step)
                .or_insert_with(|| json!({}));
        }
    }
    out
}

/// fieldsV1 as paths.
pub(crate) fn paths(fields: &Value) -> Paths {
    fn walk(node: &Value, path: &mut Vec<String>, out: &mut Paths) {
        let map = node.as_object().unwrap();
        let inner: Vec<_> = map.iter().filter(|(step, _)| *step != ".").collect();
        if inner.is_empty() && !path.is_empty() {
            out.insert(path.clone());
        }
        for (step, node) in inner {
            path.push(step.clone());
            walk(node, path, out);
            path.pop();
        }
    }
    let mut out = Paths::new();
    walk(fields, &mut Vec::new(), &mut out);
    out
}
