//! What one `apply` action wants: the object as it is sent, and its hash.

use crate::active::KindFacts;
use crate::owner::{Owner, hex};
use crate::traits::ObjectRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kybern_interface::{
    Adoption, ApplyMode, ApplyObject, Gvk, ImmutablePolicy, PrunePolicy, names,
};
use serde_json::{Map, Number, Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Annotation value on a child that loses its owner instead of being deleted.
pub(crate) const PRUNE_ORPHAN: &str = "orphan";
/// Annotation value on a child that is not pruned.
pub(crate) const PRUNE_DISABLED: &str = "disabled";

/// What one `apply` action wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intent {
    pub(crate) target: ObjectRef,
    /// What is sent: the plan's object, ownerReference, inventory label, hash.
    pub(crate) object: Value,
    /// Hash of it, values of handed-over paths left out.
    pub(crate) hash: String,
    /// Paths handed over to other managers.
    pub(crate) ignored: Vec<Vec<String>>,
    pub(crate) mode: ApplyMode,
    pub(crate) wave: i32,
    pub(crate) ready: bool,
    pub(crate) on_immutable: ImmutablePolicy,
    pub(crate) adopt: Adoption,
    pub(crate) during_deletion: bool,
    /// Whether the garbage collector takes it when the CR goes.
    pub(crate) reachable: bool,
}

/// Metadata that is the API server's and never part of an intent.
const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl Intent {
    /// The intent of an action that has passed the plan checks.
    pub(crate) fn of(action: &ApplyObject, owner: &Owner, facts: &KindFacts) -> Self {
        let text = |pointer: &str| {
            action
                .object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let namespace = match (facts.namespaced, text("/metadata/namespace")) {
            (false, _) => "",
            (true, "") => owner.namespace.as_str(),
            (true, given) => given,
        };
        let target = ObjectRef {
            gvk: Gvk::from_api_version(text("/apiVersion"), text("/kind")),
            plural: facts.plural.clone(),
            namespace: namespace.to_owned(),
            name: text("/metadata/name").to_owned(),
        };
        let reachable = owner.reaches(namespace);
        let ignored: Vec<Vec<String>> = action
            .ignore_paths
            .iter()
            .map(|path| path.split('.').map(str::to_owned).collect())
            .collect();

        let mut object = action.object.clone();
        drop_nulls(&mut object);
        if target.gvk == Gvk::new("", "v1", "Secret") {
            encode_string_data(&mut object);
        }
        if let Some(top) = object.as_object_mut() {
            if facts.has_status {
                top.remove("status");
            }
            if let Some(metadata) = member(top, "metadata") {
                for key in SERVER_METADATA {
                    metadata.remove(key);
                }
                metadata.remove("namespace");
                if facts.namespaced {
                    metadata.insert("namespace".to_owned(), Value::from(namespace));
                }
                metadata.remove("ownerReferences");
                if reachable {
                    metadata.insert("ownerReferences".to_owned(), json!([owner.reference()]));
                }
            }
        }
        set_metadata(&mut object, "labels", names::PART_OF, &owner.part_of);
        match action.prune {
            PrunePolicy::Delete => {}
            PrunePolicy::Orphan => {
                set_metadata(&mut object, "annotations", names::PRUNE, PRUNE_ORPHAN);
            }
            PrunePolicy::Keep => {
                set_metadata(&mut object, "annotations", names::PRUNE, PRUNE_DISABLED);
            }
        }
        remove_path(
            &mut object,
            &["metadata", "annotations", names::INTENT].map(str::to_owned),
        );
        let hash = hash_of(&object, &ignored);
        set_metadata(&mut object, "annotations", names::INTENT, &hash);
        Self {
            target,
            object,
            hash,
            ignored,
            mode: action.mode,
            wave: action.wave,
            ready: action.ready,
            on_immutable: action.on_immutable,
            adopt: action.adopt,
            during_deletion: action.during_deletion,
            reachable,
        }
    }

    /// The part that managedFields can name, handed-over paths left out.
    pub(crate) fn owned(&self) -> Value {
        let mut owned = self.object.clone();
        for path in &self.ignored {
            remove_path(&mut owned, path);
        }
        named(owned)
    }
}

/// The part of an object that managedFields can name.
pub(crate) fn named(mut object: Value) -> Value {
    if let Some(top) = object.as_object_mut() {
        top.remove("apiVersion");
        top.remove("kind");
        if let Some(metadata) = top.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("name");
            metadata.remove("namespace");
            for key in SERVER_METADATA {
                metadata.remove(key);
            }
            if metadata.is_empty() {
                top.remove("metadata");
            }
        }
    }
    object
}

/// The object under `key`, made if it is absent or no object.
pub(crate) fn member<'o>(
    object: &'o mut Map<String, Value>,
    key: &str,
) -> Option<&'o mut Map<String, Value>> {
    let slot = object.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// Sets one text under `metadata`, in a map such as `labels`.
pub(crate) fn set_metadata(object: &mut Value, map: &str, key: &str, value: &str) {
    if let Some(inner) = object
        .as_object_mut()
        .and_then(|top| member(top, "metadata"))
        .and_then(|metadata| member(metadata, map))
    {
        inner.insert(key.to_owned(), Value::from(value));
    }
}

