//! Reads an answer as Arrow record batches.

use crate::HookError;
use crate::cursor::Cursor;
use arrow_array::RecordBatch;

/// Bytes asked for at once: what a call costs is then little beside its rows.
const CHUNK: u32 = 256 * 1024;

/// Record batches of one answer, none of them empty; only a chunk of them is in memory.
pub struct Batches {
    cursor: Cursor,
    chunk: std::vec::IntoIter<RecordBatch>,
}

impl Batches {
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            chunk: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, HookError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.chunk.next() {
                return Some(Ok(batch));
            }
            match self.cursor.batches(CHUNK).transpose()? {
                Ok(chunk) => self.chunk = chunk.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
