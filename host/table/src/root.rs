//! What one publication shows, and what all publications share.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::block::Block;
use crate::change::Sequence;
use crate::key::KindKey;
use crate::log::Log;
use crate::shred::Budget;
use crate::version::Version;

/// All tables at one sequence. A commit publishes one, and another of the same
/// sequence when chunks were sealed or merged after it.
#[derive(Debug)]
pub(crate) struct Root {
    /// Ascending with each publication.
    pub(crate) number: u64,
    pub(crate) sequence: Sequence,
    /// Where each table stands in `tables`.
    pub(crate) directory: Arc<BTreeMap<KindKey, usize>>,
    pub(crate) tables: Vec<Arc<Version>>,
    pub(crate) shared: Arc<Shared>,
}

/// What all publications of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) budget: Arc<Budget>,
    pub(crate) holders: Mutex<Holders>,
    /// Index entries that wait for a publication to be let go.
    pub(crate) garbage: AtomicUsize,
}

/// Who keeps what alive that is not in the newest publication.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// Earlier publications, by number, that were alive when last looked at.
    roots: Vec<(u64, Weak<Root>)>,
    /// Blocks that are in no newer publication, and their bytes.
    retired: Vec<(usize, Weak<Block>)>,
    /// When `retired` is swept next.
    sweep_at: usize,
}

impl Holders {
    /// Notes a publication that a newer one has replaced.
    pub(crate) fn replaced(&mut self, root: &Arc<Root>) {
        self.roots.push((root.number, Arc::downgrade(root)));
    }

    pub(crate) fn retired(&mut self, bytes: usize, block: &Arc<Block>) {
        if self.retired.len() >= self.sweep_at {
            self.retired.retain(|(_, block)| block.strong_count() > 0);
            self.sweep_at = (self.retired.len() * 2).max(64);
        }
        self.retired.push((bytes, Arc::downgrade(block)));
    }

    /// The numbers of earlier publications that are still held, ascending.
    pub(crate) fn alive(&mut self) -> Vec<u64> {
        self.roots.retain(|(_, root)| root.strong_count() > 0);
        self.roots.iter().map(|(number, _)| *number).collect()
    }

    pub(crate) fn pinned_bytes(&self) -> usize {
        let alive = self
            .retired
            .iter()
            .filter(|(_, block)| block.strong_count() > 0);
        alive.map(|(bytes, _)| bytes).sum()
    }
}
