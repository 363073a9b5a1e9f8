//! How many watches list or open at once, where they are many and small.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Watches that share it list and open so many at once, the first time and whenever a connection was
/// lost; an open watch holds nobody up. Clones share it.
#[derive(Clone, Debug)]
pub struct Openings {
    most: usize,
    turns: Arc<Semaphore>,
}

impl Openings {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Openings {
        let turns = Arc::new(Semaphore::new(most));
        Openings { most, turns }
    }

    /// How many are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.most.saturating_sub(self.turns.available_permits())
    }

    /// Waits for a turn, which lasts as long as what is returned.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }
}

impl PartialEq for Openings {
    fn eq(&self, other: &Openings) -> bool {
        Arc::ptr_eq(&self.turns, &other.turns)
    }
}

impl Eq for Openings {}
