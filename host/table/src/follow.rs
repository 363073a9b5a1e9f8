//! Takes the log's row states along when rows are sealed or merged.
//!
//! # Why
//!
//! A logged state keeps alive what it lies in: raw text of a row that has long
//! been compressed, or a whole chunk of which one dead row is wanted. Rows that
//! live on are logged at their new place, for nothing; dead ones of a chunk are
//! copied, compressed as they are, into a block that only the log holds.

use std::collections::HashMap;
use std::sync::Arc;

use crate::block::{Block, Rows, Slot};
use crate::chunk::ChunkBuilder;
use crate::num::{narrow, wide};
use crate::refer::RowRef;
use crate::row::Row;
use crate::slots::Slots;
use crate::work::Work;

/// The rows of this open block are in `sealed` now, at the same places; dead
/// ones are not.
pub(crate) fn sealed(slot: &Slot, sealed: &Arc<Block>, work: &Work) {
    let rows: HashMap<*const _, u32> = slot
        .rows()
        .filter_map(|(at, row)| match row {
            RowRef::Record(record) => Some((std::ptr::from_ref(record), narrow(at))),
            RowRef::Chunk(..) => None,
        })
        .collect();
    work.log.follow(slot.since, |row| {
        let record = row.as_record()?;
        let at = rows.get(&Arc::as_ptr(record))?;
        Some(Row::chunk(Arc::clone(sealed), *at))
    });
}

/// The live rows of these chunks are in `merged` now, one after the other.
pub(crate) fn merged(group: &[Arc<Slot>], merged: &Arc<Block>, slots: &Slots, work: &Work) {
    let mut next = 0u32;
    let mut moved: HashMap<(*const Block, u32), (bool, u32)> = HashMap::new();
    for slot in group {
        for at in slot.live.ones() {
            let place = (Arc::as_ptr(&slot.block), narrow(at));
            moved.insert(place, (true, next));
            next += 1;
        }
    }
    let blocks: Vec<*const Block> = group.iter().map(|slot| Arc::as_ptr(&slot.block)).collect();
    let since = group.iter().map(|slot| slot.since).min();
    let since = since.unwrap_or_default();
    // Dead rows that the log wants, each once.
    let mut builder = ChunkBuilder::new(
        Arc::clone(slots.dictionaries.codec()),
        0,
        &slots.version.indexes,
    );
    let mut dead = 0u32;
    work.log.follow(since, |row| {
        if let Some((block, at)) = row.as_chunk()
            && blocks.contains(&Arc::as_ptr(block))
        {
            moved.entry((Arc::as_ptr(block), at)).or_insert_with(|| {
                if let Rows::Chunk(chunk) = &block.rows {
                    builder.push(RowRef::Chunk(chunk, wide(at)));
                }
                dead += 1;
                (false, dead - 1)
            });
        }
        None
    });
    let attic = (dead > 0).then(|| Block::attic(builder.finish(), dead, work.shreds()));
    work.log.follow(since, |row| {
        let (block, at) = row.as_chunk()?;
        let (lives, at) = moved.get(&(Arc::as_ptr(block), at))?;
        let block = if *lives { Some(merged) } else { attic.as_ref() };
        Some(Row::chunk(Arc::clone(block?), *at))
    });
}
