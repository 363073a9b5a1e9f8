//! What a snapshot shows of one table, and of one chunk of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use arrow::datatypes::DataType;
use bytes::Bytes;

use crate::column::{Column, PathType};
use crate::key::{Index, TableDef};
use crate::path::Path;
use crate::row::Row;

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

/// One table at one sequence.
#[derive(Clone, Debug)]
pub struct TableView {
    def: Arc<TableDef>,
}

impl TableView {
    /// The definition at this sequence.
    pub fn def(&self) -> &TableDef {
        &self.def
    }

    /// Whether the table can be read. The rows are there in any state.
    pub fn state(&self) -> TableState {
        TableState::Loading
    }

    /// The rows with this key. Without such an index the table is scanned.
    pub fn lookup(&self, _index: &Index, _key: &str) -> Vec<Row> {
        Vec::new()
    }

    /// Whether look-ups of this index need no scan.
    pub fn has_index(&self, _index: &Index) -> bool {
        false
    }

    /// All chunks that hold live rows.
    pub fn scan(&self) -> Vec<ChunkView> {
        Vec::new()
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        0
    }
}

/// One chunk of a table at one sequence. Its columns hold dead rows too:
/// [`ChunkView::live`] says which rows count.
#[derive(Clone, Debug)]
pub struct ChunkView {
    len: usize,
}

impl ChunkView {
    /// Rows, dead ones included.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Live rows.
    pub fn live_rows(&self) -> usize {
        self.len
    }

    /// A declared column.
    pub fn fixed(&self, column: &Column) -> ArrayRef {
        new_null_array(&column.data_type(), self.len)
    }

    /// The values at a path; null where there is none or it is of another type.
    pub fn path(&self, _path: &Path, of: PathType) -> ArrayRef {
        new_null_array(&of.data_type(), self.len)
    }

    /// The object of a row; none for a dead or absent row.
    pub fn body(&self, _row: usize) -> Option<Body> {
        None
    }

    /// Which rows are live at this snapshot; never null.
    pub fn live(&self) -> BooleanArray {
        BooleanArray::new_null(self.len)
    }

    /// A handle on a row; none for a dead or absent row.
    pub fn row(&self, _row: usize) -> Option<Row> {
        let _: Option<DataType> = None;
        None
    }
}
