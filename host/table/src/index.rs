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

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::json;
use crate::key::{Index, TableDef};
use crate::num::wide;
use crate::path::Path;
use crate::postings::{Map, Position, Postings};
use crate::refer::RowRef;
use crate::sync::RwLock;

/// Power of two.
const SHARDS: u32 = 16;

/// One index: hash of the key to candidates.
#[derive(Debug)]
pub(crate) struct HashIndex {
    shards: Vec<RwLock<Map>>,
}

impl HashIndex {
    fn new() -> HashIndex {
        HashIndex {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard(&self, hash: u32) -> Option<&RwLock<Map>> {
        self.shards.get(wide(hash % SHARDS))
    }

    pub(crate) fn get(&self, hash: u32) -> Option<Postings> {
        self.shard(hash)?.read().get(hash)
    }

    pub(crate) fn insert(&self, hash: u32, position: Position) {
        if let Some(shard) = self.shard(hash) {
            shard.write().insert(hash, position);
        }
    }

    pub(crate) fn remove(&self, hash: u32, position: Position) {
        if let Some(shard) = self.shard(hash) {
            shard.write().remove(hash, position);
        }
    }

    /// Bytes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes()).sum()
    }

    /// Keys with candidates.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

/// The hash of a key in any index; never 0.
pub(crate) fn hash(key: &str) -> u32 {
    hash_bytes(key.as_bytes())
}

fn hash_bytes(key: &[u8]) -> u32 {
    // 32 bits are enough: whoever looks up compares keys anyway.
    u32::try_from(xxh3_64(key) >> 32).unwrap_or(u32::MAX).max(1)
}

/// The hash of `namespace/name`, without building the text on the heap.
fn hash_name(row: RowRef<'_>) -> u32 {
    let (namespace, name) = (row.namespace(), row.name());
    let Some(namespace) = namespace else {
        return hash(name);
    };
    let parts = [namespace.as_bytes(), b"/", name.as_bytes()];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // Names and namespaces of the API fit.
    let mut buffer = [0; 320];
    match buffer.get_mut(..length) {
        Some(key) => {
            let bytes = parts.iter().copied().flatten();
            key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            hash_bytes(key)
        }
        None => hash_bytes(&parts.concat()),
    }
}

/// All entries of one row: by number of the index the hash of the key, 0 for none.
pub(crate) type Entries = Arc<[u32]>;

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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: &Index) -> Option<&Arc<HashIndex>> {
        let found = self.0.iter().find(|(known, _)| known == index);
        found.map(|(_, hashes)| hashes)
    }

    /// The row's entries in all indexes. A record's are known, but for indexes
    /// that are younger than it.
    pub(crate) fn entries(&self, row: RowRef<'_>) -> Entries {
        let known: &[u32] = match row {
            RowRef::Record(record) if record.entries.len() == self.0.len() => {
                return Arc::clone(&record.entries);
            }
            RowRef::Record(record) => &record.entries,
            RowRef::Chunk(..) => &[],
        };
        let mut scratch = Vec::new();
        let mut body = None;
        let missing = (0u16..).zip(&self.0).skip(known.len());
        let missing = missing.map(|(number, (index, _))| {
            let key = match index {
                Index::Uid => Some(row.uid())
                    .filter(|uid| !uid.is_empty())
                    .map(|uid| hash(&uid)),
                Index::Name => Some(hash_name(row)),
                Index::Owner => row.owner().map(|owner| hash(&owner)),
                Index::Namespace => row.namespace().map(hash),
                Index::Label(label) => row.label(label).map(|value| hash(&value)),
                Index::Path(_)
                    if let RowRef::Chunk(chunk, at) = row
                        && let Some(keys) = chunk.path_keys(number) =>
                {
                    keys.get(at).copied()
                }
                Index::Path(path) => {
                    let body = body.get_or_insert_with(|| row.body(&mut scratch).to_owned());
                    let value = row.at(body, path).and_then(json::text);
                    value.map(|value| hash(&value))
                }
            };
            key.unwrap_or(0)
        });
        known.iter().copied().chain(missing).collect()
    }

    /// The number and path of each path index.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (u16, &Path)> {
        let numbered = (0u16..).zip(&self.0);
        numbered.filter_map(|(number, (index, _))| match index {
            Index::Path(path) => Some((number, path)),
            _ => None,
        })
    }

    /// Bytes of each index in memory, about.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = (&Index, usize)> {
        self.0.iter().map(|(index, hashes)| (index, hashes.bytes()))
    }

    pub(crate) fn insert(&self, entries: &Entries, position: Position) {
        for (hash, index) in self.of_entries(entries) {
            index.insert(hash, position);
        }
    }

    pub(crate) fn remove(&self, entries: &Entries, position: Position) {
        for (hash, index) in self.of_entries(entries) {
            index.remove(hash, position);
        }
    }

    fn of_entries(&self, entries: &Entries) -> impl Iterator<Item = (u32, &HashIndex)> {
        let pairs = entries.iter().copied().zip(&self.0);
        pairs.filter_map(|(hash, (_, index))| (hash != 0).then_some((hash, &**index)))
    }

    /// Keys with candidates, over all indexes.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.0.iter().map(|(_, index)| index.len()).sum()
    }
}
