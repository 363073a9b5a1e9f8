//! The memory that one statement may hold, within what all may hold together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use crate::running::Statement;

/// Bytes that the values of a batch take. Texts of many batches lie in the same buffers: counted
/// whole for each, a sorted table would seem to be as large as its square.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

/// The same of one column.
pub(crate) fn column_bytes(column: &ArrayRef) -> usize {
    match column.as_string_view_opt() {
        Some(texts) => {
            let views = texts.len().saturating_mul(size_of::<u128>());
            views.saturating_add(texts.total_buffer_bytes_used())
        }
        None => {
            let data = column.to_data();
            data.get_slice_memory_size()
                .unwrap_or_else(|_| column.get_array_memory_size())
        }
    }
}

/// One statement's pool within the pool of all.
#[derive(Debug)]
pub(crate) struct StatementPool {
    all: Arc<dyn MemoryPool>,
    limit: usize,
    statement: Arc<Statement>,
}

impl StatementPool {
    pub(crate) fn new(all: Arc<dyn MemoryPool>, limit: usize, statement: Arc<Statement>) -> Self {
        Self {
            all,
            limit,
            statement,
        }
    }
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement pool of {} bytes", self.limit)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.statement
            .working()
            .fetch_add(additional, Ordering::Relaxed);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.statement
            .working()
            .fetch_sub(shrink, Ordering::Relaxed);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // What gives no batches for long, such as a sort, may ask for memory meanwhile.
        if let Some(error) = self.statement.cancelled() {
            return Err(DataFusionError::External(Box::new(error)));
        }
        let used = self.statement.working();
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(additional)
                .filter(|used| *used <= self.limit)
        });
        if grown.is_err() {
            return Err(resources_datafusion_err!(
                "one statement may hold {} bytes",
                self.limit
            ));
        }
        self.all.try_grow(reservation, additional).map_err(|_| {
            used.fetch_sub(additional, Ordering::Relaxed);
            resources_datafusion_err!("all statements together hold too much already")
        })
    }

    fn reserved(&self) -> usize {
        self.statement.working().load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};

    #[test]
    fn parts_of_a_batch_take_as_much_as_the_batch() {
        let texts = (0..1000).map(|number| format!("a text of some length, number {number}"));
        let columns: [(&str, ArrayRef); 2] = [
            ("text", Arc::new(StringViewArray::from_iter_values(texts))),
            ("number", Arc::new(Int64Array::from_iter_values(0..1000))),
        ];
        let whole = RecordBatch::try_from_iter(columns).unwrap();
        let parts = (0..100).map(|part| bytes_of(&whole.slice(part * 10, 10)));
        let parts: usize = parts.sum();
        assert_eq!(parts, bytes_of(&whole));
        assert!((50_000..80_000).contains(&parts), "{parts}");
    }
}
