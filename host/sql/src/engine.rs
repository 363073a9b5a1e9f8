//! The engine: prepares statements and answers them at a snapshot.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use kybern_statement::Kind;
use kybern_table::{KindKey, Reader, Snapshot, TableState};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::bind::{Values, bind, own};
use crate::cache::{CacheKey, PlanCache};
use crate::contain::contained;
use crate::explain::{explain, padded};
use crate::functions::Functions;
use crate::guard::{Deadline, End, checked, guarded};
use crate::lane::Lane;
use crate::memory::StatementPool;
use crate::names::Granted;
use crate::running::{Held, Running, Statement, Ticket};
use crate::truth::Truth;
use crate::{AccessSet, Answer, Catalog, HostFacts, Param, Prepared, SqlError, SqlLimits, planner};

/// Microseconds since 1970.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Answers SQL over the table store. Cheap to clone.
///
/// `prepare` and `execute` compute; run them where computing is allowed. They
/// need a tokio runtime with time.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    clock: Option<Clock>,
    host: Option<Arc<dyn HostFacts>>,
}

struct Inner {
    reader: Reader,
    limits: SqlLimits,
    state: SessionState,
    functions: Functions,
    runtime: Arc<RuntimeEnv>,
    pool: Arc<dyn MemoryPool>,
    catalog: RwLock<(u64, Arc<Catalog>)>,
    cache: Mutex<PlanCache>,
    running: Arc<Running>,
    limits_met: AtomicU64,
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
        for shape in kybern_statement::parse(sql)?.tables(&granted)? {
            if let Some(table) = catalog.named(&shape.schema, &shape.table)
                && !found.contains(table.key())
            {
                found.push(table.key().clone());
            }
        }
        Ok(found)
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

