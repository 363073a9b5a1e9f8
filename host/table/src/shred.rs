//! Columns that were built from rows and are kept beside them, within a budget.
//!
//! # Why
//!
//! Rows never change, so a column built from them is valid for every snapshot
//! that holds their block, for as long as the block lives. Absence costs time,
//! never an error: over the budget, columns that were not read since the last
//! round go first (the clock algorithm).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{concat, interleave};
use parking_lot::Mutex;

use crate::block::{Block, Rows, Slot};
use crate::chunk::Chunk;
use crate::column::Column;
use crate::extract::{Want, extract};

/// Rows of a delta whose columns are kept together; the last, incomplete group
/// is built for every read.
const GROUP: usize = 64;

/// After so many kept columns the entries of blocks that are gone are swept.
const SWEEP: usize = 1024;

/// The bytes that all kept columns of a store may take.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
    limit: usize,
    clock: Mutex<VecDeque<(Weak<Block>, Want, usize)>>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Budget {
        Budget {
            bytes: AtomicUsize::new(0),
            limit,
            clock: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn watch(&self, entry: (Weak<Block>, Want, usize)) {
        let mut clock = self.clock.lock();
        // Entries of blocks that are gone would pile up while nothing is evicted.
        if clock.len() % SWEEP == SWEEP - 1 {
            clock.retain(|(block, ..)| block.strong_count() > 0);
        }
        clock.push_back(entry);
    }

    /// Drops columns until the rest fits.
    fn enforce(&self) {
        self.shrink(self.limit);
    }

    /// Drops columns until at least so many bytes are free, or none is left. Bytes dropped.
    pub(crate) fn evict(&self, bytes: usize) -> usize {
        let before = self.bytes();
        self.shrink(before.saturating_sub(bytes));
        before.saturating_sub(self.bytes())
    }

    /// Drops columns until the rest takes no more than `limit` bytes.
    fn shrink(&self, limit: usize) {
        let mut rounds = self.clock.lock().len() * 2;
        while self.bytes() > limit && rounds > 0 {
            rounds -= 1;
            let Some((weak, want, group)) = self.clock.lock().pop_front() else {
                return;
            };
            let Some(block) = weak.upgrade() else {
                continue;
            };
            if block.shreds.spare(&want, group) {
                self.clock.lock().push_back((weak, want, group));
            }
        }
    }
}

#[derive(Debug)]
struct Kept {
    array: ArrayRef,
    bytes: usize,
    read: bool,
}

/// The kept columns of one block.
#[derive(Debug)]
pub(crate) struct Shreds {
    budget: Arc<Budget>,
    kept: Mutex<HashMap<(Want, usize), Kept>>,
}

impl Shreds {
    pub(crate) fn new(budget: Arc<Budget>) -> Shreds {
        Shreds {
            budget,
            kept: Mutex::new(HashMap::new()),
        }
    }

    /// A column of a block, up to the length that the slot shows.
    pub(crate) fn column(slot: &Slot, want: &Want) -> ArrayRef {
        match &slot.block.rows {
            Rows::Chunk(chunk) => {
                ready(chunk, want).unwrap_or_else(|| Shreds::group(&slot.block, want, 0, slot.len))
            }
            Rows::Delta(_) => Shreds::delta(slot, want),
        }
    }

    fn delta(slot: &Slot, want: &Want) -> ArrayRef {
        if !want.is_small() {
            return build(&slot.block, want, 0, slot.len);
        }
        let full = slot.len / GROUP;
        let mut groups: Vec<ArrayRef> = (0..full)
            .map(|group| Shreds::group(&slot.block, want, group, GROUP))
            .collect();
        if !slot.len.is_multiple_of(GROUP) || full == 0 {
            groups.push(build(&slot.block, want, full * GROUP, slot.len));
        }
        let parts: Vec<&dyn Array> = groups.iter().map(|group| &**group).collect();
        // Groups of one column have one type, which is all that concat can refuse.
        concat(&parts).unwrap_or_else(|_| build(&slot.block, want, 0, slot.len))
    }

    /// One complete group of rows, from the kept ones or kept from now on.
    fn group(block: &Arc<Block>, want: &Want, group: usize, rows: usize) -> ArrayRef {
        let key = (want.clone(), group);
        let shreds = &block.shreds;
        if let Some(kept) = shreds.kept.lock().get_mut(&key) {
            kept.read = true;
            return Arc::clone(&kept.array);
        }
        let mut array = build(block, want, group * rows, (group + 1) * rows);
        if want.is_small()
            && let Some(view) = array.as_string_view_opt()
        {
            // What is kept has no spare room.
            array = Arc::new(view.gc());
        }
        if want.is_small() {
            Shreds::keep(block, key, &array);
        }
        array
    }

    /// Keeps a column, unless it is so large that it would push out all others.
    fn keep(block: &Arc<Block>, key: (Want, usize), array: &ArrayRef) {
        let shreds = &block.shreds;
        let bytes = array.get_array_memory_size();
        if bytes > shreds.budget.limit / 16 {
            return;
        }
        let kept = Kept {
            array: Arc::clone(array),
            bytes,
            read: false,
        };
        let entry = (Arc::downgrade(block), key.0.clone(), key.1);
        if let Some(other) = shreds.kept.lock().insert(key, kept) {
            // Another reader built it at the same time.
            let budget = &shreds.budget;
            budget.bytes.fetch_sub(other.bytes, Ordering::Relaxed);
        } else {
            shreds.budget.watch(entry);
        }
        shreds.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        shreds.budget.enforce();
    }

    /// What was read again after it had been built, and a chunk does not have ready.
    fn wanted(&self) -> Vec<Want> {
        let mut wanted = Vec::new();
        for ((want, _), kept) in self.kept.lock().iter() {
            if kept.read && !lies_ready(want) && !wanted.contains(want) {
                wanted.push(want.clone());
            }
        }
        wanted
    }

    /// The kept column of a chunk.
    fn whole(&self, want: &Want) -> Option<ArrayRef> {
        let kept = self.kept.lock();
        kept.get(&(want.clone(), 0))
            .map(|kept| Arc::clone(&kept.array))
    }

    /// Keeps a column that was read since the last round; drops any other.
    fn spare(&self, want: &Want, group: usize) -> bool {
        let mut kept = self.kept.lock();
        let key = (want.clone(), group);
        match kept.get_mut(&key) {
            Some(column) if column.read => {
                column.read = false;
                true
            }
            Some(_) => {
                if let Some(column) = kept.remove(&key) {
                    self.budget.bytes.fetch_sub(column.bytes, Ordering::Relaxed);
                }
                false
            }
            None => false,
        }
    }
}

/// Columns that are built for a chunk before anybody reads it, because its rows' former blocks had
/// them: a reader would pay for thousands of rows at once. Whoever asked once only is not counted.
#[derive(Debug, Default)]
pub(crate) struct Carried(Vec<(Want, ArrayRef)>);

impl Carried {
    /// For the chunk that is made of a delta; rows that are dead are null.
    pub(crate) fn sealed(slot: &Slot) -> Carried {
        let wanted = slot.block.shreds.wanted();
        if wanted.is_empty() {
            return Carried::default();
        }
        let columns = extract((0..slot.len).map(|at| slot.row(at)), &wanted);
        Carried(wanted.into_iter().zip(columns).collect())
    }

    /// For the chunk that is made of several: for each row the number of its slot, and its place.
    pub(crate) fn merged(group: &[Arc<Slot>], rows: &[(usize, usize)]) -> Carried {
        let Some((first, others)) = group.split_first() else {
            return Carried::default();
        };
        let mut carried = Vec::new();
        for want in first.block.shreds.wanted() {
            let all = std::iter::once(first).chain(others);
            let columns = all.map(|slot| slot.block.shreds.whole(&want));
            let Some(columns) = columns.collect::<Option<Vec<ArrayRef>>>() else {
                continue;
            };
            let columns: Vec<&dyn Array> = columns.iter().map(|column| &**column).collect();
            // They have one type; a place outside of one could only be a fault of the store's.
            if let Ok(column) = interleave(&columns, rows) {
                carried.push((want, column));
            }
        }
        Carried(carried)
    }

    /// Keeps them beside the chunk.
    pub(crate) fn put_in(self, block: &Arc<Block>) {
        for (want, column) in self.0 {
            // What is kept has no spare room.
            let column = match column.as_string_view_opt() {
                Some(view) => Arc::new(view.gc()),
                None => column,
            };
            Shreds::keep(block, (want, 0), &column);
        }
    }
}

impl Drop for Shreds {
    fn drop(&mut self) {
        let bytes: usize = self.kept.lock().values().map(|kept| kept.bytes).sum();
        self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn build(block: &Block, want: &Want, from: usize, to: usize) -> ArrayRef {
    let rows = (from..to).map(|at| block.row(at));
    let mut arrays = extract(rows, std::slice::from_ref(want));
    arrays
        .pop()
        .unwrap_or_else(|| Arc::new(arrow::array::NullArray::new(to - from)))
}

/// Whether a chunk has it as it is asked for.
fn lies_ready(want: &Want) -> bool {
    matches!(
        want,
        Want::Column(
            Column::Namespace
                | Column::Name
                | Column::Labels
                | Column::Generation
                | Column::CreationTimestamp
                | Column::DeletionTimestamp
        )
    )
}

/// The columns that a chunk has as they are asked for.
fn ready(chunk: &Chunk, want: &Want) -> Option<ArrayRef> {
    match want {
        Want::Column(Column::Namespace) => Some(Arc::new(chunk.namespace.clone())),
        Want::Column(Column::Name) => Some(Arc::new(chunk.name.clone())),
        Want::Column(Column::Labels) => Some(Arc::new(chunk.labels.clone())),
        Want::Column(Column::Generation) => Some(Arc::new(chunk.generation.clone())),
        Want::Column(Column::CreationTimestamp) => Some(Arc::new(chunk.created.clone())),
        Want::Column(Column::DeletionTimestamp) => Some(Arc::new(chunk.deleted.clone())),
        _ => None,
    }
}
