//! The writer's side of a table's rows: adding, killing, and the jobs to be done.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::block::{Rows, Slot};
use crate::body::Codec;
use crate::change::Sequence;
use crate::garbage::Garbage;
use crate::index::{Entries, Indexes};
use crate::job::{Made, Task};
use crate::key::{Index, TableDef};
use crate::merge::{self, Merging};
use crate::path::Path;
use crate::postings::Position;
use crate::record::Record;
use crate::refer::RowRef;
use crate::row::Row;
use crate::seal::{self, Sealing};
use crate::train::Dictionaries;
use crate::version::{Facts, Version};
use crate::view::TableState;
use crate::work::Work;

/// The blocks of one table, as the next publication will show them.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) version: Version,
    pub(crate) rows: usize,
    /// The block that takes new rows.
    open: Option<u32>,
    /// Bytes of its bodies.
    pub(crate) open_bytes: usize,
    next: u32,
    /// Full blocks that are not sealed yet.
    full: VecDeque<u32>,
    /// Blocks that a job works on.
    pub(crate) busy: BTreeSet<u32>,
    /// Sealed blocks that have lost rows: candidates for a merge.
    pub(crate) sparse: BTreeSet<u32>,
    pub(crate) dictionaries: Dictionaries,
    /// Blocks that came or went, ever.
    pub(crate) changes: u64,
}

impl Slots {
    pub(crate) fn new(def: TableDef, since: Sequence, plain: Arc<Codec>) -> Slots {
        let def = normal(def);
        let (indexes, _) = Indexes::of(&def, None);
        Slots {
            version: Version {
                facts: Arc::new(Facts {
                    def: Arc::new(def),
                    since,
                    state: TableState::Loading,
                    rows: 0,
                    tombstones: 0,
                    open: None,
                }),
                slots: Arc::default(),
                indexes: Arc::new(indexes),
            },
            rows: 0,
            open: None,
            open_bytes: 0,
            next: 0,
            full: VecDeque::new(),
            busy: BTreeSet::new(),
            sparse: BTreeSet::new(),
            dictionaries: Dictionaries::new(plain),
            changes: 0,
        }
    }

    pub(crate) fn version(&self, state: TableState, tombstones: usize) -> Version {
        Version {
            facts: Arc::new(Facts {
                def: Arc::clone(self.def()),
                since: self.version.facts.since,
                state,
                rows: self.rows,
                tombstones,
                open: self.open,
            }),
            ..self.version.clone()
        }
    }

    fn def(&self) -> &Arc<TableDef> {
        &self.version.facts.def
    }

    /// Takes a definition over; its new indexes are filled from all rows.
    pub(crate) fn redefine(&mut self, def: TableDef) {
        let mut def = normal(def);
        let old = self.def();
        let labels = old.label_keys.iter();
        let missing: Vec<String> = labels
            .filter(|key| !def.label_keys.contains(key))
            .cloned()
            .collect();
        def.label_keys.extend(missing);
        let paths = old.path_indexes.iter();
        let missing: Vec<Path> = paths
            .filter(|path| !def.path_indexes.contains(path))
            .cloned()
            .collect();
        def.path_indexes.extend(missing);
        let (indexes, new) = Indexes::of(&def, Some(&self.version.indexes));
        if !new.is_empty() {
            self.for_each(|position, row| {
                let entries = indexes.entries(row);
                let numbered = (0u16..).zip(entries.iter());
                let added: Entries = numbered
                    .map(|(number, hash)| if new.contains(&number) { *hash } else { 0 })
                    .collect();
                indexes.insert(&added, position);
            });
        }
        self.version.indexes = Arc::new(indexes);
        Arc::make_mut(&mut self.version.facts).def = Arc::new(def);
    }

    /// The one live row with this key.
    pub(crate) fn find(&self, index: &Index, key: &str) -> Option<Position> {
        self.version.find(index, key)?.into_iter().next()
    }

