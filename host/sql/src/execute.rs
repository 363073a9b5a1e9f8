//! Answers prepared statements at a snapshot, within their limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::stats::Precision;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use futures::StreamExt;
use kybern_statement::Kind;
use kybern_table::{Snapshot, TableState};
use tokio::time::Instant;

use crate::bind::{Values, bind, own};
use crate::contain::contained;
use crate::explain::{Estimate, explain, padded, sees_parts};
use crate::growth::Room;
use crate::guard::{Deadline, End, checked, guarded};
use crate::lane::Lane;
use crate::memory::{StatementPool, bytes_of};
use crate::running::{Statement, Ticket};
use crate::{Answer, Engine, Param, Prepared, SqlError, SqlLimits};

impl Engine {
    /// Answers a statement at one snapshot. For an EXPLAIN, the answer is its text.
    pub async fn execute(
        &self,
        prepared: &Prepared,
        params: &[Param],
        snapshot: &Snapshot,
    ) -> Result<Answer, SqlError> {
        let answer = self.answer(prepared, params, snapshot).await;
        self.count_limits(std::slice::from_ref(&answer));
        answer
    }

    /// Counts those that were ended by a limit.
    pub(crate) fn count_limits(&self, answers: &[Result<Answer, SqlError>]) {
        let met = answers
            .iter()
            .filter(|answer| matches!(answer, Err(SqlError::Limit { .. })))
            .map(|_| 1)
            .sum();
        self.inner.limits_met.fetch_add(met, Ordering::Relaxed);
    }

    pub(crate) fn limits(&self) -> &SqlLimits {
        &self.inner.limits
    }

    /// Begins a statement that ends when its time is over.
    pub(crate) fn begin(&self) -> (Ticket, End) {
        let ticket = self.inner.running.begin();
        let end = self.end(&ticket);
        (ticket, end)
    }

    /// Runs a plan without parameters, within limits of its own.
    pub(crate) async fn run_plan(
        &self,
        plan: &LogicalPlan,
        namespace: Option<&Arc<str>>,
        snapshot: &Snapshot,
        end: &End,
        limits: &SqlLimits,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let room = self.room(&end.statement);
        let values = Values {
            params: &[],
            now: self.now(),
            room: Some(&room),
        };
        let host = self.host.as_ref();
        let plan = bind(plan, values, snapshot, namespace, host, Vec::new())?;
        let plan = self.physical_of(plan, end).await?;
        self.collect(plan, end, limits).await
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
        let ticket = self.inner.running.begin();
        let room = self.room(&ticket.statement);
        let values = Values {
            params,
            now: self.now(),
            room: Some(&room),
        };
        let run = async { self.run(prepared, values, snapshot, &ticket).await };
        let batches = contained(run).await?;
        Answer::new(&planned.layout, &batches).map_err(|error| SqlError::execution(&error))
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
                self.collect(plan, &end, self.limits()).await
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
        let complete = params.len() >= prepared.param_count();
        let params = padded(params, prepared.param_count());
        let values = Values {
            params: &params,
            now: self.now(),
            room: None,
        };
        let estimate = match (sees_parts(prepared), complete) {
            (true, _) => Estimate::Untold,
            (false, false) => Estimate::Unknown,
            (false, true) => self.estimate(prepared, values, snapshot).await,
        };
        let mut text = explain(prepared, values, snapshot, &estimate, complete);
        if let Kind::Explain {
            analyze: true,
            verbose,
        } = prepared.planned.kind
        {
            ready(prepared, snapshot)?;
            let ticket = self.inner.running.begin();
            let end = self.end(&ticket);
            let room = self.room(&ticket.statement);
            let values = Values {
                room: Some(&room),
                ..values
            };
            let plan = self.physical(prepared, values, snapshot, &end).await?;
            let run = self.collect(Arc::clone(&plan), &end, self.limits());
            let batches = contained(run).await?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let shown = DisplayableExecutionPlan::with_metrics(plan.as_ref());
            text.push_str(&format!(
                "run in the general lane: {rows} rows\n{}",
                shown.indent(verbose)
            ));
        }
        Ok(text)
    }

