//! What every bound of the host is set to, and how near it is: gauges on /metrics.
//!
//! *Contract.* A bound of a configuration that is not listed here does not compile: each
//! configuration is taken apart field by field. docs/operate.md holds the same list; a test
//! compares the two.

use crate::metrics::{Sample, number, put, size};
use crate::wiring::decide::Guests;
use crate::wiring::ingest::Ingest;
use crate::wiring::watches::{WatchHealth, Watches};
use kybern_kube::WatchConfig;
use kybern_kube::watch::{Pace, Patience};
use kybern_plugin::{CallLimits, RuntimeConfig};
use kybern_reconcile::{EngineConfig, PlanLimits};
use kybern_sql::SqlLimits;
use kybern_table::{Reader, StoreConfig, TableState, TableStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

/// What the host was started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Of the tables.
    pub(crate) store: StoreConfig,
    /// Of each watch.
    pub(crate) watch: WatchConfig,
    /// Of the engine.
    pub(crate) engine: EngineConfig,
    /// Of statements.
    pub(crate) sql: SqlLimits,
    /// Of the plugins together.
    pub(crate) runtime: RuntimeConfig,
}

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

/// One bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    /// Whose it is.
    room: &'static str,
    /// Its name, with the unit at the end.
    name: &'static str,
    value: f64,
    /// The metric that says how near it is, or that counts how often it was met.
    usage: &'static str,
}

