//! Makes columns and compressed bodies of a full block.

use std::sync::Arc;

use crate::block::{Block, Rows, Slot};
use crate::body::Codec;
use crate::chunk::{Chunk, ChunkBuilder};
use crate::follow;
use crate::index::Indexes;
use crate::shred::Carried;
use crate::slots::Slots;
use crate::work::Work;

/// A full block to seal, as it was when the job was made.
#[derive(Debug)]
pub(crate) struct Sealing {
    slot: Arc<Slot>,
    codec: Arc<Codec>,
    indexes: Arc<Indexes>,
}

/// The block's rows in columns. Rows that were dead already are holes.
#[derive(Debug)]
pub(crate) struct Sealed {
    slot: Arc<Slot>,
    chunk: Chunk,
    carried: Carried,
}

impl Sealing {
    pub(crate) fn new(slot: Arc<Slot>, slots: &Slots) -> Sealing {
        Sealing {
            slot,
            codec: Arc::clone(slots.dictionaries.codec()),
            indexes: Arc::clone(&slots.version.indexes),
        }
    }

    pub(crate) fn run(self) -> Sealed {
        let slot = self.slot;
        let mut builder = ChunkBuilder::new(self.codec, slot.len, &self.indexes);
        for at in 0..slot.len {
            match slot.row(at) {
                Some(row) => builder.push(row),
                None => builder.push_hole(),
            }
        }
        Sealed {
            chunk: builder.finish(),
            carried: Carried::sealed(&slot),
            slot,
        }
    }
}

impl Sealed {
    pub(crate) fn block(&self) -> u32 {
        self.slot.id
    }
}

/// Shows the columns in the place of the block that they were made of. Rows that
/// died meanwhile are dead in it.
pub(crate) fn put_in(sealed: Sealed, slots: &mut Slots, work: &mut Work) {
    let Sealed {
        slot: old,
        chunk,
        carried,
    } = sealed;
    let (bytes, raw_bytes) = (chunk.bytes(), chunk.bodies.raw_bytes());
    slots.dictionaries.sealed(&chunk.bodies);
    work.retire(old.bytes, &old.block);
    let block = Block::new(Rows::Chunk(Box::new(chunk)), work.shreds());
    carried.put_in(&block);
    follow::sealed(&old, &block, work);
    if let Some(slot) = slots.slot_mut(old.id) {
        slot.bytes = bytes;
        slot.raw_bytes = raw_bytes;
        slot.block = block;
    }
    slots.sparse.insert(old.id);
}
