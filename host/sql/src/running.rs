//! Statements that run: what each holds, and how one is cancelled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::SqlError;

/// What the statements that run hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many run.
    pub statements: usize,
    /// Bytes of their joins, sorts and groups.
    pub working_bytes: usize,
    /// Bytes of their answers so far.
    pub answer_bytes: usize,
    /// Of all bytes: those of the statement that holds most and was not cancelled.
    pub largest_bytes: usize,
    /// Of all bytes: those of statements that were cancelled and have not ended.
    pub ending_bytes: usize,
}

impl Held {
    /// Bytes of all statements.
    pub fn bytes(&self) -> usize {
        self.working_bytes + self.answer_bytes
    }
}

/// One statement that runs.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    working: AtomicUsize,
    answer: AtomicUsize,
    /// Why it was cancelled.
    cancelled: OnceLock<String>,
    news: Notify,
}

impl Statement {
    pub(crate) fn working(&self) -> &AtomicUsize {
        &self.working
    }

    pub(crate) fn has_answered(&self, bytes: usize) {
        self.answer.store(bytes, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.working.load(Ordering::Relaxed) + self.answer.load(Ordering::Relaxed)
    }

    /// The error to end with, once it was cancelled.
    pub(crate) fn cancelled(&self) -> Option<SqlError> {
        self.cancelled.get().map(|message| SqlError::Cancelled {
            message: message.clone(),
        })
    }

    /// Waits until it is cancelled.
    pub(crate) async fn wait(&self) -> SqlError {
        loop {
            if let Some(error) = self.cancelled() {
                return error;
            }
            self.news.notified().await;
        }
    }
}

/// All statements that run.
#[derive(Debug, Default)]
pub(crate) struct Running {
    statements: Mutex<(u64, BTreeMap<u64, Arc<Statement>>)>,
}

/// One statement is in the list for as long as this lives.
#[derive(Debug)]
pub(crate) struct Ticket {
    running: Arc<Running>,
    number: u64,
    pub(crate) statement: Arc<Statement>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.running.statements.lock().1.remove(&self.number);
    }
}

/// An answer that somebody has still to read: until this goes, it counts as that of a statement
/// that runs.
#[derive(Debug)]
pub struct Kept(Ticket);

impl Kept {
    pub(crate) fn new(ticket: Ticket, bytes: usize) -> Self {
        ticket.statement.has_answered(bytes);
        Self(ticket)
    }

    /// It takes so many bytes from now on.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.statement.has_answered(bytes);
    }

    /// The error to end with, once its memory was wanted back.
    pub(crate) fn wanted_back(&self) -> Option<SqlError> {
        self.0.statement.cancelled()
    }

    /// Waits until its memory is wanted back.
    pub async fn cancelled(&self) -> SqlError {
        self.0.statement.wait().await
    }
}

impl Running {
    /// One more statement runs.
    pub(crate) fn begin(self: &Arc<Self>) -> Ticket {
        let statement = Arc::new(Statement::default());
        let mut statements = self.statements.lock();
        let number = statements.0;
        statements.0 += 1;
        statements.1.insert(number, Arc::clone(&statement));
        Ticket {
            running: Arc::clone(self),
            number,
            statement,
        }
    }

    pub(crate) fn held(&self) -> Held {
        let mut held = Held::default();
        for statement in self.statements.lock().1.values() {
            held.statements += 1;
            held.working_bytes += statement.working.load(Ordering::Relaxed);
            held.answer_bytes += statement.answer.load(Ordering::Relaxed);
            let bytes = statement.bytes();
            if statement.cancelled.get().is_some() {
                held.ending_bytes += bytes;
            } else {
                held.largest_bytes = held.largest_bytes.max(bytes);
            }
        }
        held
    }

    /// Cancels the statement that holds most, and at least `least` bytes, of those that were not; of equal ones the newest.
    /// Its bytes; none if nothing runs.
    pub(crate) fn cancel_largest(
        &self,
        least: usize,
        why: impl FnOnce(usize) -> String,
    ) -> Option<usize> {
        let statements = self.statements.lock();
        let largest = statements
            .1
            .values()
            .filter(|statement| statement.cancelled.get().is_none())
            .max_by_key(|statement| statement.bytes())?;
        let bytes = largest.bytes();
        if bytes < least {
            return None;
        }
        // Nobody else sets it: the list is locked.
        let _ = largest.cancelled.set(why(bytes));
        largest.news.notify_one();
        Some(bytes)
    }
}
