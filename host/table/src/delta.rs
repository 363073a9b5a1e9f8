//! The open end of a table: rows in the order in which they came.
//!
//! # Contract
//!
//! Only the writer appends; a row, once there, never changes. Readers look only
//! below the length that their snapshot was published with, so that they and the
//! writer never meet.

use std::sync::{Arc, OnceLock};

use crate::record::Record;

type Cell = OnceLock<Arc<Record>>;

/// Rows of the first segment; each further one doubles.
const FIRST: usize = 32;
/// Enough for more rows than a chunk may have.
const SEGMENTS: usize = 12;

/// Append-only rows, in segments that are allocated as they are needed.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    segments: Box<[OnceLock<Box<[Cell]>>; SEGMENTS]>,
}

impl Delta {
    pub(crate) fn get(&self, row: usize) -> Option<&Arc<Record>> {
        let (segment, cell) = place(row)?;
        self.segments.get(segment)?.get()?.get(cell)?.get()
    }

    /// Sets a row that was not set before.
    pub(crate) fn set(&self, row: usize, record: Arc<Record>) {
        let Some((segment, cell)) = place(row) else {
            return;
        };
        if let Some(cells) = self.segments.get(segment) {
            let cells = cells.get_or_init(|| (0..FIRST << segment).map(|_| Cell::new()).collect());
            if let Some(cell) = cells.get(cell) {
                // A cell is set once; a second time would be a fault of the writer.
                debug_assert!(cell.get().is_none());
                cell.get_or_init(|| record);
            }
        }
    }
}

/// Segment and cell of a row.
fn place(row: usize) -> Option<(usize, usize)> {
    let segment = usize::try_from((row / FIRST + 1).ilog2()).ok()?;
    let before = FIRST.checked_mul((1 << segment) - 1)?;
    Some((segment, row - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_places_of_their_own() {
        let mut expected = (0, 0);
        for row in 0..70_000 {
            assert_eq!(place(row), Some(expected), "row {row}");
            assert!(expected.0 < SEGMENTS);
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }
}
