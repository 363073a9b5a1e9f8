//! The gate in front of every write: may this process write right now?
//!
//! # Why
//! The Kubernetes API has no fencing tokens. All a leader can do is to start a write only while its
//! lease certainly outlasts that write, and to check this as late as possible.

use std::time::Duration;

/// Leadership is absent, or ends too soon for the write that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica may not write: the lease outlasts {remaining:?}, the write needs {needed:?}")]
pub struct NotLeading {
    /// For how long the lease still holds; zero when another replica leads.
    pub remaining: Duration,
    /// For how long it would have to hold.
    pub needed: Duration,
}

/// Says whether writes may start.
pub trait Fence: Send + Sync {
    /// Succeeds if leadership lasts for at least `needed` from now. Must be cheap and never block:
    /// it is called each time a write makes progress.
    ///
    /// # Errors
    /// [`NotLeading`], when it does not.
    fn allowed(&self, needed: Duration) -> Result<(), NotLeading>;
}

/// The fence of a process that is alone by configuration (`--no-leader-election`).
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysLeader;

impl Fence for AlwaysLeader {
    fn allowed(&self, _needed: Duration) -> Result<(), NotLeading> {
        Ok(())
    }
}
