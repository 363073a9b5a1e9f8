//! Rows as record batches and back, as the host has them.
//!
//! # Contract
//! JSON says less than a column's type: integers become Int64 (UInt64 when one
//! is too large for it), numbers Float64, everything else Utf8, as does a
//! column of nulls. Times and bytes are given as record batches.

use crate::Value;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use base64::Engine as _;
use std::sync::Arc;

/// A complete Arrow IPC stream.
pub(super) fn stream(rows: &[RecordBatch]) -> Result<Vec<u8>, String> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let written = StreamWriter::try_new(Vec::new(), &first.schema()).and_then(|mut writer| {
        rows.iter().try_for_each(|row| writer.write(row))?;
        writer.into_inner()
    });
    written.map_err(|error| error.to_string())
}

/// Batches as the host hands them over, cut into single rows.
pub(super) fn rows(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, String> {
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let mut fields = Vec::new();
        for field in schema.fields() {
            if !handed_over(field.data_type()) {
                return Err(format!(
                    "column `{}` is {}, but the host hands over Boolean, Int64, UInt64, Float64, \
                     Utf8, Timestamp(us, UTC) and Binary only",
                    field.name(),
                    field.data_type()
                ));
            }
            fields.push(Field::new(field.name(), field.data_type().clone(), true));
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema, batch.columns().to_vec())
            .map_err(|error| error.to_string())?;
        rows.extend((0..batch.num_rows()).map(|row| batch.slice(row, 1)));
    }
    Ok(rows)
}

fn handed_over(column: &DataType) -> bool {
    match column {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => &**zone == "UTC",
        column => matches!(
            column,
            DataType::Boolean
                | DataType::Int64
                | DataType::UInt64
                | DataType::Float64
                | DataType::Utf8
                | DataType::Binary
        ),
    }
}

/// One row as the host writes it in JSON.
pub(super) fn to_json(row: &RecordBatch) -> Result<Value, String> {
    let schema = row.schema();
    let columns = schema.fields().iter().zip(row.columns());
    columns
        .map(|(field, column)| Ok((field.name().clone(), cell(column)?)))
        .collect::<Result<_, _>>()
        .map(Value::Object)
}

fn cell(column: &ArrayRef) -> Result<Value, String> {
    if column.is_null(0) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(0)),
        DataType::Int64 => column
            .as_primitive::<Int64Type>()
            .value(0)
            .to_string()
            .into(),
        DataType::UInt64 => column
            .as_primitive::<UInt64Type>()
            .value(0)
            .to_string()
            .into(),
        // What is no number is null.
        DataType::Float64 => column.as_primitive::<Float64Type>().value(0).into(),
        DataType::Binary => base64::engine::general_purpose::STANDARD
            .encode(column.as_binary::<i32>().value(0))
            .into(),
        DataType::Timestamp(..) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(0);
            let time = jiff::Timestamp::from_microsecond(micros);
            time.map_err(|error| error.to_string())?.to_string().into()
        }
        _ => column.as_string::<i32>().value(0).into(),
    })
}

/// Rows as a test's author wrote them, each as a batch.
pub(super) fn from_json(given: &[Value]) -> Result<Vec<RecordBatch>, String> {
    let mut names: Vec<&String> = Vec::new();
    for row in given {
        let row = row
            .as_object()
            .ok_or_else(|| format!("{row} is no object"))?;
        for name in row.keys() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for name in names {
        let cells: Vec<&Value> = given
            .iter()
            .map(|row| row.get(name).unwrap_or(&Value::Null))
            .collect();
        let column = column(&cells).map_err(|reason| format!("column `{name}` {reason}"))?;
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| error.to_string())?;
    rows(&[batch])
}

/// What a column's values are, together.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nothing,
    Boolean,
    Integer,
    Number,
    Text,
}

fn column(cells: &[&Value]) -> Result<ArrayRef, String> {
    let mut kind = Kind::Nothing;
    for cell in cells {
        kind = match (kind, kind_of(cell)) {
            (before, Kind::Nothing) => before,
            (Kind::Nothing, now) => now,
            (before, now) if before == now => now,
            (Kind::Integer | Kind::Number, Kind::Integer | Kind::Number) => Kind::Number,
            _ => return Err("mixes types, which no column of a table does".to_owned()),
        };
    }
    Ok(match kind {
        Kind::Boolean => Arc::new(cells.iter().map(|v| v.as_bool()).collect::<BooleanArray>()),
        Kind::Number => Arc::new(cells.iter().map(|v| v.as_f64()).collect::<Float64Array>()),
        Kind::Integer => integers(cells)?,
        Kind::Nothing | Kind::Text => {
            Arc::new(cells.iter().map(|v| text(v)).collect::<StringArray>())
        }
    })
}

fn kind_of(cell: &Value) -> Kind {
    match cell {
        Value::Null => Kind::Nothing,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_f64() => Kind::Number,
        Value::Number(_) => Kind::Integer,
        Value::String(_) | Value::Array(_) | Value::Object(_) => Kind::Text,
    }
}

fn integers(cells: &[&Value]) -> Result<ArrayRef, String> {
    let large = cells.iter().any(|v| v.is_u64() && !v.is_i64());
    if !large {
        return Ok(Arc::new(
            cells.iter().map(|v| v.as_i64()).collect::<Int64Array>(),
        ));
    }
    if cells
        .iter()
        .any(|v| v.as_i64().is_some_and(|number| number < 0))
    {
        return Err("has numbers below Int64's and above: no type holds both".to_owned());
    }
    Ok(Arc::new(
        cells.iter().map(|v| v.as_u64()).collect::<UInt64Array>(),
    ))
}

/// Text, and nested JSON as text.
fn text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        nested => Some(nested.to_string()),
    }
}
