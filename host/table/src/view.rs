//! What a snapshot shows of one table, and of one chunk of it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use bytes::Bytes;

use crate::block::Slot;
use crate::change::Sequence;
use crate::column::{Column, PathType};
use crate::extract::Want;
use crate::key::{Index, TableDef};
use crate::path::Path;
use crate::root::Root;
use crate::row::Row;
use crate::shred::Shreds;
use crate::snapshot::SnapshotTooOld;
use crate::version::Facts;

/// Whether a table can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Its first list (or the first of a new epoch) is not complete.
    Loading,
    /// It can be read.
    Ready {
        /// The resourceVersion of the last complete list.
        resource_version: u64,
    },
    /// It cannot be kept up to date, for this reason.
    Failed(Arc<str>),
}

/// The JSON text of one object.
pub type Body = Bytes;

/// One table at one sequence. Cheap to clone. What the table is can be asked at
/// any time; its rows until the snapshot expires.
#[derive(Clone, Debug)]
pub struct TableView {
    facts: Arc<Facts>,
    /// Where the table stands in the publication.
    at: usize,
    /// Keeps the snapshot, and with it the index entries of its rows.
    root: Arc<Root>,
}

impl TableView {
    pub(crate) fn new(at: usize, root: &Arc<Root>) -> Option<TableView> {
        Some(TableView {
            facts: root.facts(at)?,
            at,
            root: Arc::clone(root),
        })
    }

    /// The definition at this sequence.
    pub fn def(&self) -> &TableDef {
        &self.facts.def
    }

    /// The commit that defined the table. One that was dropped and defined again is another table,
    /// of which the change log does not say what became of the rows of the first.
    pub fn since(&self) -> Sequence {
        self.facts.since
    }

    /// Whether the table can be read. What it holds can be seen in any state,
    /// but only a ready table is complete.
    pub fn state(&self) -> TableState {
        self.facts.state.clone()
    }

    /// The rows with this key, in no order. Without such an index all rows are
    /// read; see [`TableView::has_index`].
    pub fn lookup(&self, index: &Index, key: &str) -> Result<Vec<Row>, SnapshotTooOld> {
        let index = from_root(index);
        self.root
            .read(self.at, |version| match version.find(&index, key) {
                Some(found) => found
                    .into_iter()
                    .filter_map(|position| version.handle(position))
                    .collect(),
                None => version.scan_for(&index, key),
            })
    }

    /// Whether look-ups of this index need no scan.
    pub fn has_index(&self, index: &Index) -> bool {
        let def = self.def();
        match &*from_root(index) {
            Index::Uid | Index::Name | Index::Owner | Index::Namespace => true,
            Index::Label(key) => def.label_keys.contains(key),
            Index::Path(path) => def.path_indexes.contains(path),
        }
    }

    /// All chunks that hold live rows, in no order.
    pub fn scan(&self) -> Result<Vec<ChunkView>, SnapshotTooOld> {
        self.root.read(self.at, |version| {
            let slots = version.slots.iter().enumerate();
            slots
                .filter(|(_, slot)| slot.live_rows > 0)
                .map(|(slot_at, slot)| ChunkView {
                    at: self.at,
                    slot_at,
                    len: slot.len,
                    live_rows: slot.live_rows,
                    root: Arc::clone(&self.root),
                })
                .collect()
        })
    }

    /// The highest resourceVersion of a row; 0 without rows.
    pub fn newest(&self) -> Result<u64, SnapshotTooOld> {
        self.root.read(self.at, |version| {
            let rows = version.slots.iter().flat_map(|slot| slot.rows());
            let versions = rows.map(|(_, row)| row.resource_version());
            versions.max().unwrap_or_default()
        })
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.facts.rows
    }
}

/// Path indexes are known by the path from the root.
fn from_root(index: &Index) -> Cow<'_, Index> {
    match index {
        Index::Path(path) => Cow::Owned(Index::Path(path.from_root())),
        _ => Cow::Borrowed(index),
    }
}

/// One chunk of a table at one sequence. Its columns hold dead rows too:
/// [`ChunkView::live`] says which rows count. Cheap to clone. Reads fail once
/// the snapshot has expired; what they gave stays.
#[derive(Clone, Debug)]
pub struct ChunkView {
    /// Where the table stands in the publication, and the chunk in the table.
    at: usize,
    slot_at: usize,
    len: usize,
    live_rows: usize,
    root: Arc<Root>,
}

impl ChunkView {
    /// Rows, dead ones included.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Live rows.
    pub fn live_rows(&self) -> usize {
        self.live_rows
    }

    /// A declared column.
    pub fn fixed(&self, column: &Column) -> Result<ArrayRef, SnapshotTooOld> {
        let want = Want::Column(column.clone());
        self.read(|slot| Shreds::column(slot, &want))
    }

    /// The values at a path; null where there is none, where it is JSON's null
    /// and where it is of another type. Paths may start at a column that holds
    /// metadata: see [`Path::from_root`].
    pub fn path(&self, path: &Path, of: PathType) -> Result<ArrayRef, SnapshotTooOld> {
        let want = Want::path(path, of);
        self.read(|slot| Shreds::column(slot, &want))
    }

    /// The object of a row; none for a dead or absent row.
    pub fn body(&self, row: usize) -> Result<Option<Body>, SnapshotTooOld> {
        Ok(self.row(row)?.map(|row| row.body()))
    }

    /// Which rows are live at this snapshot; never null.
    pub fn live(&self) -> Result<BooleanArray, SnapshotTooOld> {
        self.read(|slot| slot.live.to_array())
    }

    /// A handle on a row; none for a dead or absent row.
    pub fn row(&self, row: usize) -> Result<Option<Row>, SnapshotTooOld> {
        self.read(|slot| slot.handle(row))
    }

    /// Handles on all live rows, in order.
    pub fn rows(&self) -> Result<Vec<Row>, SnapshotTooOld> {
        self.read(|slot| slot.live.ones().filter_map(|at| slot.handle(at)).collect())
    }

    fn read<T>(&self, read: impl FnOnce(&Slot) -> T) -> Result<T, SnapshotTooOld> {
        self.root
            .read(self.at, |version| {
                // The publication has the chunk for as long as it can be read.
                version.slots.get(self.slot_at).map(|slot| read(slot))
            })?
            .ok_or_else(|| self.root.too_old())
    }
}
