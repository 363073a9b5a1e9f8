//! What has been counted, by registration: beside the engine, since it goes on when the engine ends.
//!
//! # Contract
//! A replica that loses the lead and gets it back has another engine and the same counters.
//!
//! # Limits
//! A registration is listed from when an engine first runs it until it is forgotten. What is counted
//! for one that is not listed is lost.

use crate::metrics::{Metrics, PluginMetrics};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of one registration; locked for one count at a time, never across an await.
pub(crate) type OfPlugin = Arc<Mutex<PluginMetrics>>;

/// What has been counted. Clones are the same counters.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    plugins: Mutex<BTreeMap<Arc<str>, OfPlugin>>,
    spared: AtomicU64,
    overruns: AtomicU64,
}

impl Counters {
    /// Forgets a registration that is gone.
    pub fn forget(&self, name: &str) {
        self.inner.plugins.lock().remove(name);
    }

    /// Everything that has been counted; the gauges are empty.
    pub fn metrics(&self) -> Metrics {
        let plugins: Vec<(String, OfPlugin)> = self
            .inner
            .plugins
            .lock()
            .iter()
            .map(|(name, counts)| (name.to_string(), Arc::clone(counts)))
            .collect();
        let read = |(name, counts): (String, OfPlugin)| (name, counts.lock().clone());
        Metrics {
            plugins: plugins.into_iter().map(read).collect(),
            spared: self.inner.spared.load(Ordering::Relaxed),
            change_log_overruns: self.inner.overruns.load(Ordering::Relaxed),
            ..Metrics::default()
        }
    }

    /// Lists a registration.
    pub(crate) fn list(&self, name: &Arc<str>) {
        let mut plugins = self.inner.plugins.lock();
        plugins.entry(Arc::clone(name)).or_default();
    }

    /// The counters of a registration; those of one that is not listed are nobody's.
    pub(crate) fn of(&self, name: &str) -> OfPlugin {
        let plugins = self.inner.plugins.lock();
        plugins.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn spared(&self) {
        self.inner.spared.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn overrun(&self) {
        self.inner.overruns.fetch_add(1, Ordering::Relaxed);
    }
}
