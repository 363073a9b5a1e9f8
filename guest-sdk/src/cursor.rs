//! A position in one answer, moved by reading rows in either form.

use crate::decode::read;
use crate::row::Row;
use crate::{HookError, Value};
use serde::de::DeserializeOwned;

/// Where answers come from: the host, or a test.
pub(crate) trait ReadRows {
    /// Reads the answer of `query` from its first row.
    fn open(&self, query: &str) -> Result<Box<dyn ReadAnswer>, HookError>;
}

/// One answer, read from front to back.
pub(crate) trait ReadAnswer {
    /// Rows of the whole answer.
    fn row_count(&self) -> u64;

    /// The next rows, at most `max`, as one JSON array of objects; none at the end.
    fn json(&mut self, max_rows: u32) -> Result<Option<String>, HookError>;

    /// The next rows as one complete Arrow IPC stream of at most `max_bytes`, or of one row that
    /// is larger; none at the end.
    #[cfg(feature = "arrow")]
    fn ipc(&mut self, max_bytes: u32) -> Result<Option<Vec<u8>>, HookError>;
}

/// A position in the answer of one query, at its first row when it is
/// [opened](crate::Situation::open). Each read starts where the last one ended,
/// in whatever form either gives the rows.
pub struct Cursor {
    query: String,
    /// None after the end or an error.
    answer: Option<Box<dyn ReadAnswer>>,
    count: u64,
    /// Rows given so far, for messages.
    given: usize,
}

impl Cursor {
    pub(crate) fn new(query: &str, answer: Box<dyn ReadAnswer>) -> Self {
        Self {
            query: query.to_owned(),
            count: answer.row_count(),
            answer: Some(answer),
            given: 0,
        }
    }

    /// Rows of the whole answer, read or not.
    pub fn row_count(&self) -> u64 {
        self.count
    }

    /// The next rows, at most `max_rows` (and no more than the host hands over
    /// at once), each read as `T`; none at the end.
    pub fn rows<T: DeserializeOwned>(
        &mut self,
        max_rows: u32,
    ) -> Result<Option<Vec<T>>, HookError> {
        let Some(page) = self.page(max_rows)? else {
            return Ok(None);
        };
        page.into_iter()
            .map(|row| self.typed(row))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The next rows as JSON.
    pub(crate) fn page(&mut self, max_rows: u32) -> Result<Option<Vec<Value>>, HookError> {
        let Some(text) = self.read(|answer| answer.json(max_rows))? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            self.answer = None;
            HookError::Internal(format!("rows of query `{}`: {error}", self.query))
        })
    }

    /// One row of a page, as `T`; an error ends the cursor.
    pub(crate) fn typed<T: DeserializeOwned>(&mut self, row: Value) -> Result<T, HookError> {
        let field = format!("{}[{}]", self.query, self.given);
        self.given = self.given.saturating_add(1);
        // The CR's author cannot mend this: the query and the row's type disagree.
        read(&field, Row(row)).map_err(|misfit| {
            self.answer = None;
            HookError::Internal(format!("row {}: {}", misfit.field, misfit.message))
        })
    }

    fn read<R>(
        &mut self,
        read: impl FnOnce(&mut dyn ReadAnswer) -> Result<Option<R>, HookError>,
    ) -> Result<Option<R>, HookError> {
        let Some(answer) = self.answer.as_deref_mut() else {
            return Ok(None);
        };
        let next = read(answer);
        if !matches!(next, Ok(Some(_))) {
            self.answer = None;
        }
        next
    }
}

#[cfg(feature = "arrow")]
mod batches {
    use super::Cursor;
    use crate::HookError;
    use crate::ipc;
    use arrow_array::RecordBatch;

    impl Cursor {
        /// The next rows as record batches, together at most `max_bytes` long as
        /// an Arrow IPC stream (or one row that is larger); none at the end. Needs
        /// the feature `arrow`.
        pub fn batches(&mut self, max_bytes: u32) -> Result<Option<Vec<RecordBatch>>, HookError> {
            let Some(stream) = self.read(|answer| answer.ipc(max_bytes))? else {
                return Ok(None);
            };
            let batches = ipc::read(&stream).map_err(|error| {
                self.answer = None;
                HookError::Internal(format!("rows of query `{}`: {error}", self.query))
            })?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            self.given = self.given.saturating_add(rows);
            Ok(Some(batches))
        }
    }
}
