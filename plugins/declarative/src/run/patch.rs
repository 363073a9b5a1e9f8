//! Patches: of what the plan itself deploys they change the plan; of everything else they are patches.

use super::Run;
use super::objects::{Key, gvk};
use super::plan::Building;
use crate::diagnostic::{Diagnostic, Errors, Place};
use crate::jinja::Context;
use crate::operator::Patch;
use crate::yaml::{self, Duplicates, Limits};
use kybern_interface::{Action, PatchObject, Target};
use serde_json::{Map, Value};

/// A change that waits until all children are known.
#[derive(Debug)]
pub(crate) struct Change {
    from: String,
    place: Place,
    target: Target,
    kind: String,
    patch: Value,
    subresource: Option<String>,
    wave: i32,
}

impl Change {
    /// The changes that a command makes.
    pub(crate) fn read(
        building: &Building<'_>,
        patch: &Patch,
        target: Option<Target>,
        context: &Context,
    ) -> Run<Vec<Self>> {
        let pass = building.pass;
        let (from, place, bodies) = match (&patch.file, &patch.inline) {
            (Some(path), _) => {
                let text = pass.operator.jinja.file(path, context)?;
                let from = format!("{path} (rendered)");
                let nodes = yaml::documents(&from, &text, &Limits::RENDERED, Duplicates::Refused)?;
                (
                    path.clone(),
                    Place::default(),
                    nodes.iter().map(yaml::Node::value).collect::<Vec<_>>(),
                )
            }
            (None, Some(inline)) => (
                inline.file.clone(),
                inline.node.place,
                vec![pass.inline(inline, context)?],
            ),
            (None, None) => return Ok(Vec::new()),
        };
        let mut changes = Vec::new();
        for body in bodies {
            let named = body.get("kind").is_some() && body.pointer("/metadata/name").is_some();
            let target = if named {
                let text = |path: &str| body.pointer(path).and_then(Value::as_str);
                let namespace = text("/metadata/namespace").unwrap_or(pass.namespace());
                Target::new(
                    gvk(&body),
                    namespace,
                    text("/metadata/name").unwrap_or_default(),
                )
            } else if let Some(target) = &target {
                target.clone()
            } else {
                let one = Diagnostic::new(&from, place, "the patch does not say what it patches");
                return Err(Errors::from(one.cure(
                    "give it apiVersion, kind and metadata.name, or the command a `target`",
                ))
                .into());
            };
            changes.push(Self {
                from: from.clone(),
                place,
                target,
                kind: patch.kind.clone(),
                patch: body,
                subresource: patch.subresource.clone(),
                wave: building.wave,
            });
        }
        Ok(changes)
    }
}

/// Makes all changes.
pub(crate) fn apply(building: &mut Building<'_>) -> Run<()> {
    for change in std::mem::take(&mut building.changes) {
        let wrong =
            |message: String| Errors::from(Diagnostic::new(&change.from, change.place, message));
        let target = &change.target;
        let own = if target.namespace == building.pass.namespace() {
            String::new()
        } else {
            target.namespace.clone()
        };
        let key = Key {
            group: target.group.clone(),
            kind: target.kind.clone(),
            namespace: own,
            name: target.name.clone(),
        };
        let child = building
            .children
            .get_mut(&key)
            .filter(|_| change.subresource.is_none());
        if let Some(child) = child {
            let patched = patched(&child.object, &change.kind, &change.patch)
                .map_err(|why| wrong(format!("{key}: {why}")))?;
            let name = |object: &Value| {
                let part = |path: &str| object.pointer(path).cloned();
                (gvk(object).group, gvk(object).kind, part("/metadata/name"))
            };
            if name(&patched) != name(&child.object) {
                return Err(wrong(format!(
                    "{key}: a patch cannot change kind, namespace or name"
                ))
                .into());
            }
            child.object = patched;
            continue;
        }
        if change.kind != "apply" {
            let message = format!(
                "{key} is not deployed by this operator: a patch of type `{}` would own no fields, and could not be taken back",
                change.kind
            );
            let one = Diagnostic::new(&change.from, change.place, message);
            return Err(Errors::from(one.cure("leave `type` out: server-side apply")).into());
        }
        let mut patch = PatchObject::new(change.target.clone(), fields(change.patch));
        patch.subresource = change.subresource;
        patch.wave = change.wave;
        building.actions.push(Action::Patch(patch));
    }
    Ok(())
}

/// A patch without the names of its target.
fn fields(mut patch: Value) -> Value {
    if let Some(map) = patch.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
        let empty = map
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .map(|metadata| {
                metadata.remove("name");
                metadata.remove("namespace");
                metadata.is_empty()
            });
        if empty == Some(true) {
            map.remove("metadata");
        }
    }
    patch
}

/// An object with a patch.
pub(crate) fn patched(object: &Value, kind: &str, patch: &Value) -> Result<Value, String> {
    let mut object = object.clone();
    match kind {
        "json" => json_patch(&mut object, patch)?,
        "merge" => merge_patch(&mut object, patch),
        "strategic" => keyed(&mut object, patch, "", true)?,
        _ => keyed(&mut object, patch, "", false)?,
    }
    Ok(object)
}

