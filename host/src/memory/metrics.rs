//! Memory on /metrics.

use super::meter::Meter;
use crate::metrics::put_gauge;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use std::fmt;

/// Adds the memory metrics to a registry.
pub(crate) fn register(registry: &mut Registry, meter: Meter) {
    registry.register_collector(Box::new(Figures { meter }));
}

#[derive(Debug)]
struct Figures {
    meter: Meter,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reading = self.meter.read();
        let held = kybern_allocator::held();
        let figures = [
            (
                "kybern_memory_limit_bytes",
                "What the container may use; absent without a limit",
                reading.and_then(|r| r.limit),
            ),
            (
                "kybern_memory_working_set_bytes",
                "What counts against the limit; without one, the process's own pages",
                reading.map(|r| r.used),
            ),
            (
                "kybern_memory_allocated_bytes",
                "What the program asked the allocator for and has not freed",
                held.map(|h| h.allocated),
            ),
            (
                "kybern_memory_resident_bytes",
                "What the allocator keeps in memory for it",
                held.map(|h| h.resident),
            ),
        ];
        for (name, help, value) in figures {
            if let Some(value) = value {
                put_gauge(&mut encoder, name, help, value)?;
            }
        }
        Ok(())
    }
}
