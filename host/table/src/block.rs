//! One block of a table, open or sealed, and what a commit shows of it.

use std::sync::{Arc, OnceLock};

use crate::bitmap::Bitmap;
use crate::body::Codec;
use crate::change::Sequence;
use crate::chunk::Chunk;
use crate::delta::Delta;
use crate::num::{narrow, wide};
use crate::refer::RowRef;
use crate::root::Pin;
use crate::row::Row;
use crate::shred::Shreds;

/// Rows that keep their places for as long as the block lives. Sealing makes a
/// chunk of a delta under the same number, so that positions stay valid.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) rows: Rows,
    /// Columns that were built from the rows.
    pub(crate) shreds: Shreds,
    /// Set when no later publication shows the block.
    pub(crate) pin: OnceLock<Pin>,
    /// Bytes of each row that only the log keeps; 0 in a block of a table.
    pub(crate) logged: usize,
}

/// Where a block's rows lie.
#[derive(Debug)]
pub(crate) enum Rows {
    Delta(Delta),
    Chunk(Box<Chunk>),
}

impl Block {
    pub(crate) fn new(rows: Rows, shreds: Shreds) -> Arc<Block> {
        Arc::new(Block {
            rows,
            shreds,
            pin: OnceLock::new(),
            logged: 0,
        })
    }

    /// A block of so many dead rows that only the log holds.
    pub(crate) fn attic(chunk: Chunk, rows: u32, shreds: Shreds) -> Arc<Block> {
        Arc::new(Block {
            logged: chunk.bytes() / wide(rows).max(1),
            rows: Rows::Chunk(Box::new(chunk)),
            shreds,
            pin: OnceLock::new(),
        })
    }

    /// What the bodies are compressed with, if they are.
    pub(crate) fn codec(&self) -> Option<&Arc<Codec>> {
        match &self.rows {
            Rows::Delta(_) => None,
            Rows::Chunk(chunk) => Some(chunk.bodies.codec()),
        }
    }

    /// A row that is live in some snapshot; none outside the block.
    pub(crate) fn row(&self, at: usize) -> Option<RowRef<'_>> {
        match &self.rows {
            Rows::Delta(delta) => delta.get(at).map(|record| RowRef::Record(record)),
            Rows::Chunk(chunk) => (at < chunk.len).then_some(RowRef::Chunk(chunk, at)),
        }
    }

    pub(crate) fn handle(self: &Arc<Self>, at: usize) -> Option<Row> {
        match &self.rows {
            Rows::Delta(delta) => delta.get(at).map(|record| Row::record(Arc::clone(record))),
            Rows::Chunk(chunk) => {
                (at < chunk.len).then(|| Row::chunk(Arc::clone(self), narrow(at)))
            }
        }
    }
}

/// A block as one commit sees it. Copied when a shared one changes.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The block's number: ascending within the table, never used again.
    pub(crate) id: u32,
    pub(crate) block: Arc<Block>,
    /// Rows, dead ones included.
    pub(crate) len: usize,
    pub(crate) live: Bitmap,
    pub(crate) live_rows: usize,
    /// The number of the first publication that shows the block.
    pub(crate) born: u64,
    /// The commit that the first row came with.
    pub(crate) since: Sequence,
    /// Bytes of the block in memory.
    pub(crate) bytes: usize,
    /// Bytes of its bodies before compression.
    pub(crate) raw_bytes: usize,
}

impl Slot {
    /// A block without rows.
    pub(crate) fn open(id: u32, born: u64, since: Sequence, shreds: Shreds) -> Slot {
        Slot {
            id,
            block: Block::new(Rows::Delta(Delta::default()), shreds),
            len: 0,
            live: Bitmap::default(),
            live_rows: 0,
            born,
            since,
            bytes: 0,
            raw_bytes: 0,
        }
    }

    pub(crate) fn row(&self, at: usize) -> Option<RowRef<'_>> {
        if self.live.get(at) {
            self.block.row(at)
        } else {
            None
        }
    }

    pub(crate) fn handle(&self, at: usize) -> Option<Row> {
        if self.live.get(at) {
            self.block.handle(at)
        } else {
            None
        }
    }

    /// Rows that the block holds, dead ones that are no holes included.
    pub(crate) fn contents(&self) -> usize {
        match &self.block.rows {
            Rows::Chunk(chunk) => chunk.len - chunk.holes,
            Rows::Delta(_) => self.len,
        }
    }

    /// Bytes of dead rows, about.
    pub(crate) fn dead_bytes(&self) -> usize {
        let contents = self.contents();
        self.bytes / contents.max(1) * contents.saturating_sub(self.live_rows)
    }

    /// Whether so many rows are dead that it is worth rewriting: more than a third.
    pub(crate) fn is_sparse(&self) -> bool {
        let contents = self.contents();
        (contents - self.live_rows) * 3 > contents
    }

    /// Bytes that a job would compress or take away, if the block is full.
    pub(crate) fn waiting_bytes(&self) -> usize {
        match &self.block.rows {
            Rows::Delta(_) => self.raw_bytes,
            Rows::Chunk(_) if self.is_sparse() => self.dead_bytes(),
            Rows::Chunk(_) => 0,
        }
    }

    /// Bytes of the bodies in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        match &self.block.rows {
            Rows::Delta(_) => self.raw_bytes,
            Rows::Chunk(chunk) => chunk.bodies.bytes(),
        }
    }

    /// The live rows and their places.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, RowRef<'_>)> {
        self.live
            .ones()
            .filter_map(|at| self.block.row(at).map(|row| (at, row)))
    }
}
