//! The thread that seals, merges and trains, so that commits do not wait for it.
//!
//! *Contract.* One job at a time. Without the thread (it could not be started, or has died) the
//! writer does the work itself, once it has waited for longer than the store's bound.

use kybern_table::{Done, Job, Writer};
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;

/// The thread, seen from the writer's task.
pub(crate) struct Jobs {
    jobs: blocking::SyncSender<Job>,
    done: mpsc::Receiver<Done>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    Gone,
}

impl Jobs {
    /// Starts the thread; it ends when this is dropped, and with its job.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, jobs_in) = blocking::sync_channel::<Job>(1);
        let (done_out, done) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("kybern-seal".into())
            .spawn(move || {
                for job in jobs_in {
                    if done_out.blocking_send(job.run()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            jobs,
            done,
            state: State::Idle,
        })
    }

    /// Gives the thread something to do, if it has nothing and there is something.
    pub(crate) fn offer(&mut self, writer: &mut Writer) {
        if self.state == State::Idle
            && let Some(job) = writer.job()
        {
            self.state = match self.jobs.send(job) {
                Ok(()) => State::Busy,
                Err(_) => State::Gone,
            };
        }
    }

    /// What the thread has made; pending while it makes nothing.
    pub(crate) async fn done(&mut self) -> Done {
        if self.state == State::Busy {
            match self.done.recv().await {
                Some(done) => {
                    self.state = State::Idle;
                    return done;
                }
                None => {
                    tracing::error!("the thread that seals rows has died: commits do its work");
                    self.state = State::Gone;
                }
            }
        }
        std::future::pending().await
    }
}
