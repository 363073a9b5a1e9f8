//! What is told, as rows: an operation, its sequence, and the row before and after.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array,
    new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use kybern_table::Sequence;

use super::diff::Change;

/// Rows that are told together.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Whoever has done all that was told until now has the answer of this commit.
    pub sequence: Sequence,
    /// None where nothing is another. Columns: `op` (`insert`, `update`, `delete`), `sequence`,
    /// `text` (null), and, each a struct with the columns of the query, `old` and `new`.
    pub rows: Option<RecordBatch>,
}

/// The operations that a row can have.
mod op {
    pub(super) const INSERT: &str = "insert";
    pub(super) const UPDATE: &str = "update";
    pub(super) const DELETE: &str = "delete";
    pub(super) const PROGRESS: &str = "progress";
    pub(super) const ERROR: &str = "error";
}

/// The columns of what is told of a query with these columns.
pub(super) fn schema(of: &Schema) -> SchemaRef {
    let row = |name| Field::new_struct(name, of.fields().clone(), true);
    Arc::new(Schema::new(vec![
        Field::new("op", DataType::Utf8, false),
        Field::new("sequence", DataType::UInt64, false),
        Field::new("text", DataType::Utf8, true),
        row("old"),
        row("new"),
    ]))
}

/// A mark: everything up to this commit was told. `text` is what RESUME takes.
pub(super) fn progress(schema: &SchemaRef, sequence: Sequence, text: &str) -> Result<RecordBatch> {
    one(schema, op::PROGRESS, sequence, text)
}

/// Why nothing more is told.
pub(super) fn error(schema: &SchemaRef, sequence: Sequence, text: &str) -> Result<RecordBatch> {
    one(schema, op::ERROR, sequence, text)
}

fn one(schema: &SchemaRef, op: &str, sequence: Sequence, text: &str) -> Result<RecordBatch> {
    let none = |at: usize| new_null_array(schema.field(at).data_type(), 1);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![op])),
        Arc::new(UInt64Array::from(vec![sequence.0])),
        Arc::new(StringArray::from(vec![text])),
        none(3),
        none(4),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Rows that are there from the beginning.
pub(super) fn inserts(
    schema: &SchemaRef,
    sequence: Sequence,
    rows: &RecordBatch,
) -> Result<RecordBatch> {
    let inserts: Vec<Change> = (0..rows.num_rows())
        .map(|new| Change::Insert { new })
        .collect();
    changes(schema, sequence, &inserts, &rows.slice(0, 0), rows)
}

/// Changes; `old` has the rows of those that have one, in their order, and `new` likewise.
pub(super) fn changes(
    schema: &SchemaRef,
    sequence: Sequence,
    changes: &[Change],
    old: &RecordBatch,
    new: &RecordBatch,
) -> Result<RecordBatch> {
    let ops = changes.iter().map(|change| match change {
        Change::Insert { .. } => op::INSERT,
        Change::Update { .. } => op::UPDATE,
        Change::Delete { .. } => op::DELETE,
    });
    let has_old = changes.iter().map(|c| !matches!(c, Change::Insert { .. }));
    let has_new = changes.iter().map(|c| !matches!(c, Change::Delete { .. }));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(ops)),
        Arc::new(UInt64Array::from(vec![sequence.0; changes.len()])),
        new_null_array(&DataType::Utf8, changes.len()),
        spread(old, has_old)?,
        spread(new, has_new)?,
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The rows, one after the other, where there is one; null elsewhere.
fn spread(rows: &RecordBatch, has: impl Iterator<Item = bool>) -> Result<ArrayRef> {
    let mut next = 0..;
    let at: UInt32Array = has.map(|has| has.then(|| next.next()).flatten()).collect();
    let columns = rows.columns().iter();
    let columns = columns.map(|column| take(column, &at, None));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let fields = rows.schema().fields().clone();
    let nulls = at.nulls().cloned();
    Ok(Arc::new(StructArray::try_new(fields, columns, nulls)?))
}
