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
            self.trim(&mut inner, &mut dropped);
        }
        // Rows are freed here, with the lock let go.
        drop(dropped);
    }

    /// Moves what is over the bounds to `dropped`.
    fn trim(&self, inner: &mut Inner, dropped: &mut Vec<Arc<Commit>>) {
        while inner.entries > self.max_entries || inner.bytes > self.max_bytes {
            match inner.drop_oldest() {
                Some(commit) => dropped.push(commit),
                None => break,
            }
        }
    }

    /// Drops the oldest commit; says whether there was one.
    pub(crate) fn drop_oldest(&self) -> bool {
        let dropped = self.inner.write().drop_oldest();
        dropped.is_some()
    }

    /// Gives every row state of the commits from `since` on to `new`, which may
    /// know a better place for it: one that keeps less alive. Readers wait for
    /// the exchange of pointers only.
    pub(crate) fn follow(&self, since: Sequence, mut new: impl FnMut(&Row) -> Option<Row>) {
        let (from, commits): (usize, Vec<Arc<Commit>>) = {
            let inner = self.inner.read();
            let from = inner
                .commits
                .partition_point(|commit| commit.sequence < since);
            (from, inner.commits.range(from..).cloned().collect())
        };
        let moved = commits.iter().zip(from..).filter_map(|(commit, at)| {
            let mut changes: Option<Vec<RowChange>> = None;
            for (number, change) in commit.changes.iter().enumerate() {
                let old = change.old.as_ref().and_then(&mut new);
                let next = change.new.as_ref().and_then(&mut new);
                if old.is_none() && next.is_none() {
                    continue;
                }
                let changes = changes.get_or_insert_with(|| commit.changes.clone());
                if let Some(change) = changes.get_mut(number) {
                    change.old = old.or_else(|| change.old.take());
                    change.new = next.or_else(|| change.new.take());
                }
            }
            let changes = changes?;
            let bytes = changes.iter().map(bytes).sum();
            let sequence = commit.sequence;
            Some((
                at,
                Arc::new(Commit {
                    sequence,
                    changes,
                    bytes,
                }),
            ))
        });
        let moved: Vec<(usize, Arc<Commit>)> = moved.collect();
        let mut replaced = Vec::with_capacity(moved.len());
        {
            // Only the writer changes the log, so the places are the same still.
            let mut inner = self.inner.write();
            for (at, commit) in moved {
                let bytes = commit.bytes;
                if let Some(place) = inner.commits.get_mut(at) {
                    let old = std::mem::replace(place, commit);
                    inner.bytes = inner.bytes - old.bytes + bytes;
                    replaced.push(old);
                }
            }
            // A row's new place may be dearer than its old one.
            self.trim(&mut inner, &mut replaced);
        }
        // Rows are freed here, with the lock let go.
        drop(replaced);
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
