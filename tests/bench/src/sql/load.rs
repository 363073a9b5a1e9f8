//! Updates of pods while queries are answered: a thread that alone owns the writer, and another
//! one that seals and merges, as in the host.

use super::kybern::apply;
use super::objects::Objects;
use crate::clock::now;
use crate::recording::SEED;
use crate::subject::pods;
use anyhow::{Context, Result, bail};
use kybern_seed::Pods;
use kybern_table::{Change, Done, Job, Origin, Writer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Updates of one commit, and how often there is one: 10,000 a second.
const COMMIT: u64 = 100;
const EVERY: Duration = Duration::from_millis(10);

/// The two threads.
pub(crate) struct Load {
    ended: Arc<AtomicBool>,
    writer: JoinHandle<Result<String>>,
    sealer: JoinHandle<()>,
}

impl Load {
    /// Starts updates of pods in an order that touches every chunk.
    pub(crate) fn start(writer: Writer, objects: Objects) -> Result<Load> {
        let ended = Arc::new(AtomicBool::new(false));
        let (jobs, to_do) = sync_channel::<Job>(1);
        let (out, made) = channel();
        let sealer = std::thread::Builder::new().spawn(move || {
            for job in to_do {
                if out.send(job.run()).is_err() {
                    return;
                }
            }
        })?;
        let seen = Arc::clone(&ended);
        let writer = std::thread::Builder::new()
            .spawn(move || write(writer, objects, &seen, &jobs, &made))?;
        Ok(Load {
            ended,
            writer,
            sealer,
        })
    }

    /// Ends it; what rate was reached.
    pub(crate) fn end(self) -> Result<String> {
        self.ended.store(true, Ordering::Relaxed);
        let reached = self.writer.join();
        let Ok(()) = self.sealer.join() else {
            bail!("the thread that seals panicked");
        };
        match reached {
            Ok(reached) => reached,
            Err(_) => bail!("the thread that writes panicked"),
        }
    }
}

fn write(
    mut writer: Writer,
    objects: Objects,
    ended: &AtomicBool,
    jobs: &SyncSender<Job>,
    made: &Receiver<Done>,
) -> Result<String> {
    let (mut updates, mut busy, mut latest) = (Updates::of(objects), false, Duration::ZERO);
    let began = now()?;
    for commit in 0u32.. {
        // Made before they are due: in the host they come from a socket.
        let changes = updates.next(COMMIT);
        let due = EVERY * commit;
        if let Some(wait) = due.checked_sub(now()? - began) {
            std::thread::park_timeout(wait);
        }
        latest = latest.max((now()? - began).saturating_sub(due));
        if ended.load(Ordering::Relaxed) {
            break;
        }
        apply(&mut writer, changes)?;
        if let Ok(done) = made.try_recv() {
            writer.put_in(done);
            busy = false;
        }
        if !busy && let Some(job) = writer.job() {
            jobs.send(job).context("the thread that seals ended")?;
            busy = true;
        }
    }
    let done = updates.made.saturating_sub(COMMIT);
    let took = (now()? - began).as_secs_f64();
    let rate = f64::from(u32::try_from(done).context("too many updates")?) / took;
    Ok(format!(
        "{rate:.0} updates a second for {took:.1} s, the latest commit {} ms late",
        latest.as_millis()
    ))
}

/// Pods, each newer than before.
struct Updates {
    pods: u64,
    made: u64,
}

impl Updates {
    fn of(objects: Objects) -> Updates {
        Updates {
            pods: objects.pods.max(1),
            made: 0,
        }
    }

    fn next(&mut self, count: u64) -> Vec<Change> {
        let table = pods().key;
        let numbers = self.made..self.made + count;
        self.made += count;
        numbers
            .map(|number| Change::Upsert {
                table: table.clone(),
                raw: Pods::new(SEED)
                    .pod(number * 7_919 % self.pods, 1 + number / self.pods)
                    .into(),
                origin: Origin::Watch,
            })
            .collect()
    }
}
