//! What of a table is read together, and the columns that were read of it.

use std::collections::VecDeque;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use datafusion::common::{Result, internal_datafusion_err};
use kybern_table::{ChunkView, Gather, Row};

use super::too_old;
use crate::source::{KindSource, Read};

/// Rows that are read together when they come from a look-up.
const ROWS_AT_ONCE: usize = 2048;
/// Bytes of their objects, unless one alone has more.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Rows that are read together.
pub(super) enum Input {
    Chunk(ChunkView),
    Rows(Vec<Row>),
}

/// Columns of a source that are read together of rows.
#[derive(Debug, Default)]
pub(super) struct Together {
    columns: Vec<usize>,
    gather: Gather,
}

impl Together {
    /// These columns of the source; those of elements are made later.
    pub(super) fn new(source: &KindSource, columns: impl IntoIterator<Item = usize>) -> Self {
        let mut all = Self::default();
        for position in columns {
            let gather = std::mem::take(&mut all.gather);
            all.gather = match source.columns.get(position).map(|column| &column.read) {
                Some(Read::Fixed(column)) => gather.column(column.clone()),
                Some(Read::Path(path, of)) => gather.path(path, *of),
                Some(Read::Element { .. } | Read::Ordinality { .. }) | None => {
                    all.gather = gather;
                    continue;
                }
            };
            all.columns.push(position);
        }
        all
    }

    pub(super) fn reads_bodies(&self) -> bool {
        self.gather.reads_bodies()
    }
}

/// Columns that were read, by position in the source.
pub(super) struct Loaded(Vec<Option<ArrayRef>>);

impl Loaded {
    pub(super) fn none(source: &KindSource) -> Self {
        Self(vec![None; source.columns.len()])
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.get(position).is_some()
    }

    pub(super) fn get(&self, position: usize) -> Option<&ArrayRef> {
        self.0.get(position)?.as_ref()
    }

    pub(super) fn put(&mut self, position: usize, column: ArrayRef) {
        if let Some(place) = self.0.get_mut(position) {
            *place = Some(column);
        }
    }

    pub(super) fn pick(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let column = |position: &usize| {
            let column = self.get(*position).cloned();
            column.ok_or_else(|| internal_datafusion_err!("column {position} was not read"))
        };
        columns.iter().map(column).collect()
    }

    /// Reads columns of rows.
    pub(super) fn read(&mut self, rows: &[Row], together: &Together) {
        let columns = together.gather.of(rows);
        for (position, column) in together.columns.iter().zip(columns) {
            self.put(*position, column);
        }
    }

    /// Reads the columns of a chunk that have not been read yet.
    pub(super) fn read_chunk(
        &mut self,
        chunk: &ChunkView,
        source: &KindSource,
        columns: &[usize],
    ) -> Result<()> {
        for position in columns {
            if self.has(*position) {
                continue;
            }
            let array = match source.columns.get(*position).map(|column| &column.read) {
                Some(Read::Fixed(column)) => chunk.fixed(column),
                Some(Read::Path(path, of)) => chunk.path(path, *of),
                // Elements are made of what is read here.
                Some(Read::Element { .. } | Read::Ordinality { .. }) | None => continue,
            };
            self.put(*position, array.map_err(too_old)?);
        }
        Ok(())
    }
}

impl Input {
    pub(super) fn live(&self) -> Result<BooleanArray> {
        match self {
            Self::Chunk(chunk) => chunk.live().map_err(too_old),
            Self::Rows(rows) => {
                let all = BooleanBuffer::new_set(rows.len());
                Ok(BooleanArray::new(all, None))
            }
        }
    }
}

/// The rows in parts that are read together.
pub(super) fn parts(rows: Vec<Row>) -> VecDeque<Input> {
    let mut parts = VecDeque::new();
    let (mut part, mut bytes) = (Vec::new(), 0_usize);
    for row in rows {
        bytes = bytes.saturating_add(row.body_bytes());
        if part.len() == ROWS_AT_ONCE || (bytes > BYTES_AT_ONCE && !part.is_empty()) {
            bytes = row.body_bytes();
            parts.push_back(Input::Rows(std::mem::take(&mut part)));
        }
        part.push(row);
    }
    if !part.is_empty() {
        parts.push_back(Input::Rows(part));
    }
    parts
}
