//! Hash indexes of a table, shared by all snapshots.
//!
//! # Contract
//!
//! An index is a superset: it finds every row that any living snapshot can see
//! under a key, and perhaps others. Whoever looks up checks each candidate
//! against the snapshot and then against the key itself.
//!
//! # Limits
//!
//! A shard's lock is held for one hash operation and a copy of constant size,
//! by readers and the writer alike.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::RwLock;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::json;
use crate::key::{Index, TableDef};
use crate::num::wide;
use crate::postings::{Position, Postings};
use crate::refer::RowRef;

/// Power of two.
const SHARDS: u64 = 16;

/// One index: hash of the key to candidates.
#[derive(Debug)]
pub(crate) struct HashIndex {
    shards: Vec<RwLock<HashMap<u64, Postings>>>,
}

impl HashIndex {
    fn new() -> HashIndex {
        HashIndex {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard(&self, hash: u64) -> Option<&RwLock<HashMap<u64, Postings>>> {
        let at = u32::try_from(hash % SHARDS).map_or(0, wide);
        self.shards.get(at)
    }

    pub(crate) fn get(&self, hash: u64) -> Option<Postings> {
        self.shard(hash)?.read().get(&hash).cloned()
    }

    pub(crate) fn insert(&self, hash: u64, position: Position) {
        let Some(shard) = self.shard(hash) else {
            return;
        };
        match shard.write().entry(hash) {
            Entry::Occupied(mut entry) => entry.get_mut().insert(position),
            Entry::Vacant(entry) => {
                entry.insert(Postings::One(position));
            }
        }
    }

    pub(crate) fn remove(&self, hash: u64, position: Position) {
        let Some(shard) = self.shard(hash) else {
            return;
        };
        let mut shard = shard.write();
        if let Entry::Occupied(mut entry) = shard.entry(hash)
            && entry.get_mut().remove(position)
        {
            entry.remove();
        }
    }

    /// Keys with candidates.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

/// The hash of a key in any index.
pub(crate) fn hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// The hash of `namespace/name`, without building the text.
fn hash_name(row: RowRef<'_>) -> u64 {
    let mut hasher = Xxh3::new();
    if let Some(namespace) = row.namespace() {
        hasher.update(namespace.as_bytes());
        hasher.update(b"/");
    }
    hasher.update(row.name().as_bytes());
    hasher.digest()
}

/// All entries of one row: number of the index and hash of the key.
pub(crate) type Entries = Box<[(u16, u64)]>;

/// The indexes of a table. Grows by making a longer one that shares the old ones.
#[derive(Clone, Debug)]
pub(crate) struct Indexes(Vec<(Index, Arc<HashIndex>)>);

impl Indexes {
    /// The indexes that a definition asks for; those of `old` are shared. The
    /// second value are the numbers of the new ones, which hold nothing yet.
    pub(crate) fn of(def: &TableDef, old: Option<&Indexes>) -> (Indexes, Vec<u16>) {
        let built_in = [Index::Uid, Index::Name, Index::Owner, Index::Namespace];
        let labels = def.label_keys.iter().cloned().map(Index::Label);
        let paths = def.path_indexes.iter().cloned().map(Index::Path);
        let mut all = old.map(|old| old.0.clone()).unwrap_or_default();
        let mut new = Vec::new();
        for index in built_in.into_iter().chain(labels).chain(paths) {
            let known = all.iter().any(|(known, _)| *known == index);
            if !known && let Ok(number) = u16::try_from(all.len()) {
                new.push(number);
                all.push((index, Arc::new(HashIndex::new())));
            }
        }
        (Indexes(all), new)
    }

    pub(crate) fn get(&self, index: &Index) -> Option<&Arc<HashIndex>> {
        let found = self.0.iter().find(|(known, _)| known == index);
        found.map(|(_, hashes)| hashes)
    }

    /// The row's entries in all indexes.
    pub(crate) fn entries(&self, row: RowRef<'_>) -> Entries {
        let mut entries = Vec::with_capacity(self.0.len());
        let mut scratch = Vec::new();
        let mut body = None;
        for (number, (index, _)) in (0u16..).zip(&self.0) {
            let key = match index {
                Index::Uid => Some(row.uid())
                    .filter(|uid| !uid.is_empty())
                    .map(|uid| hash(&uid)),
                Index::Name => Some(hash_name(row)),
                Index::Owner => row.owner().map(|owner| hash(&owner)),
                Index::Namespace => row.namespace().map(hash),
                Index::Label(label) => row.label(label).map(|value| hash(&value)),
                Index::Path(path) => {
                    if body.is_none() {
                        body = Some(row.body(&mut scratch).to_owned());
                    }
                    let body = body.as_deref().unwrap_or_default();
                    row.at(body, path)
                        .and_then(json::text)
                        .map(|value| hash(&value))
                }
            };
            entries.extend(key.map(|key| (number, key)));
        }
        entries.into()
    }

    pub(crate) fn insert(&self, entries: &Entries, position: Position) {
        for (number, hash) in entries {
            if let Some((_, index)) = self.0.get(usize::from(*number)) {
                index.insert(*hash, position);
            }
        }
    }

    pub(crate) fn remove(&self, entries: &Entries, position: Position) {
        for (number, hash) in entries {
            if let Some((_, index)) = self.0.get(usize::from(*number)) {
                index.remove(*hash, position);
            }
        }
    }

    /// Keys with candidates, over all indexes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(_, index)| index.len()).sum()
    }
}
