//! The accounts that the budget is spent on.

use std::fmt;

/// Who holds bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// Tables, their indexes and dictionaries, the change log, and what only old snapshots keep.
    Store,
    /// Joins, sorts, groups and answers of statements that run.
    Queries,
    /// Linear memories of plugin calls that run, and the plugins' compiled code.
    Guests,
    /// What can be dropped at any time and costs time to make again.
    Caches,
}

impl Account {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Account; 4] = [
        Account::Store,
        Account::Queries,
        Account::Guests,
        Account::Caches,
    ];

    /// Its name in metrics, system tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Account::Store => "store",
            Account::Queries => "queries",
            Account::Guests => "guests",
            Account::Caches => "caches",
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
