//! The rules of a table, said plainly over maps.

use std::collections::{BTreeMap, BTreeSet};

use kybern_table::{Origin, TableState};

use crate::object::Object;

/// How it is known that a uid is gone.
#[derive(Clone, Copy, Debug)]
enum Gone {
    Own { lists: u64 },
    Confirmed(u64),
}

/// What happens to a table.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Upsert(Object, Origin),
    Gone(Object),
    Deleted(Object),
    ListBegin,
    ListEnd(u64),
    NewEpoch,
    Fail,
    Garbage,
}

/// A list that has begun.
#[derive(Clone, Debug)]
struct List {
    number: u64,
    seen: BTreeSet<String>,
    /// Items older than what was known of their objects.
    older: BTreeMap<String, Object>,
    broken: bool,
}

/// A table as plain maps.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) rows: BTreeMap<String, Object>,
    pub(crate) state: TableState,
    gone: BTreeMap<String, Gone>,
    list: Option<List>,
    lists: u64,
    epoch: Option<BTreeSet<String>>,
    listed: u64,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            rows: BTreeMap::new(),
            state: TableState::Loading,
            gone: BTreeMap::new(),
            list: None,
            lists: 0,
            epoch: None,
            listed: 0,
        }
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Upsert(object, origin) => self.upsert(object, *origin),
            Event::Gone(object) => self.gone(object),
            Event::Deleted(object) => self.deleted(object),
            Event::ListBegin => {
                self.lists += 1;
                self.list = Some(List {
                    number: self.lists,
                    seen: BTreeSet::new(),
                    older: BTreeMap::new(),
                    broken: false,
                });
            }
            Event::ListEnd(resource_version) => self.list_end(*resource_version),
            Event::NewEpoch => {
                self.epoch = Some(BTreeSet::new());
                self.list = None;
                self.gone.clear();
                self.listed = 0;
                self.state = TableState::Loading;
            }
            // The next whole list heals it, also one that is under way.
            Event::Fail => self.state = TableState::Failed("broken".into()),
            Event::Garbage => self.fault(),
        }
    }

    fn fault(&mut self) {
        self.state = TableState::Failed("".into());
        if let Some(list) = &mut self.list {
            list.broken = true;
        }
    }

    fn upsert(&mut self, object: &Object, origin: Origin) {
        let key = object.key();
        let mut list = None;
        if origin != Origin::OwnWrite
            && let Some(list) = &mut self.list
        {
            list.older.remove(&key);
        }
        if origin == Origin::List
            && let Some(begun) = &mut self.list
        {
            begun.seen.insert(key.clone());
            list = Some(begun.number);
        }
        match self.gone.get(&object.uid) {
            Some(Gone::Own { lists }) if list.is_none_or(|list| list <= *lists) => {
                return self.older(object, list);
            }
            Some(Gone::Confirmed(version))
                if object.resource_version != 0 && object.resource_version <= *version =>
            {
                return self.older(object, list);
            }
            _ => self.gone.remove(&object.uid),
        };
        let old_epoch = self
            .epoch
            .as_mut()
            .is_some_and(|seen| seen.insert(key.clone()));
        if let Some(current) = self.rows.get(&key) {
            let older = object.resource_version <= current.resource_version;
            if older && object.resource_version != 0 && !old_epoch {
                if object.resource_version < current.resource_version {
                    self.older(object, list);
                }
                return;
            }
            let uid = current.uid.clone();
            if uid != object.uid && !object.uid.is_empty() {
                self.confirm(&uid, object.resource_version);
            }
        }
        let late = (1..=self.listed).contains(&object.resource_version);
        if late && list.is_none() && !self.rows.contains_key(&key) {
            return;
        }
        self.rows.insert(key, object.clone());
    }

    fn older(&mut self, object: &Object, list: Option<u64>) {
        if list.is_some()
            && let Some(list) = &mut self.list
        {
            list.older.insert(object.key(), object.clone());
        }
    }

    fn gone(&mut self, object: &Object) {
        let key = object.key();
        if let Some(list) = &mut self.list {
            list.older.remove(&key);
            list.seen.remove(&key);
        }
        if let Some(current) = self.rows.get(&key) {
            let same = current.uid == object.uid || current.uid.is_empty() || object.uid.is_empty();
            let old_epoch = self.epoch.as_ref().is_some_and(|seen| !seen.contains(&key));
            let newer =
                object.resource_version != 0 && current.resource_version > object.resource_version;
            if same && newer && !old_epoch {
                return;
            }
            if same {
                self.rows.remove(&key);
            }
        }
        self.confirm(&object.uid, object.resource_version);
    }

    fn deleted(&mut self, object: &Object) {
        if !object.uid.is_empty() {
            let lists = self.lists;
            self.gone
                .entry(object.uid.clone())
                .or_insert(Gone::Own { lists });
        }
        let key = object.key();
        let same = |current: &Object| {
            current.uid == object.uid || current.uid.is_empty() || object.uid.is_empty()
        };
        if self.rows.get(&key).is_some_and(same) {
            self.rows.remove(&key);
        }
    }

    fn list_end(&mut self, resource_version: u64) {
        let Some(list) = self.list.take().filter(|list| !list.broken) else {
            return;
        };
        let epoch = self.epoch.take();
        self.rows.retain(|key, row| {
            let old_epoch = epoch.as_ref().is_some_and(|seen| !seen.contains(key));
            list.seen.contains(key) || (!old_epoch && row.resource_version > resource_version)
        });
        for (key, object) in list.older {
            match self.gone.get(&object.uid) {
                Some(Gone::Own { .. }) => continue,
                Some(Gone::Confirmed(version)) if *version > resource_version => continue,
                _ => self.gone.remove(&object.uid),
            };
            let newer = |row: &Object| row.resource_version > resource_version;
            if !self.rows.get(&key).is_some_and(newer) {
                self.rows.insert(key, object);
            }
        }
        self.listed = resource_version;
        for gone in self.gone.values_mut() {
            if matches!(gone, Gone::Own { lists } if *lists < list.number) {
                *gone = Gone::Confirmed(resource_version);
            }
        }
        self.state = TableState::Ready { resource_version };
    }

    fn confirm(&mut self, uid: &str, version: u64) {
        let known = match self.gone.get(uid) {
            Some(Gone::Confirmed(known)) => *known,
            _ => 0,
        };
        if !uid.is_empty() && version > known {
            self.gone.insert(uid.to_owned(), Gone::Confirmed(version));
        }
    }
}
