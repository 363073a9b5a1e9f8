//! What can be told to the store, and what it answers.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::key::{KindKey, TableDef};

/// One local, ever-growing number, given to each commit across all tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Changes that become visible together, as one commit.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Applied in this order.
    pub changes: Vec<Change>,
}

/// Where an object's state was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A watch event.
    Watch,
    /// An item of the list that the last [`Change::ListBegin`] opened.
    List,
    /// The API server's answer to a write of this host.
    OwnWrite,
}

/// A deleted object.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// The object of a watch's DELETED event, as raw JSON. Its resourceVersion
    /// is the deletion's own; a row that is newer stays.
    Raw(Bytes),
    /// This host deleted the object and the API server said that it is gone.
    /// Leaves a tombstone: until a watch or a list confirms, no state of this
    /// uid comes back. (An object that only got a deletionTimestamp is not
    /// gone: upsert the answer with [`Origin::OwnWrite`] instead.)
    Own {
        /// The namespace, or none for a cluster-scoped object.
        namespace: Option<String>,
        /// The name.
        name: String,
        /// The uid that was deleted.
        uid: String,
    },
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Change {
    /// A table exists from now on. Again for an existing table: its rows stay,
    /// its declared indexes are extended.
    Define(TableDef),
    /// The table and its rows are gone. Its rows are not logged as deleted.
    Drop(KindKey),
    /// A state of an object. A state that is older than the row's, by
    /// resourceVersion, changes nothing; an equal one neither. A new uid under
    /// the same name is a deletion and a creation.
    Upsert {
        /// The table.
        table: KindKey,
        /// The object as JSON.
        raw: Bytes,
        /// Where it was learnt.
        origin: Origin,
    },
    /// An object is gone.
    Delete {
        /// The table.
        table: KindKey,
        /// Which one.
        target: Deleted,
    },
    /// A complete list of the table starts. An earlier list that has not ended
    /// is abandoned; what it brought stays.
    ListBegin {
        /// The table.
        table: KindKey,
    },
    /// The list is complete: rows that were not in it and are not newer than it
    /// are deleted, and the table can be read.
    ListEnd {
        /// The table.
        table: KindKey,
        /// The list's own resourceVersion.
        resource_version: u64,
    },
    /// The table cannot be kept up to date: reads of it fail with this reason
    /// until a list has completed again.
    Fail {
        /// The table.
        table: KindKey,
        /// Why, for people.
        reason: String,
    },
    /// resourceVersions have started afresh (etcd was restored): the list that
    /// follows replaces everything, whatever the rows' resourceVersions. The
    /// table is loading until that list is complete.
    NewEpoch {
        /// The table.
        table: KindKey,
    },
}

impl Change {
    /// The table that the change is about.
    pub fn table(&self) -> &KindKey {
        match self {
            Change::Define(def) => &def.key,
            Change::Drop(table)
            | Change::Upsert { table, .. }
            | Change::Delete { table, .. }
            | Change::ListBegin { table }
            | Change::ListEnd { table, .. }
            | Change::Fail { table, .. }
            | Change::NewEpoch { table } => table,
        }
    }
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The newest sequence; the one before, when nothing changed.
    pub sequence: Sequence,
    /// How many rows were created, replaced or deleted.
    pub changed: usize,
    /// Changes that could not be applied. The rest of the batch was.
    pub errors: Vec<ChangeError>,
}

/// A change that could not be applied. Sending it again does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{table}: {reason}")]
pub struct ChangeError {
    /// The table.
    pub table: KindKey,
    /// Why, for people.
    pub reason: String,
}
