//! A row where it lies: in a record of the delta or in a chunk's columns.

use std::borrow::Cow;

use arrow::array::Array;

use crate::chunk::Chunk;
use crate::json;
use crate::key::Index;
use crate::path::{Path, Segment};
use crate::record::Record;

/// A borrowed row. Chunk rows are within the chunk and no holes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowRef<'a> {
    Record(&'a Record),
    Chunk(&'a Chunk, usize),
}

impl<'a> RowRef<'a> {
    pub(crate) fn namespace(self) -> Option<&'a str> {
        let namespace = match self {
            RowRef::Record(record) => &*record.namespace,
            // A null reads as the empty text.
            RowRef::Chunk(chunk, row) => chunk.namespace.value(row),
        };
        (!namespace.is_empty()).then_some(namespace)
    }

    pub(crate) fn name(self) -> &'a str {
        match self {
            RowRef::Record(record) => &record.name,
            RowRef::Chunk(chunk, row) => chunk.name.value(row),
        }
    }

    /// Empty for none.
    pub(crate) fn uid(self) -> Cow<'a, str> {
        match self {
            RowRef::Record(record) => Cow::Borrowed(&record.uid),
            RowRef::Chunk(chunk, row) => chunk.uid.get(row).unwrap_or_default(),
        }
    }

    pub(crate) fn owner(self) -> Option<Cow<'a, str>> {
        match self {
            RowRef::Record(record) => record.owner.as_deref().map(Cow::Borrowed),
            RowRef::Chunk(chunk, row) => chunk.owner.get(row),
        }
    }

    pub(crate) fn resource_version(self) -> u64 {
        match self {
            RowRef::Record(record) => record.resource_version,
            RowRef::Chunk(chunk, row) => chunk.resource_version.get(row).copied().unwrap_or(0),
        }
    }

    pub(crate) fn generation(self) -> Option<i64> {
        match self {
            RowRef::Record(record) => record.generation,
            RowRef::Chunk(chunk, row) => {
                let column = &chunk.generation;
                column.is_valid(row).then(|| column.value(row))
            }
        }
    }

    pub(crate) fn created(self) -> Option<i64> {
        match self {
            RowRef::Record(record) => record.created,
            RowRef::Chunk(chunk, row) => {
                let column = &chunk.created;
                column.is_valid(row).then(|| column.value(row))
            }
        }
    }

    pub(crate) fn deleted(self) -> Option<i64> {
        match self {
            RowRef::Record(record) => record.deleted,
            RowRef::Chunk(chunk, row) => {
                let column = &chunk.deleted;
                column.is_valid(row).then(|| column.value(row))
            }
        }
    }

    /// JSON text.
    pub(crate) fn labels(self) -> Option<&'a str> {
        match self {
            RowRef::Record(record) => record.labels.map(|span| span.of(&record.body)),
            RowRef::Chunk(chunk, row) => {
                let column = &chunk.labels;
                column.is_valid(row).then(|| column.value(row))
            }
        }
    }

    pub(crate) fn label(self, key: &str) -> Option<Cow<'a, str>> {
        json::text(json::member(self.labels()?, key)?)
    }

    /// The body; a chunk's is decompressed into `scratch`.
    pub(crate) fn body<'b>(self, scratch: &'b mut Vec<u8>) -> &'b str
    where
        'a: 'b,
    {
        match self {
            RowRef::Record(record) => &record.body,
            RowRef::Chunk(chunk, row) => chunk.bodies.read(row, scratch),
        }
    }

    /// A top-level field's JSON text; `body` is this row's.
    pub(crate) fn field<'b>(self, body: &'b str, name: &str) -> Option<&'b str> {
        let listed = match self {
            // Not worth a place in the table of fields.
            _ if matches!(name, "apiVersion" | "kind") => None,
            RowRef::Record(record) if record.listed => {
                let mut fields = record.fields.iter();
                let found = fields.find(|field| field.key.of(body) == name);
                Some(found.map(|field| field.value))
            }
            RowRef::Record(_) => None,
            RowRef::Chunk(chunk, row) => chunk.field(row, name).ok(),
        };
        match listed {
            Some(span) => span.map(|span| span.of(body)),
            None => json::member(body, name),
        }
    }

    /// The JSON text at a path from the root; `body` is this row's.
    pub(crate) fn at<'b>(self, body: &'b str, path: &Path) -> Option<&'b str> {
        match path.segments().split_first()? {
            (Segment::Key(head), rest) => json::get(self.field(body, head)?, rest),
            (Segment::Index(_), _) => None,
        }
    }

    /// Whether this row has this key in this index. `path` in an
    /// [`Index::Path`] is from the root.
    pub(crate) fn matches(self, index: &Index, key: &str) -> bool {
        match index {
            Index::Uid => match self {
                RowRef::Record(record) => !key.is_empty() && *record.uid == *key,
                RowRef::Chunk(chunk, row) => !key.is_empty() && chunk.uid.is(row, key),
            },
            Index::Owner => match self {
                RowRef::Record(record) => record.owner.as_deref() == Some(key),
                RowRef::Chunk(chunk, row) => !key.is_empty() && chunk.owner.is(row, key),
            },
            Index::Name => match self.namespace() {
                None => self.name() == key,
                Some(namespace) => key
                    .strip_prefix(namespace)
                    .and_then(|rest| rest.strip_prefix('/'))
                    .is_some_and(|name| name == self.name()),
            },
            Index::Namespace => self.namespace() == Some(key),
            Index::Label(label) => self.label(label).is_some_and(|value| value == key),
            Index::Path(path) => {
                let mut scratch = Vec::new();
                let body = self.body(&mut scratch);
                let value = self.at(body, path).and_then(json::text);
                value.is_some_and(|value| value == key)
            }
        }
    }
}
