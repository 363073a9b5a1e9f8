//! What differs between the two states of a changed row.

use crate::cause::RowName;
use crate::key::name_key;
use crate::reads::Filter;
use crate::sensing::at;
use kybern_table::{Column, Index, Path, Row, RowChange};
use serde_json::Value;
use std::cell::OnceCell;
use std::sync::Arc;

/// A change with its objects parsed at most once.
pub(crate) struct Delta<'c> {
    pub(crate) change: &'c RowChange,
    old: OnceCell<Value>,
    new: OnceCell<Value>,
    name: OnceCell<Arc<RowName>>,
}

/// What of a change a reader has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch<'f> {
    /// That the row is there, or all of it.
    Row,
    /// The first column read that has another value.
    Column(&'f str),
}

impl<'f> Touch<'f> {
    pub(crate) fn column(self) -> Option<&'f str> {
        match self {
            Self::Row => None,
            Self::Column(name) => Some(name),
        }
    }
}

impl<'c> Delta<'c> {
    pub(crate) fn of(change: &'c RowChange) -> Self {
        Self {
            change,
            old: OnceCell::new(),
            new: OnceCell::new(),
            name: OnceCell::new(),
        }
    }

    /// The row's name.
    pub(crate) fn name(&self) -> Arc<RowName> {
        let make = || {
            let row = self.change.new.as_ref().or(self.change.old.as_ref());
            Arc::new(RowName {
                table: self.change.table.clone(),
                namespace: row.and_then(Row::namespace).unwrap_or_default().into(),
                name: row.map(Row::name).unwrap_or_default().into(),
            })
        };
        Arc::clone(self.name.get_or_init(make))
    }

    /// The values under an index before and after.
    pub(crate) fn values(&self, index: &Index) -> (Option<String>, Option<String>) {
        let old = self.change.old.as_ref();
        let new = self.change.new.as_ref();
        (
            old.and_then(|row| self.value(row, index, false)),
            new.and_then(|row| self.value(row, index, true)),
        )
    }

    /// The row's value under an index.
    fn value(&self, row: &Row, index: &Index, new: bool) -> Option<String> {
        match index {
            Index::Uid => Some(row.uid().into_owned()),
            Index::Name => Some(name_key(row.namespace().unwrap_or_default(), row.name())),
            Index::Owner => row.owner_uid().map(std::borrow::Cow::into_owned),
            Index::Namespace => row.namespace().map(str::to_owned),
            Index::Label(key) => row.label(key),
            Index::Path(path) => {
                let cell = if new { &self.new } else { &self.old };
                match at(cell.get_or_init(|| row.value()), path)? {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                }
            }
        }
    }

    /// What of the columns that were read is another than before, if anything is.
    pub(crate) fn touches<'f>(&self, filter: &'f Filter) -> Option<Touch<'f>> {
        let (Some(old), Some(new)) = (&self.change.old, &self.change.new) else {
            return Some(Touch::Row);
        };
        match filter {
            None => Some(Touch::Row),
            Some(columns) => columns
                .iter()
                .find(|name| self.differs(old, new, name))
                .map(|name| Touch::Column(name)),
        }
    }

    /// Whether anything but metadata and status has another value than before.
    pub(crate) fn body_differs(&self, old: &Row, new: &Row) -> bool {
        let old = self.old.get_or_init(|| old.value());
        let new = self.new.get_or_init(|| new.value());
        let body = |value: &Value| {
            let mut fields = value.as_object().cloned().unwrap_or_default();
            fields.remove("metadata");
            fields.remove("status");
            fields
        };
        body(old) != body(new)
    }

    fn differs(&self, old: &Row, new: &Row, name: &str) -> bool {
        match Column::METADATA.iter().find(|column| column.name() == name) {
            Some(Column::Namespace) => old.namespace() != new.namespace(),
            Some(Column::Name) => old.name() != new.name(),
            Some(Column::Uid) => old.uid() != new.uid(),
            Some(Column::ResourceVersion) => old.resource_version() != new.resource_version(),
            Some(Column::Generation) => old.generation() != new.generation(),
            Some(Column::Labels) => old.labels() != new.labels(),
            Some(Column::OwnerUid) => old.owner_uid() != new.owner_uid(),
            Some(Column::Finalizers) => old.finalizers() != new.finalizers(),
            Some(Column::CreationTimestamp) => {
                self.at_differs(old, new, "metadata.creationTimestamp")
            }
            Some(Column::DeletionTimestamp) => {
                self.at_differs(old, new, "metadata.deletionTimestamp")
            }
            Some(Column::Annotations) => self.at_differs(old, new, "metadata.annotations"),
            Some(Column::Owners) => self.at_differs(old, new, "metadata.ownerReferences"),
            Some(_) => true,
            None if name == "object" => true,
            None => self.at_differs(old, new, name),
        }
    }

    pub(crate) fn at_differs(&self, old: &Row, new: &Row, path: &str) -> bool {
        // What cannot be read as a path may have changed.
        let Ok(path) = path.parse::<Path>() else {
            return true;
        };
        let old = self.old.get_or_init(|| old.value());
        let new = self.new.get_or_init(|| new.value());
        at(old, &path) != at(new, &path)
    }
}
