//! Triggers: which CRs a change of a row concerns.
//!
//! Three ways: the row is a CR itself, it belongs to a CR (controller uid, inventory label), or the
//! last answers of a CR were read from it. Every one is a look-up, before and after the change, so
//! that the cost follows the number of CRs that are concerned.

use crate::key::{CrKey, name_key};
use crate::sensing::at;
use kybern_interface::names;
use kybern_table::{Column, Columns, Index, Keys, KindKey, Path, Row, RowChange, ScanRead};
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Which columns were read; none = the whole object.
type Filter = Option<Arc<BTreeSet<String>>>;
/// CRs by the columns that they read.
type Readers = HashMap<Filter, HashSet<CrKey>>;

#[derive(Debug, Default)]
struct TableReads {
    /// Readers of any row.
    all: Readers,
    /// Readers of rows with one value under an index.
    of: HashMap<Index, HashMap<String, Readers>>,
}

/// Which of a CR's read sets is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// What the answers were read from.
    Answers,
    /// Names that children of the CR cannot have yet.
    Names,
}

#[derive(Debug, Default)]
struct Known {
    uid: String,
    part_of: String,
    answers: Vec<ScanRead>,
    names: Vec<ScanRead>,
}

/// The trigger index.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    tables: HashMap<KindKey, TableReads>,
    known: HashMap<CrKey, Known>,
    by_uid: HashMap<String, BTreeSet<CrKey>>,
    by_part_of: HashMap<String, CrKey>,
}

impl Triggers {
    /// Remembers under which uid and label a CR's children are found.
    pub(crate) fn know(&mut self, key: &CrKey, uid: &str, part_of: &str) {
        let known = self.known.entry(key.clone()).or_default();
        if known.uid == uid {
            return;
        }
        let old_uid = std::mem::replace(&mut known.uid, uid.to_owned());
        let old_label = std::mem::replace(&mut known.part_of, part_of.to_owned());
        self.unlink(key, &old_uid, &old_label);
        self.by_uid
            .entry(uid.to_owned())
            .or_default()
            .insert(key.clone());
        self.by_part_of.insert(part_of.to_owned(), key.clone());
    }

    fn unlink(&mut self, key: &CrKey, uid: &str, part_of: &str) {
        if let Some(keys) = self.by_uid.get_mut(uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_uid.remove(uid);
            }
        }
        self.by_part_of.remove(part_of);
    }

    /// Forgets a CR.
    pub(crate) fn forget(&mut self, key: &CrKey) {
        self.install(key, Slot::Answers, Vec::new());
        self.install(key, Slot::Names, Vec::new());
        if let Some(known) = self.known.remove(key) {
            self.unlink(key, &known.uid, &known.part_of);
        }
    }

    /// Forgets a registration.
    pub(crate) fn forget_plugin(&mut self, plugin: &str) {
        let keys: Vec<CrKey> = self
            .known
            .keys()
            .filter(|key| &*key.plugin == plugin)
            .cloned()
            .collect();
        for key in keys {
            self.forget(&key);
        }
    }

    /// Replaces a CR's read set; says whether it is another than before, in which case changes
    /// since the snapshot that it was read on have to be looked at again.
    pub(crate) fn install(&mut self, key: &CrKey, slot: Slot, reads: Vec<ScanRead>) -> bool {
        if reads.is_empty() && !self.known.contains_key(key) {
            return false;
        }
        let known = self.known.entry(key.clone()).or_default();
        let place = match slot {
            Slot::Answers => &mut known.answers,
            Slot::Names => &mut known.names,
        };
        if *place == reads {
            return false;
        }
        let old = std::mem::replace(place, reads.clone());
        let other = match slot {
            Slot::Answers => known.names.clone(),
            Slot::Names => known.answers.clone(),
        };
        for read in &old {
            self.drop_read(key, read);
        }
        // A read that both slots name went with the old one of this slot.
        for read in reads.iter().chain(&other) {
            self.add_read(key, read);
        }
        true
    }

    fn add_read(&mut self, key: &CrKey, read: &ScanRead) {
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

    fn drop_read(&mut self, key: &CrKey, read: &ScanRead) {
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

    /// The CRs that a change concerns, their own changes apart.
    pub(crate) fn concerned(&self, change: &RowChange, out: &mut BTreeSet<CrKey>) {
        let rows = || change.old.iter().chain(&change.new);
        for row in rows() {
            if let Some(keys) = row
                .owner_uid()
                .and_then(|uid| self.by_uid.get(uid.as_ref()))
            {
                out.extend(keys.iter().cloned());
            }
            if !self.by_part_of.is_empty()
                && let Some(key) = row
                    .label(names::PART_OF)
                    .and_then(|label| self.by_part_of.get(&label))
            {
                out.insert(key.clone());
            }
        }
        let Some(table) = self.tables.get(&change.table) else {
            return;
        };
        let delta = Delta::of(change);
        for (filter, keys) in &table.all {
            if delta.touches(filter) {
                out.extend(keys.iter().cloned());
            }
        }
        for (index, values) in &table.of {
            let before = change
                .old
                .as_ref()
                .and_then(|row| delta.value(row, index, false));
            let after = change
                .new
                .as_ref()
                .and_then(|row| delta.value(row, index, true));
            let moved = before != after;
            for value in BTreeSet::from([before, after]).into_iter().flatten() {
                for (filter, keys) in values.get(&value).into_iter().flatten() {
                    if moved || delta.touches(filter) {
                        out.extend(keys.iter().cloned());
                    }
                }
            }
        }
    }

    /// Whether a change concerns one CR through its read sets.
    pub(crate) fn concerns(&self, key: &CrKey, change: &RowChange) -> bool {
        let Some(known) = self.known.get(key) else {
            return false;
        };
        let delta = Delta::of(change);
        known.answers.iter().chain(&known.names).any(|read| {
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
                        .and_then(|r| delta.value(r, index, false));
                    let after = change
                        .new
                        .as_ref()
                        .and_then(|r| delta.value(r, index, true));
                    let hit = |value: &Option<String>| {
                        value.as_ref().is_some_and(|value| values.contains(value))
                    };
                    (hit(&before) || hit(&after)) && (before != after || touched())
                }
            }
        })
    }

    /// How many CRs have a read set or children to listen for.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
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

