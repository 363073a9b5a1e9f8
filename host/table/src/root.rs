//! What one publication shows, and what all publications share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::change::Sequence;
use crate::key::KindKey;
use crate::log::Log;
use crate::shred::Budget;
use crate::snapshot::SnapshotTooOld;
use crate::sync::ArcSwap;
use crate::version::{Facts, Version};

/// All tables at one sequence. A commit publishes one, and another of the same
/// sequence when chunks were sealed or merged after it.
#[derive(Debug)]
pub(crate) struct Root {
    /// Ascending with each publication.
    pub(crate) number: u64,
    pub(crate) sequence: Sequence,
    /// Where each table stands in `content`.
    pub(crate) directory: Arc<BTreeMap<KindKey, usize>>,
    content: ArcSwap<Content>,
    pub(crate) shared: Arc<Shared>,
}

/// The tables of a publication, until it expires.
#[derive(Debug)]
pub(crate) enum Content {
    /// Everything can be read.
    Readable(Vec<Arc<Version>>),
    /// Only what the tables were is left.
    Expired(Vec<Arc<Facts>>),
}

impl Root {
    pub(crate) fn new(
        number: u64,
        sequence: Sequence,
        directory: Arc<BTreeMap<KindKey, usize>>,
        tables: Vec<Arc<Version>>,
        shared: Arc<Shared>,
    ) -> Root {
        Root {
            number,
            sequence,
            directory,
            content: ArcSwap::from_pointee(Content::Readable(tables)),
            shared,
        }
    }

    /// What a table was at this sequence; also of an expired publication.
    pub(crate) fn facts(&self, at: usize) -> Option<Arc<Facts>> {
        match &**self.content.load() {
            Content::Readable(versions) => {
                versions.get(at).map(|version| Arc::clone(&version.facts))
            }
            Content::Expired(facts) => facts.get(at).cloned(),
        }
    }

    /// Reads a table. What `read` found is given back only if the publication is
    /// readable still when `read` is done: index entries of an expired one may go
    /// at any moment, and a row missed for that must not pass for one that was
    /// not there.
    pub(crate) fn read<T>(
        &self,
        at: usize,
        read: impl FnOnce(&Version) -> T,
    ) -> Result<T, SnapshotTooOld> {
        let content = self.content.load();
        let Content::Readable(versions) = &**content else {
            return Err(self.too_old());
        };
        let found = versions.get(at).map(|version| read(version));
        match found {
            Some(found) if !self.is_expired() => Ok(found),
            _ => Err(self.too_old()),
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        matches!(&**self.content.load(), Content::Expired(_))
    }

    /// Lets go of all rows. From now on every read fails.
    pub(crate) fn expire(&self) {
        let facts = match &**self.content.load() {
            Content::Readable(versions) => versions
                .iter()
                .map(|version| Arc::clone(&version.facts))
                .collect(),
            Content::Expired(_) => return,
        };
        self.content.store(Arc::new(Content::Expired(facts)));
    }

    pub(crate) fn too_old(&self) -> SnapshotTooOld {
        SnapshotTooOld {
            sequence: self.sequence,
            oldest: Sequence(self.shared.oldest.load(Ordering::Acquire)),
        }
    }
}

/// What all publications of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Arc<Log>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) holders: Mutex<Holders>,
    /// Index entries that wait for a publication to be let go.
    pub(crate) garbage: AtomicUsize,
    /// Bytes of retired blocks that someone holds.
    pub(crate) pinned: Arc<AtomicUsize>,
    /// The sequence of the oldest snapshot that was left readable when one was
    /// last expired.
    pub(crate) oldest: AtomicU64,
    /// Snapshots that were expired.
    pub(crate) expired: AtomicU64,
}

/// Bytes that count as pinned from a block's retirement until it is freed.
#[derive(Debug)]
pub(crate) struct Pin {
    bytes: usize,
    pinned: Arc<AtomicUsize>,
}

impl Pin {
    pub(crate) fn new(bytes: usize, pinned: &Arc<AtomicUsize>) -> Pin {
        pinned.fetch_add(bytes, Ordering::Relaxed);
        Pin {
            bytes,
            pinned: Arc::clone(pinned),
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pinned.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Earlier publications that someone may hold, by number.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    roots: Vec<Weak<Root>>,
}

impl Holders {
    /// Notes a publication that a newer one has replaced.
    pub(crate) fn replaced(&mut self, root: &Arc<Root>) {
        self.roots.push(Arc::downgrade(root));
    }

    /// The earlier publications that are held and readable, the oldest first.
    /// Dropping what this gives may free a lot: not under a lock.
    pub(crate) fn alive(&mut self) -> Vec<Arc<Root>> {
        let mut alive = Vec::new();
        self.roots.retain(|weak| {
            let held = weak.upgrade().filter(|root| !root.is_expired());
            let any = held.is_some();
            alive.extend(held);
            any
        });
        alive
    }
}
