//! The one way to the table's writer: batches in, commits out.
//!
//! *Contract.* Watches send batches through a bounded channel and are held back
//! when it is full. An own write is committed at once by who makes it while the writer is free, for a
//! commit of one row takes less than to wake another thread; else it goes through a second channel
//! that is served first and answers with the sequence at which the write can be seen. What watches
//! hand over is paced by the memory budget's looks: see [`Pace`].

use super::jobs::Jobs;
use super::pace::Pace;
use kybern_table::{Applied, Batch, Change, Sequence, Writer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Batches that may wait before watches are held back; each has up to 512 KiB of objects, so that a
/// list that comes faster than it is taken in does not fill the memory.
const WAITING_BATCHES: usize = 8;
/// Own writes that may wait.
const WAITING_WRITES: usize = 1024;
/// Changes that one commit gathers from batches that already wait.
const COMMIT_CHANGES: usize = 512;

/// One own write and who waits for it.
struct OwnWrite {
    batch: Batch,
    done: oneshot::Sender<Applied>,
}

/// What a watch handed over, or somebody who must not overtake it and waits.
pub(crate) struct Queued {
    batch: Batch,
    done: Option<oneshot::Sender<()>>,
}

impl From<Batch> for Queued {
    fn from(batch: Batch) -> Self {
        Self { batch, done: None }
    }
}

/// The writer, and who is told of its commits.
struct Table {
    writer: Mutex<Writer>,
    commits: watch::Sender<Sequence>,
}

impl Table {
    fn commit(&self, writer: &mut Writer, batch: Batch) -> Applied {
        let applied = writer.apply(batch);
        for error in &applied.errors {
            tracing::error!(table = %error.table, reason = %error.reason, "object could not be taken in");
        }
        self.commits.send_if_modified(|at| {
            let newer = applied.sequence > *at;
            if newer {
                *at = applied.sequence;
            }
            newer
        });
        applied
    }

    /// Commits now, if nobody else does and no other work would come with it.
    fn commit_now(&self, batch: Batch) -> Result<Applied, Batch> {
        let Some(mut writer) = self.writer.try_lock() else {
            return Err(batch);
        };
        if !writer.keeps_up() {
            return Err(batch);
        }
        Ok(self.commit(&mut writer, batch))
    }
}

/// The way into the table; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ingest {
    table: Arc<Table>,
    batches: mpsc::Sender<Queued>,
    writes: mpsc::Sender<OwnWrite>,
    pace: Pace,
}

impl Ingest {
    /// How many batches and how many own writes may wait.
    pub(crate) const BOUNDS: [usize; 2] = [WAITING_BATCHES, WAITING_WRITES];

    /// How many batches and how many own writes wait.
    pub(crate) fn waiting(&self) -> [usize; 2] {
        [
            self.batches
                .max_capacity()
                .saturating_sub(self.batches.capacity()),
            self.writes
                .max_capacity()
                .saturating_sub(self.writes.capacity()),
        ]
    }

    /// Starts the task on a thread of its own, so that nothing on the I/O runtime waits for it.
    /// It ends when every handle is dropped.
    pub(crate) fn start(writer: Writer, at: Sequence) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (batches, batches_in) = mpsc::channel(WAITING_BATCHES);
        let (writes, writes_in) = mpsc::channel(WAITING_WRITES);
        let (commits, _) = watch::channel(at);
        let writer = Mutex::new(writer);
        let table = Arc::new(Table { writer, commits });
        let theirs = Arc::clone(&table);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let jobs = Jobs::start()?;
        let pace = Pace::default();
        let paced = pace.clone();
        let thread = std::thread::Builder::new()
            .name("kybern-ingest".into())
            .spawn(move || runtime.block_on(run(&theirs, jobs, paced, batches_in, writes_in)))?;
        Ok((
            Self {
                table,
                batches,
                writes,
                pace,
            },
            thread,
        ))
    }

    /// Where watches send to.
    pub(crate) fn batches(&self) -> mpsc::Sender<Queued> {
        self.batches.clone()
    }

    /// How much is taken in between two looks at the budget.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The newest commit, and news of later ones.
    pub(crate) fn commits(&self) -> watch::Receiver<Sequence> {
        self.table.commits.subscribe()
    }

    /// Puts changes into the table after all that watches have handed over, and returns when they can
    /// be seen, or while shutting down.
    pub(crate) async fn commit_last(&self, changes: Vec<Change>) {
        let (done, wait) = oneshot::channel();
        let queued = Queued {
            batch: Batch { changes },
            done: Some(done),
        };
        if self.batches.send(queued).await.is_ok() {
            // It is dropped when the writer ends.
            let _ = wait.await;
        }
    }

    /// Puts changes into the table and returns when they can be seen; `None` while shutting down.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Option<Applied> {
        let batch = match self.table.commit_now(Batch { changes }) {
            Ok(applied) => return Some(applied),
            Err(batch) => batch,
        };
        let (done, wait) = oneshot::channel();
        self.writes.send(OwnWrite { batch, done }).await.ok()?;
        wait.await.ok()
    }
}

