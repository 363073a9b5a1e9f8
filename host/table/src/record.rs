//! One state of one object, as it was read from the API server.

use std::sync::Arc;

use crate::index::Entries;
use crate::num::{narrow, wide};

/// A byte range of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    pub(crate) fn of(self, text: &str) -> &str {
        text.get(wide(self.start)..wide(self.end))
            .unwrap_or_default()
    }
}

/// A top-level field: where its key (without quotes) and its value stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) key: Span,
    pub(crate) value: Span,
}

/// The decoded metadata and the body of one object.
#[derive(Debug)]
pub(crate) struct Record {
    /// Empty for a cluster-scoped object.
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    /// Empty for an object without one.
    pub(crate) uid: Arc<str>,
    /// 0 where the API gives none.
    pub(crate) resource_version: u64,
    pub(crate) generation: Option<i64>,
    /// Microseconds.
    pub(crate) created: Option<i64>,
    /// Microseconds.
    pub(crate) deleted: Option<i64>,
    pub(crate) owner: Option<Box<str>>,
    pub(crate) labels: Option<Span>,
    /// All top-level fields except `apiVersion` and `kind`.
    pub(crate) fields: Box<[Field]>,
    /// Whether `fields` is complete (no key was escaped).
    pub(crate) listed: bool,
    /// The row's entries in the indexes that its table had when it came.
    pub(crate) entries: Entries,
    pub(crate) body: Box<str>,
}

impl Record {
    /// What the record costs in memory.
    pub(crate) fn bytes(&self) -> usize {
        let owner = self.owner.as_ref().map_or(0, |owner| owner.len());
        size_of::<Record>()
            + self.namespace.len()
            + self.name.len()
            + self.uid.len()
            + owner
            + self.fields.len() * size_of::<Field>()
            + size_of_val(&*self.entries)
            + self.body.len()
    }
}
