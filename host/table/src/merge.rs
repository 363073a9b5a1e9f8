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
use crate::chunk::ChunkBuilder;
use crate::config::StoreConfig;
use crate::delta::Delta;
use crate::follow;
use crate::garbage::Garbage;
use crate::postings::Position;
use crate::slots::{Slots, contents};
use crate::work::Work;

/// What is to be done with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Dense enough.
    Nothing,
    /// At most half full: worth putting together with another.
    Company,
    /// More than a third dead: worth rewriting by itself.
    Rewrite,
    /// No row is left.
    Removal,
}

fn need(slot: &Slot, config: &StoreConfig) -> Need {
    let contents = contents(slot);
    if slot.live_rows == 0 {
        Need::Removal
    } else if (contents - slot.live_rows) * 3 > contents {
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
    slot.raw_bytes / contents(slot).max(1) * slot.live_rows
}

/// Merges what is worth it. Says whether anything changed.
pub(crate) fn merge(slots: &mut Slots, work: &mut Work) -> bool {
    let mut any = false;
    loop {
        let (group, removed) = group(slots, work);
        any |= removed;
        if group.is_empty() {
            return any;
        }
        rewrite(slots, &group, work);
        any = true;
    }
}

/// The next chunks to make one of; drops empty ones and forgets dense ones.
fn group(slots: &mut Slots, work: &mut Work) -> (Vec<Arc<Slot>>, bool) {
    let mut group: Vec<Arc<Slot>> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut alone = None;
    let mut removed = false;
    for id in slots.sparse.clone() {
        let Some(slot) = slots.version.slot(id).map(Arc::clone) else {
            slots.sparse.remove(&id);
            continue;
        };
        match need(&slot, &work.config) {
            Need::Nothing => {
                slots.sparse.remove(&id);
                continue;
            }
            Need::Removal => {
                let nowhere = Block::new(Rows::Delta(Delta::default()), work.shreds());
                follow::merged(&[slot], &nowhere, slots, work);
                slots.remove(id, work);
                removed = true;
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
    (group, removed)
}

fn rewrite(slots: &mut Slots, group: &[Arc<Slot>], work: &mut Work) {
    let rows = group.iter().map(|slot| slot.live_rows).sum();
    let mut builder = ChunkBuilder::new(Arc::clone(&slots.codec), rows, &slots.version.indexes);
    let mut live = Bitmap::default();
    let mut moved = Vec::new();
    for slot in group {
        for (at, row) in slot.rows() {
            builder.push(row);
            live.push(true);
            let Ok(old) = u16::try_from(at) else {
                continue;
            };
            let position = Position {
                block: slot.id,
                row: old,
            };
            moved.push((position, slot.born, slots.version.indexes.entries(row)));
        }
    }
    let chunk = builder.finish();
    let (len, bytes, raw_bytes) = (chunk.len, chunk.bytes(), chunk.bodies.raw_bytes());
    let block = Block::new(Rows::Chunk(Box::new(chunk)), work.shreds());
    follow::merged(group, &block, slots, work);
    let id = slots.add(Slot {
        id: 0,
        len,
        live,
        live_rows: len,
        born: work.number,
        since: group
            .iter()
            .map(|slot| slot.since)
            .min()
            .unwrap_or_default(),
        bytes,
        raw_bytes,
        block,
    });
    // The new positions are there before the old ones go.
    for (row, (position, born, entries)) in (0u16..=u16::MAX).zip(moved) {
        slots
            .version
            .indexes
            .insert(&entries, Position { block: id, row });
        work.garbage.add(Garbage {
            indexes: Arc::clone(&slots.version.indexes),
            entries,
            position,
            born,
            died: work.number,
        });
    }
    for slot in group {
        slots.remove(slot.id, work);
    }
    slots.sparse.insert(id);
}