    /// Answers a statement at one snapshot. For an EXPLAIN, the answer is its text.
    pub async fn execute(
        &self,
        prepared: &Prepared,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<Answer, SqlError> {
        let answer = self.answer(prepared, params, snapshot).await;
        if let Err(SqlError::Limit { .. }) = &answer {
            self.inner.limits_met.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn answer(
        &self,
        prepared: &Prepared,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<Answer, SqlError> {
        if prepared.is_explain() {
            let text = self.explain(prepared, params, snapshot).await?;
            return Answer::lines("plan", &text).map_err(|error| SqlError::execution(&error));
        }
        let planned = &prepared.planned;
        if params.len() < planned.parameters {
            return Err(SqlError::Params {
                message: format!(
                    "the statement takes {} parameters, {} were given",
                    planned.parameters,
                    params.len()
                ),
            });
        }
        ready(prepared, snapshot)?;
        let values = Values {
            params,
            now: self.now(),
        };
        let ticket = self.inner.running.begin();
        let run = async { self.run(prepared, values, snapshot, &ticket).await };
        let (batches, schema) = (contained(run).await?, planned.plan.schema().as_arrow());
        Answer::new(schema, &batches, planned.ordered).map_err(|error| SqlError::execution(&error))
    }

    async fn run(
        &self,
        prepared: &Prepared,
        values: Values<'_>,
        snapshot: &Snapshot,
        ticket: &Ticket,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let end = self.end(ticket);
        match &prepared.planned.lane {
            Lane::KeyLookup(lookup) => {
                let props = self.inner.state.execution_props();
                let batches = lookup
                    .run(values, snapshot, prepared.namespace.as_ref(), props, &end)
                    .map_err(|error| own(&error, SqlError::execution))?;
                let mut total = Total::of(&ticket.statement);
                batches
                    .iter()
                    .try_for_each(|batch| total.add(batch, &self.inner.limits))?;
                Ok(batches)
            }
            Lane::General => {
                let plan = self.physical(prepared, values, snapshot, &end).await?;
                self.collect(plan, &end).await
            }
        }
    }

    /// How a statement would be answered; for EXPLAIN ANALYZE also how it was.
    pub async fn explain(
        &self,
        prepared: &Prepared,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<String, SqlError> {
        let params = padded(params, prepared.param_count());
        let values = Values {
            params: &params,
            now: self.now(),
        };
        let mut text = explain(prepared, values, snapshot);
        if let Kind::Explain {
            analyze: true,
            verbose,
        } = prepared.planned.kind
        {
            ready(prepared, snapshot)?;
            let ticket = self.inner.running.begin();
            let end = self.end(&ticket);
            let plan = self.physical(prepared, values, snapshot, &end).await?;
            let batches = contained(self.collect(Arc::clone(&plan), &end)).await?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let shown = DisplayableExecutionPlan::with_metrics(plan.as_ref());
            text.push_str(&format!(
                "run in the general lane: {rows} rows\n{}",
                shown.indent(verbose)
            ));
        }
        Ok(text)
    }

    fn now(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock())
    }

    /// Answers in the general lane whatever lane the statement has: what the
    /// other lanes are measured against.
    #[cfg(test)]
    pub(crate) async fn execute_generally(
        &self,
        prepared: &Prepared,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<Answer, SqlError> {
        let values = Values {
            params,
            now: self.now(),
        };
        let ticket = self.inner.running.begin();
        let end = self.end(&ticket);
        let plan = self.physical(prepared, values, snapshot, &end).await?;
        let batches = self.collect(plan, &end).await?;
        let planned = &prepared.planned;
        Answer::new(planned.plan.schema().as_arrow(), &batches, planned.ordered)
            .map_err(|error| SqlError::execution(&error))
    }

    /// When a statement that begins now must end.
    fn end(&self, ticket: &Ticket) -> End {
        let time = self.inner.limits.time;
        let deadline = Deadline {
            at: Instant::now() + time,
            time,
        };
        End {
            deadline,
            statement: Arc::clone(&ticket.statement),
        }
    }

    async fn physical(
        &self,
        prepared: &Prepared,
        values: Values<'_>,
        snapshot: &Snapshot,
        end: &End,
    ) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let plan = bind(
            &prepared.planned.plan,
            values,
            snapshot,
            prepared.namespace.as_ref(),
            self.host.as_ref(),
        )?;
        let plan = checked(plan, end).map_err(|error| own(&error, SqlError::planning))?;
        DefaultPhysicalPlanner::default()
            .create_physical_plan(&plan, &self.inner.state)
            .await
            .map_err(|error| own(&error, SqlError::planning))
    }

    async fn collect(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        end: &End,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let limits = &self.inner.limits;
        let (statement, deadline) = (&end.statement, end.deadline);
        let plan = guarded(plan, end).map_err(|error| SqlError::execution(&error))?;
        let all = Arc::clone(&self.inner.pool);
        let pool = StatementPool::new(all, limits.statement_bytes, Arc::clone(statement));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.inner.runtime)
            .with_memory_pool(Arc::new(pool))
            .build_arc()
            .map_err(|error| SqlError::execution(&error))?;
        let context = TaskContext::default()
            .with_session_config(self.inner.state.config().clone())
            .with_runtime(runtime);
        let run = async {
            let mut stream = execute_stream(plan, Arc::new(context))?;
            let mut batches = Vec::new();
            let mut total = Total::of(statement);
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                total
                    .add(&batch, limits)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                batches.push(batch);
            }
            Ok(batches)
        };
        tokio::select! {
            result = tokio::time::timeout_at(deadline.at, run) => match result {
                // A sort that gets no memory says so, whatever the reason was.
                Ok(result) => result.map_err(|error| {
                    let cancelled = statement.cancelled();
                    cancelled.unwrap_or_else(|| own(&error, SqlError::execution))
                }),
                Err(_) => Err(deadline.error()),
            },
            error = statement.wait() => Err(error),
        }
    }
}

/// What an answer holds so far.
struct Total<'a> {
    rows: usize,
    bytes: usize,
    statement: &'a Statement,
}

impl<'a> Total<'a> {
    fn of(statement: &'a Statement) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            statement,
        }
    }

    fn add(&mut self, batch: &RecordBatch, limits: &SqlLimits) -> Result<(), SqlError> {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.statement.has_answered(self.bytes);
        let message = if self.rows > limits.rows {
            format!(
                "the answer has more than {} rows; narrow it with WHERE or LIMIT",
                limits.rows
            )
        } else if self.bytes > limits.answer_bytes {
            format!(
                "the answer is larger than {} bytes; select fewer columns or rows",
                limits.answer_bytes
            )
        } else {
            return Ok(());
        };
        Err(SqlError::Limit { message })
    }
}

/// Fails unless every table can be read.
fn ready(prepared: &Prepared, snapshot: &Snapshot) -> Result<(), SqlError> {
    for (key, name) in &prepared.planned.tables {
        let reason = match snapshot.table(key).map(|view| view.state()) {
            Some(TableState::Ready { .. }) => continue,
            Some(TableState::Loading) => "it is still being loaded".to_owned(),
            Some(TableState::Failed(reason)) => reason.to_string(),
            None => "it is not watched yet".to_owned(),
        };
        return Err(SqlError::NotReady {
            table: key.clone(),
            name: name.clone(),
            reason,
        });
    }
    Ok(())
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
