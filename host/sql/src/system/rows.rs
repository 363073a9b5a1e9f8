//! Rows of facts, a batch at a time: no more of a table is in memory than is looked at.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::TEXT;
use crate::Told;

/// Facts that are asked for at once, and rows of one batch at most.
const ROWS: usize = 1024;

/// What is in a column.
pub(super) enum Of<T> {
    Text(fn(&T) -> Option<Cow<'_, str>>),
    Count(fn(&T) -> Option<u64>),
    Whole(fn(&T) -> i64),
    Millis(fn(&T) -> Option<f64>),
    Flag(fn(&T) -> bool),
    /// Microseconds since 1970.
    Time(fn(&T) -> Option<i64>),
}

impl<T> Of<T> {
    fn data_type(&self) -> DataType {
        match self {
            Self::Text(_) => TEXT,
            Self::Count(_) | Self::Whole(_) => DataType::Int64,
            Self::Millis(_) => DataType::Float64,
            Self::Flag(_) => DataType::Boolean,
            Self::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    fn array(&self, facts: &[T]) -> ArrayRef {
        let facts = facts.iter();
        match self {
            Self::Text(of) => Arc::new(facts.map(of).collect::<StringViewArray>()),
            Self::Count(of) => {
                let counts = facts.map(|fact| i64::try_from(of(fact)?).ok());
                Arc::new(counts.collect::<Int64Array>())
            }
            Self::Whole(of) => Arc::new(facts.map(of).map(Some).collect::<Int64Array>()),
            Self::Millis(of) => Arc::new(facts.map(of).collect::<Float64Array>()),
            Self::Flag(of) => Arc::new(facts.map(of).map(Some).collect::<BooleanArray>()),
            Self::Time(of) => {
                let times = facts.map(of).collect::<TimestampMicrosecondArray>();
                Arc::new(times.with_timezone("UTC"))
            }
        }
    }
}

/// A column's name, and what is in it.
pub(super) type Column<T> = (&'static str, Of<T>);

/// Facts that are rows of a table.
pub(super) trait Fact: Send + Sized + 'static {
    /// The columns.
    const COLUMNS: &'static [Column<Self>];

    /// Names and types.
    fn fields() -> Vec<(&'static str, DataType)> {
        let columns = Self::COLUMNS.iter();
        columns.map(|(name, of)| (*name, of.data_type())).collect()
    }
}

fn batch<T: Fact>(schema: &SchemaRef, facts: &[T]) -> Result<RecordBatch> {
    let columns = T::COLUMNS.iter().map(|(_, of)| of.array(facts)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(facts.len()));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// Batches of facts, which are asked for when the statement begins to read them.
pub(super) struct Rows<A> {
    pub(super) schema: SchemaRef,
    pub(super) ask: A,
}

impl<A> fmt::Debug for Rows<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl<T: Fact, A: Fn() -> Told<T> + Send + Sync> PartitionStream for Rows<A> {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let told = (self.ask)();
        let held = MemoryConsumer::new("system table").register(context.memory_pool());
        let mut charge = Some(held.try_grow(told.bytes));
        let (mut facts, schema) = (told.facts, Arc::clone(&self.schema));
        let batches = std::iter::from_fn(move || {
            // Freed with the iterator.
            let _held = &held;
            if let Some(Err(error)) = charge.take() {
                facts = Box::new(std::iter::empty());
                return Some(Err(error));
            }
            let told: Vec<Option<T>> = facts.by_ref().take(ROWS).collect();
            if told.is_empty() {
                return None;
            }
            // Also without rows: between two batches the statement may be ended.
            let rows: Vec<T> = told.into_iter().flatten().collect();
            Some(batch(&schema, &rows))
        });
        let schema = Arc::clone(&self.schema);
        let batches = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}
