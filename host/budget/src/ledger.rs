//! The last reading and what was done so far, for whoever shows them.

use crate::account::Account;
use crate::reading::Reading;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was done so far because the budget was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tables refused, stopped back-fills included.
    pub refused_tables: u64,
    /// Bytes of caches dropped.
    pub evicted_bytes: u64,
    /// Statements cancelled.
    pub cancelled_queries: u64,
}

/// Gauges of the accounts and counters of what was done: plain atomics, each exact, not all of
/// one moment.
#[derive(Debug, Default)]
pub struct Ledger {
    budget: AtomicU64,
    accounts: [AtomicU64; 4],
    refused_tables: AtomicU64,
    evicted_bytes: AtomicU64,
    cancelled_queries: AtomicU64,
}

impl Ledger {
    /// Takes a reading over.
    pub fn set(&self, reading: &Reading) {
        self.budget.store(reading.budget, Ordering::Relaxed);
        for (gauge, account) in self.accounts.iter().zip(Account::ALL) {
            gauge.store(reading.of(account), Ordering::Relaxed);
        }
    }

    /// The budget at the last reading.
    pub fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// What each account held at the last reading.
    pub fn accounts(&self) -> impl Iterator<Item = (Account, u64)> + '_ {
        let bytes = self
            .accounts
            .iter()
            .map(|gauge| gauge.load(Ordering::Relaxed));
        Account::ALL.into_iter().zip(bytes)
    }

    /// A table was refused.
    pub fn refused_table(&self) {
        self.refused_tables.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes of caches were dropped.
    pub fn evicted(&self, bytes: u64) {
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A statement was cancelled.
    pub fn cancelled_query(&self) {
        self.cancelled_queries.fetch_add(1, Ordering::Relaxed);
    }

    /// What was done so far.
    pub fn taken(&self) -> Taken {
        Taken {
            refused_tables: self.refused_tables.load(Ordering::Relaxed),
            evicted_bytes: self.evicted_bytes.load(Ordering::Relaxed),
            cancelled_queries: self.cancelled_queries.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_gauge() {
        let ledger = Ledger::default();
        ledger.set(&Reading {
            budget: 10,
            store: 1,
            queries: 2,
            guests: 3,
            caches: 4,
            ..Reading::default()
        });
        let shown: Vec<_> = ledger
            .accounts()
            .map(|(of, bytes)| (of.name(), bytes))
            .collect();
        let wanted = [("store", 1), ("queries", 2), ("guests", 3), ("caches", 4)];
        assert_eq!((ledger.budget(), shown), (10, wanted.to_vec()));
        ledger.refused_table();
        ledger.evicted(5);
        ledger.evicted(2);
        let taken = Taken {
            refused_tables: 1,
            evicted_bytes: 7,
            cancelled_queries: 0,
        };
        assert_eq!(ledger.taken(), taken);
    }
}
