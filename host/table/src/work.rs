//! What one commit gathers while it is applied.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::block::Block;
use crate::body::Codec;
use crate::change::Sequence;
use crate::config::StoreConfig;
use crate::garbage::Collector;
use crate::log::Log;
use crate::root::Pin;
use crate::shred::{Budget, Shreds};
use crate::snapshot::RowChange;

/// The state of a commit in the making, and the writer's tools.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) config: StoreConfig,
    pub(crate) budget: Arc<Budget>,
    /// What tables without a dictionary of their own compress with.
    pub(crate) built_in: Arc<Codec>,
    /// The number of the next table.
    pub(crate) next_table: u64,
    /// The sequence of the commit.
    pub(crate) sequence: Sequence,
    /// The number of the publication that will show the work.
    pub(crate) number: u64,
    pub(crate) log: Arc<Log>,
    /// What goes to the log.
    pub(crate) changes: Vec<RowChange>,
    /// Index entries that the publication makes superfluous.
    pub(crate) garbage: Collector,
    /// Bytes of retired blocks that someone holds.
    pub(crate) pinned: Arc<AtomicUsize>,
    /// Bytes of these that letting everything go did not free.
    pub(crate) stuck: usize,
    /// Blocks that the publication does not show any more.
    pub(crate) retired: Vec<Arc<Block>>,
}

impl Work {
    pub(crate) fn shreds(&self) -> Shreds {
        Shreds::new(Arc::clone(&self.budget))
    }

    /// The next publication does not show this block: whoever holds it pins so
    /// many bytes.
    pub(crate) fn retire(&mut self, bytes: usize, block: &Arc<Block>) {
        block.pin.get_or_init(|| Pin::new(bytes, &self.pinned));
        self.retired.push(Arc::clone(block));
    }
}
