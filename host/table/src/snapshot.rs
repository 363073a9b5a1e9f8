//! Snapshots: all tables at one sequence.

use std::sync::Arc;

use thiserror::Error;

use crate::change::Sequence;
use crate::key::KindKey;
use crate::root::Root;
use crate::row::Row;
use crate::view::TableView;

/// All tables at one sequence; never changes; cheap to clone. What it shows is
/// kept in memory for as long as it, or a view of it, is held: until that takes
/// more than [`crate::StoreConfig::pinned_bytes`]. Then the oldest snapshot
/// expires, and its reads fail; they never show wrong rows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    root: Arc<Root>,
}

/// One row's change in one commit.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The commit.
    pub sequence: Sequence,
    /// The table.
    pub table: KindKey,
    /// The object's uid; for objects without one, the key of
    /// [`crate::Index::Name`].
    pub uid: Arc<str>,
    /// The state before; none for a creation.
    pub old: Option<Row>,
    /// The state after; none for a deletion.
    pub new: Option<Row>,
}

/// The log does not reach back that far, or the snapshot has expired: take a new
/// snapshot and read the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("snapshot too old (sequence {sequence}, oldest {oldest})")]
pub struct SnapshotTooOld {
    /// The sequence that was asked for.
    pub sequence: Sequence,
    /// The oldest that can be answered for.
    pub oldest: Sequence,
}

impl Snapshot {
    pub(crate) fn new(root: Arc<Root>) -> Snapshot {
        Snapshot { root }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The commit that the snapshot shows.
    pub fn sequence(&self) -> Sequence {
        self.root.sequence
    }

    /// One table, if it is defined.
    pub fn table(&self, key: &KindKey) -> Option<TableView> {
        TableView::new(*self.root.directory.get(key)?, &self.root)
    }

    /// All tables, by key.
    pub fn tables(&self) -> impl Iterator<Item = TableView> + '_ {
        let places = self.root.directory.values();
        places.filter_map(|at| TableView::new(*at, &self.root))
    }

    /// The changes of all commits after `since` up to this snapshot, in order.
    /// Rows of dropped tables are not reported as deleted.
    pub fn changes_since(&self, since: Sequence) -> Result<Vec<RowChange>, SnapshotTooOld> {
        self.root.shared.log.between(since, self.root.sequence)
    }
}
