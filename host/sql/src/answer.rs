//! Answers: rows in canonical order and types, and their fingerprint.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use xxhash_rust::xxh3::Xxh3;

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

impl Answer {
    /// From what the engine gave; `ordered` keeps the order of the rows.
    pub(crate) fn new(schema: &Schema, batches: &[RecordBatch], ordered: bool) -> Result<Self> {
        let schema = Arc::new(plain_schema(schema));
        let batches = batches
            .iter()
            .map(|batch| plain_batch(&schema, batch))
            .collect::<Result<Vec<_>>>()?;
        let mut rows = concat_batches(&schema, &batches)?;
        let converter = RowConverter::new(
            schema
                .fields()
                .iter()
                .map(|field| SortField::new(field.data_type().clone()))
                .collect(),
        )?;
        if !ordered && rows.num_rows() > 1 {
            rows = sorted(&rows)?;
        }
        let fingerprint = fingerprint(&rows, &converter)?;
        let count = rows.num_rows();
        Ok(Self {
            schema,
            batches: vec![rows],
            fingerprint,
            rows: count,
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
        Self::new(&schema, &[batch], true)
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

/// By namespace, name and uid where there are such columns, then by every column.
fn sorted(rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema();
    let named = ["namespace", "name", "uid"]
        .into_iter()
        .filter_map(|name| schema.index_of(name).ok());
    let order: Vec<usize> = named.chain(0..rows.num_columns()).collect();
    let columns: Vec<ArrayRef> = order
        .iter()
        .filter_map(|position| rows.columns().get(*position).cloned())
        .collect();
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    if columns.is_empty() {
        return Ok(rows.clone());
    }
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut sorted: Vec<(arrow::row::Row<'_>, u32)> = keys.iter().zip(0u32..).collect();
    sorted.sort_unstable();
    let indices: UInt32Array = sorted
        .into_iter()
        .map(|(_, position)| Some(position))
        .collect();
    let columns = rows
        .columns()
        .iter()
        .map(|column| take(column, &indices, None))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn fingerprint(rows: &RecordBatch, converter: &RowConverter) -> Result<u128> {
    let mut hash = Xxh3::new();
    for field in rows.schema().fields() {
        hash.update(format!("{}\u{0}{}\u{0}", field.name(), field.data_type()).as_bytes());
    }
    hash.update(
        &u64::try_from(rows.num_rows())
            .unwrap_or(u64::MAX)
            .to_le_bytes(),
    );
    if rows.num_columns() > 0 {
        for row in converter.convert_columns(rows.columns())?.iter() {
            let bytes: &[u8] = row.as_ref();
            hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(bytes);
        }
    }
    Ok(hash.digest128())
}
