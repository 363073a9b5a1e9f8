//! What every bound of the host is set to, and how near it is: gauges on /metrics.
//!
//! *Contract.* A bound of a configuration that is not listed here does not compile: each
//! configuration is taken apart field by field in [`list`]. docs/operate.md holds the same list; a test
//! compares the two.

mod list;

use self::list::{Bound, of_calls};
use crate::asking::Asked;
use crate::metrics::{Sample, number, put, size};
use crate::source::Sources;
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::watches::{WatchHealth, Watches};
use kybern_plugin::Runtime;
use kybern_table::{Reader, TableState, TableStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

pub(crate) use self::list::Settings;

/// Where the numbers come from.
pub(crate) struct Bounds {
    /// What the host was started with.
    pub(crate) settings: Settings,
    /// The tables.
    pub(crate) reader: Reader,
    /// The watches.
    pub(crate) watches: Watches,
    /// The way into the tables.
    pub(crate) ingest: Ingest,
    /// The statements.
    pub(crate) sql: kybern_sql::Engine,
    /// The plugins' calls.
    pub(crate) guests: Guests,
    /// Who asks through the socket.
    pub(crate) asked: Asked,
    /// Where components come from.
    pub(crate) sources: Sources,
    /// Who compiles.
    pub(crate) runtime: Runtime,
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bounds")
    }
}

/// Adds the bounds and their usage to a registry.
pub(crate) fn register(registry: &mut Registry, bounds: Bounds) {
    registry.register_collector(Box::new(bounds));
}

impl Collector for Bounds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.bounds(encoder)?;
        self.tables(encoder)?;
        self.watches(encoder)?;
        self.sources(encoder)?;
        self.compiles(encoder)?;
        self.rest(encoder)
    }
}

impl Bounds {
    fn bounds(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = |bound: &Bound| {
            vec![
                ("room", bound.room.to_owned()),
                ("bound", bound.name.to_owned()),
            ]
        };
        let mut samples: Vec<Sample> = self
            .settings
            .bounds()
            .iter()
            .map(|bound| (labels(bound), bound.value))
            .collect();
        for (plugin, limits) in self.guests.limits() {
            for bound in of_calls(&limits) {
                let mut labels = labels(&bound);
                labels.push(("plugin", plugin.clone()));
                samples.push((labels, bound.value));
            }
        }
        let help = "What a bound is set to; docs/operate.md names the metric of its usage";
        put(encoder, MetricType::Gauge, "kybern_bound", help, samples)
    }

