//! What is followed, on /metrics.

use super::follow::Values;
use crate::metrics::{put, size};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// Adds it to a registry.
pub(crate) fn register(registry: &mut Registry, values: Values) {
    registry.register_collector(Box::new(Of(values)));
}

struct Of(Values);

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

impl Collector for Of {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (objects, bytes) = self.0.usage();
        let mut gauge = |name: &str, help: &str, value: usize| {
            let samples = vec![(Vec::new(), size(value))];
            put(&mut encoder, MetricType::Gauge, name, help, samples)
        };
        let help = "Secrets and ConfigMaps that are followed because registrations take settings from them";
        gauge("kybern_values_followed", help, objects)?;
        let help = "Of the Secrets and ConfigMaps that are followed, those that are being listed, or whose watches open";
        gauge("kybern_values_opening", help, self.0.opening())?;
        let help = "Bytes of Secrets and ConfigMaps that are kept because registrations take settings from them";
        gauge("kybern_values_bytes", help, bytes)
    }
}
