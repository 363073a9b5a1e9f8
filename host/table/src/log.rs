//! The change log: what each recent commit did, bounded in entries and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::change::Sequence;
use crate::row::Row;
use crate::snapshot::{RowChange, SnapshotTooOld};

/// What a change costs besides its rows.
const ENTRY_BYTES: usize = size_of::<RowChange>() + 64;

/// Commits copied under one hold of the lock.
const STEP: usize = 256;

#[derive(Debug)]
struct Commit {
    sequence: Sequence,
    changes: Vec<RowChange>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    commits: VecDeque<Arc<Commit>>,
    entries: usize,
    bytes: usize,
    /// Changes of commits up to this one are gone.
    floor: Sequence,
}

/// The log of a store.
#[derive(Debug)]
pub(crate) struct Log {
    inner: RwLock<Inner>,
    max_entries: usize,
    max_bytes: usize,
}

/// Entries, bytes and the oldest sequence that can be answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogStats {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) oldest: Sequence,
}

impl Log {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Log {
        Log {
            inner: RwLock::default(),
            max_entries,
            max_bytes,
        }
    }

    /// Notes a commit; drops the oldest ones over the bounds.
    pub(crate) fn push(&self, sequence: Sequence, changes: Vec<RowChange>) {
        let bytes = changes.iter().map(bytes).sum();
        let commit = Arc::new(Commit {
            sequence,
            changes,
            bytes,
        });
        let mut dropped = Vec::new();
        {
            let mut inner = self.inner.write();
            inner.entries += commit.changes.len();
            inner.bytes += commit.bytes;
            inner.commits.push_back(commit);
            while inner.entries > self.max_entries || inner.bytes > self.max_bytes {
                match inner.drop_oldest() {
                    Some(commit) => dropped.push(commit),
                    None => break,
                }
            }
        }
        // Rows are freed here, with the lock let go.
        drop(dropped);
    }

    /// Drops the oldest commit; says whether there was one.
    pub(crate) fn drop_oldest(&self) -> bool {
        let dropped = self.inner.write().drop_oldest();
        dropped.is_some()
    }

    /// The oldest commit that is in the log.
    pub(crate) fn oldest(&self) -> Option<Sequence> {
        let inner = self.inner.read();
        inner.commits.front().map(|commit| commit.sequence)
    }

    /// Bytes of row states and entries.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.read().bytes
    }

    /// The changes of the commits after `since` up to `until`.
    pub(crate) fn between(
        &self,
        since: Sequence,
        until: Sequence,
    ) -> Result<Vec<RowChange>, SnapshotTooOld> {
        let mut changes = Vec::new();
        let mut reached = since;
        loop {
            let step: Vec<Arc<Commit>> = {
                let inner = self.inner.read();
                if reached < inner.floor && reached < until {
                    return Err(SnapshotTooOld {
                        sequence: since,
                        oldest: inner.floor,
                    });
                }
                let from = inner
                    .commits
                    .partition_point(|commit| commit.sequence <= reached);
                let wanted = inner.commits.range(from..).take(STEP);
                wanted
                    .take_while(|commit| commit.sequence <= until)
                    .cloned()
                    .collect()
            };
            let Some(last) = step.last() else {
                return Ok(changes);
            };
            reached = last.sequence;
            for commit in &step {
                changes.extend_from_slice(&commit.changes);
            }
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        let inner = self.inner.read();
        LogStats {
            entries: inner.entries,
            bytes: inner.bytes,
            oldest: inner.floor,
        }
    }
}

impl Inner {
    fn drop_oldest(&mut self) -> Option<Arc<Commit>> {
        let commit = self.commits.pop_front()?;
        self.entries -= commit.changes.len();
        self.bytes -= commit.bytes;
        self.floor = commit.sequence;
        Some(commit)
    }
}

fn bytes(change: &RowChange) -> usize {
    let rows = [&change.old, &change.new];
    let rows: usize = rows.into_iter().flatten().map(Row::bytes).sum();
    rows + ENTRY_BYTES
}
