//! Makes one dense chunk of several that have lost rows.
//!
//! # Why
//!
//! Dead rows cost memory and scans. A chunk is rewritten when a third of it is
//! dead, and chunks that are at most half full are put together, so that the
//! work is paid by the rows that died: a constant number of copies each.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::block::{Block, Rows, Slot};
use crate::body::Codec;
use crate::chunk::{Chunk, ChunkBuilder};
use crate::config::StoreConfig;
use crate::delta::Delta;
use crate::follow;
use crate::garbage::Garbage;
use crate::index::{Entries, Indexes};
use crate::postings::Position;
use crate::shred::Carried;
use crate::slots::Slots;
use crate::work::Work;

/// What is to be done with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Dense enough.
    Nothing,
    /// At most half full: worth putting together with another.
    Company,
    /// More than a third dead, or compressed with a dictionary that is to go:
    /// worth rewriting by itself.
    Rewrite,
    /// No row is left.
    Removal,
}

fn need(slot: &Slot, slots: &Slots, config: &StoreConfig) -> Need {
    let outdated = |codec| slots.dictionaries.is_outdated(codec);
    if slot.live_rows == 0 {
        Need::Removal
    } else if slot.is_sparse() || slot.block.codec().is_some_and(outdated) {
        Need::Rewrite
    } else if slot.live_rows * 2 <= config.chunk_rows && live_bytes(slot) * 2 <= config.chunk_bytes
    {
        Need::Company
    } else {
        Need::Nothing
    }
}

/// About how many bytes of bodies are live.
fn live_bytes(slot: &Slot) -> usize {
    slot.raw_bytes / slot.contents().max(1) * slot.live_rows
}

/// Chunks to make one of, as they were when the job was made.
#[derive(Debug)]
pub(crate) struct Merging {
    group: Vec<Arc<Slot>>,
    codec: Arc<Codec>,
    indexes: Arc<Indexes>,
}

/// The rows of the group in one chunk, in order.
#[derive(Debug)]
pub(crate) struct Merged {
    group: Vec<Arc<Slot>>,
    chunk: Chunk,
    carried: Carried,
    /// For each row the slot and the place it came from, and its index entries.
    moved: Vec<(usize, u16, Entries)>,
}

impl Merging {
    /// What is worth it; none if nothing is.
    pub(crate) fn next(slots: &mut Slots, work: &mut Work) -> Option<Merging> {
        let group = group(slots, work);
        (!group.is_empty()).then(|| Merging {
            group,
            codec: Arc::clone(slots.dictionaries.codec()),
            indexes: Arc::clone(&slots.version.indexes),
        })
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = u32> + '_ {
        self.group.iter().map(|slot| slot.id)
    }

    pub(crate) fn run(self) -> Merged {
        let rows = self.group.iter().map(|slot| slot.live_rows).sum();
        let mut builder = ChunkBuilder::new(self.codec, rows, &self.indexes);
        let mut moved = Vec::with_capacity(rows);
        for (number, slot) in self.group.iter().enumerate() {
            for (at, row) in slot.rows() {
                if let Ok(at) = u16::try_from(at) {
                    builder.push(row);
                    moved.push((number, at, self.indexes.entries(row)));
                }
            }
        }
        let from = moved
            .iter()
            .map(|(number, at, _)| (*number, usize::from(*at)));
        let from: Vec<(usize, usize)> = from.collect();
        Merged {
            chunk: builder.finish(),
            carried: Carried::merged(&self.group, &from),
            group: self.group,
            moved,
        }
    }
}

impl Merged {
    pub(crate) fn blocks(&self) -> impl Iterator<Item = u32> + '_ {
        self.group.iter().map(|slot| slot.id)
    }
}

/// Shows the merged chunk in the place of the group. Rows that died meanwhile
/// are dead in it.
pub(crate) fn put_in(merged: Merged, slots: &mut Slots, work: &mut Work) {
    let Merged {
        group,
        chunk,
        carried,
        moved,
    } = merged;
    let now: Vec<Option<Arc<Slot>>> = group
        .iter()
        .map(|slot| slots.version.slot(slot.id).map(Arc::clone))
        .collect();
    let mut live = Bitmap::default();
    for (number, at, _) in &moved {
        let slot = now.get(*number).and_then(Option::as_ref);
        live.push(slot.is_some_and(|slot| slot.live.get(usize::from(*at))));
    }
    let (len, bytes, raw_bytes) = (chunk.len, chunk.bytes(), chunk.bodies.raw_bytes());
    let block = Block::new(Rows::Chunk(Box::new(chunk)), work.shreds());
    carried.put_in(&block);
    follow::merged(&group, &block, slots, work);
    let since = group.iter().map(|slot| slot.since).min();
    let id = slots.add(Slot {
        id: 0,
        len,
        live_rows: live.ones().count(),
        live: live.clone(),
        born: work.number,
        since: since.unwrap_or_default(),
        bytes,
        raw_bytes,
        block: Arc::clone(&block),
    });
    let indexes = Arc::clone(&slots.version.indexes);
    for (row, (number, at, entries)) in (0u16..=u16::MAX).zip(moved) {
        let (Some(slot), true) = (group.get(number), live.get(usize::from(row))) else {
            // It died meanwhile: its old entries are garbage already.
            continue;
        };
        // There may be an index that is younger than the job.
        let entries = match block.row(usize::from(row)) {
            Some(moved) if entries.len() < indexes.len() => indexes.entries(moved),
            _ => entries,
        };
        // The new position is there before the old one goes.
        indexes.insert(&entries, Position { block: id, row });
        work.garbage.add(Garbage {
            indexes: Arc::clone(&indexes),
            entries,
            position: Position {
                block: slot.id,
                row: at,
            },
            born: slot.born,
            died: work.number,
        });
    }
    for slot in group {
        slots.remove(slot.id, work);
    }
    slots.sparse.insert(id);
}

/// The next chunks to make one of; drops empty ones and forgets dense ones.
fn group(slots: &mut Slots, work: &mut Work) -> Vec<Arc<Slot>> {
    let mut group: Vec<Arc<Slot>> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut alone = None;
    for id in slots.sparse.clone() {
        if slots.busy.contains(&id) {
            continue;
        }
        let Some(slot) = slots.version.slot(id).map(Arc::clone) else {
            slots.sparse.remove(&id);
            continue;
        };
        match need(&slot, slots, &work.config) {
            Need::Nothing => {
                slots.sparse.remove(&id);
                continue;
            }
            Need::Removal => {
                let nowhere = Block::new(Rows::Delta(Delta::default()), work.shreds());
                follow::merged(&[slot], &nowhere, slots, work);
                slots.remove(id, work);
                continue;
            }
            Need::Company => {}
            Need::Rewrite => alone = Some(Arc::clone(&slot)),
        }
        let fits = rows + slot.live_rows <= work.config.chunk_rows
            && bytes + live_bytes(&slot) <= work.config.chunk_bytes;
        if group.is_empty() || fits {
            rows += slot.live_rows;
            bytes += live_bytes(&slot);
            group.push(slot);
        }
    }
    if group.len() < 2 {
        group = alone.into_iter().collect();
    }
    group
}
