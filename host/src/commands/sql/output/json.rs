//! Rows as JSON objects.

use super::{cells, names};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use kybern_sql::Answer;
use serde_json::{Map, Number, Value};

/// An array with one object for each row, in lines.
pub(super) fn pretty(answer: &Answer) -> anyhow::Result<String> {
    let objects = objects(answer)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&objects)?))
}

/// Rows as objects. Where a column may hold JSON, an object or array is shown as such.
pub(super) fn objects(answer: &Answer) -> anyhow::Result<Value> {
    let names = names(answer);
    let mut texts = cells(answer)?.into_iter();
    let mut rows = Vec::with_capacity(answer.rows);
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            let texts = texts.next().unwrap_or_default();
            let columns = batch.columns().iter().enumerate().zip(texts);
            let values = columns
                .map(|((place, column), text)| value(column, row, text, answer.is_json(place)));
            let object: Map<String, Value> = names.iter().cloned().zip(values).collect();
            rows.push(Value::Object(object));
        }
    }
    Ok(Value::Array(rows))
}

fn value(column: &ArrayRef, row: usize, shown: Option<String>, json: bool) -> Value {
    let Some(text) = shown else {
        return Value::Null;
    };
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => Value::from(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float64 => Number::from_f64(column.as_primitive::<Float64Type>().value(row))
            .map_or(Value::String(text), Value::Number),
        _ if json && text.starts_with(['{', '[']) => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        _ => Value::String(text),
    }
}
