//! The writer's side of one table: which event changes what.
//!
//! # States
//!
//! Loading until the first list is complete, then ready; failed, with a reason,
//! from a fault until a list has completed again; loading again in a new epoch.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::change::{Deleted, Origin};
use crate::ingest::Object;
use crate::key::{Index, KindKey, TableDef};
use crate::postings::Position;
use crate::record::Record;
use crate::refer::RowRef;
use crate::row::Row;
use crate::slots::Slots;
use crate::snapshot::RowChange;
use crate::tombstone::Tombstones;
use crate::version::Version;
use crate::view::TableState;
use crate::work::Work;

/// The hash of a name key: which row a list or an epoch has seen.
type Identity = u128;

/// A list that has begun and not ended.
#[derive(Debug)]
struct List {
    number: u64,
    seen: HashSet<Identity>,
    /// Items that are older than what is known of their objects. Most often an own write came in
    /// between; the end of the list tells.
    older: BTreeMap<Identity, Bytes>,
    /// Something in it could not be read: it is not complete.
    broken: bool,
}

/// One table with all that the writer knows about it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Another one of this kind, later, has another.
    pub(crate) number: u64,
    pub(crate) key: KindKey,
    slots: Slots,
    state: TableState,
    tombstones: Tombstones,
    list: Option<List>,
    lists: u64,
    /// Rows that were seen since a new epoch began, until its list is complete.
    epoch: Option<HashSet<Identity>>,
    /// The resourceVersion of the last complete list of this epoch. A state up to
    /// it of an object that is not there is of one that was gone by then.
    listed: u64,
}

impl Table {
    pub(crate) fn new(def: TableDef, work: &mut Work) -> Table {
        work.next_table += 1;
        Table {
            number: work.next_table,
            key: def.key.clone(),
            slots: Slots::new(def, work.sequence, Arc::clone(&work.built_in)),
            state: TableState::Loading,
            tombstones: Tombstones::new(work.config.tombstones),
            list: None,
            lists: 0,
            epoch: None,
            listed: 0,
        }
    }

    /// What the next publication shows.
    pub(crate) fn version(&self) -> Version {
        self.slots
            .version(self.state.clone(), self.tombstones.len())
    }

    pub(crate) fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Bytes of bodies in the block that takes new rows.
    pub(crate) fn open_bytes(&self) -> usize {
        self.slots.open_bytes
    }

    /// Extends the declared indexes and takes the rest of the definition over.
    pub(crate) fn redefine(&mut self, def: TableDef) {
        self.slots.redefine(def);
    }

    pub(crate) fn fail(&mut self, reason: &str) {
        tracing::warn!(table = %self.key, reason, "the table cannot be read");
        self.state = TableState::Failed(reason.into());
    }

    /// Fails the table because of an object that cannot be read: the list that it came in, if any,
    /// is not whole.
    pub(crate) fn fault(&mut self, reason: &str) {
        self.fail(reason);
        if let Some(list) = &mut self.list {
            list.broken = true;
        }
    }

    pub(crate) fn new_epoch(&mut self) {
        tracing::warn!(table = %self.key, "resourceVersions start afresh: the next list replaces all rows");
        self.epoch = Some(HashSet::new());
        self.list = None;
        self.listed = 0;
        self.tombstones.clear();
        self.state = TableState::Loading;
    }

