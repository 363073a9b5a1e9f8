//! The budget on /metrics.

use super::Budget;
use crate::metrics::{Sample, number, put, size};
use crate::wiring::watches::Watches;
use kybern_budget::Account;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// Adds the budget's metrics to a registry.
pub(crate) fn register(registry: &mut Registry, budget: Budget, watches: Watches) {
    registry.register_collector(Box::new(Figures { budget, watches }));
}

struct Figures {
    budget: Budget,
    watches: Watches,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (sources, stats) = (self.budget.sources(), self.budget.sources().reader.stats());
        let reading = self.budget.reading(&stats);
        let parts = sources.parts(&stats);
        let parts = parts
            .iter()
            .filter(|part| part.table.is_none())
            .map(|part| {
                let labels = [("account", part.account), ("part", part.part)];
                let labels = labels.map(|(name, value)| (name, value.to_owned()));
                (labels.to_vec(), number(part.bytes))
            })
            .collect();
        let taken = self.budget.ledger().taken();
        let one = |value: f64| -> Vec<Sample> { vec![(Vec::new(), value)] };
        let accounts = Account::ALL
            .into_iter()
            .map(|account| {
                let label = ("account", account.name().to_owned());
                (vec![label], number(reading.of(account)))
            })
            .collect();
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let figures = [
            (
                gauge,
                "kybern_memory_budget_bytes",
                "What the four accounts may hold together",
                one(number(reading.budget)),
            ),
            (
                gauge,
                "kybern_memory_account_bytes",
                "What an account of the budget holds",
                accounts,
            ),
            (
                gauge,
                "kybern_memory_part_bytes",
                "A part of an account, apart from what is of one table",
                parts,
            ),
            (
                gauge,
                "kybern_memory_refused_tables",
                "Kinds that are not watched for want of memory",
                one(size(self.watches.refused().len())),
            ),
            (
                counter,
                "kybern_memory_refusals",
                "How often a kind was refused for want of memory, stopped first lists included",
                one(number(taken.refused_tables)),
            ),
            (
                counter,
                "kybern_memory_evicted_bytes",
                "Bytes of caches dropped because the budget was exceeded",
                one(number(taken.evicted_bytes)),
            ),
            (
                counter,
                "kybern_memory_cancelled_statements",
                "Statements cancelled because the budget was exceeded",
                one(number(taken.cancelled_queries)),
            ),
        ];
        for (kind, name, help, samples) in figures {
            put(&mut encoder, kind, name, help, samples)?;
        }
        Ok(())
    }
}
