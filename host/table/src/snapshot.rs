//! Snapshots: all tables at one sequence.

use std::sync::Arc;

use thiserror::Error;

use crate::change::Sequence;
use crate::key::KindKey;
use crate::row::Row;
use crate::view::TableView;

/// All tables at one sequence; never changes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    sequence: Sequence,
}

/// One row's change in one commit.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// The commit.
    pub sequence: Sequence,
    /// The table.
    pub table: KindKey,
    /// The object's uid; for objects without one, `namespace/name`.
    pub uid: Arc<str>,
    /// The state before; none for a creation.
    pub old: Option<Row>,
    /// The state after; none for a deletion.
    pub new: Option<Row>,
}

/// The log does not reach back that far: read the whole table instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("snapshot too old (sequence {sequence}, oldest {oldest})")]
pub struct SnapshotTooOld {
    /// The sequence that was asked for.
    pub sequence: Sequence,
    /// The oldest that can be answered for.
    pub oldest: Sequence,
}

impl Snapshot {
    /// An empty snapshot.
    pub(crate) fn empty() -> Snapshot {
        Snapshot {
            sequence: Sequence(0),
        }
    }

    /// The commit that the snapshot shows.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// One table, if it is defined.
    pub fn table(&self, _key: &KindKey) -> Option<TableView> {
        None
    }

    /// All tables, by key.
    pub fn tables(&self) -> impl Iterator<Item = TableView> {
        std::iter::empty()
    }

    /// The changes of all commits after `since` up to this snapshot, in order.
    pub fn changes_since(&self, _since: Sequence) -> Result<Vec<RowChange>, SnapshotTooOld> {
        Ok(Vec::new())
    }
}