fn filter(columns: &Columns) -> Filter {
    match columns {
        Columns::All => None,
        Columns::Named(names) => Some(Arc::new(names.clone())),
    }
}

/// A change with its objects parsed at most once.
struct Delta<'c> {
    change: &'c RowChange,
    old: OnceCell<Value>,
    new: OnceCell<Value>,
}

impl<'c> Delta<'c> {
    fn of(change: &'c RowChange) -> Self {
        Self {
            change,
            old: OnceCell::new(),
            new: OnceCell::new(),
        }
    }

    /// The row's value under an index.
    fn value(&self, row: &Row, index: &Index, new: bool) -> Option<String> {
        match index {
            Index::Uid => Some(row.uid().into_owned()),
            Index::Name => Some(name_key(row.namespace().unwrap_or_default(), row.name())),
            Index::Owner => row.owner_uid().map(std::borrow::Cow::into_owned),
            Index::Namespace => row.namespace().map(str::to_owned),
            Index::Label(key) => row.label(key),
            Index::Path(path) => {
                let cell = if new { &self.new } else { &self.old };
                match at(cell.get_or_init(|| row.value()), path)? {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                }
            }
        }
    }

    /// Whether one of the columns has another value than before.
    fn touches(&self, filter: &Filter) -> bool {
        let (Some(old), Some(new)) = (&self.change.old, &self.change.new) else {
            return true;
        };
        match filter {
            None => true,
            Some(columns) => columns.iter().any(|name| self.differs(old, new, name)),
        }
    }

    fn differs(&self, old: &Row, new: &Row, name: &str) -> bool {
        match Column::METADATA.iter().find(|column| column.name() == name) {
            Some(Column::Namespace) => old.namespace() != new.namespace(),
            Some(Column::Name) => old.name() != new.name(),
            Some(Column::Uid) => old.uid() != new.uid(),
            Some(Column::ResourceVersion) => old.resource_version() != new.resource_version(),
            Some(Column::Generation) => old.generation() != new.generation(),
            Some(Column::Labels) => old.labels() != new.labels(),
            Some(Column::OwnerUid) => old.owner_uid() != new.owner_uid(),
            Some(Column::Finalizers) => old.finalizers() != new.finalizers(),
            Some(Column::CreationTimestamp) => {
                self.at_differs(old, new, "metadata.creationTimestamp")
            }
            Some(Column::DeletionTimestamp) => {
                self.at_differs(old, new, "metadata.deletionTimestamp")
            }
            Some(Column::Annotations) => self.at_differs(old, new, "metadata.annotations"),
            Some(Column::Owners) => self.at_differs(old, new, "metadata.ownerReferences"),
            Some(_) => true,
            None if name == "object" => true,
            None => self.at_differs(old, new, name),
        }
    }

    fn at_differs(&self, old: &Row, new: &Row, path: &str) -> bool {
        // What cannot be read as a path may have changed.
        let Ok(path) = path.parse::<Path>() else {
            return true;
        };
        let old = self.old.get_or_init(|| old.value());
        let new = self.new.get_or_init(|| new.value());
        at(old, &path) != at(new, &path)
    }
}

/// Whether a change of a CR's own row is one that its passes depend on: not its status.
pub(crate) fn own_change(change: &RowChange) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return true;
    };
    old.generation() != new.generation()
        || new.generation().is_none()
        || old.deleting() != new.deleting()
        || old.labels() != new.labels()
        || old.finalizers() != new.finalizers()
        || {
            let delta = Delta::of(change);
            delta.at_differs(old, new, "metadata.annotations")
        }
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