    /// How many rows a statement will have, from what the indexes and the tables hold.
    async fn estimate(
        &self,
        prepared: &Prepared,
        values: Values<'_>,
        snapshot: &Snapshot,
    ) -> Estimate {
        let ticket = self.inner.running.begin();
        let end = self.end(&ticket);
        let plan = self.physical(prepared, values, snapshot, &end);
        let Ok(plan) = contained(plan).await else {
            return Estimate::Unknown;
        };
        let whole = StatisticsArgs::new();
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &whole);
        match statistics.map(|statistics| statistics.num_rows) {
            Ok(Precision::Exact(rows)) => Estimate::Exact(rows),
            Ok(Precision::Inexact(rows)) => Estimate::About(rows),
            Ok(Precision::Absent) | Err(_) => Estimate::Unknown,
        }
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
        let ticket = self.inner.running.begin();
        let room = self.room(&ticket.statement);
        let values = Values {
            params,
            now: self.now(),
            room: Some(&room),
        };
        let end = self.end(&ticket);
        let plan = self.physical(prepared, values, snapshot, &end).await?;
        let batches = self.collect(plan, &end, self.limits()).await?;
        Answer::new(&prepared.planned.layout, &batches).map_err(|error| SqlError::execution(&error))
    }

    /// The memory that a statement may take; all that are made for it share one account.
    pub(crate) fn room(&self, statement: &Arc<Statement>) -> Room {
        let all = Arc::clone(&self.inner.pool);
        let most = self.inner.limits.statement_bytes;
        Arc::new(StatementPool::new(all, most, Arc::clone(statement)))
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
        let (planned, namespace) = (&prepared.planned, prepared.namespace.as_ref());
        let partners = planned
            .reads
            .partners(values, namespace, snapshot, Some(end));
        let partners = partners.map_err(|error| own(&error, SqlError::execution))?;
        let host = self.host.as_ref();
        let plan = bind(&planned.plan, values, snapshot, namespace, host, partners)?;
        self.physical_of(plan, end).await
    }

    pub(crate) async fn physical_of(
        &self,
        plan: LogicalPlan,
        end: &End,
    ) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let plan = checked(plan, end).map_err(|error| own(&error, SqlError::planning))?;
        DefaultPhysicalPlanner::default()
            .create_physical_plan(&plan, &self.inner.state)
            .await
            .map_err(|error| own(&error, SqlError::planning))
    }

    pub(crate) async fn collect(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        end: &End,
        limits: &SqlLimits,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let (statement, deadline) = (&end.statement, end.deadline);
        let plan = guarded(plan, end).map_err(|error| SqlError::execution(&error))?;
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.inner.runtime)
            .with_memory_pool(self.room(statement))
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
pub(crate) struct Total<'a> {
    rows: usize,
    bytes: usize,
    statement: &'a Statement,
}

impl<'a> Total<'a> {
    pub(crate) fn of(statement: &'a Statement) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            statement,
        }
    }

    pub(crate) fn add(&mut self, batch: &RecordBatch, limits: &SqlLimits) -> Result<(), SqlError> {
        self.rows += batch.num_rows();
        self.bytes += bytes_of(batch);
        self.statement.has_answered(self.bytes);
        if self.rows > limits.rows {
            return Err(too_many_rows(limits));
        }
        if self.bytes > limits.answer_bytes {
            let message = format!(
                "the answer is larger than {} bytes; select fewer columns or rows",
                limits.answer_bytes
            );
            return Err(SqlError::Limit { message });
        }
        Ok(())
    }
}

/// That an answer has more rows than it may have.
pub(crate) fn too_many_rows(limits: &SqlLimits) -> SqlError {
    let message = format!(
        "the answer has more than {} rows; narrow it with WHERE or LIMIT",
        limits.rows
    );
    SqlError::Limit { message }
}

/// Fails unless every table can be read.
pub(crate) fn ready(prepared: &Prepared, snapshot: &Snapshot) -> Result<(), SqlError> {
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
