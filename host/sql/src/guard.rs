//! Lets a running statement be stopped.
//!
//! # Why
//!
//! Operators loop while their input gives batches that a condition drops, so a
//! cross join under a filter may not return to its caller for hours. A guard
//! above every operator looks for each batch whether the statement was
//! cancelled or has run for too long, and returns to the runtime now and then, so that dropping the statement stops it.
//!
//! A join looks at each pair of rows before it asks for the next batch, so its
//! condition looks as well. Windows keep what they read and ask no pool for it:
//! the guard below them does.
//!
//! # Limits
//!
//! A window is computed in one go over what it has kept.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, JoinType, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use crate::SqlError;
use crate::memory::bytes_of;
use crate::running::Statement;

/// Batches after which a guard returns to the runtime.
const BATCHES_AT_ONCE: u32 = 8;

/// When a statement must end.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub deadline: Deadline,
    pub statement: Arc<Statement>,
}

impl End {
    /// Why it must end now, if it must.
    fn now(&self) -> Option<SqlError> {
        let late = || (Instant::now() >= self.deadline.at).then(|| self.deadline.error());
        self.statement.cancelled().or_else(late)
    }

    /// Fails if it must end now.
    pub(crate) fn check(&self) -> Result<()> {
        match self.now() {
            Some(error) => Err(DataFusionError::External(Box::new(error))),
            None => Ok(()),
        }
    }
}

/// How long a statement may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub at: Instant,
    pub time: std::time::Duration,
}

impl Deadline {
    pub(crate) fn error(&self) -> SqlError {
        SqlError::Limit {
            message: format!(
                "the statement ran longer than {:?}; narrow it with WHERE",
                self.time
            ),
        }
    }
}

/// The plan with a guard above every operator.
pub(crate) fn guarded(plan: Arc<dyn ExecutionPlan>, end: &End) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        let node = if node.name().contains("WindowAgg") {
            let inputs = node.children().into_iter().cloned();
            let inputs = inputs.map(|input| guard(input, end, Keeps::All)).collect();
            let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            node.replace_children(inputs, recompute)?
        } else {
            node
        };
        Ok(Transformed::yes(guard(node, end, Keeps::Nothing)))
    })?;
    Ok(guarded.data)
}

fn guard(input: Arc<dyn ExecutionPlan>, end: &End, above: Keeps) -> Arc<dyn ExecutionPlan> {
    Arc::new(Guard {
        input,
        end: end.clone(),
        above,
    })
}

/// The plan with joins that end with the statement although they find nothing.
pub(crate) fn checked(plan: LogicalPlan, end: &End) -> Result<LogicalPlan> {
    let check = Arc::new(ScalarUDF::from(Check {
        end: end.clone(),
        signature: Signature::any(1, Volatility::Volatile),
    }));
    let checked = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(mut join) = node else {
            return Ok(Transformed::no(node));
        };
        let gives_pairs = matches!(
            join.join_type,
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
        );
        let condition = match join.filter.take() {
            Some(condition) => Some(condition),
            // What only looks for a partner gives nothing until it has seen all pairs.
            None if !gives_pairs && !join.null_aware => Some(lit(true)),
            None => None,
        };
        join.filter = condition.map(|condition| {
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&check), vec![condition]))
        });
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    })?;
    Ok(checked.data)
}

/// A condition, unless the statement must end.
#[derive(Debug)]
struct Check {
    end: End,
    signature: Signature,
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.end.statement, &other.end.statement)
    }
}

impl Eq for Check {}

impl Hash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.end.statement).hash(state);
    }
}

impl ScalarUDFImpl for Check {
    fn name(&self) -> &'static str {
        "check"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.end.check()?;
        match args.args.into_iter().next() {
            Some(condition) => Ok(condition),
            None => internal_err!("a check has a condition"),
        }
    }
}

/// What the operator above a guard keeps of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Nothing, or it asks for the memory itself.
    Nothing,
    /// Everything, and copies it once.
    All,
}

#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    end: End,
    above: Keeps,
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &'static str {
        "Guard"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(guard(input, &self.end, self.above)),
            _ => internal_err!("a guard has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let kept = (self.above == Keeps::All)
            .then(|| MemoryConsumer::new("window").register(context.memory_pool()));
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(GuardedStream {
            input,
            end: self.end.clone(),
            batches: 0,
            kept,
        }))
    }
}

struct GuardedStream {
    input: SendableRecordBatchStream,
    end: End,
    batches: u32,
    /// For what the operator above keeps; given back with the stream.
    kept: Option<MemoryReservation>,
}

impl Stream for GuardedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.end.check() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.batches >= BATCHES_AT_ONCE {
            self.batches = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.batches += 1;
        let next = self.input.poll_next_unpin(context);
        if let (Poll::Ready(Some(Ok(batch))), Some(kept)) = (&next, &self.kept)
            && let Err(error) = kept.try_grow(bytes_of(batch).saturating_mul(2))
        {
            return Poll::Ready(Some(Err(error)));
        }
        next
    }
}

impl RecordBatchStream for GuardedStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
