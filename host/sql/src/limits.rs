//! What one statement, and all of them together, may use.

use std::time::Duration;

/// Bounds of the engine. Exceeding one fails the statement with
/// [`crate::SqlError::Limit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlLimits {
    /// Bytes that one statement may hold for joins, sorts and groups.
    pub statement_bytes: usize,
    /// Bytes that all statements may hold together.
    pub total_bytes: usize,
    /// Rows of one answer.
    pub rows: usize,
    /// Bytes of one answer.
    pub answer_bytes: usize,
    /// How long one statement may run.
    pub time: Duration,
    /// How many planned statements are kept.
    pub cached_plans: usize,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            statement_bytes: 256 << 20,
            total_bytes: 1 << 30,
            rows: 100_000,
            answer_bytes: 64 << 20,
            time: Duration::from_secs(30),
            cached_plans: 1024,
        }
    }
}
