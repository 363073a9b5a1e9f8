//! Reviews on /metrics.

use super::review::Reviewer;
use crate::metrics::{number, put, size};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::Ordering;

/// Adds them to a registry.
pub(crate) fn register(registry: &mut Registry, reviewer: Reviewer) {
    registry.register_collector(Box::new(Reviews(reviewer)));
}

struct Reviews(Reviewer);

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reviews")
    }
}

impl Collector for Reviews {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let counts = self.0.counts();
        let of = |what: &str, count: u64| (vec![("of", what.to_owned())], number(count));
        let sent = vec![
            of("rules", counts.rules.load(Ordering::Relaxed)),
            of("right", counts.rights.load(Ordering::Relaxed)),
        ];
        let help = "Requests that asked the API server what the host, or a service account, may do";
        put(
            encoder,
            MetricType::Counter,
            "kybern_rights_reviews",
            help,
            sent,
        )?;
        let running = vec![(Vec::new(), size(counts.running.load(Ordering::Relaxed)))];
        let help = "Looks at what may be done that are under way";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_rights_looks_running",
            help,
            running,
        )?;
        let kept = vec![(Vec::new(), size(counts.rules_bytes.load(Ordering::Relaxed)))];
        let help = "Bytes of the rules of accounts that looks share";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_rights_rules_bytes",
            help,
            kept,
        )?;
        let missing = counts.missing.lock().clone();
        let missing = missing.into_iter();
        let missing = missing.map(|(plugin, count)| (vec![("plugin", plugin)], size(count)));
        let help = "Rights that a registration needs and that nobody has granted";
        put(
            encoder,
            MetricType::Gauge,
            "kybern_rights_missing",
            help,
            missing.collect(),
        )
    }
}
