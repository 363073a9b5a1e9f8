//! The stages of a pass: each is timed.

use crate::counters::OfPlugin;
use tokio::time::Instant;

/// A stage of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The queries are answered, the sense hook included.
    Sense,
    /// The plugin decides.
    Decide,
    /// The plan is checked, compared and followed.
    Write,
    /// The status is compared and written.
    Status,
}

impl Stage {
    /// For labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sense => "sense",
            Self::Decide => "decide",
            Self::Write => "write",
            Self::Status => "status",
        }
    }

    /// Does the work of this stage.
    pub(crate) async fn of<F: Future>(self, counts: &OfPlugin, work: F) -> F::Output {
        let began = Instant::now();
        let output = work.await;
        counts.lock().stage(self, began.elapsed());
        output
    }
}
