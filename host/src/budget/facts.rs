//! What system tables show about this host.

use super::Budget;
use crate::asking::EngineNow;
use crate::wiring::watches::Watches;
use kybern_kube::Phase;
use kybern_sql::{EngineFacts, HostFacts, MemoryFact, WatchFact};
use kybern_table::{TableState, TableView};
use std::sync::Arc;

/// Tells what they show.
pub(crate) struct Facts {
    /// Who holds memory.
    pub(crate) budget: Budget,
    /// Who is watched; none in commands that list once.
    pub(crate) watches: Option<Watches>,
    /// Who runs passes; none in commands that run none.
    pub(crate) engine: Option<EngineNow>,
}

impl HostFacts for Facts {
    fn watches(&self) -> Vec<WatchFact> {
        let Some(watches) = &self.watches else {
            return self.listed();
        };
        let now = crate::clock::monotonic();
        let running = watches
            .health()
            .into_iter()
            .map(|(table, health)| WatchFact {
                scope: watches.scope(&table),
                state: match health.phase {
                    Phase::Listing => "listing",
                    Phase::Watching => "watching",
                    Phase::Waiting => "waiting",
                    Phase::Failed => "failed",
                },
                live: health.phase == Phase::Watching,
                silence_seconds: Some(now.saturating_sub(health.last).as_secs_f64()),
                lists: health.lists,
                interruptions: health.interruptions.values().sum(),
                reason: Some(health.reason).filter(|reason| !reason.is_empty()),
                changes: health.changes,
                resource_version: health.listed,
                table,
            });
        let refused = watches
            .refused()
            .into_iter()
            .map(|(table, reason)| WatchFact {
                scope: watches.scope(&table),
                state: "refused",
                live: false,
                silence_seconds: None,
                lists: 0,
                interruptions: 0,
                reason: Some(reason),
                changes: 0,
                resource_version: None,
                table,
            });
        running.chain(refused).collect()
    }

    fn memory(&self) -> Vec<MemoryFact> {
        let sources = self.budget.sources();
        sources.parts(&sources.reader.stats())
    }

    fn engine(&self) -> Result<Arc<dyn EngineFacts>, String> {
        match &self.engine {
            Some(engine) => engine.told(),
            None => Err("only a host that runs knows it: ask one with --host".to_owned()),
        }
    }
}

impl Facts {
    /// The tables of a command that lists once.
    fn listed(&self) -> Vec<WatchFact> {
        let snapshot = self.budget.sources().reader.snapshot();
        let fact = |table: TableView| WatchFact {
            table: table.def().key.clone(),
            scope: "what the command asked for".to_owned(),
            state: "listed",
            live: false,
            silence_seconds: None,
            lists: 1,
            interruptions: 0,
            reason: None,
            changes: 0,
            resource_version: match table.state() {
                TableState::Ready { resource_version } => Some(resource_version),
                TableState::Loading | TableState::Failed(_) => None,
            },
        };
        snapshot.tables().map(fact).collect()
    }
}
