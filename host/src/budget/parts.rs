//! What holds memory, piece by piece. Together the pieces are the accounts.

use super::bytes;
use crate::wiring::decide::Guests;
use kybern_budget::Account;
use kybern_plugin::Runtime;
use kybern_sql::{Engine, MemoryFact};
use kybern_table::{KindKey, Reader, Stats, TableStats};

/// Who holds memory.
#[derive(Clone)]
pub(crate) struct Sources {
    /// The tables.
    pub(crate) reader: Reader,
    /// The statements.
    pub(crate) sql: Engine,
    /// The plugins, and where their calls run; none in commands that run none.
    pub(crate) guests: Option<(Guests, Runtime)>,
}

impl Sources {
    /// Every piece, none in two of them.
    pub(super) fn parts(&self, stats: &Stats) -> Vec<MemoryFact> {
        let mut parts: Vec<MemoryFact> = stats.tables.iter().flat_map(of_table).collect();
        let held = self.sql.held();
        let (store, queries) = (Account::Store, Account::Queries);
        parts.extend([
            part(store, "log", stats.log_bytes, stats.log_entries),
            part(store, "pinned", stats.pinned_bytes, stats.snapshots_held),
            part(queries, "working", held.working_bytes, held.statements),
            part(queries, "answer", held.answer_bytes, held.statements),
        ]);
        if let Some((guests, runtime)) = &self.guests {
            let (code, loaded) = (guests.code_bytes(), guests.loaded());
            parts.extend([
                part(
                    Account::Guests,
                    "memory",
                    runtime.memory_bytes(),
                    guests.running(),
                ),
                part(Account::Guests, "code", code, loaded),
            ]);
        }
        let plans = (self.sql.cached_plan_bytes(), self.sql.cached_plans());
        parts.extend([
            MemoryFact {
                rows: None,
                ..part(Account::Caches, "column", stats.cache_bytes, 0)
            },
            part(Account::Caches, "plan", plans.0, plans.1),
        ]);
        parts
    }
}

/// A piece that is of no table.
fn part(account: Account, part: &'static str, size: usize, count: usize) -> MemoryFact {
    MemoryFact {
        account: account.name(),
        part,
        table: None,
        index: None,
        bytes: bytes(size),
        rows: Some(bytes(count)),
        dead_bytes: None,
    }
}

fn of_table(stats: &TableStats) -> Vec<MemoryFact> {
    let own = |name, size| MemoryFact {
        table: Some(KindKey::clone(&stats.table)),
        ..part(Account::Store, name, size, stats.rows)
    };
    // Of dead rows both parts have about the share that they have of all rows.
    let dead = |size: usize| {
        let share = bytes(size).saturating_mul(bytes(stats.dead_bytes));
        share.checked_div(bytes(stats.bytes))
    };
    let columns = stats.bytes.saturating_sub(stats.body_bytes);
    let rows = [("body", stats.body_bytes), ("column", columns)].map(|(name, size)| MemoryFact {
        dead_bytes: dead(size),
        ..own(name, size)
    });
    let indexes = stats.indexes.iter().map(|(index, size)| MemoryFact {
        index: Some(index.to_string()),
        ..own("index", *size)
    });
    let dictionary = own("dictionary", stats.dictionary_bytes);
    rows.into_iter()
        .chain(indexes)
        .chain([dictionary])
        .collect()
}
