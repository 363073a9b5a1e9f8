//! Whether a change of a row is one of what a query reads.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use kybern_table::{
    Column, Columns, Gather, Index, Keys, Path, PathType, ReadSet, Row, RowChange, ScanRead,
};

/// Whether the answer may be another after the change.
pub(super) fn touches(change: &RowChange, reads: &ReadSet) -> bool {
    let mut scans = reads.scans.iter();
    scans.any(|scan| scan.table == change.table && is_read(change, scan))
}

fn is_read(change: &RowChange, scan: &ScanRead) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        let row = change.old.as_ref().or(change.new.as_ref());
        return row.is_some_and(|row| has_key(row, &scan.keys));
    };
    let (before, after) = (has_key(old, &scan.keys), has_key(new, &scan.keys));
    if !before || !after {
        return before || after;
    }
    match &scan.columns {
        Columns::All => true,
        Columns::Named(names) => {
            let states = [old.clone(), new.clone()];
            names.iter().any(|name| differs(&states, name))
        }
    }
}

fn has_key(row: &Row, keys: &Keys) -> bool {
    match keys {
        Keys::All => true,
        Keys::Of { index, values } => {
            let value = value(row, index);
            value.is_some_and(|value| values.iter().any(|key| **key == *value))
        }
    }
}

/// A row's value under an index.
fn value<'r>(row: &'r Row, index: &Index) -> Option<Cow<'r, str>> {
    match index {
        Index::Uid => Some(row.uid()),
        Index::Name => Some(match row.namespace() {
            Some(namespace) => Cow::Owned(format!("{namespace}/{}", row.name())),
            None => Cow::Borrowed(row.name()),
        }),
        Index::Owner => row.owner_uid(),
        Index::Namespace => row.namespace().map(Cow::Borrowed),
        Index::Label(label) => row.label(label).map(Cow::Owned),
        Index::Path(path) => {
            let gather = Gather::default().path(path, PathType::Text);
            let column = gather.of(std::slice::from_ref(row)).pop()?;
            let texts = column.as_string_view_opt()?;
            let is_there = texts.len() == 1 && texts.is_valid(0);
            is_there.then(|| Cow::Owned(texts.value(0).to_owned()))
        }
    }
}

/// Whether a column has another value in the second state than in the first.
fn differs(states: &[Row; 2], name: &str) -> bool {
    let gather = match Column::METADATA.iter().find(|column| column.name() == name) {
        Some(column) => Gather::default().column(column.clone()),
        // Of the whole object something is another.
        None if name == Column::Object.name() => return true,
        None => match name.parse::<Path>() {
            Ok(path) => Gather::default().path(&path, PathType::Json),
            // What cannot be read as a path may have changed.
            Err(_) => return true,
        },
    };
    let same = |column: ArrayRef| column.slice(0, 1).as_ref() == column.slice(1, 1).as_ref();
    gather.of(states).pop().is_none_or(|column| !same(column))
}
