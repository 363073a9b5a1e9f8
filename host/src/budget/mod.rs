//! The memory budget: one number, four accounts, and what is done when it is exceeded.
//!
//! *Why.* Tables grow with the cluster, and statements with what is asked. The memory guard can only
//! end the host; the budget keeps it going: what is watched stays up to date, and what would be too
//! much is refused by name.
//!
//! *Contract.* The accounts are sums of [`parts`], which `kybern.memory` shows. What is to be done at
//! a reading is [`kybern_budget::measures`]' word; the [`keeper`] does it. Ingest of kinds that are
//! watched never stops.
//!
//! *Limits.* Between two looks more can be taken than there is; the guard stays behind.

mod facts;
mod keeper;
mod metrics;
mod parts;
#[cfg(test)]
mod tests;

use crate::memory::Meter;
use kybern_budget::{Account, Holder, Ledger, Reading};
use kybern_table::{Stats, TableStats};
use std::sync::Arc;

pub(crate) use facts::Facts;
pub(crate) use keeper::Keeper;
pub(crate) use metrics::register;
pub(crate) use parts::Sources;

/// The budget; cheap to clone.
#[derive(Clone)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    sources: Sources,
    /// What the user gave.
    given: Option<u64>,
    meter: Meter,
    ledger: Ledger,
}

impl Budget {
    /// `given` wins over a share of what the meter says may be used.
    pub(crate) fn new(sources: Sources, given: Option<u64>, meter: Meter) -> Self {
        Self {
            shared: Arc::new(Shared {
                sources,
                given,
                meter,
                ledger: Ledger::default(),
            }),
        }
    }

    /// Who holds memory.
    pub(crate) fn sources(&self) -> &Sources {
        &self.shared.sources
    }

    /// Counts what is done.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// What is held now, with these gauges of the store. The limit may change while the host runs.
    pub(crate) fn reading(&self, stats: &Stats) -> Reading {
        let sources = self.sources();
        let parts = sources.parts(stats);
        let of = |account: Account| {
            let own = parts.iter().filter(|part| part.account == account.name());
            own.map(|part| part.bytes).sum()
        };
        let held = sources.sql.held();
        Reading {
            budget: kybern_budget::budget(self.shared.given, self.shared.meter.limit()),
            store: of(Account::Store),
            queries: of(Account::Queries),
            guests: of(Account::Guests),
            caches: of(Account::Caches),
            filling: 0,
            largest_query: bytes(held.largest_bytes),
            ending: bytes(held.ending_bytes),
        }
    }

    /// What is held now.
    pub(crate) fn read(&self) -> Reading {
        self.reading(&self.sources().reader.stats())
    }

    /// Drops at least so many bytes of caches, if there are so many.
    fn evict(&self, wanted: u64) {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let sources = self.sources();
        let columns = sources.reader.evict_columns(wanted);
        let plans = match wanted.saturating_sub(columns) {
            0 => 0,
            rest => sources.sql.evict_plans(rest),
        };
        self.ledger().evicted(bytes(columns.saturating_add(plans)));
    }
}

/// The tables, for messages.
fn holders(stats: &Stats) -> Vec<Holder> {
    let holder = |table: &TableStats| Holder {
        table: table.table.to_string(),
        rows: bytes(table.rows),
        bytes: bytes(table.total_bytes()),
    };
    stats.tables.iter().map(holder).collect()
}

/// A count of bytes or rows as the budget has it.
pub(crate) fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
