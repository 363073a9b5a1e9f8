//! What a fault may not change.

use super::operator::{Kind, RECORDS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a CR and its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The CR and its children, without what differs between two of them anyhow.
    pub(crate) end: Value,
    /// By plural and what is behind the CR's name.
    pub(crate) children: BTreeMap<String, Child>,
    /// Writes that the host made.
    pub(crate) writes: u64,
}

/// What became of one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    /// By the host.
    pub(crate) creates: u64,
    /// By the host.
    pub(crate) deletes: u64,
    /// Objects of that name that there were.
    pub(crate) uids: usize,
    /// Of its resourceVersion, by whomever.
    pub(crate) changes: u64,
}

impl Outcome {
    /// What is worse than in the undisturbed run.
    pub(crate) fn worse_than(&self, base: &Self) -> Vec<String> {
        let mut worse = Vec::new();
        let (mine, other) = (leaves("", &self.end), leaves("", &base.end));
        for path in mine.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
            let (mine, other) = (mine.get(path), other.get(path));
            if mine != other {
                worse.push(format!("{path} is {mine:?} instead of {other:?}"));
            }
        }
        for (kind, child) in &self.children {
            let undisturbed = &base.children[kind];
            let same = (child.creates, child.deletes, child.uids)
                == (undisturbed.creates, undisturbed.deletes, undisturbed.uids);
            if !same || child.changes > undisturbed.changes {
                worse.push(format!("{kind}: {child:?} instead of {undisturbed:?}"));
            }
        }
        worse
    }
}

/// Values that hold no others, by their paths.
fn leaves(path: &str, value: &Value) -> BTreeMap<String, Value> {
    let below = |key: &str, value: &Value| leaves(&format!("{path}/{key}"), value);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let fields = fields.iter();
            fields.flat_map(|(key, value)| below(key, value)).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            items
                .flat_map(|(at, value)| below(&at.to_string(), value))
                .collect()
        }
        leaf => BTreeMap::from([(path.to_owned(), leaf.clone())]),
    }
}

/// What the host keeps of a CR, as its record has it.
pub(crate) fn record(secret: &Value) -> Value {
    let text = secret["data"]["record"].as_str().unwrap_or_default();
    let text = STANDARD.decode(text).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// An object without what the API server chooses, counts or stamps, its name replaced.
pub(crate) fn normal(kind: &Kind, object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    if kind.plural == RECORDS {
        object["data"] = record(&object)["state"].clone();
        blank(&mut object["metadata"], "name");
    } else if kind.kind == "Secret" {
        // What is in it follows from the CR's uid.
        for value in object["data"].as_object_mut().into_iter().flatten() {
            *value.1 = json!("...");
        }
    }
    let text = object.to_string().replace(name, "NAME");
    let mut object: Value = serde_json::from_str(&text).unwrap();
    let is_child = object.pointer("/metadata/ownerReferences").is_some();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for chosen in [
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
    ] {
        metadata.remove(chosen);
    }
    if is_child {
        // How often its spec changed: that is compared as a count.
        metadata.remove("generation");
    }
    for (pointer, fields) in [
        ("/metadata/ownerReferences", ["uid"].as_slice()),
        ("/status/conditions", &["lastTransitionTime"]),
        ("/spec/ports", &["nodePort"]),
    ] {
        for item in object
            .pointer_mut(pointer)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            fields.iter().for_each(|field| blank(item, field));
        }
    }
    if let Some(spec) = object.get_mut("spec") {
        blank(spec, "clusterIP");
        blank(spec, "clusterIPs");
    }
    // Hashes of what also holds the name.
    if let Some(annotations) = object.pointer_mut("/metadata/annotations") {
        blank(annotations, "kybern.dev/intent");
    }
    if let Some(labels) = object.pointer_mut("/metadata/labels") {
        blank(labels, "applyset.kubernetes.io/part-of");
    }
    object
}

/// That it is there is compared, not what it is.
fn blank(object: &mut Value, field: &str) {
    if let Some(value) = object.get_mut(field) {
        *value = json!("...");
    }
}