    fn tables(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.reader.stats();
        let mut of = |name: &str, help: &str, value: fn(&TableStats) -> usize| {
            let samples = stats
                .tables
                .iter()
                .map(|t| (vec![("table", t.table.to_string())], size(value(t))))
                .collect();
            put(encoder, MetricType::Gauge, name, help, samples)
        };
        of("kybern_table_chunks", "Chunks of a table", |t| t.chunks)?;
        let body = "Of a table's bytes, those of bodies as they are kept";
        of("kybern_table_body_bytes", body, |t| t.body_bytes)?;
        let dead = "Of a table's bytes, about those of dead rows";
        of("kybern_table_dead_bytes", dead, |t| t.dead_bytes)?;
        let dictionary = "Bytes of the dictionaries that a table's bodies are compressed with";
        of("kybern_table_dictionary_bytes", dictionary, |t| {
            t.dictionary_bytes
        })?;
        let raw = "Bytes of a table's bodies before compression";
        of("kybern_table_raw_bytes", raw, |t| t.raw_bytes)?;
        let tombstones = "Own deletions that the API server has not confirmed";
        of("kybern_table_tombstones", tombstones, |t| t.tombstones)?;
        let indexes = stats
            .tables
            .iter()
            .flat_map(|t| {
                t.indexes.iter().map(|(index, bytes)| {
                    let table = ("table", t.table.to_string());
                    (vec![table, ("index", index.to_string())], size(*bytes))
                })
            })
            .collect();
        put(
            encoder,
            MetricType::Gauge,
            "kybern_table_index_bytes",
            "Bytes of an index of a table, about",
            indexes,
        )?;
        let expired = vec![(Vec::new(), number(stats.snapshots_expired))];
        put(
            encoder,
            MetricType::Counter,
            "kybern_store_snapshots_expired",
            "Snapshots that ended because they kept too many old rows",
            expired,
        )?;
        let snapshot = self.reader.snapshot();
        let readable = snapshot
            .tables()
            .map(|table| {
                let ready = matches!(table.state(), TableState::Ready { .. });
                let value = if ready { 1.0 } else { 0.0 };
                (vec![("table", table.def().key.to_string())], value)
            })
            .collect();
        let help = "1 while a table can be read, 0 while it is listed for the first time or failed";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_table_readable",
            help,
            readable,
        )?;
        let held = vec![(Vec::new(), size(stats.snapshots_held))];
        let help = "Snapshots older than the newest that someone reads";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_store_snapshots_held",
            help,
            held,
        )
    }

    fn watches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let health = self.watches.health();
        let mut of = |name: &str, help: &str, value: fn(&WatchHealth) -> usize| {
            let samples = health
                .iter()
                .map(|(table, health)| (vec![("table", table.to_string())], size(value(health))))
                .collect();
            put(encoder, MetricType::Gauge, name, help, samples)
        };
        let changes = "Most changes that a watch handed over at once";
        of("kybern_watch_largest_batch_changes", changes, |h| {
            h.largest_batch.changes
        })?;
        let bytes = "Most bytes of objects that a watch handed over at once";
        of("kybern_watch_largest_batch_bytes", bytes, |h| {
            h.largest_batch.bytes
        })
    }

    fn sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.sources.counts();
        let one = |value: f64| vec![(Vec::new(), value)];
        let running = "Fetches of components from servers under way";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_source_fetches_running",
            running,
            one(size(counts.running)),
        )?;
        let result = |result: &str| vec![("result", result.to_owned())];
        let ended = vec![
            (result("succeeded"), number(counts.succeeded)),
            (result("failed"), number(counts.failed)),
        ];
        put(
            encoder,
            MetricType::Counter,
            "kybern_source_fetches",
            "Fetches of components from servers that ended",
            ended,
        )?;
        let kept = "Bytes of components that are kept on disk";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_source_kept_bytes",
            kept,
            one(number(counts.kept_bytes)),
        )
    }

    fn compiles(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.runtime.compiled();
        put(
            encoder,
            MetricType::Gauge,
            "kybern_plugin_compiles_running",
            "Processes that compile a component",
            vec![(Vec::new(), size(counts.running))],
        )?;
        let ended = [
            ("succeeded", counts.succeeded),
            ("refused", counts.refused),
            ("limit", counts.too_dear),
            ("stopped", counts.stopped),
        ];
        let result = |result: &str| vec![("result", result.to_owned())];
        let ended = ended.map(|(name, count)| (result(name), number(count)));
        put(
            encoder,
            MetricType::Counter,
            "kybern_plugin_compiles",
            "Components that were compiled, or could not be",
            ended.to_vec(),
        )
    }

    fn rest(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let one = |value: f64| vec![(Vec::new(), value)];
        let waiting = ["batches", "writes"]
            .into_iter()
            .zip(self.ingest.waiting())
            .map(|(queue, count)| (vec![("queue", queue.to_owned())], size(count)))
            .collect();
        let dropped = self
            .guests
            .totals()
            .into_iter()
            .map(|(plugin, total)| (vec![("plugin", plugin)], number(total.log_dropped)))
            .collect();
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        put(
            encoder,
            gauge,
            "kybern_ingest_waiting",
            "What waits to be put into the tables",
            waiting,
        )?;
        put(
            encoder,
            gauge,
            "kybern_sql_held_bytes",
            "Bytes that running statements hold for joins, sorts and groups",
            one(size(self.sql.held().working_bytes)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_sql_cached_plans",
            "Planned statements that are kept",
            one(size(self.sql.cached_plans())),
        )?;
        put(
            encoder,
            counter,
            "kybern_sql_limits_met",
            "Statements that were ended by a limit",
            one(number(self.sql.limits_met())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_asked_running",
            "Statements from the host's socket whose answers are made or read",
            one(size(self.asked.running())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_asked_subscriptions",
            "Subscriptions from the host's socket that are told",
            one(size(self.asked.subscribed())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_plugins_loaded",
            "Components that are loaded",
            one(size(self.guests.loaded())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_plugin_calls_running",
            "Calls of plugins under way, waiting ones included",
            one(size(self.guests.running())),
        )?;
        put(
            encoder,
            counter,
            "kybern_plugin_log_dropped",
            "Messages of a plugin that were dropped because it logged too much",
            dropped,
        )
    }
}
