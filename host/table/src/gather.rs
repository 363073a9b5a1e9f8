//! Columns of rows that need not lie in one chunk.

use arrow::array::ArrayRef;

use crate::column::{Column, PathType};
use crate::extract::{Want, extract};
use crate::path::Path;
use crate::row::Row;

/// Columns and paths to read of rows; made once, used for many reads.
#[derive(Clone, Debug, Default)]
pub struct Gather {
    wants: Vec<Want>,
}

impl Gather {
    /// With one more column.
    #[must_use]
    pub fn column(mut self, column: Column) -> Self {
        self.wants.push(Want::Column(column));
        self
    }

    /// With the values at one more path.
    #[must_use]
    pub fn path(mut self, path: &Path, of: PathType) -> Self {
        self.wants.push(Want::path(path, of));
        self
    }

    /// Whether the objects' bodies are read, which are compressed.
    pub fn reads_bodies(&self) -> bool {
        self.wants.iter().any(Want::needs_body)
    }

    /// What was asked for, in that order, of these rows in their order. Each body is read once, and
    /// only if something of it is asked for.
    pub fn of(&self, rows: &[Row]) -> Vec<ArrayRef> {
        extract(rows.iter().map(Row::refer), &self.wants)
    }
}
