//! A handle on one state of one object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::block::{Block, Rows};
use crate::json;
use crate::num::wide;
use crate::record::Record;
use crate::refer::RowRef;

/// One state of one object: cheap to clone, readable for as long as it is held,
/// whatever lands in the table meanwhile.
#[derive(Clone)]
pub struct Row(Place);

#[derive(Clone)]
enum Place {
    Record(Arc<Record>),
    /// The block holds a chunk, and the row is inside it.
    Chunk(Arc<Block>, u32),
}

impl Row {
    pub(crate) fn record(record: Arc<Record>) -> Row {
        Row(Place::Record(record))
    }

    pub(crate) fn chunk(block: Arc<Block>, row: u32) -> Row {
        Row(Place::Chunk(block, row))
    }

    /// Where the row lies; none only for a handle that was made wrongly.
    pub(crate) fn refer(&self) -> Option<RowRef<'_>> {
        match &self.0 {
            Place::Record(record) => Some(RowRef::Record(record)),
            Place::Chunk(block, row) => match &block.rows {
                Rows::Chunk(chunk) => Some(RowRef::Chunk(chunk, wide(*row))),
                Rows::Delta(_) => None,
            },
        }
    }

    /// The record, if the row lies in one.
    pub(crate) fn as_record(&self) -> Option<&Arc<Record>> {
        match &self.0 {
            Place::Record(record) => Some(record),
            Place::Chunk(..) => None,
        }
    }

    /// The block and the row in it, if the row lies in a chunk.
    pub(crate) fn as_chunk(&self) -> Option<(&Arc<Block>, u32)> {
        match &self.0 {
            Place::Record(_) => None,
            Place::Chunk(block, row) => Some((block, *row)),
        }
    }

    /// Bytes that the log keeps alive by holding this: a record's, or those of a
    /// row that only the log has. A table's chunk is the table's, or pinned.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Place::Record(record) => record.bytes(),
            Place::Chunk(block, _) => block.logged,
        }
    }

    /// The namespace; none for a cluster-scoped object.
    pub fn namespace(&self) -> Option<&str> {
        self.refer().and_then(RowRef::namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.refer().map_or("", RowRef::name)
    }

    /// The uid; empty for an object without one.
    pub fn uid(&self) -> Cow<'_, str> {
        self.refer().map(RowRef::uid).unwrap_or_default()
    }

    /// The resourceVersion; 0 where the API gives none.
    pub fn resource_version(&self) -> u64 {
        self.refer().map_or(0, RowRef::resource_version)
    }

    /// The generation.
    pub fn generation(&self) -> Option<i64> {
        self.refer().and_then(RowRef::generation)
    }

    /// Whether the object has a deletionTimestamp.
    pub fn deleting(&self) -> bool {
        self.refer().and_then(RowRef::deleted).is_some()
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<String> {
        self.refer()?.label(key).map(Cow::into_owned)
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.refer().and_then(RowRef::labels);
        labels
            .and_then(|labels| serde_json::from_str(labels).ok())
            .unwrap_or_default()
    }

    /// The value of one annotation.
    pub fn annotation(&self, key: &str) -> Option<String> {
        self.metadata("annotations", |annotations| {
            Some(json::text(json::member(annotations, key)?)?.into_owned())
        })
    }

    /// The uid of the owner whose reference says `controller: true`.
    pub fn owner_uid(&self) -> Option<Cow<'_, str>> {
        self.refer().and_then(RowRef::owner)
    }

    /// The finalizers, in order.
    pub fn finalizers(&self) -> Vec<String> {
        self.metadata("finalizers", |finalizers| {
            serde_json::from_str(finalizers).ok()
        })
        .unwrap_or_default()
    }

    /// The object as JSON text, without managedFields unless Kybern is in them.
    pub fn body(&self) -> Bytes {
        match &self.0 {
            Place::Record(record) => Bytes::from_owner(Owned(Arc::clone(record))),
            Place::Chunk(..) => {
                let mut scratch = Vec::new();
                if let Some(row) = self.refer() {
                    row.body(&mut scratch);
                }
                scratch.into()
            }
        }
    }

    /// How long [`Row::body`] is, without reading it.
    pub fn body_bytes(&self) -> usize {
        match self.refer() {
            Some(RowRef::Record(record)) => record.body.len(),
            Some(RowRef::Chunk(chunk, row)) => chunk.bodies.length(row),
            None => 0,
        }
    }

    /// The object as a tree. Integers beyond 64 bits become floats; the text of
    /// [`Row::body`] keeps them. Null if it nests deeper than 128 levels.
    pub fn value(&self) -> Value {
        let value = serde_json::from_slice(&self.body());
        value.unwrap_or_else(|error| {
            tracing::error!(name = self.name(), %error, "an object cannot be read as a tree");
            Value::Null
        })
    }

    fn metadata<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let row = self.refer()?;
        let mut scratch = Vec::new();
        let body = row.body(&mut scratch);
        read(json::member(row.field(body, "metadata")?, name)?)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("namespace", &self.namespace())
            .field("name", &self.name())
            .field("uid", &self.uid())
            .field("resource_version", &self.resource_version())
            .finish()
    }
}

/// Lets `Bytes` hold a record for its body.
struct Owned(Arc<Record>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.body.as_bytes()
    }
}
