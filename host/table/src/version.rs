//! One table as one commit shows it.

use std::sync::Arc;

use crate::block::Slot;
use crate::change::Sequence;
use crate::index::{self, Indexes};
use crate::key::{Index, TableDef};
use crate::postings::Position;
use crate::row::Row;
use crate::view::TableState;

/// What a table is, apart from its rows. Outlives the expiry of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) def: Arc<TableDef>,
    /// The commit that defined the table.
    pub(crate) since: Sequence,
    pub(crate) state: TableState,
    pub(crate) rows: usize,
    pub(crate) tombstones: usize,
    /// The block that takes new rows.
    pub(crate) open: Option<u32>,
}

/// Cheap to clone: everything big is shared until it changes.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) facts: Arc<Facts>,
    /// By block number.
    pub(crate) slots: Arc<Vec<Arc<Slot>>>,
    pub(crate) indexes: Arc<Indexes>,
}

impl Version {
    pub(crate) fn slot(&self, id: u32) -> Option<&Arc<Slot>> {
        let at = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        self.slots.get(at)
    }

    /// The live rows with this key. `None` without such an index.
    pub(crate) fn find(&self, index: &Index, key: &str) -> Option<Vec<Position>> {
        let candidates = self.indexes.get(index)?.get(index::hash(key));
        let mut found = Vec::new();
        if let Some(candidates) = candidates {
            let mut last: Option<&Arc<Slot>> = None;
            candidates.for_each(|position| {
                if last.is_none_or(|slot| slot.id != position.block) {
                    last = self.slot(position.block);
                }
                let row = last.and_then(|slot| slot.row(usize::from(position.row)));
                if row.is_some_and(|row| row.matches(index, key)) {
                    found.push(position);
                }
            });
        }
        Some(found)
    }

    pub(crate) fn handle(&self, position: Position) -> Option<Row> {
        self.slot(position.block)?.handle(usize::from(position.row))
    }

    /// The live rows with this key, by reading all rows.
    pub(crate) fn scan_for(&self, index: &Index, key: &str) -> Vec<Row> {
        let mut found = Vec::new();
        for slot in self.slots.iter() {
            let matching = slot.rows().filter(|(_, row)| row.matches(index, key));
            found.extend(matching.filter_map(|(at, _)| slot.handle(at)));
        }
        found
    }
}
