//! What is held at one moment.

use crate::account::Account;

/// What is held at one moment, in bytes.
///
/// ```
/// use kybern_budget::{Reading, measures};
///
/// let reading = Reading { budget: 100, store: 70, caches: 40, ..Reading::default() };
/// assert_eq!(reading.over(), 10);
/// // The ten, and a sixteenth of the budget beyond.
/// assert_eq!(measures(&reading).evict, 16);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What may be held.
    pub budget: u64,
    /// Of [`Account::Store`].
    pub store: u64,
    /// Of [`Account::Queries`].
    pub queries: u64,
    /// Of [`Account::Guests`].
    pub guests: u64,
    /// Of [`Account::Caches`].
    pub caches: u64,
    /// Of the store: what the largest table holds whose first list is under way.
    pub filling: u64,
    /// Of the queries: what the largest statement holds that was not cancelled.
    pub largest_query: u64,
    /// Of store and queries: what back-fills and statements hold that were told to end and have
    /// not.
    pub ending: u64,
}

impl Reading {
    /// What an account holds.
    pub fn of(&self, account: Account) -> u64 {
        match account {
            Account::Store => self.store,
            Account::Queries => self.queries,
            Account::Guests => self.guests,
            Account::Caches => self.caches,
        }
    }

    /// What all accounts hold.
    pub fn used(&self) -> u64 {
        Account::ALL
            .into_iter()
            .fold(0, |sum, account| sum.saturating_add(self.of(account)))
    }

    /// By how much the budget is exceeded.
    pub fn over(&self) -> u64 {
        self.used().saturating_sub(self.budget)
    }

    /// What may still be taken.
    pub fn room(&self) -> u64 {
        self.budget.saturating_sub(self.used())
    }

    /// Whether a table may be begun that is known to need `need` bytes; 0 = nothing is known.
    /// Caches make room for it.
    pub fn admits(&self, need: u64) -> bool {
        let kept = self.used().saturating_sub(self.caches);
        self.over() == 0 && kept.saturating_add(need) <= self.budget
    }

    /// What must be free before a table is tried again whose back-fill was stopped at `reached`
    /// bytes. It grows with each try, so that the tries come to an end.
    pub fn need_after(&self, reached: u64) -> u64 {
        reached
            .saturating_add(reached / 4)
            .saturating_add(self.budget / 64)
    }
}
