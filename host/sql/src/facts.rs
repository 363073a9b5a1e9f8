//! What the host says about itself, for system tables.

use std::sync::Arc;

use kybern_table::KindKey;

use crate::EngineFacts;

/// Tells what system tables show. Asked anew by each statement.
pub trait HostFacts: Send + Sync {
    /// Each table that is or was to be filled.
    fn watches(&self) -> Vec<WatchFact>;

    /// What holds memory, piece by piece; together the accounts of the memory budget.
    fn memory(&self) -> Vec<MemoryFact>;

    /// The engine that runs passes; else why there is none, and who has one.
    fn engine(&self) -> Result<Arc<dyn EngineFacts>, String>;
}

/// How a table is kept up to date.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchFact {
    /// The table.
    pub table: KindKey,
    /// The part of the kind that it holds, for people.
    pub scope: String,
    /// `listing`, `watching`, `waiting`, `failed`, `refused` or `listed`.
    pub state: &'static str,
    /// Whether changes arrive by themselves.
    pub live: bool,
    /// Seconds since the API server last said anything about it.
    pub silence_seconds: Option<f64>,
    /// Complete lists since the watch was started.
    pub lists: u64,
    /// Connections lost or refused since then.
    pub interruptions: u64,
    /// Why it was last interrupted, or refused.
    pub reason: Option<String>,
    /// Changes that arrived since then.
    pub changes: u64,
    /// resourceVersion of the last complete list.
    pub resource_version: Option<u64>,
}

/// One piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFact {
    /// The account of the budget.
    pub account: &'static str,
    /// What it is: `body`, `column`, `index`, `dictionary`, `log`, `pinned` ...
    pub part: &'static str,
    /// The table, for what is of one.
    pub table: Option<KindKey>,
    /// Which index, of an index.
    pub index: Option<String>,
    /// Bytes.
    pub bytes: u64,
    /// Live rows of a table, changes of the log, statements, calls, plans.
    pub rows: Option<u64>,
    /// Of the bytes, about how many are of dead rows.
    pub dead_bytes: Option<u64>,
}
