//! What an answer depends on: tables, columns and keys.

use std::collections::BTreeSet;

use crate::key::{Index, KindKey};

/// What an answer depends on. While nothing in it changes, the answer stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// One entry for each scan of the query, subqueries included.
    pub scans: Vec<ScanRead>,
}

/// What one scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanRead {
    /// The table.
    pub table: KindKey,
    /// The columns and paths that are read.
    pub columns: Columns,
    /// The rows that are read.
    pub keys: Keys,
}

/// Which columns a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// The whole object.
    All,
    /// Canonical names: [`crate::Column::name`] or a [`crate::Path`] as text.
    Named(BTreeSet<String>),
}

/// Which rows a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any row of the table.
    All,
    /// The rows that a look-up of one of the values finds.
    Of {
        /// The index.
        index: Index,
        /// The keys, as for [`crate::TableView::lookup`].
        values: Vec<String>,
    },
}