    pub(crate) fn handle(&self, position: Position) -> Option<Row> {
        self.version.handle(position)
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(Position, RowRef<'_>)) {
        for slot in self.version.slots.iter() {
            for (at, row) in slot.rows() {
                if let Ok(row_number) = u16::try_from(at) {
                    let position = Position {
                        block: slot.id,
                        row: row_number,
                    };
                    visit(position, row);
                }
            }
        }
    }

    /// Adds a row at the open end.
    pub(crate) fn push(&mut self, mut record: Record, work: &mut Work) -> Arc<Record> {
        record.entries = self.version.indexes.entries(RowRef::Record(&record));
        let record = Arc::new(record);
        self.put(Arc::clone(&record), work);
        record
    }

    fn put(&mut self, record: Arc<Record>, work: &mut Work) {
        let entries = self.version.indexes.entries(RowRef::Record(&record));
        let id = self.open_slot(work);
        let Some(slot) = self.slot_mut(id) else {
            return;
        };
        let Ok(row) = u16::try_from(slot.len) else {
            return;
        };
        slot.bytes += record.bytes();
        slot.raw_bytes += record.body.len();
        let open_bytes = slot.raw_bytes;
        if let Rows::Delta(delta) = &slot.block.rows {
            delta.set(slot.len, record);
        }
        slot.len += 1;
        slot.live.push(true);
        slot.live_rows += 1;
        self.rows += 1;
        self.open_bytes = open_bytes;
        self.version
            .indexes
            .insert(&entries, Position { block: id, row });
    }

    /// Takes a row out of the next publication.
    pub(crate) fn kill(&mut self, position: Position, work: &mut Work) {
        let at = usize::from(position.row);
        let Some(slot) = self.version.slot(position.block) else {
            return;
        };
        let Some(row) = slot.row(at) else {
            return;
        };
        work.garbage.add(Garbage {
            indexes: Arc::clone(&self.version.indexes),
            entries: self.version.indexes.entries(row),
            position,
            born: slot.born,
            died: work.number,
        });
        let sealed = matches!(slot.block.rows, Rows::Chunk(_));
        if let Some(slot) = self.slot_mut(position.block) {
            slot.live.clear(at);
            slot.live_rows -= 1;
            self.rows -= 1;
        }
        if sealed {
            self.sparse.insert(position.block);
        }
    }

    /// The next job, if any is worth it. Mostly dead blocks need none: their rows
    /// move here and now.
    pub(crate) fn task(&mut self, work: &mut Work) -> Option<Task> {
        let bodies = || self.version.slots.iter().map(|slot| slot.raw_bytes).sum();
        if !is_secret(self.def()) && self.dictionaries.wants_training(&work.config, bodies) {
            let slots = Arc::clone(&self.version.slots);
            return Some(Task::Train(self.dictionaries.training(slots)));
        }
        while let Some(id) = self.full.pop_front() {
            let Some(slot) = self.version.slot(id).map(Arc::clone) else {
                continue;
            };
            if slot.live_rows * 2 >= slot.len {
                self.busy.insert(id);
                return Some(Task::Seal(Sealing::new(slot, self)));
            }
            self.carry(&slot, work);
        }
        let merging = Merging::next(self, work)?;
        self.busy.extend(merging.blocks());
        Some(Task::Merge(merging))
    }

    /// Puts in what a job made.
    pub(crate) fn put_in(&mut self, made: Made, work: &mut Work) {
        match made {
            Made::Sealed(sealed) => {
                self.busy.remove(&sealed.block());
                seal::put_in(sealed, self, work);
            }
            Made::Merged(merged) => {
                for block in merged.blocks() {
                    self.busy.remove(&block);
                }
                merge::put_in(merged, self, work);
            }
            Made::Failed => {
                // Its blocks stay as they are, and busy, so that it is not tried again.
                tracing::error!(kind = %self.def().key, "a job of the store has failed");
                self.dictionaries.give_up();
            }
            Made::Trained(trained) => {
                self.dictionaries.put_in(trained);
                // Chunks of the oldest dictionaries are to be rewritten.
                let sealed = self.version.slots.iter();
                let sealed = sealed.filter(|slot| slot.block.codec().is_some());
                self.sparse.extend(sealed.map(|slot| slot.id));
            }
        }
    }

    /// Bytes of bodies that wait for a job: of full blocks, and of dead rows.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let waiting = self.full.iter().chain(&self.busy).chain(&self.sparse);
        let slots = waiting.filter_map(|id| self.version.slot(*id));
        slots.map(|slot| slot.waiting_bytes()).sum()
    }

    /// Moves the live rows of a mostly dead block to the open one. They are hot:
    /// compressing them would be wasted.
    fn carry(&mut self, slot: &Slot, work: &mut Work) {
        let Rows::Delta(delta) = &slot.block.rows else {
            return;
        };
        for (at, _) in slot.rows() {
            let (Some(record), Ok(row)) = (delta.get(at), u16::try_from(at)) else {
                continue;
            };
            self.rows -= 1;
            self.put(Arc::clone(record), work);
            // It was logged before the block that has it now was opened.
            if let Some(open) = self.open.and_then(|open| self.slot_mut(open)) {
                open.since = open.since.min(slot.since);
            }
            work.garbage.add(Garbage {
                indexes: Arc::clone(&self.version.indexes),
                entries: self.version.indexes.entries(RowRef::Record(record)),
                position: Position {
                    block: slot.id,
                    row,
                },
                born: slot.born,
                died: work.number,
            });
        }
        self.remove(slot.id, work);
    }

    /// Adds a finished block under a number of its own.
    pub(crate) fn add(&mut self, mut slot: Slot) -> u32 {
        let id = self.next;
        self.next += 1;
        self.changes += 1;
        slot.id = id;
        // Numbers ascend, so the end is the place.
        Arc::make_mut(&mut self.version.slots).push(Arc::new(slot));
        id
    }

    /// Takes a block out of the next publication.
    pub(crate) fn remove(&mut self, id: u32, work: &mut Work) {
        let slots = Arc::make_mut(&mut self.version.slots);
        if let Ok(at) = slots.binary_search_by_key(&id, |slot| slot.id) {
            let slot = slots.remove(at);
            self.changes += 1;
            work.retire(slot.bytes, &slot.block);
        }
        self.sparse.remove(&id);
    }

    fn open_slot(&mut self, work: &mut Work) -> u32 {
        if let Some(id) = self.open {
            let room = self.version.slot(id).is_some_and(|slot| {
                slot.len < work.config.chunk_rows && slot.raw_bytes < work.config.chunk_bytes
            });
            if room {
                return id;
            }
            self.close();
        }
        let id = self.add(Slot::open(0, work.number, work.sequence, work.shreds()));
        self.open = Some(id);
        id
    }

    /// The open block takes no more rows, so that it can be sealed.
    pub(crate) fn close(&mut self) {
        self.full.extend(self.open.take());
        self.open_bytes = 0;
    }

    pub(crate) fn slot_mut(&mut self, id: u32) -> Option<&mut Slot> {
        let slots = Arc::make_mut(&mut self.version.slots);
        let at = slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        slots.get_mut(at).map(Arc::make_mut)
    }
}

/// Path indexes are known by the path from the root.
fn normal(mut def: TableDef) -> TableDef {
    for path in &mut def.path_indexes {
        *path = path.from_root();
    }
    def
}

fn is_secret(def: &TableDef) -> bool {
    def.key.group.is_empty() && &*def.key.kind == "Secret"
}