    pub(crate) fn upsert(
        &mut self,
        raw: &Bytes,
        origin: Origin,
        work: &mut Work,
    ) -> Result<(), String> {
        let object = Object::decode(raw).map_err(|error| error.to_string())?;
        let key = name_key(&object.namespace, &object.name);
        let identity = identity(&key);
        let mut list_number = None;
        if let Some(list) = &mut self.list {
            if origin != Origin::OwnWrite {
                list.older.remove(&identity);
            }
            if origin == Origin::List {
                list.seen.insert(identity);
                list_number = Some(list.number);
            }
        }
        let resource_version = object.resource_version;
        if self
            .tombstones
            .hides(&object.uid, resource_version, list_number)
        {
            self.remember_older(identity, raw, list_number);
            return Ok(());
        }
        // A row from before the epoch is older than anything.
        let old_epoch = self
            .epoch
            .as_mut()
            .is_some_and(|seen| seen.insert(identity));
        let Some((position, current)) = self.current(&key) else {
            let late = list_number.is_none() && (1..=self.listed).contains(&resource_version);
            if !late {
                self.insert(object.into_record(), None, work);
            }
            return Ok(());
        };
        let known = current.resource_version();
        if !old_epoch && resource_version != 0 && resource_version <= known {
            if resource_version < known {
                self.remember_older(identity, raw, list_number);
            }
            return Ok(());
        }
        let record = object.into_record();
        let replaced = differ(&current.uid(), &record.uid);
        if !replaced && resource_version == known && current.body() == record.body.as_bytes() {
            return Ok(());
        }
        self.slots.kill(position, work);
        if replaced {
            self.tombstones.confirm(&current.uid(), resource_version);
            self.log(current, work);
            self.insert(record, None, work);
        } else {
            self.insert(record, Some(current), work);
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, target: &Deleted, work: &mut Work) -> Result<(), String> {
        match target {
            Deleted::Raw(raw) => self.delete_seen(raw, work),
            Deleted::Own {
                namespace,
                name,
                uid,
            } => {
                let key = name_key(namespace.as_deref().unwrap_or(""), name);
                self.tombstones.own(uid, self.lists);
                if let Some((position, current)) = self.current(&key)
                    && !differ(&current.uid(), uid)
                {
                    self.slots.kill(position, work);
                    self.log(current, work);
                }
                Ok(())
            }
        }
    }

    fn delete_seen(&mut self, raw: &Bytes, work: &mut Work) -> Result<(), String> {
        let object = Object::decode(raw).map_err(|error| error.to_string())?;
        let key = name_key(&object.namespace, &object.name);
        let resource_version = object.resource_version;
        if let Some(list) = &mut self.list {
            list.older.remove(&identity(&key));
            list.seen.remove(&identity(&key));
        }
        let old_epoch = self
            .epoch
            .as_ref()
            .is_some_and(|seen| !seen.contains(&identity(&key)));
        if let Some((position, current)) = self.current(&key) {
            let newer = resource_version != 0 && current.resource_version() > resource_version;
            if differ(&current.uid(), &object.uid) {
                // An earlier object of this name: the row is another one.
            } else if newer && !old_epoch {
                return Ok(());
            } else {
                self.slots.kill(position, work);
                self.log(current, work);
            }
        }
        self.tombstones.confirm(&object.uid, resource_version);
        Ok(())
    }

    pub(crate) fn list_begin(&mut self) {
        self.lists += 1;
        self.list = Some(List {
            number: self.lists,
            seen: HashSet::new(),
            older: BTreeMap::new(),
            broken: false,
        });
    }

    pub(crate) fn list_end(
        &mut self,
        resource_version: u64,
        work: &mut Work,
    ) -> Result<(), String> {
        let Some(list) = self.list.take() else {
            return Err("a list ended that had not begun".to_owned());
        };
        if list.broken {
            return Ok(());
        }
        let epoch = self.epoch.take();
        let mut gone = Vec::new();
        self.slots.for_each(|position, row| {
            let identity = identity_of(row);
            let old_epoch = epoch.as_ref().is_some_and(|seen| !seen.contains(&identity));
            let newer = row.resource_version() > resource_version;
            if !list.seen.contains(&identity) && (old_epoch || !newer) {
                gone.push(position);
            }
        });
        for position in gone {
            if let Some(row) = self.slots.handle(position) {
                self.slots.kill(position, work);
                self.log(row, work);
            }
        }
        self.roll_back(list.older.into_values(), resource_version, work);
        self.listed = resource_version;
        self.tombstones.list_ended(list.number, resource_version);
        self.state = TableState::Ready { resource_version };
        Ok(())
    }

    fn remember_older(&mut self, identity: Identity, raw: &Bytes, list_number: Option<u64>) {
        if let Some(list) = self.list.as_mut().filter(|_| list_number.is_some()) {
            list.older.insert(identity, raw.clone());
        }
    }

    /// A whole list is what was there at its resourceVersion. A row, or a deletion, that is newer
    /// than the list's item and not newer than the list is from a history that the API server's
    /// store has lost: it was restored, and its revision raised past the lost ones (`etcdutl
    /// snapshot restore --bump-revision`, or writes since). The item counts.
    fn roll_back(&mut self, items: impl Iterator<Item = Bytes>, listed: u64, work: &mut Work) {
        let mut rows = 0_usize;
        for raw in items {
            // It was decoded before.
            let Ok(object) = Object::decode(&raw) else {
                continue;
            };
            if self.tombstones.gone_after(&object.uid, listed) {
                continue;
            }
            let key = name_key(&object.namespace, &object.name);
            match self.current(&key) {
                Some((_, current)) if current.resource_version() > listed => continue,
                Some((position, current)) => {
                    self.slots.kill(position, work);
                    let record = object.into_record();
                    if differ(&current.uid(), &record.uid) {
                        self.log(current, work);
                        self.insert(record, None, work);
                    } else {
                        self.insert(record, Some(current), work);
                    }
                }
                None => self.insert(object.into_record(), None, work),
            }
            rows += 1;
        }
        if rows > 0 {
            tracing::warn!(table = %self.key, rows, "a list is older than rows that it should include: the API server's store was restored; the list counts");
        }
    }

    fn current(&self, key: &str) -> Option<(Position, Row)> {
        let position = self.slots.find(&Index::Name, key)?;
        Some((position, self.slots.handle(position)?))
    }

    fn insert(&mut self, record: Record, old: Option<Row>, work: &mut Work) {
        let uid = match &*record.uid {
            "" => name_key(&record.namespace, &record.name).into(),
            _ => Arc::clone(&record.uid),
        };
        let record = self.slots.push(record, work);
        work.changes.push(RowChange {
            sequence: work.sequence,
            table: self.key.clone(),
            uid,
            old,
            new: Some(Row::record(record)),
        });
    }

    /// Logs a deletion.
    fn log(&self, old: Row, work: &mut Work) {
        let uid = match &*old.uid() {
            "" => name_key(old.namespace().unwrap_or(""), old.name()).into(),
            uid => uid.into(),
        };
        work.changes.push(RowChange {
            sequence: work.sequence,
            table: self.key.clone(),
            uid,
            old: Some(old),
            new: None,
        });
    }
}

/// The key of [`Index::Name`].
fn name_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

fn identity(name_key: &str) -> Identity {
    xxh3_128(name_key.as_bytes())
}

fn identity_of(row: RowRef<'_>) -> Identity {
    identity(&name_key(row.namespace().unwrap_or(""), row.name()))
}

/// Whether these are two objects. One without a uid is known by its name alone.
fn differ(uid: &str, other: &str) -> bool {
    !uid.is_empty() && !other.is_empty() && uid != other
}
