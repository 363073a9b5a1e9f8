//! The memory that one statement may hold, within what all may hold together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};

use crate::running::Statement;

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