/// The task: own writes first, then what watches sent, gathered while it already waits.
async fn run(
    table: &Table,
    mut jobs: Jobs,
    pace: Pace,
    mut batches: mpsc::Receiver<Queued>,
    mut writes: mpsc::Receiver<OwnWrite>,
) {
    // Bytes since the last look.
    let mut taken: u64 = 0;
    loop {
        jobs.offer(&mut table.writer.lock());
        tokio::select! {
            biased;
            write = writes.recv() => {
                let Some(OwnWrite { batch, done }) = write else { break };
                let applied = table.commit(&mut table.writer.lock(), batch);
                // The writer may have given up waiting; the change stands all the same.
                let _ = done.send(applied);
            }
            done = jobs.done() => table.writer.lock().put_in(done),
            batch = batches.recv() => {
                let Some(Queued { mut batch, done }) = batch else { break };
                let mut waiting = Vec::from_iter(done);
                taken = taken.saturating_add(bytes_of(&batch));
                while batch.changes.len() < COMMIT_CHANGES && taken < pace.allowance() {
                    match batches.try_recv() {
                        Ok(more) => {
                            taken = taken.saturating_add(bytes_of(&more.batch));
                            batch.changes.extend(more.batch.changes);
                            waiting.extend(more.done);
                        }
                        Err(_) => break,
                    }
                }
                table.commit(&mut table.writer.lock(), batch);
                for done in waiting {
                    // Nobody may wait any more.
                    let _ = done.send(());
                }
                if taken >= pace.allowance() {
                    pace.look().await;
                    taken = 0;
                }
            }
        }
    }
}

/// Bytes of the objects.
fn bytes_of(batch: &Batch) -> u64 {
    let bytes = batch.changes.iter().map(|change| match change {
        Change::Upsert { raw, .. } => raw.len(),
        _ => 0,
    });
    u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::plugin_table;
    use kybern_table::{Origin, StoreConfig};
    use serde_json::json;

    /// An own write can be seen, and is told of, when its commit returns: by the short way and, since
    /// there is always something to be sealed where nothing may wait, by the long one.
    #[tokio::test]
    async fn an_own_write_is_there_when_its_commit_returns() {
        for waiting_bytes in [1 << 20, 0] {
            let config = StoreConfig {
                waiting_bytes,
                ..StoreConfig::default()
            };
            let (writer, reader) = kybern_table::store(config);
            let (ingest, _thread) = Ingest::start(writer, reader.snapshot().sequence()).unwrap();
            let mut commits = ingest.commits();
            let def = plugin_table();
            let table = def.key.clone();
            ingest.commit(vec![Change::Define(def)]).await.unwrap();
            let object = json!({ "metadata": {
                "name": "o", "uid": "u", "resourceVersion": "5",
            } });
            let write = Change::Upsert {
                table: table.clone(),
                raw: object.to_string().into(),
                origin: Origin::OwnWrite,
            };
            let applied = ingest.commit(vec![write]).await.unwrap();
            assert!(applied.errors.is_empty(), "{:?}", applied.errors);
            assert_eq!(*commits.borrow_and_update(), applied.sequence);
            let row = reader.read(|snapshot| crate::tables::row(snapshot, &table, "", "o"));
            assert!(row.is_some(), "{waiting_bytes}");
        }
    }
}
