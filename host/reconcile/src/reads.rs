//! Who reads what: from a change of a row to the CRs whose read sets hold it.
//!
//! A look-up before and after the change, so that the cost follows the number of readers that are
//! concerned.

use crate::delta::Delta;
use crate::key::CrKey;
use kybern_table::{Columns, Index, Keys, KindKey, ScanRead};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Which columns were read; none = the whole object.
pub(crate) type Filter = Option<Arc<BTreeSet<String>>>;
/// CRs by the columns that they read.
type Readers = HashMap<Filter, HashSet<CrKey>>;

#[derive(Debug, Default)]
struct TableReads {
    /// Readers of any row.
    all: Readers,
    /// Readers of rows with one value under an index.
    of: HashMap<Index, HashMap<String, Readers>>,
}

/// Who reads what.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    tables: HashMap<KindKey, TableReads>,
}

impl Reads {
    pub(crate) fn add(&mut self, key: &CrKey, read: &ScanRead) {
        let table = self.tables.entry(read.table.clone()).or_default();
        let filter = filter(&read.columns);
        match &read.keys {
            Keys::All => {
                table.all.entry(filter).or_default().insert(key.clone());
            }
            Keys::Of { index, values } => {
                let of = table.of.entry(index.clone()).or_default();
                for value in values {
                    of.entry(value.clone())
                        .or_default()
                        .entry(filter.clone())
                        .or_default()
                        .insert(key.clone());
                }
            }
        }
    }

    pub(crate) fn drop(&mut self, key: &CrKey, read: &ScanRead) {
        let Some(table) = self.tables.get_mut(&read.table) else {
            return;
        };
        let filter = filter(&read.columns);
        match &read.keys {
            Keys::All => drop_reader(&mut table.all, &filter, key),
            Keys::Of { index, values } => {
                if let Some(of) = table.of.get_mut(index) {
                    for value in values {
                        if let Some(readers) = of.get_mut(value) {
                            drop_reader(readers, &filter, key);
                            if readers.is_empty() {
                                of.remove(value);
                            }
                        }
                    }
                    if of.is_empty() {
                        table.of.remove(index);
                    }
                }
            }
        }
        if table.all.is_empty() && table.of.is_empty() {
            self.tables.remove(&read.table);
        }
    }

    /// Calls `each` with every reader that a change concerns.
    pub(crate) fn concerned(&self, delta: &Delta<'_>, mut each: impl FnMut(&CrKey)) {
        let Some(table) = self.tables.get(&delta.change.table) else {
            return;
        };
        for (filter, keys) in &table.all {
            if delta.touches(filter) {
                keys.iter().for_each(&mut each);
            }
        }
        for (index, values) in &table.of {
            let before = delta
                .change
                .old
                .as_ref()
                .and_then(|row| delta.value(row, index, false));
            let after = delta
                .change
                .new
                .as_ref()
                .and_then(|row| delta.value(row, index, true));
            let moved = before != after;
            for value in BTreeSet::from([before, after]).into_iter().flatten() {
                for (filter, keys) in values.get(&value).into_iter().flatten() {
                    if moved || delta.touches(filter) {
                        keys.iter().for_each(&mut each);
                    }
                }
            }
        }
    }

    /// Whether nobody reads anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Whether a change concerns one read.
pub(crate) fn reads(read: &ScanRead, delta: &Delta<'_>) -> bool {
    let change = delta.change;
    if read.table != change.table {
        return false;
    }
    let touched = || delta.touches(&filter(&read.columns));
    match &read.keys {
        Keys::All => touched(),
        Keys::Of { index, values } => {
            let before = change
                .old
                .as_ref()
                .and_then(|row| delta.value(row, index, false));
            let after = change
                .new
                .as_ref()
                .and_then(|row| delta.value(row, index, true));
            let hit =
                |value: &Option<String>| value.as_ref().is_some_and(|value| values.contains(value));
            (hit(&before) || hit(&after)) && (before != after || touched())
        }
    }
}

fn drop_reader(readers: &mut Readers, filter: &Filter, key: &CrKey) {
    if let Some(keys) = readers.get_mut(filter) {
        keys.remove(key);
        if keys.is_empty() {
            readers.remove(filter);
        }
    }
}

pub(crate) fn filter(columns: &Columns) -> Filter {
    match columns {
        Columns::All => None,
        Columns::Named(names) => Some(Arc::new(names.clone())),
    }
}