/// RFC 7386.
fn merge_patch(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The key of the items of a list that Kubernetes merges by key.
fn list_key(field: &str, items: &[Value]) -> Option<&'static str> {
    let all = |key: &str| !items.is_empty() && items.iter().all(|item| item.get(key).is_some());
    let keys: &[&'static str] = match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets" => &["name"],
        "ports" => &["containerPort", "port"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "hostAliases" => &["ip"],
        "conditions" => &["type"],
        "topologySpreadConstraints" => &["topologyKey"],
        "ownerReferences" => &["uid"],
        _ => return None,
    };
    keys.iter().copied().find(|key| all(key))
}

/// Server-side apply's and the strategic merge's way: maps by key, lists by the key of their items,
/// all else replaced.
fn keyed(object: &mut Value, patch: &Value, field: &str, strategic: bool) -> Result<(), String> {
    match (object, patch) {
        (Value::Object(map), Value::Object(patch)) => {
            if strategic {
                match patch.get("$patch").and_then(Value::as_str) {
                    Some("replace") => {
                        *map = patch.clone();
                        map.remove("$patch");
                        return Ok(());
                    }
                    Some("delete") => {
                        map.clear();
                        return Ok(());
                    }
                    Some("merge") | None => {}
                    Some(other) => return Err(format!("`$patch: {other}` is no directive")),
                }
            }
            for (key, value) in patch {
                if strategic && key == "$patch" {
                    continue;
                }
                if strategic && (key.starts_with("$setElementOrder/") || key == "$retainKeys") {
                    continue;
                }
                if let Some(list) = key
                    .strip_prefix("$deleteFromPrimitiveList/")
                    .filter(|_| strategic)
                {
                    let gone = value.as_array().cloned().unwrap_or_default();
                    if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                        items.retain(|item| !gone.contains(item));
                    }
                    continue;
                }
                if value.is_null() {
                    map.remove(key);
                } else if let Some(there) = map.get_mut(key) {
                    keyed(there, value, key, strategic)?;
                } else {
                    map.insert(key.clone(), clean(value, strategic));
                }
            }
            Ok(())
        }
        (Value::Array(items), Value::Array(patch)) => {
            if strategic
                && patch
                    .iter()
                    .any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace"))
            {
                *items = patch
                    .iter()
                    .filter(|item| {
                        item.get("$patch").is_none()
                            || item.as_object().is_some_and(|map| map.len() > 1)
                    })
                    .map(|item| clean(item, true))
                    .collect();
                return Ok(());
            }
            let Some(key) = list_key(field, patch)
                .filter(|key| items.iter().all(|item| item.get(*key).is_some()))
            else {
                *items = patch.iter().map(|item| clean(item, strategic)).collect();
                return Ok(());
            };
            for one in patch {
                let there = items.iter().position(|item| item.get(key) == one.get(key));
                let gone = strategic && one.get("$patch").and_then(Value::as_str) == Some("delete");
                match there {
                    Some(at) if gone => {
                        items.remove(at);
                    }
                    Some(at) => {
                        if let Some(item) = items.get_mut(at) {
                            keyed(item, one, "", strategic)?;
                        }
                    }
                    None if gone => {}
                    None => items.push(clean(one, strategic)),
                }
            }
            Ok(())
        }
        (object, patch) => {
            *object = clean(patch, strategic);
            Ok(())
        }
    }
}

/// A value without directives.
fn clean(value: &Value, strategic: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, value)| !(value.is_null() || strategic && key.starts_with('$')));
            Value::Object(
                kept.map(|(key, value)| (key.clone(), clean(value, strategic)))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(|item| clean(item, strategic)).collect(),
        other => other.clone(),
    }
}

/// RFC 6902.
fn json_patch(object: &mut Value, patch: &Value) -> Result<(), String> {
    let operations = patch
        .as_array()
        .ok_or("a JSON patch is a list of operations")?;
    for operation in operations {
        let text = |key: &str| {
            operation
                .get(key)
                .and_then(Value::as_str)
                .ok_or(format!("an operation needs `{key}`"))
        };
        let (op, path) = (text("op")?, text("path")?);
        let value = || {
            operation
                .get("value")
                .cloned()
                .ok_or(format!("`{op}` needs `value`"))
        };
        match op {
            "add" => add(object, path, value()?)?,
            "remove" => {
                remove(object, path)?;
            }
            "replace" => {
                let there = object
                    .pointer_mut(path)
                    .ok_or(format!("there is nothing at {path}"))?;
                *there = value()?;
            }
            "move" => {
                let moved = remove(object, text("from")?)?;
                add(object, path, moved)?;
            }
            "copy" => {
                let from = text("from")?;
                let copied = object
                    .pointer(from)
                    .cloned()
                    .ok_or(format!("there is nothing at {from}"))?;
                add(object, path, copied)?;
            }
            "test" => {
                if object.pointer(path) != Some(&value()?) {
                    return Err(format!("the test of {path} does not hold"));
                }
            }
            other => return Err(format!("`{other}` is no operation of a JSON patch")),
        }
    }
    Ok(())
}

fn split(path: &str) -> Result<(&str, String), String> {
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or(format!("{path} is no path: it begins with /"))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split(path)?;
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(last, value);
            Ok(())
        }
        Some(Value::Array(items)) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(at) if at <= items.len() => {
                items.insert(at, value);
                Ok(())
            }
            _ => Err(format!("the list at {parent} has no place {last}")),
        },
        _ => Err(format!("there is nothing at {parent}")),
    }
}

fn remove(object: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = split(path)?;
    let gone = match object.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&last),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(at) if at < items.len() => Some(items.remove(at)),
            _ => None,
        },
        _ => None,
    };
    gone.ok_or(format!("there is nothing at {path}"))
}
