//! The engine: what statements share, and how they are prepared. They are answered in
//! [`crate::execute`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, SessionStateDefaults};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::prelude::SessionConfig;
use kybern_table::{KindKey, Reader, Snapshot};
use parking_lot::{Mutex, RwLock};

use crate::cache::{CacheKey, PlanCache};
use crate::contain::contained;
use crate::functions::Functions;
use crate::memory::bytes_of;
use crate::names::{Granted, Unlearnt};
use crate::running::{Held, Kept, Running};
use crate::truth::Truth;
use crate::{AccessSet, Answer, Catalog, HostFacts, Prepared, SqlError, SqlLimits, planner};

/// Microseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Answers SQL over the table store. Cheap to clone.
///
/// `prepare` and `execute` compute; run them where computing is allowed. They
/// need a tokio runtime with time.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
    pub(crate) clock: Option<Clock>,
    pub(crate) host: Option<Arc<dyn HostFacts>>,
}

pub(crate) struct Inner {
    reader: Reader,
    pub limits: SqlLimits,
    pub state: SessionState,
    functions: Functions,
    pub runtime: Arc<RuntimeEnv>,
    pub pool: Arc<dyn MemoryPool>,
    catalog: RwLock<(u64, Arc<Catalog>)>,
    cache: Mutex<PlanCache>,
    pub running: Arc<Running>,
    pub limits_met: AtomicU64,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with an empty catalog.
    pub fn new(reader: Reader, limits: SqlLimits) -> Self {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limits.total_bytes));
        let runtime = runtime(Arc::clone(&pool));
        let functions = Functions::allowed();
        let state = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(Arc::clone(&runtime))
            .with_expr_planners(expr_planners())
            .with_scalar_functions(functions.scalar.values().cloned().collect())
            .with_aggregate_functions(functions.aggregate.values().cloned().collect())
            .with_window_functions(functions.window.values().cloned().collect())
            .build();
        let cache = Mutex::new(PlanCache::new(limits.cached_plans));
        let catalog = RwLock::new((0, Arc::new(Catalog::default())));
        let inner = Inner {
            reader,
            limits,
            state,
            functions,
            runtime,
            pool,
            catalog,
            cache,
            running: Arc::default(),
            limits_met: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
            clock: None,
            host: None,
        }
    }

    /// The same engine with a clock, in microseconds since 1970. Without one,
    /// statements that call `now()` fail when they are executed.
    #[must_use]
    pub fn with_clock(&self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            clock: Some(Arc::new(clock)),
            ..self.clone()
        }
    }

    /// The same engine with a host that says what `kybern.watches` and `kybern.memory` show.
    /// Without one both are empty.
    #[must_use]
    pub fn with_host(&self, host: Arc<dyn HostFacts>) -> Self {
        Self {
            host: Some(host),
            ..self.clone()
        }
    }

    /// Replaces the catalog. Statements that were prepared before keep theirs.
    pub fn set_catalog(&self, catalog: Catalog) {
        let mut current = self.inner.catalog.write();
        *current = (current.0 + 1, Arc::new(catalog));
    }

    /// The catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.inner.catalog.read().1)
    }

    /// The newest snapshot of the store.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.reader.snapshot()
    }

    /// How many planned statements are kept.
    pub fn cached_plans(&self) -> usize {
        self.inner.cache.lock().len()
    }

    /// Bytes that they take, about.
    pub fn cached_plan_bytes(&self) -> usize {
        self.inner.cache.lock().bytes()
    }

    /// Forgets planned statements until at least so many bytes are free or none is left; those
    /// that were not asked for the longest go first. Bytes forgotten.
    pub fn evict_plans(&self, bytes: usize) -> usize {
        self.inner.cache.lock().evict(bytes)
    }

    /// What the statements that run hold.
    pub fn held(&self) -> Held {
        self.inner.running.held()
    }

    /// Counts an answer as held until this goes.
    pub fn keep(&self, answer: &Answer) -> Kept {
        let bytes = answer.batches.iter().map(bytes_of).sum();
        self.keep_bytes(bytes)
    }

    /// The same of something else that takes so many bytes.
    pub(crate) fn keep_bytes(&self, bytes: usize) -> Kept {
        Kept::new(self.inner.running.begin(), bytes)
    }

    /// Ends the statement that holds most with [`SqlError::Cancelled`]; `why` makes the message
    /// from its bytes. They are free once it has ended, soon. Its bytes; none if nothing runs.
    pub fn cancel_largest(&self, least: usize, why: impl FnOnce(usize) -> String) -> Option<usize> {
        self.inner.running.cancel_largest(least, why)
    }

    /// How many statements were ended by a limit.
    pub fn limits_met(&self) -> u64 {
        self.inner.limits_met.load(Ordering::Relaxed)
    }

    /// The tables that a statement names, without planning it: their columns
    /// need not be known yet.
    pub fn tables_of(&self, sql: &str, access: &AccessSet) -> Result<Vec<KindKey>, SqlError> {
        let catalog = self.catalog();
        let granted = Granted {
            catalog: &catalog,
            grants: access.grants(),
        };
        let mut found = Vec::new();
        for shape in kybern_statement::parse(sql)?.tables(&Unlearnt(granted))? {
            if let Some(table) = catalog.named(&shape.schema, &shape.table)
                && !found.contains(table.key())
            {
                found.push(table.key().clone());
            }
        }
        Ok(found)
    }

    /// What planning needs beside catalog and grants.
    pub(crate) fn planning(&self) -> (&SessionState, &Functions) {
        (&self.inner.state, &self.inner.functions)
    }

    /// Plans a statement for one asker, or finds it planned.
    pub async fn prepare(&self, sql: &str, access: &AccessSet) -> Result<Arc<Prepared>, SqlError> {
        let (epoch, catalog) = self.inner.catalog.read().clone();
        let key = CacheKey {
            sql: Arc::from(sql),
            grants: access.grants().clone(),
            epoch,
        };
        let cached = self.inner.cache.lock().get(&key);
        let planned = match cached {
            Some(planned) => planned,
            None => {
                let (state, functions) = (&self.inner.state, &self.inner.functions);
                let grants = access.grants();
                let plan = async { planner::plan(sql, &catalog, grants, state, functions) };
                let planned = Arc::new(contained(plan).await?);
                self.inner.cache.lock().insert(key, Arc::clone(&planned));
                planned
            }
        };
        Ok(Arc::new(Prepared::new(
            planned,
            access.namespace().cloned(),
        )))
    }
}

/// The engine's own, behind ours.
fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let own: Arc<dyn ExprPlanner> = Arc::new(Truth);
    let defaults = SessionStateDefaults::default_expr_planners();
    std::iter::once(own).chain(defaults).collect()
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        // Tables are a few thousand rows: more partitions cost more than they give.
        .with_target_partitions(1)
        // A nested-loop join can only be stopped between two batches of its right side.
        .with_batch_size(2048)
        .with_information_schema(false);
    let options = config.options_mut();
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // It takes a column that the optimiser has found to be never null for another one.
    options.execution.skip_physical_aggregate_schema_check = true;
    options.explain.show_schema = false;
    config
}

fn runtime(pool: Arc<dyn MemoryPool>) -> Arc<RuntimeEnv> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(&pool))
        .with_disk_manager_builder(disk)
        .build_arc()
        .unwrap_or_else(|_| {
            // Building can only fail for a directory, and there is none.
            Arc::new(RuntimeEnv {
                memory_pool: pool,
                ..RuntimeEnv::default()
            })
        })
}
