//! Work on chunks that needs no writer: sealing, merging, training a dictionary.
//!
//! # Contract
//!
//! A job reads only what never changes, so it can run on any thread and take its
//! time. The writer puts in what it made and looks at what happened to the rows
//! meanwhile. Until then the rows are read where they lie, and no other job is
//! made of them: a job that is dropped leaves them there for good.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::merge::{Merged, Merging};
use crate::seal::{Sealed, Sealing};
use crate::train::{Trained, Training};

/// A piece of work that [`crate::Writer::job`] handed out.
#[derive(Debug)]
#[must_use = "the rows of a job that is dropped stay as they are for good"]
pub struct Job {
    /// The number of the table.
    pub(crate) table: u64,
    pub(crate) task: Task,
}

#[derive(Debug)]
pub(crate) enum Task {
    Seal(Sealing),
    Merge(Merging),
    Train(Training),
}

/// What a job made, for [`crate::Writer::put_in`].
#[derive(Debug)]
#[must_use = "the writer puts it in"]
pub struct Done {
    pub(crate) table: u64,
    pub(crate) made: Made,
}

#[derive(Debug)]
pub(crate) enum Made {
    Sealed(Sealed),
    Merged(Merged),
    Trained(Trained),
    /// A fault of the store's.
    Failed,
}

impl Job {
    /// Does the work: some milliseconds, for a dictionary some hundred.
    pub fn run(self) -> Done {
        let task = self.task;
        // It only reads, so a panic leaves nothing half done.
        let made = catch_unwind(AssertUnwindSafe(|| match task {
            Task::Seal(sealing) => Made::Sealed(sealing.run()),
            Task::Merge(merging) => Made::Merged(merging.run()),
            Task::Train(training) => Made::Trained(training.run()),
        }));
        Done {
            table: self.table,
            made: made.unwrap_or(Made::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Change, Index, KindKey, Origin, StoreConfig, TableDef, Writer, store};

    fn put(writer: &mut Writer, key: &KindKey, names: std::ops::Range<u32>, version: u32) {
        let changes = names.map(|name| Change::Upsert {
            table: key.clone(),
            raw: format!(
                r#"{{"metadata":{{"name":"o{name}","uid":"u{name}","resourceVersion":"{version}"}},"spec":{{"a":"{}"}}}}"#,
                "text ".repeat(40)
            )
            .into(),
            origin: Origin::Watch,
        });
        let applied = writer.apply(Batch {
            changes: changes.collect(),
        });
        assert_eq!(applied.errors, []);
    }

    /// A fault of the store's own costs memory, never a row, and is not tried for ever.
    #[test]
    fn the_rows_of_a_job_that_failed_stay_where_they_are() {
        let key = KindKey::new("", "v1", "Node");
        let (mut writer, reader) = store(StoreConfig {
            chunk_rows: 8,
            dictionary_after: 2_000,
            waiting_bytes: 1_000_000,
            ..StoreConfig::default()
        });
        let def = TableDef {
            key: key.clone(),
            schema: "core".to_owned(),
            plural: "nodes".to_owned(),
            namespaced: false,
            label_keys: Vec::new(),
            path_indexes: Vec::new(),
        };
        let changes = vec![Change::Define(def)];
        assert_eq!(writer.apply(Batch { changes }).errors, []);
        put(&mut writer, &key, 0..64, 1);
        // Every kind of job: sealing and training now, merging once rows have died.
        let mut failed = 0;
        for version in 2..6 {
            while let Some(job) = writer.job() {
                let spared = matches!(job.task, Task::Seal(_)) && version % 2 == 0;
                failed += u32::from(!spared);
                writer.put_in(if spared {
                    job.run()
                } else {
                    Done {
                        table: job.table,
                        made: Made::Failed,
                    }
                });
                assert!(failed < 100, "it is tried for ever");
            }
            put(&mut writer, &key, 0..40, version);
        }
        assert!(failed > 3, "{failed}");
        let view = reader.snapshot().table(&key).unwrap();
        for name in 0..64 {
            let found = view.lookup(&Index::Name, &format!("o{name}")).unwrap();
            let versions: Vec<u64> = found.iter().map(|row| row.resource_version()).collect();
            assert_eq!(versions, [if name < 40 { 5 } else { 1 }], "o{name}");
        }
        assert_eq!(view.count(), 64);
    }
}
