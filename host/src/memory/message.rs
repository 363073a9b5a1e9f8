//! The last words, and where they go.

use super::meter::Reading;
use kybern_budget::mebibytes;
use kybern_table::Stats;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Tables that are named: those that matter, in a message of one line.
const TABLES: usize = 5;
/// The kubelet keeps this much of a termination log.
const KEPT_BYTES: usize = 4096;

/// Says how much is used of how much, by what, and what to do.
pub(crate) fn exhausted(reading: Reading, stats: &Stats) -> String {
    let limit = reading.limit.unwrap_or(reading.used);
    let mut text = format!(
        "out of memory: {} of {} are used, also after the allocator gave back what was free. {}",
        mebibytes(reading.used),
        mebibytes(limit),
        largest(stats)
    );
    text.push_str(
        " Raise resources.limits.memory (or --memory-limit), or watch less: one namespace with \
         --namespaces, or fewer kinds in the grants of the registrations. Nothing is lost: all \
         state is in the cluster, and the next leader goes on.",
    );
    text
}

/// The tables that hold most.
pub(crate) fn largest(stats: &Stats) -> String {
    let mut tables: Vec<_> = stats.tables.iter().filter(|t| t.rows > 0).collect();
    tables.sort_by_key(|t| std::cmp::Reverse(t.bytes));
    if tables.is_empty() {
        return "No table holds a row yet.".to_owned();
    }
    let all: usize = tables.iter().map(|t| t.bytes).sum();
    let mut text = format!("Tables hold {}:", mebibytes(bytes(all)));
    for (at, table) in tables.iter().take(TABLES).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let size = mebibytes(bytes(table.bytes));
        // Writing to a String does not fail.
        let _ = write!(text, "{comma} {} {} rows {size}", table.table, table.rows);
    }
    let more = tables.len().saturating_sub(TABLES);
    if more > 0 {
        let _ = write!(text, ", {more} more");
    }
    text.push('.');
    text
}

/// Writes to the container's termination log, which becomes `lastState.terminated.message` of the
/// Pod. The file is never made: outside of a Pod there is none.
pub(crate) fn to_termination_log(path: &Path, text: &str) -> std::io::Result<()> {
    let mut end = text.len().min(KEPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)?;
    file.write_all(text.get(..end).unwrap_or_default().as_bytes())
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
