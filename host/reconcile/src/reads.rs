//! Who reads what: from a change of a row to the CRs whose read sets hold it.
//!
//! A look-up before and after the change, so that the cost follows the number of readers that are
//! concerned.

use crate::cause::Matched;
use crate::delta::{Delta, Touch};
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

    /// Calls `each` with every reader that a change concerns, and by what.
    pub(crate) fn concerned(&self, delta: &Delta<'_>, mut each: impl FnMut(&CrKey, &Arc<Matched>)) {
        let Some(table) = self.tables.get(&delta.change.table) else {
            return;
        };
        let mut tell = |keys: &HashSet<CrKey>, key: Option<String>, touch: Touch<'_>| {
            let matched = Arc::new(Matched::new(key, touch.column()));
            keys.iter().for_each(|reader| each(reader, &matched));
        };
        for (filter, keys) in &table.all {
            if let Some(touch) = delta.touches(filter) {
                tell(keys, None, touch);
            }
        }
        for (index, values) in &table.of {
            let (before, after) = delta.values(index);
            let moved = before != after;
            for value in BTreeSet::from([before, after]).into_iter().flatten() {
                for (filter, keys) in values.get(&value).into_iter().flatten() {
                    if let Some(touch) = touch(moved, delta, filter) {
                        tell(keys, Some(by(index, &value)), touch);
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

/// By what a change concerns one read, if it does.
pub(crate) fn matched(read: &ScanRead, delta: &Delta<'_>) -> Option<Matched> {
    if read.table != delta.change.table {
        return None;
    }
    let filter = filter(&read.columns);
    let Keys::Of { index, values } = &read.keys else {
        let touch = delta.touches(&filter)?;
        return Some(Matched::new(None, touch.column()));
    };
    let (before, after) = delta.values(index);
    let moved = before != after;
    let hit = |value: &Option<String>| value.clone().filter(|value| values.contains(value));
    let value = hit(&before).or_else(|| hit(&after))?;
    let touch = touch(moved, delta, &filter)?;
    Some(Matched::new(Some(by(index, &value)), touch.column()))
}

/// The key by which a row was found, for people; without what only the content of an object says.
fn by(index: &Index, value: &str) -> String {
    match index {
        Index::Path(_) => format!("{index} = <redacted>"),
        _ => format!("{index} = {value}"),
    }
}

/// What a reader of one key sees: also that the row came to the key or left it.
fn touch<'f>(moved: bool, delta: &Delta<'_>, filter: &'f Filter) -> Option<Touch<'f>> {
    if moved {
        Some(Touch::Row)
    } else {
        delta.touches(filter)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_content_of_an_object_says_is_not_told() {
        let path = Index::Path("data.token".parse().unwrap());
        assert_eq!(by(&path, "aGk="), "data.token = <redacted>");
        let label = Index::Label("app".to_owned());
        assert!(by(&label, "web").contains("web"));
        assert!(by(&Index::Name, "ns/a").contains("ns/a"));
    }
}
