//! An empty store, and the end that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use parking_lot::Mutex;

use crate::body::Codec;
use crate::change::{Applied, Batch, Change, ChangeError, Sequence};
use crate::config::StoreConfig;
use crate::garbage::Collector;
use crate::job::{Done, Job};
use crate::key::{KindKey, TableDef};
use crate::log::Log;
use crate::publish::Publisher;
use crate::reader::Reader;
use crate::root::{Holders, Root, Shared};
use crate::shred::Budget;
use crate::sync::ArcSwap;
use crate::table::Table;
use crate::version::Version;
use crate::work::Work;

/// So many tables may keep a block open whatever the others do.
const OPEN_TABLES: usize = 512;

/// An empty store.
pub fn store(config: StoreConfig) -> (Writer, Reader) {
    let config = config.clamped();
    let budget = Arc::new(Budget::new(config.cache_bytes));
    let log = Arc::new(Log::new(config.log_entries, config.log_bytes));
    let pinned = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new(Shared {
        log: Arc::clone(&log),
        budget: Arc::clone(&budget),
        holders: Mutex::new(Holders::default()),
        garbage: AtomicUsize::new(0),
        pinned: Arc::clone(&pinned),
        oldest: AtomicU64::new(0),
        expired: AtomicU64::new(0),
    });
    let current = Arc::new(ArcSwap::from_pointee(Root::new(
        0,
        Sequence(0),
        Arc::default(),
        Vec::new(),
        Arc::clone(&shared),
    )));
    let reader = Reader {
        current: Arc::clone(&current),
        shared: Arc::clone(&shared),
    };
    let writer = Writer {
        publisher: Publisher::new(current, shared),
        directory: Arc::default(),
        tables: Vec::new(),
        published: Vec::new(),
        touched: BTreeSet::new(),
        due: BTreeSet::new(),
        sequence: Sequence(0),
        work: Work {
            built_in: Arc::new(Codec::built_in(config.compression_level)),
            next_table: 0,
            config,
            budget,
            sequence: Sequence(1),
            number: 1,
            log,
            changes: Vec::new(),
            garbage: Collector::default(),
            pinned,
            stuck: 0,
            retired: Vec::new(),
        },
    };
    (writer, reader)
}

/// The one end that changes the store. Never waits for readers.
#[derive(Debug)]
pub struct Writer {
    publisher: Publisher,
    directory: Arc<BTreeMap<KindKey, usize>>,
    tables: Vec<Table>,
    /// What was last published of each table.
    published: Vec<Arc<Version>>,
    /// Tables that the next publication must show anew.
    touched: BTreeSet<KindKey>,
    /// Tables that may have a job to be done.
    due: BTreeSet<KindKey>,
    /// Of the last commit.
    sequence: Sequence,
    work: Work,
}

impl Writer {
    /// Applies the batch as one commit and publishes it, then seals and merges
    /// what has waited for that beyond [`StoreConfig::waiting_bytes`]. Never panics; what cannot be applied is
    /// reported and fails its table, the rest goes on.
    pub fn apply(&mut self, batch: Batch) -> Applied {
        let mut errors = Vec::new();
        for change in batch.changes {
            let table = change.table().clone();
            if let Err(reason) = self.change(change) {
                errors.push(ChangeError { table, reason });
            }
        }
        let changed = self.work.changes.len();
        if !self.touched.is_empty() {
            self.sequence = self.work.sequence;
            self.work.sequence = Sequence(self.sequence.0 + 1);
            let changes = std::mem::take(&mut self.work.changes);
            if !changes.is_empty() {
                self.publisher.shared.log.push(self.sequence, changes);
            }
            self.due.extend(self.touched.iter().cloned());
            self.close_open();
            self.publish();
            self.maintain();
        }
        Applied {
            sequence: self.sequence,
            changed,
            errors,
        }
    }

