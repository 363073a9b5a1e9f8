//! Answers: rows in canonical order and types, and their fingerprint.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    StringViewArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;

use crate::fingerprint::fingerprint;
use crate::json::json_text;
use crate::source::{as_json, is_json};

/// The rows that a statement selected.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The columns: Boolean, Int64, UInt64, Float64, Utf8, Timestamp(us, UTC) or Binary. Text that
    /// may be JSON has the metadata `kybern.type` = `json`.
    pub schema: SchemaRef,
    /// The rows: as ORDER BY says, else by namespace, name, uid, then by every column.
    pub batches: Vec<RecordBatch>,
    /// A hash of the columns' names and types and of the rows in their order:
    /// equal answers have equal fingerprints.
    pub fingerprint: u128,
    /// How many rows there are.
    pub rows: usize,
}

/// What all answers of one statement have in common.
#[derive(Debug)]
pub(crate) struct Layout {
    schema: SchemaRef,
    /// What a fingerprint begins with: the columns' names and types.
    header: Vec<u8>,
    /// The columns that rows are sorted by; none where ORDER BY has ordered them.
    order: Option<Vec<usize>>,
}

impl Layout {
    /// For what a plan gives; `ordered` keeps the order of the rows.
    pub(crate) fn new(schema: &Schema, ordered: bool) -> Self {
        let schema = Arc::new(plain_schema(schema));
        let mut header = Vec::new();
        for field in schema.fields() {
            header.extend(format!("{}\u{0}{}\u{0}", field.name(), field.data_type()).bytes());
        }
        let order = (!ordered).then(|| order(&schema));
        Self {
            schema,
            header,
            order,
        }
    }

    /// The columns of the answers.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether ORDER BY has ordered the rows.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order.is_none()
    }
}

impl Answer {
    /// From what the engine gave.
    pub(crate) fn new(layout: &Layout, batches: &[RecordBatch]) -> Result<Self> {
        let schema = &layout.schema;
        let plain = batches.iter().map(|batch| plain_batch(schema, batch));
        let mut plain = plain.collect::<Result<Vec<_>>>()?;
        let mut rows = match plain.len() {
            1 => plain.remove(0),
            _ => concat_batches(schema, &plain)?,
        };
        if let Some(order) = layout.order.as_deref().filter(|_| rows.num_rows() > 1) {
            rows = sorted(&rows, order)?;
        }
        Ok(Self {
            schema: Arc::clone(schema),
            fingerprint: fingerprint(&layout.header, &rows),
            rows: rows.num_rows(),
            batches: vec![rows],
        })
    }

    /// Whether text of a column may be JSON: of an object, an array, or what no schema describes.
    /// Other text is text, whatever it looks like.
    pub fn is_json(&self, column: usize) -> bool {
        self.schema
            .fields()
            .get(column)
            .is_some_and(|field| is_json(field))
    }

    /// Lines of text as an answer with one column.
    pub(crate) fn lines(column: &str, text: &str) -> Result<Self> {
        let schema = Arc::new(Schema::new(vec![Field::new(column, DataType::Utf8, true)]));
        let lines: StringArray = text.lines().map(Some).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lines)])?;
        Self::new(&Layout::new(&schema, true), &[batch])
    }
}

/// The type that an answer's column has.
fn plain_type(from: &DataType) -> DataType {
    match from {
        DataType::Boolean | DataType::Int64 | DataType::UInt64 | DataType::Float64 => from.clone(),
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => DataType::Float64,
        other if other.is_integer() => DataType::Int64,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        _ => DataType::Utf8,
    }
}

fn plain_schema(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let plain = Field::new(field.name(), plain_type(field.data_type()), true);
        if is_json(field) || field.data_type().is_nested() {
            as_json(plain)
        } else {
            plain
        }
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn plain_batch(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| plain_column(column, field.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

fn plain_column(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = column.data_type();
    if from == to {
        return Ok(Arc::clone(column));
    }
    Ok(match (from, to) {
        (DataType::Utf8View, DataType::Utf8) => Arc::new(plain_texts(column.as_string_view())),
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(unit, _)) => {
            cast(&cast(column, &DataType::Timestamp(*unit, None))?, to)?
        }
        (from, DataType::Utf8) if from.is_nested() => {
            let texts: StringArray = (0..column.len())
                .map(|row| json_text(column, row))
                .collect();
            Arc::new(texts)
        }
        _ => cast(column, to)?,
    })
}

fn plain_texts(texts: &StringViewArray) -> StringArray {
    let bytes = texts
        .lengths()
        .map(|length| usize::try_from(length).unwrap_or_default());
    let mut plain = StringBuilder::with_capacity(texts.len(), bytes.sum());
    texts.iter().for_each(|text| plain.append_option(text));
    plain.finish()
}

/// By namespace, name and uid where there are such columns, then by every other column.
fn order(schema: &Schema) -> Vec<usize> {
    let named = ["namespace", "name", "uid"].into_iter();
    let mut order: Vec<usize> = named
        .filter_map(|name| schema.index_of(name).ok())
        .collect();
    for column in 0..schema.fields().len() {
        if !order.contains(&column) {
            order.push(column);
        }
    }
    order
}

fn sorted(rows: &RecordBatch, order: &[usize]) -> Result<RecordBatch> {
    let columns = order
        .iter()
        .filter_map(|at| rows.columns().get(*at).cloned());
    let columns: Vec<ArrayRef> = columns.collect();
    if columns.is_empty() {
        return Ok(rows.clone());
    }
    let fields = columns.iter();
    let fields = fields.map(|column| SortField::new(column.data_type().clone()));
    let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    let mut sorted: Vec<(arrow::row::Row<'_>, u32)> = keys.iter().zip(0u32..).collect();
    sorted.sort_unstable();
    let indices: UInt32Array = sorted.into_iter().map(|(_, at)| Some(at)).collect();
    let columns = rows.columns().iter();
    let columns = columns.map(|column| take(column, &indices, None));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
