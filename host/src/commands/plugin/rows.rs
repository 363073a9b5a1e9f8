//! Rows that an author wrote, as the host would hand them to a hook.
//!
//! # Contract
//! The columns are those of the query where it could be planned; a value that does not fit its
//! column is refused with its place. Of a query that was not planned (one of the sense hook, or over
//! kinds that are not known here) the values say what the columns are.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kybern_plugin::NamedAnswer;
use serde_json::{Map, Value};
use std::sync::Arc;

/// One row: values by column.
pub(super) type Row = Map<String, Value>;
/// The columns of an answer.
pub(super) type Columns = SchemaRef;

/// The answer of the query `name`; an error names the place.
pub(super) fn answer(
    name: &str,
    rows: &[Row],
    planned: Option<&Columns>,
) -> Result<NamedAnswer, String> {
    let schema = match planned {
        Some(schema) => Arc::clone(schema),
        None => inferred(rows),
    };
    let place = |row: usize, column: &str| format!("rows.{name}[{row}].{column}");
    for (index, row) in rows.iter().enumerate() {
        if let Some(column) = row
            .keys()
            .find(|column| schema.field_with_name(column).is_err())
        {
            let known: Vec<&str> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            return Err(format!(
                "{}: the query has no such column; it has {}",
                place(index, column),
                known.join(", ")
            ));
        }
    }
    let columns = schema.fields().iter().map(|field| {
        let values = rows.iter().map(|row| row.get(field.name()));
        column(field.data_type(), values)
            .map_err(|misfit| format!("{}: {}", place(misfit.row, field.name()), misfit.why))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, String>>()?;
    // Rows without columns are still rows, and any column may be null.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let fields = schema.fields().iter().zip(&columns);
    let fields =
        fields.map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options);
    Ok(NamedAnswer {
        name: name.to_owned(),
        schema,
        batches: vec![batch.map_err(|error| format!("rows.{name}: {error}"))?],
    })
}

/// What the values say.
fn inferred(rows: &[Row]) -> Columns {
    let mut fields: Vec<Field> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if fields.iter().all(|field| field.name() != name) {
            let values = rows.iter().filter_map(|row| row.get(name));
            fields.push(Field::new(name, type_of(values), true));
        }
    }
    Arc::new(Schema::new(fields))
}

fn type_of<'a>(values: impl Iterator<Item = &'a Value>) -> DataType {
    let values: Vec<&Value> = values.filter(|value| !value.is_null()).collect();
    let all =
        |test: fn(&Value) -> bool| !values.is_empty() && values.iter().all(|value| test(value));
    if all(Value::is_boolean) {
        DataType::Boolean
    } else if all(Value::is_i64) {
        DataType::Int64
    } else if all(Value::is_number) {
        DataType::Float64
    } else {
        DataType::Utf8
    }
}

/// A value that does not fit its column.
struct Misfit {
    row: usize,
    why: String,
}

/// Values as an array of the type that guests know it by.
fn column<'a>(
    wanted: &DataType,
    values: impl Iterator<Item = Option<&'a Value>>,
) -> Result<ArrayRef, Misfit> {
    Ok(match wanted {
        DataType::Boolean => {
            let read = all(values, "true or false", Value::as_bool)?;
            Arc::new(BooleanArray::from(read))
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let read = all(values, "a whole number", |value| {
                whole(value, Value::as_i64)
            })?;
            Arc::new(Int64Array::from(read))
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            let read = all(values, "a whole number from 0", |value| {
                whole(value, Value::as_u64)
            })?;
            Arc::new(UInt64Array::from(read))
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let read = all(values, "a number", Value::as_f64)?;
            Arc::new(Float64Array::from(read))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let read = all(values, "a time like 2026-01-01T00:00:00Z", micros)?;
            Arc::new(TimestampMicrosecondArray::from(read).with_timezone("UTC"))
        }
        DataType::Binary => {
            let read = all(values, "base64", |value| {
                BASE64_STANDARD.decode(value.as_str()?).ok()
            })?;
            Arc::new(BinaryArray::from_iter(read))
        }
        _ => Arc::new(StringArray::from(all(values, "text", |value| {
            Some(text(value))
        })?)),
    })
}

/// Each value read; null where there is none.
fn all<'a, T>(
    values: impl Iterator<Item = Option<&'a Value>>,
    wanted: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<Option<T>>, Misfit> {
    let read = values.enumerate().map(|(row, value)| match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(Misfit {
                row,
                why: format!("{value} is not {wanted}, which the query's column is"),
            }),
        },
    });
    read.collect()
}

/// A whole number, or one as text: so the host writes those of 64 bits.
fn whole<T: std::str::FromStr>(value: &Value, read: fn(&Value) -> Option<T>) -> Option<T> {
    read(value).or_else(|| value.as_str()?.parse().ok())
}

fn micros(value: &Value) -> Option<i64> {
    let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_microsecond())
}

/// Lists and objects cross as JSON text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(value: Value) -> Row {
        value.as_object().cloned().unwrap()
    }

    fn types(answer: &NamedAnswer) -> Vec<String> {
        let fields = answer.schema.fields().iter();
        fields
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect()
    }

    #[test]
    fn without_a_query_the_values_say_what_the_columns_are() {
        let rows = [
            row(json!({ "a": 1, "b": true, "c": 0.5, "d": "x", "e": null })),
            row(json!({ "a": null, "c": 2, "f": { "g": 1 } })),
        ];
        let found = answer("pods", &rows, None).unwrap();
        assert_eq!(
            types(&found),
            [
                "a Int64",
                "b Boolean",
                "c Float64",
                "d Utf8",
                "e Utf8",
                "f Utf8"
            ]
        );
        assert_eq!(found.batches[0].num_rows(), 2);
    }

    fn columns() -> Columns {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("count", DataType::Int64, true),
            Field::new("at", time, false),
            Field::new("labels", DataType::Utf8, true),
        ]))
    }

    #[test]
    fn the_querys_columns_are_kept_and_may_be_null() {
        let rows = [
            row(json!({ "count": "7", "labels": { "a": "b" } })),
            row(json!({})),
        ];
        let found = answer("q", &rows, Some(&columns())).unwrap();
        let wanted = [
            "count Int64".to_owned(),
            format!("at {}", columns().field(1).data_type()),
            "labels Utf8".to_owned(),
        ];
        assert_eq!(types(&found), wanted);
        let labels = found.batches[0].column(2);
        let labels = labels.as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(labels.value(0), r#"{"a":"b"}"#);
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let refuse = |value: Value| answer("q", &[row(value)], Some(&columns())).unwrap_err();
        assert_eq!(
            refuse(json!({ "count": "many" })),
            "rows.q[0].count: \"many\" is not a whole number, which the query's column is"
        );
        assert_eq!(
            refuse(json!({ "cuont": 1 })),
            "rows.q[0].cuont: the query has no such column; it has count, at, labels"
        );
        assert!(refuse(json!({ "at": "noon" })).contains("rows.q[0].at"));
    }
}
