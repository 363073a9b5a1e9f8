//! Lists and structs of an answer as JSON text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};

/// The value in a row as JSON text; `None` for NULL.
pub(crate) fn json_text(column: &ArrayRef, row: usize) -> Option<String> {
    column.is_valid(row).then(|| value(column, row).to_string())
}

/// The value in a row.
pub(crate) fn value(column: &ArrayRef, row: usize) -> Value {
    if !column.is_valid(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::List(_) => list(&column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let members = fields.iter().zip(columns);
            let object: Map<String, Value> = members
                .map(|(field, column)| (field.name().clone(), value(column, row)))
                .collect();
            Value::Object(object)
        }
        DataType::UInt64 => Value::from(column.as_primitive::<UInt64Type>().value(row)),
        of if of.is_integer() => {
            let one = cast(&column.slice(row, 1), &DataType::Int64).ok();
            one.map_or(Value::Null, |one| {
                Value::from(one.as_primitive::<Int64Type>().value(0))
            })
        }
        of if of.is_floating() => {
            let one = cast(&column.slice(row, 1), &DataType::Float64).ok();
            one.map_or(Value::Null, |one| {
                Value::from(one.as_primitive::<Float64Type>().value(0))
            })
        }
        _ => array_value_to_string(column, row).map_or(Value::Null, Value::String),
    }
}

fn list(items: &ArrayRef) -> Value {
    Value::Array((0..items.len()).map(|row| value(items, row)).collect())
}
