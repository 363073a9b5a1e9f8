//! Publishing: one pointer is swapped, and what nobody may read any more is freed.
//!
//! # Contract
//!
//! A publication that is held can be read until it is let go or expires. It
//! expires when the bytes that only earlier publications and the log keep are
//! over their bound and nothing older than it is left to let go: the oldest
//! holder goes first, be it a publication or the oldest commit of the log. The
//! newest publication never expires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::change::Sequence;
use crate::key::KindKey;
use crate::root::{Root, Shared};
use crate::sync::ArcSwap;
use crate::version::Version;
use crate::work::Work;

/// The writer's end of the publications.
#[derive(Debug)]
pub(crate) struct Publisher {
    current: Arc<ArcSwap<Root>>,
    pub(crate) shared: Arc<Shared>,
}

impl Publisher {
    pub(crate) fn new(current: Arc<ArcSwap<Root>>, shared: Arc<Shared>) -> Publisher {
        Publisher { current, shared }
    }

    /// Shows these tables to every reader from now on.
    pub(crate) fn publish(
        &self,
        sequence: Sequence,
        directory: &Arc<BTreeMap<KindKey, usize>>,
        tables: Vec<Arc<Version>>,
        work: &mut Work,
    ) {
        let root = Arc::new(Root::new(
            work.number,
            sequence,
            Arc::clone(directory),
            tables,
            Arc::clone(&self.shared),
        ));
        work.number += 1;
        let old = self.current.swap(root);
        self.shared.holders.lock().replaced(&old);
        // Dropped with no lock held: it may free a lot.
        drop(old);
        work.retired.clear();
        let mut alive = self.shared.holders.lock().alive();
        self.expire(&mut alive, sequence, work);
        let numbers: Vec<u64> = alive.iter().map(|root| root.number).collect();
        drop(alive);
        work.garbage.collect(&numbers);
        let left = work.garbage.len();
        self.shared.garbage.store(left, Ordering::Relaxed);
    }

    /// Lets the oldest holders go until the pinned bytes are within their bounds.
    /// What that does not free is held by rows or a read under way: it is not tried for again.
    fn expire(&self, alive: &mut Vec<Arc<Root>>, newest: Sequence, work: &mut Work) {
        let shared = &self.shared;
        let all = shared.pinned.load(Ordering::Relaxed);
        work.stuck = work.stuck.min(all);
        let stuck = work.stuck;
        let pinned = || shared.pinned.load(Ordering::Relaxed).saturating_sub(stuck);
        while pinned() + shared.log.bytes() > work.config.pinned_bytes {
            let commit = shared.log.oldest();
            match alive.first().map(|root| root.sequence) {
                // What a commit replaced was last seen at the sequence before it.
                Some(oldest) if commit.is_none_or(|commit| oldest < commit) => {
                    expire_all(alive, oldest, newest, shared);
                }
                _ if commit.is_some() => {
                    shared.log.drop_oldest();
                }
                _ => {
                    work.stuck = shared.pinned.load(Ordering::Relaxed);
                    return;
                }
            }
        }
        // With no earlier publication held, what is pinned is pinned by the log.
        while alive.is_empty() && pinned() > work.config.log_bytes {
            if !shared.log.drop_oldest() {
                work.stuck = shared.pinned.load(Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Expires the publications of one sequence, which are the first.
fn expire_all(alive: &mut Vec<Arc<Root>>, oldest: Sequence, newest: Sequence, shared: &Shared) {
    let count = alive.partition_point(|root| root.sequence <= oldest);
    let next = alive.get(count).map_or(newest, |root| root.sequence);
    shared.oldest.store(next.0, Ordering::Release);
    for root in alive.drain(..count) {
        root.expire();
        shared.expired.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            sequence = root.sequence.0,
            oldest = next.0,
            "a snapshot was held for too long and has expired: old rows took too much memory"
        );
    }
}
