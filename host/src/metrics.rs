//! What /metrics shows: counters and gauges that the rooms keep, read at each scrape.
//!
//! Labels are bounded: registrations, tables, verbs and results, never names of objects.

mod engine;

use crate::wiring::decide::Guests;
use crate::wiring::watches::Watches;
use kybern_kube::Interruption;
use kybern_reconcile::{Counters, Engine, Histogram};
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
    /// What is counted of passes, whoever leads now.
    pub(crate) counters: Counters,
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

/// One label.
pub(crate) type Label = (&'static str, String);

/// One sample: labels and value.
pub(crate) type Sample = (Vec<Label>, f64);

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

/// Writes one histogram for each set of labels; nothing of those that are empty.
fn put_histograms(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: Vec<(Vec<Label>, Histogram)>,
) -> fmt::Result {
    let mut samples = samples
        .into_iter()
        .filter(|(_, histogram)| histogram.count() > 0)
        .peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in samples {
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        metric
            .encode_family(&labels)?
            .encode_histogram::<[Label; 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
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
        let engine = self.engine.read().clone();
        engine::put_all(encoder, &self.counters, engine.as_ref())
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
}