fn bound(room: &'static str, name: &'static str, value: f64, usage: &'static str) -> Bound {
    Bound {
        room,
        name,
        value,
        usage,
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn of_store(config: &StoreConfig) -> Vec<Bound> {
    let StoreConfig {
        chunk_rows,
        chunk_bytes,
        compression_level: _,
        dictionary_after,
        log_entries,
        log_bytes,
        cache_bytes,
        tombstones,
    } = config;
    let is = |name, value: &usize, usage| bound("store", name, size(*value), usage);
    vec![
        is("chunk_rows", chunk_rows, "kybern_table_chunks"),
        is("chunk_bytes", chunk_bytes, "kybern_table_chunks"),
        is(
            "dictionary_after_bytes",
            dictionary_after,
            "kybern_table_raw_bytes",
        ),
        is("log_entries", log_entries, "kybern_change_log_entries"),
        is("log_bytes", log_bytes, "kybern_change_log_bytes"),
        is("cache_bytes", cache_bytes, "kybern_column_cache_bytes"),
        is("tombstones", tombstones, "kybern_table_tombstones"),
    ]
}

fn of_watch(config: &WatchConfig) -> Vec<Bound> {
    let WatchConfig {
        idle,
        server_timeout,
        open_timeout,
        retry,
        refused,
        patience,
        max_line_bytes,
        max_batch_changes,
        max_batch_bytes,
        page,
        streaming: _,
        seed: _,
    } = config;
    let Patience { tries, time } = patience;
    let is = |name, value: f64, usage| bound("watch", name, value, usage);
    let waits = |first, last, Pace { first: f, last: l }: &Pace| {
        let usage = "kybern_watch_interruptions_total";
        [is(first, seconds(*f), usage), is(last, seconds(*l), usage)]
    };
    let largest = "kybern_watch_largest_batch_bytes";
    let mut all = vec![
        is(
            "idle_seconds",
            seconds(*idle),
            "kybern_watch_silence_seconds",
        ),
        is(
            "server_timeout_seconds",
            seconds(*server_timeout),
            "kybern_watch_silence_seconds",
        ),
        is(
            "open_timeout_seconds",
            seconds(*open_timeout),
            "kybern_watch_interruptions_total",
        ),
    ];
    all.extend(waits("retry_first_seconds", "retry_last_seconds", retry));
    all.extend(waits(
        "refused_first_seconds",
        "refused_last_seconds",
        refused,
    ));
    all.extend([
        is(
            "patience_tries",
            number(u64::from(*tries)),
            "kybern_table_readable",
        ),
        is("patience_seconds", seconds(*time), "kybern_table_readable"),
        is("max_line_bytes", size(*max_line_bytes), largest),
        is(
            "max_batch_changes",
            size(*max_batch_changes),
            "kybern_watch_largest_batch_changes",
        ),
        is("max_batch_bytes", size(*max_batch_bytes), largest),
        is(
            "page_objects",
            number(u64::from(*page)),
            "kybern_watch_lists_total",
        ),
    ]);
    all
}

fn of_ingest() -> Vec<Bound> {
    let [batches, writes] = Ingest::BOUNDS;
    vec![
        bound(
            "ingest",
            "waiting_batches",
            size(batches),
            "kybern_ingest_waiting",
        ),
        bound(
            "ingest",
            "waiting_writes",
            size(writes),
            "kybern_ingest_waiting",
        ),
    ]
}

fn of_sql(limits: &SqlLimits) -> Vec<Bound> {
    let SqlLimits {
        statement_bytes,
        total_bytes,
        rows,
        answer_bytes,
        time,
        cached_plans,
    } = limits;
    let is = |name, value: f64, usage| bound("sql", name, value, usage);
    let (held, met) = ("kybern_sql_held_bytes", "kybern_sql_limits_met_total");
    vec![
        is("statement_bytes", size(*statement_bytes), held),
        is("total_bytes", size(*total_bytes), held),
        is("rows", size(*rows), met),
        is("answer_bytes", size(*answer_bytes), met),
        is("time_seconds", seconds(*time), met),
        is(
            "cached_plans",
            size(*cached_plans),
            "kybern_sql_cached_plans",
        ),
    ]
}

fn of_engine(config: &EngineConfig) -> Vec<Bound> {
    let EngineConfig {
        passes,
        writes,
        backoff_base,
        backoff_cap,
        resync,
        grace,
        plan,
    } = config;
    let PlanLimits {
        actions,
        object_bytes,
        status_bytes,
        depth,
        message_chars,
    } = plan;
    let is = |name, value: f64, usage| bound("engine", name, value, usage);
    let (running, delayed) = ("kybern_passes_running", "kybern_queue_delayed");
    let refused = "kybern_plans_refused_total";
    vec![
        is("passes", size(*passes), running),
        is("writes", size(*writes), "kybern_writes_total"),
        is("backoff_base_seconds", seconds(*backoff_base), delayed),
        is("backoff_cap_seconds", seconds(*backoff_cap), delayed),
        is("resync_seconds", seconds(*resync), delayed),
        is("grace_seconds", seconds(*grace), running),
        is("plan_actions", size(*actions), refused),
        is("plan_object_bytes", size(*object_bytes), refused),
        is("plan_status_bytes", size(*status_bytes), refused),
        is("plan_depth", size(*depth), refused),
        is("plan_message_chars", size(*message_chars), refused),
    ]
}

fn of_runtime(config: &RuntimeConfig) -> Vec<Bound> {
    let RuntimeConfig {
        instances,
        max_memory,
        max_stack,
        tick: _,
        max_component,
        cache_dir: _,
        cache_bytes,
    } = config;
    let is = |name, value: f64, usage| bound("plugins", name, value, usage);
    let loaded = "kybern_plugins_loaded";
    vec![
        is(
            "instances",
            number(u64::from(*instances)),
            "kybern_plugin_calls_running",
        ),
        is(
            "max_memory_bytes",
            size(*max_memory),
            "kybern_plugin_peak_memory_bytes",
        ),
        is(
            "max_stack_bytes",
            size(*max_stack),
            "kybern_plugin_crashes_total",
        ),
        is("max_component_bytes", size(*max_component), loaded),
        is("cache_bytes", number(*cache_bytes), loaded),
    ]
}

fn of_calls(limits: &CallLimits) -> Vec<Bound> {
    let CallLimits {
        memory,
        time,
        wall_time,
        wait,
        table_elements,
        instances,
        handles,
        host_call_bytes,
        log_bytes,
        output_bytes,
        output_depth,
    } = limits;
    let is = |name, value: f64, usage| bound("call", name, value, usage);
    let crashes = "kybern_plugin_crashes_total";
    let time_used = "kybern_plugin_cpu_seconds_total";
    vec![
        is(
            "memory_bytes",
            size(*memory),
            "kybern_plugin_peak_memory_bytes",
        ),
        is("time_seconds", seconds(*time), time_used),
        is("wall_time_seconds", seconds(*wall_time), time_used),
        is(
            "wait_seconds",
            seconds(*wait),
            "kybern_plugin_calls_running",
        ),
        is("table_elements", size(*table_elements), crashes),
        is("instances", size(*instances), crashes),
        is("handles", size(*handles), crashes),
        is("host_call_bytes", size(*host_call_bytes), crashes),
        is(
            "log_bytes",
            size(*log_bytes),
            "kybern_plugin_log_dropped_total",
        ),
        is("output_bytes", size(*output_bytes), crashes),
        is("output_depth", size(*output_depth), crashes),
    ]
}

impl Settings {
    /// All bounds but those of calls, which each registration may set for itself.
    fn bounds(&self) -> Vec<Bound> {
        [
            of_store(&self.store),
            of_watch(&self.watch),
            of_ingest(),
            of_sql(&self.sql),
            of_engine(&self.engine),
            of_runtime(&self.runtime),
        ]
        .concat()
    }
}

impl Collector for Bounds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.bounds(encoder)?;
        self.tables(encoder)?;
        self.watches(encoder)?;
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
        let raw = "Bytes of a table's bodies before compression";
        of("kybern_table_raw_bytes", raw, |t| t.raw_bytes)?;
        let tombstones = "Own deletions that the API server has not confirmed";
        of("kybern_table_tombstones", tombstones, |t| t.tombstones)?;
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
            one(size(self.sql.held_bytes())),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/operate.md.
    fn table() -> String {
        let mut lines = vec![
            "| room | bound | unless told | how near |".to_owned(),
            "|---|---|---|---|".to_owned(),
        ];
        let mut all = Settings::default().bounds();
        all.extend(of_calls(&CallLimits::default()));
        for bound in all {
            lines.push(format!(
                "| {} | {} | {} | {} |",
                bound.room, bound.name, bound.value, bound.usage
            ));
        }
        lines.join("\n")
    }

    #[test]
    fn the_documentation_lists_every_bound() {
        let page = include_str!("../../docs/operate.md");
        let table = table();
        assert!(
            page.contains(&table),
            "docs/operate.md, Bounds: replace the table by\n{table}"
        );
    }

    #[test]
    fn no_bound_is_listed_twice() {
        let mut all = Settings::default().bounds();
        all.extend(of_calls(&CallLimits::default()));
        let names: std::collections::BTreeSet<_> = all.iter().map(|b| (b.room, b.name)).collect();
        assert_eq!(names.len(), all.len());
    }
}
