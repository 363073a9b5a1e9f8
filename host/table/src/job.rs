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
