//! What a snapshot shows of one table, and of one chunk of it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use bytes::Bytes;

use crate::block::Slot;
use crate::column::{Column, PathType};
use crate::extract::Want;
use crate::key::{Index, TableDef};
use crate::path::Path;
use crate::root::Root;
use crate::row::Row;
use crate::shred::Shreds;
use crate::version::Version;

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

/// One table at one sequence. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TableView {
    version: Arc<Version>,
    /// Keeps the snapshot, and with it the index entries of its rows.
    _root: Arc<Root>,
}

impl TableView {
    pub(crate) fn new(version: Arc<Version>, root: Arc<Root>) -> TableView {
        TableView {
            version,
            _root: root,
        }
    }

    /// The definition at this sequence.
    pub fn def(&self) -> &TableDef {
        &self.version.def
    }

    /// Whether the table can be read. What it holds can be seen in any state,
    /// but only a ready table is complete.
    pub fn state(&self) -> TableState {
        self.version.state.clone()
    }

    /// The rows with this key, in no order. Without such an index all rows are
    /// read; see [`TableView::has_index`].
    pub fn lookup(&self, index: &Index, key: &str) -> Vec<Row> {
        let index = from_root(index);
        match self.version.find(&index, key) {
            Some(found) => found
                .into_iter()
                .filter_map(|position| self.version.handle(position))
                .collect(),
            None => self.version.scan_for(&index, key),
        }
    }

    /// Whether look-ups of this index need no scan.
    pub fn has_index(&self, index: &Index) -> bool {
        self.version.indexes.get(&from_root(index)).is_some()
    }

    /// All chunks that hold live rows, in no order.
    pub fn scan(&self) -> Vec<ChunkView> {
        let slots = self.version.slots.iter();
        slots
            .filter(|slot| slot.live_rows > 0)
            .map(|slot| ChunkView {
                slot: Arc::clone(slot),
            })
            .collect()
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.version.rows
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
/// [`ChunkView::live`] says which rows count. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChunkView {
    slot: Arc<Slot>,
}

impl ChunkView {
    /// Rows, dead ones included.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        self.slot.len
    }

    /// Live rows.
    pub fn live_rows(&self) -> usize {
        self.slot.live_rows
    }

    /// A declared column.
    pub fn fixed(&self, column: &Column) -> ArrayRef {
        Shreds::column(&self.slot, &Want::Column(column.clone()))
    }

    /// The values at a path; null where there is none, where it is JSON's null
    /// and where it is of another type. Paths may start at a column that holds
    /// metadata: see [`Path::from_root`].
    pub fn path(&self, path: &Path, of: PathType) -> ArrayRef {
        Shreds::column(&self.slot, &Want::path(path, of))
    }

    /// The object of a row; none for a dead or absent row.
    pub fn body(&self, row: usize) -> Option<Body> {
        self.row(row).map(|row| row.body())
    }

    /// Which rows are live at this snapshot; never null.
    pub fn live(&self) -> BooleanArray {
        self.slot.live.to_array()
    }

    /// A handle on a row; none for a dead or absent row.
    pub fn row(&self, row: usize) -> Option<Row> {
        self.slot.handle(row)
    }
}
