//! What /metrics shows: counters and gauges that the rooms keep, read at each scrape.
//!
//! Labels are bounded: registrations, tables, verbs and results, never names of objects.

use crate::wiring::decide::Guests;
use crate::wiring::watches::Watches;
use kybern_kube::Interruption;
use kybern_reconcile::Engine;
use kybern_table::Reader;
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Where the numbers come from.
pub(crate) struct Sources {
    /// The tables.
    pub(crate) reader: Reader,
    /// The watches.
    pub(crate) watches: Watches,
    /// The plugins' calls.
    pub(crate) guests: Guests,
    /// The engine, while this replica leads.
    pub(crate) engine: Arc<RwLock<Option<Engine>>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

/// Adds all metrics to a registry.
pub(crate) fn register(registry: &mut Registry, sources: Sources) {
    registry.register_collector(Box::new(sources));
}

/// One sample: labels and value.
pub(crate) type Sample = (Vec<(&'static str, String)>, f64);

/// Writes one metric with all its samples; nothing if there are none.
pub(crate) fn put(
    encoder: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    name: &str,
    help: &str,
    samples: Vec<Sample>,
) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            one(&mut metric, kind, value)?;
        } else {
            one(&mut metric.encode_family(&labels)?, kind, value)?;
        }
    }
    Ok(())
}

/// Writes one sample.
fn one(metric: &mut MetricEncoder<'_>, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => {
            metric.encode_counter::<[(String, String); 0], f64, u64>(&value, None)
        }
        _ => metric.encode_gauge(&value),
    }
}

/// A count as a sample's value; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    reason = "no lossless conversion to f64 exists; counts stay below 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// As [`number`].
pub(crate) fn size(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Writes a gauge of one sample.
pub(crate) fn put_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> fmt::Result {
    let sample = (Vec::new(), number(count));
    put(encoder, MetricType::Gauge, name, help, vec![sample])
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.tables(encoder)?;
        self.watches(encoder)?;
        self.calls(encoder)?;
        self.engine(encoder)
    }
}

