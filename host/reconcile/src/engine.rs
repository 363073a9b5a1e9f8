//! The engine: registrations in, passes out.

use crate::active::Active;
use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::metrics::Metrics;
use crate::report::{DryPass, PassReport};
use crate::traits::{Apply, Clock, Decide, Entropy, Kinds, Sense};
use kybern_interface::{Gvk, RemovalPolicy};
use kybern_table::{Reader, Sequence};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the engine is built from.
pub struct Deps {
    /// The tables.
    pub reader: Reader,
    /// Answers queries.
    pub sense: Arc<dyn Sense>,
    /// Runs plugins.
    pub decide: Arc<dyn Decide>,
    /// Writes.
    pub apply: Arc<dyn Apply>,
    /// Facts about served kinds.
    pub kinds: Arc<dyn Kinds>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds and intervals.
    pub config: EngineConfig,
}

/// What [`Engine::release`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// CRs whose finalizer is gone now.
    pub crs: usize,
    /// Children that were orphaned or deleted.
    pub children: usize,
    /// What could not be done; call again until this is empty.
    pub failures: Vec<String>,
}

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Deps>,
}

impl Engine {
    /// An engine without registrations.
    pub fn new(deps: Deps) -> Self {
        Self {
            inner: Arc::new(deps),
        }
    }

    /// Adds a registration or replaces the one with its name: passes that start from now on run
    /// the new one. Every CR of it becomes due.
    pub fn register(&self, _active: Active) {}

    /// Takes a registration away; returns when its last pass has ended. Nothing is written: see
    /// [`Engine::release`].
    pub async fn unregister(&self, _name: &str) {}

    /// Runs passes until `shutdown`, then waits for those under way. `commits` says that the
    /// tables have changed.
    pub async fn run(&self, _commits: watch::Receiver<Sequence>, _shutdown: CancellationToken) {}

    /// What a pass over this CR would do now. Writes nothing and leaves no trace.
    pub async fn dry_pass(
        &self,
        plugin: &str,
        _kind: &Gvk,
        _namespace: &str,
        _name: &str,
    ) -> Result<DryPass, EngineError> {
        Err(EngineError::Unregistered(plugin.to_owned()))
    }

    /// What the last pass over this CR did.
    pub fn report(
        &self,
        _plugin: &str,
        _kind: &Gvk,
        _namespace: &str,
        _name: &str,
    ) -> Option<PassReport> {
        None
    }

    /// Lets go of everything that a registration holds: finalizers of its CRs, and ownerReferences
    /// and labels of their children, or the children themselves. Call after
    /// [`Engine::unregister`], again until it reports no failures.
    pub async fn release(&self, _active: &Active, _policy: RemovalPolicy) -> Released {
        let _ = &self.inner.config;
        Released::default()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        Metrics::default()
    }
}