/// A null in an intent means that the field is not wanted; sent, it would be owned.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, inner| !inner.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The API server keeps a Secret's `stringData` only as `data`: sent as such, it would neither be
/// seen to drift nor be found after a restart.
pub(crate) fn encode_string_data(object: &mut Value) {
    let Some(top) = object.as_object_mut() else {
        return;
    };
    let Some(Value::Object(plain)) = top.remove("stringData") else {
        return;
    };
    if let Some(data) = member(top, "data") {
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, Value::from(STANDARD.encode(text)));
        }
    }
}

/// Takes the value at a path of field names out; what is empty after that stays.
pub(crate) fn remove_path(object: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut node = object;
    for name in parents {
        match node.get_mut(name) {
            Some(inner) => node = inner,
            None => return,
        }
    }
    if let Some(object) = node.as_object_mut() {
        object.remove(last);
    }
}

/// Sets the value at a path of field names.
pub(crate) fn set_path(object: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let Some(mut node) = object.as_object_mut() else {
        return;
    };
    for name in parents {
        match member(node, name) {
            Some(inner) => node = inner,
            None => return,
        }
    }
    node.insert(last.clone(), value);
}

/// The value at a path of field names.
pub(crate) fn get_path<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(object, |node, name| node.get(name))
}

/// RFC 8785 of a list of the object and the paths, then SHA-256, shortened to 128 bits. Whole
/// numbers that no double holds are one to RFC 8785 with those beside them, so that their places
/// and digits follow as a third member of the list, where there are any.
pub(crate) fn hash_of(object: &Value, ignored: &[Vec<String>]) -> String {
    let rest = if ignored.is_empty() {
        Cow::Borrowed(object)
    } else {
        let mut rest = object.clone();
        ignored.iter().for_each(|path| remove_path(&mut rest, path));
        Cow::Owned(rest)
    };
    let mut paths: Vec<String> = ignored.iter().map(|path| path.join(".")).collect();
    paths.sort();
    let mut hash = Sha256::new();
    hash.update(b"[");
    hash.update(canonical(&rest));
    hash.update(b",");
    hash.update(canonical(&Value::from(paths)));
    let mut beyond = Vec::new();
    if !is_plain(&rest) {
        digits(&rest, &mut 0, &mut beyond);
    }
    if !beyond.is_empty() {
        hash.update(b",");
        hash.update(canonical(&Value::from(beyond)));
    }
    hash.update(b"]");
    hex(&hash.finalize(), 16)
}

/// The digits of a whole number that no double holds.
fn beyond_double(number: &Number) -> Option<String> {
    if number.is_f64() || is_small(number) {
        return None;
    }
    let digits = number.to_string();
    let double = number.as_f64().map(|double| double.to_string());
    (double.as_ref() != Some(&digits)).then_some(digits)
}

/// The digits of all of them, each with how many numbers come before it in the order of sorted keys.
fn digits(value: &Value, at: &mut usize, out: &mut Vec<String>) {
    match value {
        Value::Number(number) => {
            out.extend(beyond_double(number).map(|digits| format!("{at}:{digits}")));
            *at += 1;
        }
        Value::Array(items) => items.iter().for_each(|item| digits(item, at, out)),
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            sorted.iter().for_each(|(_, value)| digits(value, at, out));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// RFC 8785.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    if is_plain(value)
        && let Ok(text) = serde_json::to_vec(value)
    {
        return text;
    }
    serde_json_canonicalizer::to_vec(value).unwrap_or_else(|_| value.to_string().into_bytes())
}

/// Whether it is a whole number that every double beside it can be told from.
fn is_small(number: &Number) -> bool {
    const WHOLE: u64 = 1 << 53;
    let whole = number.as_i64().map(i64::unsigned_abs);
    whole.is_some_and(|whole| whole < WHOLE)
}

/// Whether serde_json writes it as RFC 8785 wants it: nothing but whole numbers that a double holds,
/// and keys whose order is the same in UTF-8 and in UTF-16.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => is_small(number),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => {
            fields.keys().is_sorted()
                && fields
                    .iter()
                    .all(|(key, value)| key.is_ascii() && is_plain(value))
        }
    }
}

/// A 128-bit fingerprint of a value, equal where [`hash_of`] is. For this process only: what is
/// written down is a [`hash_of`].
pub(crate) fn fingerprint(value: &Value) -> u128 {
    let mut bytes = Vec::with_capacity(256);
    encode(value, &mut bytes);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

/// Bytes that are equal for equal values only: each begins with its kind, and says how long it is.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.extend([1, u8::from(*value)]),
        Value::Number(number) => {
            if let Some(digits) = beyond_double(number) {
                out.push(6);
                return encode_text(&digits, out);
            }
            out.push(2);
            // As RFC 8785 has it, all numbers are doubles, and there is one zero.
            let double = number.as_f64().unwrap_or(f64::NAN) + 0.0;
            out.extend(double.to_bits().to_le_bytes());
        }
        Value::String(text) => {
            out.push(3);
            encode_text(text, out);
        }
        Value::Array(items) => {
            out.push(4);
            encode_length(items.len(), out);
            items.iter().for_each(|item| encode(item, out));
        }
        Value::Object(fields) => {
            out.push(5);
            encode_length(fields.len(), out);
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in sorted {
                encode_text(key, out);
                encode(value, out);
            }
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    encode_length(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn encode_length(length: usize, out: &mut Vec<u8>) {
    out.extend(length.to_le_bytes());
}

#[cfg(test)]
#[path = "intent_tests.rs"]
mod tests;