    fn change(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::Define(def) => {
                self.define(def);
                return Ok(());
            }
            Change::Drop(key) => return self.drop_table(&key),
            _ => {}
        }
        let key = change.table().clone();
        let at = self.directory.get(&key).copied();
        let work = &mut self.work;
        let Some(table) = at.and_then(|at| self.tables.get_mut(at)) else {
            return Err("the table is not defined".to_owned());
        };
        let before = work.changes.len();
        let result = match &change {
            Change::Upsert { raw, origin, .. } => table.upsert(raw, *origin, work),
            Change::Delete { target, .. } => table.delete(target, work),
            Change::ListBegin { .. } => {
                table.list_begin();
                return Ok(());
            }
            Change::ListEnd {
                resource_version, ..
            } => {
                // The state may change without a row; a fault here is the
                // watch's, and no reason to fail the table.
                let ended = table.list_end(*resource_version, work);
                self.touched.insert(key);
                return ended;
            }
            Change::Fail { reason, .. } => {
                table.fail(reason);
                self.touched.insert(key);
                return Ok(());
            }
            Change::NewEpoch { .. } => {
                table.new_epoch();
                self.touched.insert(key);
                return Ok(());
            }
            Change::Define(_) | Change::Drop(_) => Ok(()),
        };
        if let Err(reason) = &result {
            table.fault(reason);
        }
        if result.is_err() || work.changes.len() > before {
            self.touched.insert(key);
        }
        result
    }

    fn define(&mut self, def: TableDef) {
        let key = def.key.clone();
        let at = self.directory.get(&key).copied();
        if let Some(table) = at.and_then(|at| self.tables.get_mut(at)) {
            table.redefine(def);
        } else {
            let table = Table::new(def, &mut self.work);
            Arc::make_mut(&mut self.directory).insert(key.clone(), self.tables.len());
            self.published.push(Arc::new(table.version()));
            self.tables.push(table);
        }
        self.touched.insert(key);
    }

    fn drop_table(&mut self, key: &KindKey) -> Result<(), String> {
        let directory = Arc::make_mut(&mut self.directory);
        let Some(at) = directory.remove(key) else {
            return Err("the table is not defined".to_owned());
        };
        for other in directory.values_mut() {
            *other -= usize::from(*other > at);
        }
        self.tables.remove(at);
        let version = self.published.remove(at);
        for slot in version.slots.iter() {
            self.work.retire(slot.bytes, &slot.block);
        }
        self.touched.insert(key.clone());
        Ok(())
    }

    /// Publishes the touched tables under the current sequence.
    fn publish(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        for key in &std::mem::take(&mut self.touched) {
            let at = self.directory.get(key).copied();
            let table = at.and_then(|at| self.tables.get(at));
            let published = at.and_then(|at| self.published.get_mut(at));
            if let (Some(table), Some(published)) = (table, published) {
                *published = Arc::new(table.version());
            }
        }
        self.publisher.publish(
            self.sequence,
            &self.directory,
            self.published.clone(),
            &mut self.work,
        );
    }

    /// The next piece of work to be done on some table, if there is any: sealing,
    /// merging, training a dictionary. Any thread may do it; what it made is for
    /// [`Writer::put_in`]. There are as many jobs at a time as are asked for.
    pub fn job(&mut self) -> Option<Job> {
        let job = self.next_job();
        self.publish();
        job
    }

    /// Shows what a job made in the place of what it was made of. The rows stay,
    /// so the sequence does.
    pub fn put_in(&mut self, done: Done) {
        let found = |table: &&mut Table| table.number == done.table;
        // A table that was dropped meanwhile needs it no more.
        if let Some(table) = self.tables.iter_mut().find(found) {
            table.slots().put_in(done.made, &mut self.work);
            self.touched.insert(table.key.clone());
            self.due.insert(table.key.clone());
            self.publish();
        }
    }

    #[cfg(test)]
    pub(crate) fn slots_of_first(&mut self) -> &mut crate::slots::Slots {
        self.tables[0].slots()
    }

    fn next_job(&mut self) -> Option<Job> {
        while let Some(key) = self.due.first().cloned() {
            let at = self.directory.get(&key).copied();
            if let Some(table) = at.and_then(|at| self.tables.get_mut(at)) {
                let number = table.number;
                let before = table.slots().changes;
                let task = table.slots().task(&mut self.work);
                // Some blocks need no job, and have gone already.
                if table.slots().changes != before {
                    self.touched.insert(key.clone());
                }
                if let Some(task) = task {
                    return Some(Job {
                        table: number,
                        task,
                    });
                }
            }
            self.due.remove(&key);
        }
        None
    }

    /// Closes the largest open blocks while all tables together hold too much uncompressed.
    fn close_open(&mut self) {
        let most = self.work.config.open_bytes;
        let mut total: usize = self.tables.iter().map(Table::open_bytes).sum();
        while total > most {
            let tables = self.tables.iter_mut();
            let Some(table) = tables.max_by_key(|table| table.open_bytes()) else {
                return;
            };
            let bytes = table.open_bytes();
            // Blocks that small are not worth a chunk, however many tables there are.
            if bytes <= most / OPEN_TABLES {
                return;
            }
            total -= bytes;
            table.slots().close();
            self.touched.insert(table.key.clone());
            self.due.insert(table.key.clone());
        }
    }

    /// Whether a small commit does nothing but itself: what is to be sealed and merged waits far below
    /// [`StoreConfig::waiting_bytes`].
    pub fn keeps_up(&mut self) -> bool {
        self.waiting_bytes() < self.work.config.waiting_bytes / 2
    }

    /// Does itself what has waited for too long.
    fn maintain(&mut self) {
        let most = self.work.config.waiting_bytes;
        // A dictionary that is due takes a tenth of a second, and frees nothing now. But all that is
        // compressed before it is there would have to be compressed again.
        while most == 0 || self.waiting_bytes() > most {
            match self.job() {
                Some(job) => self.put_in(job.run()),
                None => break,
            }
        }
    }

    fn waiting_bytes(&mut self) -> usize {
        let places: Vec<usize> = self
            .due
            .iter()
            .filter_map(|key| self.directory.get(key).copied())
            .collect();
        let waiting = places.into_iter().filter_map(|at| {
            let table = self.tables.get_mut(at)?;
            Some(table.slots().waiting_bytes())
        });
        waiting.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Origin;
    use crate::index;
    use crate::key::Index;
    use crate::postings::Position;

    /// Two keys may have one hash: the key decides.
    #[test]
    fn a_candidate_with_another_key_is_not_found() {
        let key = KindKey::new("", "v1", "Pod");
        let (mut writer, reader) = store(StoreConfig::default());
        let table = key.clone();
        let raw = r#"{"metadata":{"name":"a","namespace":"n","uid":"u","labels":{"app":"x"},
            "ownerReferences":[{"uid":"o","controller":true}]},"spec":{"node":"m"}}"#
            .into();
        let origin = Origin::Watch;
        let label_keys = vec!["app".to_owned()];
        let path: crate::path::Path = "spec.node".parse().unwrap();
        let changes = vec![
            Change::Define(TableDef {
                key: key.clone(),
                schema: "core".to_owned(),
                plural: "pods".to_owned(),
                namespaced: true,
                label_keys,
                path_indexes: vec![path.clone()],
            }),
            Change::Upsert { table, raw, origin },
        ];
        writer.apply(Batch { changes });
        let position = Position { block: 0, row: 0 };
        let view = reader.snapshot().table(&key).unwrap();
        for (index, own) in [
            (Index::Uid, "u"),
            (Index::Name, "n/a"),
            (Index::Owner, "o"),
            (Index::Namespace, "n"),
            (Index::Label("app".to_owned()), "x"),
            (Index::Path(path), "m"),
        ] {
            let version = writer.tables[0].version();
            let hashes = version.indexes.get(&index).unwrap();
            hashes.insert(index::hash("other"), position);
            assert_eq!(view.lookup(&index, own).unwrap().len(), 1, "{index}");
            assert_eq!(view.lookup(&index, "other").unwrap().len(), 0, "{index}");
            assert_eq!(view.lookup(&index, "").unwrap().len(), 0, "{index}");
        }
    }

    /// What outlives its rows in the indexes would be found by no look-up and
    /// freed by nobody.
    #[test]
    fn index_entries_go_with_their_rows() {
        let key = KindKey::new("", "v1", "Pod");
        let (mut writer, reader) = store(StoreConfig {
            chunk_rows: 16,
            ..StoreConfig::default()
        });
        let def = TableDef {
            key: key.clone(),
            schema: "core".to_owned(),
            plural: "pods".to_owned(),
            namespaced: true,
            label_keys: vec!["app".to_owned()],
            path_indexes: vec!["spec.node".parse().unwrap()],
        };
        writer.apply(Batch {
            changes: vec![Change::Define(def)],
        });
        let mut version = 0;
        let mut held = None;
        for round in 0..2_000 {
            version += 1;
            let raw = format!(
                r#"{{"metadata":{{"name":"p{}","namespace":"n","uid":"u{}-{}","resourceVersion":"{version}",
                "labels":{{"app":"a{}"}}}},"spec":{{"node":"n{}"}}}}"#,
                round % 50,
                round % 50,
                round / 700,
                round % 7,
                round % 11,
            );
            let table = key.clone();
            let raw = raw.into();
            let origin = Origin::Watch;
            let change = Change::Upsert { table, raw, origin };
            writer.apply(Batch {
                changes: vec![change],
            });
            if round % 300 == 0 {
                held = Some(reader.snapshot());
            }
        }
        drop(held);
        let table = key.clone();
        writer.apply(Batch {
            changes: vec![
                Change::ListBegin {
                    table: table.clone(),
                },
                Change::ListEnd {
                    table,
                    resource_version: version,
                },
            ],
        });
        let table = &mut writer.tables[0];
        assert_eq!(table.version().facts.rows, 0);
        assert_eq!(table.version().indexes.keys(), 0);
    }
}