impl Sources {
    fn tables(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.reader.stats();
        let by_table = |value: fn(&kybern_table::TableStats) -> usize| -> Vec<Sample> {
            stats
                .tables
                .iter()
                .map(|t| (vec![("table", t.table.to_string())], size(value(t))))
                .collect()
        };
        let one = |value: f64| vec![(Vec::new(), value)];
        let gauge = MetricType::Gauge;
        put(
            encoder,
            gauge,
            "kybern_table_rows",
            "Live rows of a table",
            by_table(|t| t.rows),
        )?;
        put(
            encoder,
            gauge,
            "kybern_table_bytes",
            "Bytes of a table's columns and bodies",
            by_table(|t| t.bytes),
        )?;
        put(
            encoder,
            gauge,
            "kybern_table_dead_rows",
            "Dead rows that still take room",
            by_table(|t| t.dead),
        )?;
        put(
            encoder,
            gauge,
            "kybern_store_sequence",
            "The newest commit",
            one(number(stats.sequence.0)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_store_pinned_bytes",
            "Bytes that only old snapshots or the log keep",
            one(size(stats.pinned_bytes)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_store_open_bytes",
            "Bytes of bodies in the chunks that take new rows",
            one(size(stats.open_bytes())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_store_waiting_bytes",
            "Bytes that wait to be sealed or merged away",
            one(size(stats.waiting_bytes())),
        )?;
        put(
            encoder,
            gauge,
            "kybern_change_log_entries",
            "Changes in the log",
            one(size(stats.log_entries)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_change_log_bytes",
            "Bytes of the change log",
            one(size(stats.log_bytes)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_column_cache_bytes",
            "Bytes of shredded paths",
            one(size(stats.cache_bytes)),
        )
    }

    fn watches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let now = crate::clock::monotonic();
        let health = self.watches.health();
        let of = |value: &dyn Fn(&crate::wiring::watches::WatchHealth) -> f64| -> Vec<Sample> {
            health
                .iter()
                .map(|(table, health)| (vec![("table", table.to_string())], value(health)))
                .collect()
        };
        put(
            encoder,
            MetricType::Counter,
            "kybern_watch_lists",
            "Complete lists of a kind",
            of(&|h| number(h.lists)),
        )?;
        let mut interruptions = Vec::new();
        for (table, health) in &health {
            for cause in Interruption::ALL {
                let count = health.interruptions.get(&cause).copied();
                interruptions.push((
                    vec![
                        ("table", table.to_string()),
                        ("cause", cause.name().to_owned()),
                    ],
                    number(count.unwrap_or_default()),
                ));
            }
        }
        put(
            encoder,
            MetricType::Counter,
            "kybern_watch_interruptions",
            "Watches lost or refused, by cause",
            interruptions,
        )?;
        put(
            encoder,
            MetricType::Counter,
            "kybern_watch_epochs",
            "How often the API server's store turned out to be restored, and a table was replaced whole",
            of(&|h| number(h.epochs)),
        )?;
        put(
            encoder,
            MetricType::Counter,
            "kybern_watch_changes",
            "Changes that watches handed over",
            of(&|h| number(h.changes)),
        )?;
        put(
            encoder,
            MetricType::Gauge,
            "kybern_watch_silence_seconds",
            "Time since a watch last said anything",
            of(&|h| now.saturating_sub(h.last).as_secs_f64()),
        )?;
        let confirmed = health
            .iter()
            .filter_map(|(table, health)| {
                let at = health.confirmed?.as_duration().as_secs_f64();
                Some((vec![("table", table.to_string())], at))
            })
            .collect();
        put(
            encoder,
            MetricType::Gauge,
            "kybern_watch_confirmed_timestamp_seconds",
            "When the API server last confirmed that a table is up to date, in Unix time",
            confirmed,
        )
    }

    fn calls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let totals = self.guests.totals();
        let of = |value: &dyn Fn(&crate::wiring::decide::CallTotals) -> f64| -> Vec<Sample> {
            totals
                .iter()
                .map(|(plugin, total)| (vec![("plugin", plugin.clone())], value(total)))
                .collect()
        };
        put(
            encoder,
            MetricType::Counter,
            "kybern_plugin_calls",
            "Calls of a plugin's hooks",
            of(&|t| number(t.calls)),
        )?;
        put(
            encoder,
            MetricType::Counter,
            "kybern_plugin_crashes",
            "Calls that trapped or ran out of a limit",
            of(&|t| number(t.crashes)),
        )?;
        put(
            encoder,
            MetricType::Counter,
            "kybern_plugin_cpu_seconds",
            "CPU time of a plugin's calls",
            of(&|t| number(u64::try_from(t.cpu_nanos).unwrap_or(u64::MAX)) / 1e9),
        )?;
        put(
            encoder,
            MetricType::Gauge,
            "kybern_plugin_peak_memory_bytes",
            "Largest memory of one call",
            of(&|t| size(t.peak_memory)),
        )
    }

    fn engine(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let engine = self.engine.read().clone();
        let leading = if engine.is_some() { 1.0 } else { 0.0 };
        put(
            encoder,
            MetricType::Gauge,
            "kybern_leading",
            "1 while this replica leads",
            vec![(Vec::new(), leading)],
        )?;
        let Some(metrics) = engine.map(|engine| engine.metrics()) else {
            return Ok(());
        };
        let mut passes = Vec::new();
        let mut seconds = Vec::new();
        let mut drifted = Vec::new();
        let mut refused = Vec::new();
        let mut slowed = Vec::new();
        let mut writes = Vec::new();
        for (plugin, m) in &metrics.plugins {
            let results = [
                ("unchanged", m.unchanged),
                ("succeeded", m.succeeded),
                ("waiting", m.waiting),
                ("failed", m.failed),
            ];
            for (result, count) in results {
                passes.push((
                    vec![("plugin", plugin.clone()), ("result", result.into())],
                    number(count),
                ));
            }
            let label = || vec![("plugin", plugin.clone())];
            seconds.push((label(), m.pass_time.as_secs_f64()));
            drifted.push((label(), number(m.drifted)));
            refused.push((label(), number(m.refused)));
            slowed.push((label(), number(m.slowed)));
            for (result, by_verb) in [("accepted", &m.writes), ("refused", &m.write_errors)] {
                for (verb, count) in by_verb {
                    writes.push((
                        vec![
                            ("plugin", plugin.clone()),
                            ("verb", (*verb).into()),
                            ("result", result.into()),
                        ],
                        number(*count),
                    ));
                }
            }
        }
        let counter = MetricType::Counter;
        put(
            encoder,
            counter,
            "kybern_passes",
            "Passes that ended",
            passes,
        )?;
        put(
            encoder,
            counter,
            "kybern_pass_seconds",
            "Time of all passes together",
            seconds,
        )?;
        put(
            encoder,
            counter,
            "kybern_drift",
            "Children applied again because others changed them",
            drifted,
        )?;
        put(
            encoder,
            counter,
            "kybern_plans_refused",
            "Plans refused whole",
            refused,
        )?;
        put(
            encoder,
            counter,
            "kybern_slow_downs",
            "How often a custom resource began to be slowed down, since something changed with every pass",
            slowed,
        )?;
        put(
            encoder,
            counter,
            "kybern_writes",
            "Writes to the API server",
            writes,
        )?;
        let queued = ["live", "retry", "resync", "startup"]
            .into_iter()
            .zip(metrics.queued)
            .map(|(priority, count)| (vec![("priority", priority.to_owned())], size(count)))
            .collect();
        let one = |value: f64| vec![(Vec::new(), value)];
        let gauge = MetricType::Gauge;
        put(
            encoder,
            gauge,
            "kybern_queue_depth",
            "Custom resources that are due",
            queued,
        )?;
        put(
            encoder,
            gauge,
            "kybern_queue_delayed",
            "Custom resources that are due later",
            one(size(metrics.delayed)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_passes_running",
            "Passes under way",
            one(size(metrics.running)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_slowed_down",
            "Custom resources that are slowed down, since something changes with every pass",
            one(size(metrics.slowed)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_trigger_keys",
            "Keys of the trigger index",
            one(size(metrics.trigger_keys)),
        )?;
        put(
            encoder,
            gauge,
            "kybern_remembered",
            "Custom resources whose last pass is remembered",
            one(size(metrics.remembered)),
        )?;
        put(
            encoder,
            counter,
            "kybern_passes_spared",
            "Passes not started because only what a pass wrote itself had changed",
            one(number(metrics.spared)),
        )?;
        put(
            encoder,
            counter,
            "kybern_change_log_overruns",
            "How often everything was looked at again because the change log was too short",
            one(number(metrics.change_log_overruns)),
        )
    }
}
