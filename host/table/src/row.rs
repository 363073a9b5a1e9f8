//! A handle on one state of one object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// One state of one object: cheap to clone, readable for as long as it is held,
/// whatever lands in the table meanwhile.
#[derive(Clone, Debug)]
pub struct Row {
    body: Arc<str>,
}

impl Row {
    /// The namespace; none for a cluster-scoped object.
    pub fn namespace(&self) -> Option<&str> {
        None
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.body
    }

    /// The uid; empty for an object without one.
    pub fn uid(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    /// The resourceVersion; 0 where the API gives none.
    pub fn resource_version(&self) -> u64 {
        0
    }

    /// The generation.
    pub fn generation(&self) -> Option<i64> {
        None
    }

    /// Whether the object has a deletionTimestamp.
    pub fn deleting(&self) -> bool {
        false
    }

    /// The value of one label.
    pub fn label(&self, _key: &str) -> Option<String> {
        None
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The value of one annotation.
    pub fn annotation(&self, _key: &str) -> Option<String> {
        None
    }

    /// The uid of the owner whose reference says `controller: true`.
    pub fn owner_uid(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The finalizers, in order.
    pub fn finalizers(&self) -> Vec<String> {
        Vec::new()
    }

    /// The object as JSON text, without managedFields unless Kybern is in them.
    pub fn body(&self) -> Bytes {
        Bytes::new()
    }

    /// The object as a tree. Null if it nests deeper than serde_json reads (128).
    pub fn value(&self) -> Value {
        Value::Null
    }
}
