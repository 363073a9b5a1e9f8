//! A plugin that reads an answer as Arrow record batches and says what it got.
//!
//! First `spec.jsonRows` rows as JSON, then the rest as batches of at most
//! `spec.maxBytes` a chunk, from the same cursor; without `maxBytes` all of the
//! answer with [`Situation::batches`].

use kybern_sdk::arrow_array::cast::AsArray;
use kybern_sdk::arrow_array::types::{
    Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type,
};
use kybern_sdk::arrow_array::{Array, RecordBatch};
use kybern_sdk::arrow_schema::{DataType, TimeUnit};
use kybern_sdk::{Cr, HookError, Plan, Plugin, Situation, Value, json};
use serde::Deserialize;

/// How to read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    #[serde(default)]
    json_rows: u32,
    max_bytes: Option<u32>,
    /// Pieces of 300 KB that are taken and given back, two at a time, before anything is read.
    #[serde(default)]
    churn: usize,
}

/// The plugin.
pub struct Reader;

#[kybern_sdk::plugin(
    name = "arrow-guest",
    resource = "arrow.example.com/v1/Reader",
    query(name = "rows", sql = "SELECT name FROM configmaps"),
    reads = ["v1/ConfigMap"],
)]
impl Plugin for Reader {
    type Spec = Spec;

    fn decide(cr: &Cr<Spec>, situation: &Situation<'_>) -> Result<Plan, HookError> {
        churn(cr.spec.churn)?;
        let mut cursor = situation.open("rows")?;
        let count = cursor.row_count();
        let mut as_json: Vec<Value> = Vec::new();
        while let Some(left) = left(cr.spec.json_rows, as_json.len()) {
            let Some(page) = cursor.rows::<Value>(left)? else {
                break;
            };
            as_json.extend(page);
        }
        let mut chunks: Vec<Vec<RecordBatch>> = Vec::new();
        match cr.spec.max_bytes {
            Some(max_bytes) => {
                while let Some(chunk) = cursor.batches(max_bytes)? {
                    chunks.push(chunk);
                }
                // At the end it stays at the end.
                if cursor.batches(max_bytes)?.is_some() {
                    return Err(HookError::Internal("rows after the end".to_owned()));
                }
            }
            None => {
                for batch in situation.batches("rows")? {
                    chunks.push(vec![batch?]);
                }
            }
        }
        let sizes: Vec<usize> = chunks
            .iter()
            .map(|chunk| chunk.iter().map(RecordBatch::num_rows).sum())
            .collect();
        let columns = chunks
            .iter()
            .flatten()
            .next()
            .map(columns)
            .unwrap_or_default();
        let rows: Vec<Value> = chunks
            .iter()
            .flatten()
            .map(rows)
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        Ok(Plan::new().status(json!({
            "count": count, "json": as_json, "chunks": sizes, "columns": columns, "rows": rows,
        })))
    }
}

/// How many rows are still to be read as JSON.
fn left(wanted: u32, read: usize) -> Option<u32> {
    let read = u32::try_from(read).unwrap_or(u32::MAX);
    wanted.checked_sub(read).filter(|left| *left > 0)
}

/// Names and types.
fn columns(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    let fields = schema.fields().iter();
    fields
        .map(|field| format!("{}: {}", field.name(), field.data_type()))
        .collect()
}

/// Each row as a list of its values.
fn rows(batch: &RecordBatch) -> Result<Vec<Value>, HookError> {
    (0..batch.num_rows())
        .map(|row| {
            batch
                .columns()
                .iter()
                .map(|column| cell(column.as_ref(), row))
                .collect()
        })
        .collect()
}

fn cell(column: &dyn Array, row: usize) -> Result<Value, HookError> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => json!(column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Binary => json!(column.as_binary::<i32>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            json!(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        other => {
            return Err(HookError::Internal(format!(
                "{other} is no type of the interface"
            )));
        }
    })
}

#[cfg(test)]
mod tests;

/// Takes and gives back; a piece that was given back while the next one was there changes nothing.
fn churn(pieces: usize) -> Result<(), HookError> {
    let piece = |number: usize| vec![u8::try_from(number % 251).unwrap_or_default(); 300_000];
    let mut last = piece(0);
    for number in 1..pieces {
        let next = piece(number);
        let kept = last
            .iter()
            .all(|byte| usize::from(*byte) == (number - 1) % 251);
        if !kept {
            return Err(HookError::Internal(format!(
                "piece {number} is not its own"
            )));
        }
        last = next;
    }
    Ok(())
}
