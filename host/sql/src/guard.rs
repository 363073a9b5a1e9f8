//! Lets a running statement be stopped.
//!
//! # Why
//!
//! Operators loop while their input gives batches that a condition drops, so a
//! cross join under a filter may not return to its caller for hours. A guard
//! above every join and every leaf looks for each batch whether the statement was
//! cancelled or has run for too long, and returns to the runtime now and then, so that dropping the statement stops it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use crate::SqlError;
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

/// The plan with a guard above every leaf and every join.
pub(crate) fn guarded(plan: Arc<dyn ExecutionPlan>, end: &End) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        if node.children().is_empty() || node.name().contains("Join") {
            let guard: Arc<dyn ExecutionPlan> = Arc::new(Guard {
                input: node,
                end: end.clone(),
            });
            return Ok(Transformed::yes(guard));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(guarded.data)
}

#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    end: End,
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
            (Some(input), None) => Ok(Arc::new(Self {
                input,
                end: self.end.clone(),
            })),
            _ => internal_err!("a guard has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
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
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(GuardedStream {
            input,
            end: self.end.clone(),
            batches: 0,
        }))
    }
}

struct GuardedStream {
    input: SendableRecordBatchStream,
    end: End,
    batches: u32,
}

impl Stream for GuardedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.end.now() {
            return Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))));
        }
        if self.batches >= BATCHES_AT_ONCE {
            self.batches = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.batches += 1;
        self.input.poll_next_unpin(context)
    }
}

impl RecordBatchStream for GuardedStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
