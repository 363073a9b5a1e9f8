//! Index entries of dead rows, until no living snapshot can see those rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::index::{Entries, Indexes};
use crate::postings::Position;

/// The index entries of one row that is dead or has moved.
#[derive(Debug)]
pub(crate) struct Garbage {
    pub(crate) indexes: Arc<Indexes>,
    pub(crate) entries: Entries,
    pub(crate) position: Position,
    /// The first publication that may show the row at this position.
    pub(crate) born: u64,
    /// The first publication that does not any more.
    pub(crate) died: u64,
}

/// Removes index entries once nobody can need them.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    new: Vec<Garbage>,
    /// By the newest publication that holds them.
    parked: BTreeMap<u64, Vec<Garbage>>,
    parked_len: usize,
}

impl Collector {
    pub(crate) fn add(&mut self, garbage: Garbage) {
        self.new.push(garbage);
    }

    pub(crate) fn len(&self) -> usize {
        self.new.len() + self.parked_len
    }

    /// Removes what no publication in `alive` (ascending) shows. All garbage
    /// must have died in the newest publication or before it.
    pub(crate) fn collect(&mut self, alive: &[u64]) {
        let mut candidates = std::mem::take(&mut self.new);
        let let_go: Vec<u64> = self
            .parked
            .keys()
            .filter(|number| alive.binary_search(number).is_err())
            .copied()
            .collect();
        for number in let_go {
            let parked = self.parked.remove(&number).unwrap_or_default();
            self.parked_len -= parked.len();
            candidates.extend(parked);
        }
        for garbage in candidates {
            let before = alive.partition_point(|number| *number < garbage.died);
            let holder = before.checked_sub(1).and_then(|at| alive.get(at)).copied();
            match holder.filter(|holder| *holder >= garbage.born) {
                Some(holder) => {
                    self.parked_len += 1;
                    self.parked.entry(holder).or_default().push(garbage);
                }
                None => garbage.indexes.remove(&garbage.entries, garbage.position),
            }
        }
    }
}
